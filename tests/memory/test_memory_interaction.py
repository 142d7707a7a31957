"""Interaction functions: closed forms, normalisation, and what follows from an activation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory
from jaxact.memory.interaction import as_interaction
from jaxact.numerics import checks


@pytest.mark.fast
def test_the_dual_pairs_of_the_paper(x64):
    h = jnp.linspace(-3, 3, 13)
    of = {n: memory.from_activation(jaxact.get(n)) for n in ("relu", "tanh", "sigmoid", "repu")}
    np.testing.assert_allclose(of["relu"](h), memory.rectified(2)(h) / 2)
    np.testing.assert_allclose(of["repu"](h), memory.rectified(3)(h) / 3)
    np.testing.assert_allclose(of["tanh"](h), np.log(np.cosh(h)), atol=1e-14)
    np.testing.assert_allclose(of["sigmoid"](h), np.logaddexp(0, h) - np.log(2), atol=1e-14)
    assert [F.degree for F in of.values()] == [2, None, None, 3]
    assert all(F.convex for F in of.values())


@pytest.mark.fast
def test_degree_and_convexity_are_derived():
    facts = {
        name: (F.degree, F.convex)
        for name in ("gelu", "softplus", "abs", "cubic", "square", "exp", "sin", "identity")
        for F in [memory.from_activation(jaxact.get(name))]
    }
    assert facts == {
        "gelu": (None, False), "softplus": (None, True), "abs": (2, False), "cubic": (4, True),
        "square": (3, False), "exp": (None, True), "sin": (None, False), "identity": (2, True),
    }  # fmt: skip
    assert memory.from_activation(lambda x: jnp.maximum(x, 0)).degree == 2
    assert [memory.polynomial(n).convex for n in (1, 2, 3, 4)] == [True, True, False, True]


@pytest.mark.fast
def test_normalised_is_the_same_dynamics_where_it_promises_so():
    h = jnp.arange(-100.0, 101.0)
    scaled = memory.polynomial(3).normalised(100)
    np.testing.assert_array_equal(scaled(h) * 128.0**3, memory.polynomial(3)(h))
    np.testing.assert_allclose(
        memory.exponential(0.1).normalised(100)(h), np.exp(0.1 * (h - 100)), 1e-5
    )
    tanh = memory.from_activation(jaxact.get("tanh")).scaled(3.0)
    np.testing.assert_allclose(tanh.normalised(100)(h), np.log(np.cosh(3 * h / 100)), 1e-4, 1e-6)
    for F in (memory.rectified(4), memory.exponential(), tanh):
        assert F.normalised(100).normalised(100) == F.normalised(100)


def test_normalised_powers_never_overflow_float32():
    assert not np.isfinite(memory.rectified(14)(jnp.float32(784)))
    for n in (14, 30, 100):
        assert 0 < memory.rectified(n).normalised(784)(jnp.float32(784)) <= 1


def test_theta_may_be_traced():
    def energy(beta):
        act = jaxact.activation(lambda x, b: x * jax.nn.sigmoid(b * x), theta=beta, kinks=())
        F = memory.from_activation(act)
        assert checks.is_concrete(beta) or F.convex is None
        return memory.energy(jnp.ones((2, 4)), jnp.ones(4), F)

    plain, slope = jax.jit(jax.value_and_grad(energy))(1.5)
    step = 0.01
    np.testing.assert_allclose(slope, (energy(1.5 + step) - energy(1.5 - step)) / (2 * step), 1e-2)
    assert jax.vmap(energy)(jnp.array([1.0, 1.5]))[1] == pytest.approx(float(plain), rel=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        memory.polynomial(0)
    with pytest.raises(TypeError, match="n must be an integer, got 2.5"):
        memory.rectified(2.5)
    with pytest.raises(ValueError, match="beta must be positive, got -1"):
        memory.exponential(-1.0)
    with pytest.raises(ValueError, match="gain must be positive, got 0"):
        memory.polynomial(2).scaled(0.0)
    with pytest.raises(TypeError, match="F must be an Interaction .* got 3"):
        as_interaction(3)
