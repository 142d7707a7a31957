"""The classifier: against eq. 9 written out, a NumPy twin of its training step, and limits."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxact
from jaxact import memory
from jaxact.memory import classifier

K, N, CLASSES = 7, 9, 4


@pytest.fixture
def small(rng):
    return rng.uniform(-1, 1, (K, N + CLASSES)), rng.uniform(-1, 1, (5, N))


def eq9(memories, v, F, temperature):
    """The argument of the tanh of eq. 9, sum by sum, for one sample."""
    c = np.full(CLASSES, -1.0)
    field = np.zeros(CLASSES)
    for a in range(CLASSES):
        for xi in memories:
            others = sum(xi[N + g] * c[g] for g in range(CLASSES) if g != a)
            rest = others + sum(xi[i] * v[i] for i in range(N))
            minus, plus = -xi[N + a] * c[a] + rest, xi[N + a] * c[a] + rest
            field[a] += F(minus / temperature) - F(plus / temperature)
    return field


@pytest.mark.fast
@pytest.mark.parametrize("n", [2, 3, 20, 30])
@pytest.mark.parametrize("make", [memory.rectified, memory.polynomial])
def test_fields_are_eq_9(n, make, small, x64):
    memories, v = small
    plain = {memory.rectified: lambda h: max(h, 0) ** n, memory.polynomial: lambda h: h**n}[make]
    expected = [eq9(memories, sample, plain, 1.7) for sample in v]
    found = memory.class_fields(memories, v, make(n), temperature=1.7)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        memory.class_outputs(memories, v, make(n), temperature=1.7), np.tanh(expected), rtol=1e-10
    )


@pytest.mark.fast
def test_fields_of_other_interactions_are_eq_9(small, x64):
    memories, v = small
    cases = {
        "tanh": (memory.from_activation(jaxact.get("tanh")), lambda h: np.log(np.cosh(h))),
        "exp": (memory.exponential(0.7), lambda h: np.exp(0.7 * h)),
        "relu": (jaxact.get("relu"), lambda h: max(h, 0) ** 2 / 2),
        "user": (memory.from_activation(lambda x: x + jnp.sin(x)), lambda h: h**2 / 2 - np.cos(h)),
    }
    for name, (F, plain) in cases.items():
        expected = [eq9(memories, sample, plain, 0.9) for sample in v]
        found = memory.class_fields(memories, v, F, temperature=0.9)
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=name)


@pytest.mark.fast
def test_a_memory_of_weight_zero_is_forgotten(small):
    memories, v = small
    weights = np.ones(K)
    weights[2] = 0
    F = memory.rectified(3)
    found = memory.class_fields(memories, v, F, weights=weights)
    without = memory.class_fields(np.delete(memories, 2, 0), v, F)
    np.testing.assert_allclose(found, without, rtol=1e-5, atol=1e-6)


def notebook_step(xi, velocity, v, labels, *, n, m, T, rate, momentum):
    """One step of the authors' published notebook: every input tiled for every class unit."""
    beta, batch = 1 / T**n, len(v)
    tiled = np.concatenate([np.repeat(v, CLASSES, 0), -np.ones((batch * CLASSES, CLASSES))], 1)
    Y = tiled.copy()
    Y[np.arange(batch * CLASSES), N + np.tile(np.arange(CLASSES), batch)] = 1
    target = -np.ones((batch, CLASSES))
    target[np.arange(batch), labels] = 1
    t = target.reshape(-1)
    off, on = np.maximum(xi @ tiled.T, 0), np.maximum(xi @ Y.T, 0)
    c = np.tanh(beta * np.sum(on**n - off**n, axis=0))
    loss = np.sum((c - t) ** (2 * m))
    back = (t - c) ** (2 * m - 1) * (1 - c**2)
    step = (back * on ** (n - 1)) @ Y - (back * off ** (n - 1)) @ tiled
    gradient = -2 * m * beta * n * step
    velocity = momentum * velocity + step
    largest = np.maximum(np.abs(velocity).max(1, keepdims=True), 1e-30)
    return loss, gradient, np.clip(xi + rate * velocity / largest, -1, 1), velocity


@pytest.mark.parametrize(("n", "m", "T"), [(2, 2, 3.0), (20, 30, 6.0)])
def test_training_step_is_the_notebooks(n, m, T, rng, x64):
    xi = rng.normal(-0.3, 0.3, (K, N + CLASSES)).clip(-1, 1)
    rule = memory.memory_rule(0.04, momentum=0.6)
    state = rule.init(jnp.asarray(xi))
    velocity, ours = np.zeros_like(xi), jnp.asarray(xi)

    @jax.jit
    def cost(p, v, labels):
        fields = memory.class_fields(p, v, memory.rectified(n), temperature=T)
        return jnp.sum(jax.vmap(lambda z, y: memory.power_loss(z, y, m=m))(fields, labels))

    for _ in range(3):
        v, labels = rng.uniform(-1, 1, (6, N)), rng.integers(0, CLASSES, 6)
        loss, gradient, xi, velocity = notebook_step(
            xi, velocity, v, labels, n=n, m=m, T=T, rate=0.04, momentum=0.6
        )
        value, slope = jax.value_and_grad(cost)(ours, v, labels)
        np.testing.assert_allclose(value, loss, rtol=1e-10)
        np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-10 * np.abs(gradient).max())
        updates, state = rule.update(slope, state, ours)
        ours = optax.apply_updates(ours, updates)
        np.testing.assert_allclose(ours, xi, atol=1e-10)


def test_gradients_are_finite_differences(small, x64):
    memories, v = small
    weights = np.linspace(-1, 1, CLASSES)
    for F in (memory.rectified(3), memory.from_activation(jaxact.get("tanh"))):

        def value(p, v, F, T):
            z = memory.class_fields(p, v, F, temperature=T)
            return jnp.sum(weights * classifier.tanh(z)) + memory.power_loss(z, 1, m=3)

        jax.test_util.check_grads(value, (memories, v[0], F, 2.5), order=1, modes=["rev"])


@pytest.mark.fast
def test_tanh_is_differentiable_twice_and_alive_in_float32(x64):
    z = np.array([-3.0, -0.4, 0.0, 0.4, 3.0])
    jax.test_util.check_grads(classifier.tanh, (z,), order=2)
    far = jnp.array([9.0, 20.0, -20.0, 40.0], jnp.float32)
    assert not jax.vmap(jax.grad(jnp.tanh))(far)[0]
    slopes = jax.vmap(jax.grad(classifier.tanh))(far)
    q = np.exp(-2 * np.abs(np.asarray(far, np.float64)))
    assert slopes.dtype == jnp.float32
    np.testing.assert_allclose(slopes, 4 * q / (1 + q) ** 2, rtol=1e-5)
    curves = jax.vmap(jax.grad(jax.grad(classifier.tanh)))(far)
    np.testing.assert_allclose(curves, -8 * np.sign(far) * q, rtol=1e-4)


@pytest.mark.fast
@pytest.mark.parametrize("n", [30])
def test_large_powers_in_float32(n):
    keys = jax.random.split(jax.random.key(0), 2)
    xi = jnp.clip(memory.init_memories(keys[0], 40, inputs=784, classes=10), -1, 1)
    v = jnp.sign(jax.random.normal(keys[1], (3, 784)))
    xi = xi.at[0, :784].set(v[0])
    assert (xi.dtype, v.dtype) == (jnp.float32, jnp.float32)
    F = memory.rectified(n)

    def wrong(p, T):
        z = memory.class_fields(p, v[0], F, temperature=T)
        return memory.power_loss(z, jnp.argmin(z), m=30)

    slope = jax.jit(jax.grad(wrong))
    for T in (1.0, 30.0, 540.0):
        z = memory.class_fields(xi, v, F, temperature=T)
        assert bool(jnp.isfinite(z).all())
        assert bool(jnp.isfinite(slope(xi, T)).all())
    with jax.enable_x64(True):
        wide = np.asarray(xi, float), np.asarray(v, float)
        exact = np.asarray(memory.class_fields(*wide, F, temperature=540))
    np.testing.assert_allclose(z, exact, rtol=1e-3, atol=1e-3 * np.abs(exact).max())
    # A wrong answer that is saturated (|z| = 15 or so): its memory still gets a whole step.
    T = 540.0 * float(jnp.abs(z[0]).max() / 15) ** (1 / n)
    gradient = slope(xi, T)
    rule = memory.memory_rule(0.04)
    update = rule.update(gradient, rule.init(xi), xi)[0]
    assert float(jnp.abs(update[0]).max()) == pytest.approx(0.04, rel=1e-3)


@pytest.mark.fast
def test_new_data_temperature_and_theta_compile_once(small):
    memories, v = (a.astype(np.float32) for a in small)

    def calls(T, beta, sign):
        F = memory.exponential(beta)
        memory.class_fields(sign * memories, v, F, temperature=T)
        memory.answering_memories(memories, sign * v, F, temperature=T, share=T / 4)
        memory.feed_forward(memories, sign * v, F, temperature=T)
        memory.duality(memories, sign * v, F, eps=[T / 8], temperature=T)

    calls(1.5, 1.0, 1)
    kernels = (
        classifier._fields,
        memory.prototypes._answering,
        memory.duality.__globals__["_feed_forward"],
        memory.duality.__globals__["_duality"],
    )
    before = [k._cache_size() for k in kernels]
    calls(2.5, 0.7, -1)
    assert [k._cache_size() for k in kernels] == before


@pytest.mark.fast
def test_jit_and_vmap_change_nothing(small):
    memories, v = (a.astype(np.float32) for a in small)

    def fields(v):
        return memory.class_fields(memories, v, memory.rectified(3), temperature=2.0)

    chex.assert_trees_all_close(jax.jit(fields)(v), fields(v), jax.vmap(fields)(v), rtol=1e-4)


@pytest.mark.fast
def test_the_rule_stays_in_its_box():
    xi = jnp.array([[0.9, -1.0, 0.3], [0.2, 0.2, 0.2]])
    rule = memory.memory_rule(optax.constant_schedule(0.5), momentum=0.0, bound=1.0)
    gradient = jnp.array([[-3.0, 2.0, 0.0], [0.0, 0.0, 1e-20]])
    update, _ = rule.update(gradient, rule.init(xi), xi)
    np.testing.assert_allclose(xi + update, [[1.0, -1.0, 0.3], [0.2, 0.2, -0.3]], atol=1e-6)
    with pytest.raises(ValueError, match="update needs the params"):
        rule.update(gradient, rule.init(xi))


@pytest.mark.fast
def test_bad_input(small):
    memories, v = small
    F = memory.rectified(3)
    fields = memory.class_fields
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        fields(memories, v, F, temperature=0.0)
    with pytest.raises(ValueError, match=r"v must have shape .* got \(5, 13\)"):
        fields(memories, np.ones((5, N + CLASSES)), F)
    with pytest.raises(ValueError, match="memories must be finite, got nan"):
        fields(memories * np.nan, v, F)
    with pytest.raises(ValueError, match=r"weights must have shape \(7,\), got \(3,\)"):
        fields(memories, v, F, weights=np.ones(3))
    with pytest.raises(TypeError, match="F must be an Interaction"):
        fields(memories, v, 3)
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        memory.power_loss(np.zeros(3), 1, m=0)
    with pytest.raises(ValueError, match="memories must not be empty"):
        fields(memories[:0], v, F)
    with pytest.raises(ValueError, match="momentum must be below 1"):
        memory.memory_rule(0.1, momentum=1.0)
    with pytest.raises(ValueError, match="rate must be positive, got -0.1"):
        memory.memory_rule(-0.1)
    with pytest.raises(ValueError, match="K must be at least 1, got 0"):
        memory.init_memories(jax.random.key(0), 0, inputs=3, classes=2)
    with pytest.raises(ValueError, match=r"share must be in \[0.0, 1.0\], got 2"):
        memory.answering_memories(memories, v, F, share=2.0)
    with pytest.raises(ValueError, match="memories must have more than 13 units"):
        memory.class_votes(memories, 13)
    with pytest.raises(ValueError, match="v must hold at least one input"):
        memory.measure_regime(memories, v[:0], F)
    with pytest.raises(ValueError, match="eps must be positive, got 0"):
        memory.duality(memories, v, F, eps=0.0)
    with pytest.raises(ValueError, match="all zero"):
        memory.duality(0 * memories, v, F)
