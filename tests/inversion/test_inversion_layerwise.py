"""Layer-wise inversion: exact on random nets, against linear programs, and with errors in x."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.optimize import linprog

import jaxact as ja
from jaxact import inversion, nets


def random_net(rng, widths, act, dtype=np.float32):
    return [
        (jnp.asarray(rng.normal(size=(m, n)) / n**0.5, dtype), None, act)
        for n, m in zip(widths[:-1], widths[1:], strict=True)
    ]


def error(found, z):
    return float(jnp.linalg.norm(found.latent - z) / jnp.linalg.norm(z))


@pytest.mark.parametrize(
    "act",
    [
        ja.get("relu"), ja.get("tanh"),
        ja.activation(lambda x: -x - 0.5 * jnp.sin(x), name="falling"),
        ja.activation(lambda x: x**3 / 9 + jnp.where(x > 1, x, 0.1 * x), name="jumping"),
    ],
    ids=lambda a: a.name,
)  # fmt: skip
def test_it_finds_the_latent_of_a_random_net(act, rng):
    layers = random_net(rng, (12, 40, 160), act)
    z = jnp.asarray(rng.normal(size=12), jnp.float32)
    x = inversion.forward(layers, z)
    found = inversion.invert_layerwise(layers, x)
    assert error(found, z) < 2e-4
    assert bool(found.exact)
    assert bool(found.converged)
    assert float(found.residual) < 1e-4 * float(jnp.max(jnp.abs(x)))
    np.testing.assert_allclose(found.hidden[1], inversion.forward(layers[:1], z), atol=2e-3)
    if act.name == "relu":
        assert 0.3 < float(found.active[0]) < 0.7


def test_a_large_latent_that_descent_does_not_find(rng):
    layers = random_net(rng, (100, 250, 600), jax.nn.relu)
    z = jnp.asarray(rng.normal(size=100), jnp.float32)
    x = inversion.forward(layers, z)
    found = inversion.invert_layerwise(layers, x)
    assert error(found, z) < 1e-4
    posed = inversion.pose(lambda v: inversion.forward(layers, v), None, x.dtype, z.shape)
    starts = jnp.asarray(rng.normal(size=(1, 100)), jnp.float32)
    descent = inversion.solve(posed.replace(x), inversion.Adam(steps=200), starts)
    assert error(descent, z) > 10 * error(found, z)


def test_double_precision_block_layers_and_biases(x64, rng):
    model = nets.ConvGenerator(
        6, (8, 12), ja.get("relu"), kernels=((3, 2), (4, 4)), bias=True, rngs=nnx.Rngs(0)
    )
    for bias in model.biases:
        bias[...] = jnp.asarray(rng.normal(size=bias.shape) * 0.3)
    z = jnp.asarray(rng.normal(size=6))
    x = model(z)
    layers = nets.layers(model)
    np.testing.assert_allclose(inversion.forward(layers, z), x, atol=1e-14)
    wide = jnp.asarray(rng.normal(size=(2, 1, 6)))
    found = inversion.invert_layerwise(layers, inversion.forward(layers, wide))
    np.testing.assert_allclose(found.latent, wide, atol=1e-12)
    assert bool(found.exact)

    mlp = nets.MLP((3, 9, 20), jnp.tanh, output=ja.get("sigmoid"), rngs=nnx.Rngs(1))
    z = jnp.asarray(rng.normal(size=3))
    np.testing.assert_allclose(inversion.forward(nets.layers(mlp), z), mlp(z), atol=1e-14)


def test_too_few_equations_leave_a_feasible_point(x64, rng):
    (w, _, act), = layers = random_net(rng, (20, 24), jax.nn.relu, np.float64)  # fmt: skip
    x = act(w @ jnp.asarray(rng.normal(size=20)))
    found = inversion.invert_layerwise(layers, x)
    assert not bool(found.determined[0])
    assert not bool(found.exact)
    assert bool(found.consistent[0])
    np.testing.assert_allclose(act(w @ found.latent), x, atol=1e-10)
    w = jnp.asarray(rng.normal(size=(24, 20)))
    impossible = inversion.invert_layerwise([(w, None, jnp.tanh)], np.full(24, 0.9))
    assert not bool(impossible.consistent[0])


def test_the_interval_solver_against_linprog(x64, rng):
    solve = jax.jit(inversion.interval_least_squares)
    feasible = 0
    for _ in range(24):
        a = rng.normal(size=(18, 5))
        centre = rng.normal(size=18) * rng.choice([0.2, 1.5]) + a @ rng.normal(size=5)
        low, high = centre - rng.uniform(0, 1.5, 18), centre + rng.uniform(0, 1.5, 18)
        low[:3], high[3:6] = -np.inf, np.inf
        found = solve(*map(jnp.asarray, (a, low, high)), jnp.ones(18))
        rows = np.concatenate([a[np.isfinite(high)], -a[np.isfinite(low)]])
        ends = np.concatenate([high[np.isfinite(high)], -low[np.isfinite(low)]])
        oracle = linprog(np.zeros(5), A_ub=rows, b_ub=ends, bounds=(None, None))
        assert bool(found.converged)
        worst = float(jnp.max(jnp.abs(found.misfit)))
        assert (worst < 1e-7) == (oracle.status == 0)
        feasible += oracle.status == 0
        gradient = a.T @ np.asarray(found.misfit)
        assert np.abs(gradient).max() < 1e-6
    assert 4 < feasible < 20


def test_least_absolute_values_against_linprog(x64, rng):
    a = rng.normal(size=(30, 4))
    b = a @ rng.normal(size=4) + rng.normal(size=30)
    data = tuple(map(jnp.asarray, (a, b, b)))
    found = inversion.interval_least_squares(*data, jnp.ones(30), power=1)
    ones = np.eye(30)
    oracle = linprog(
        np.r_[np.zeros(4), np.ones(30)],
        A_ub=np.block([[a, -ones], [-a, -ones]]),
        b_ub=np.r_[b, -b],
        bounds=[(None, None)] * 4 + [(0, None)] * 30,
    )
    assert float(jnp.sum(jnp.abs(found.misfit))) == pytest.approx(oracle.fun, rel=1e-6)


def test_errors_in_the_output(x64, rng):
    layers = random_net(rng, (10, 40, 200), ja.get("leaky_relu", 0.2), np.float64)
    z = jnp.asarray(rng.normal(size=10))
    x = inversion.forward(layers, z)
    noise = jnp.asarray(rng.uniform(-1, 1, size=200)) * 1e-3
    for norm, size in (("linf", 1e-2), ("l2", 1e-3)):
        found = inversion.invert_layerwise(layers, x + noise, norm=norm, error=1e-3)
        assert error(found, z) < size
        assert bool(found.converged)
        if norm == "linf":
            off = jnp.max(jnp.abs(inversion.forward(layers[1:], found.hidden[1]) - x - noise))
            assert float(off) <= 1e-3 * (1 + 1e-6)
    gross = x.at[:12].add(5.0)
    robust = inversion.invert_layerwise(layers, gross, norm="l1")
    assert error(robust, z) < 1e-8
    assert not bool(robust.exact)
    assert error(inversion.invert_layerwise(layers, gross), z) > 0.05


def test_noise_does_not_turn_inactive_units_into_equations(x64, rng):
    layers = random_net(rng, (10, 80), jax.nn.relu, np.float64)
    z = jnp.asarray(rng.normal(size=10))
    x = inversion.forward(layers, z) + jnp.asarray(rng.uniform(-1, 1, size=80)) * 1e-3
    assert error(inversion.invert_layerwise(layers, x, error=1e-3), z) < 2e-3
    assert error(inversion.invert_layerwise(layers, x), z) > 2e-3


def test_a_batch_and_other_weights_compile_nothing_new(rng):
    traces = []

    def counted(x):
        traces.append(1)
        return jax.nn.relu(x)

    act = ja.activation(counted, kinks=(0.0,), name="counted")
    z = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)

    def batch():
        layers = random_net(rng, (4, 30), act)
        xs = jnp.stack([inversion.forward(layers, v) for v in z])
        return jax.vmap(lambda x: inversion.invert_layerwise(layers, x))(xs)

    np.testing.assert_allclose(batch().latent, z, rtol=1e-4)
    inside = len(traces)
    np.testing.assert_allclose(batch().latent, z, rtol=1e-4)
    assert len(traces) - inside < 10  # the host's check and `forward`; the solver is compiled


@pytest.mark.fast
def test_bad_layers():
    w, x = jnp.ones((3, 2)), jnp.ones(3)
    with pytest.raises(
        ValueError, match="must be monotone to be inverted layer by layer, got gelu"
    ):
        inversion.invert_layerwise([(w, None, ja.get("gelu"))], x)
    with pytest.raises(ValueError, match=r"x must have shape \(3,\), got \(4,\)"):
        inversion.invert_layerwise([(w, None, jnp.tanh)], jnp.ones(4))
    wrong = [(w, None, jnp.tanh), (jnp.ones((5, 4)), None, jnp.tanh)]
    with pytest.raises(ValueError, match=r"layers\[0\] weights of shape \(3, 2\) do not fit"):
        inversion.invert_layerwise(wrong, jnp.ones(5))
    with pytest.raises(ValueError, match=r"layers\[0\] bias must have shape \(3,\)"):
        inversion.invert_layerwise([(w, jnp.ones(2), jnp.tanh)], x)
    with pytest.raises(ValueError, match="norm must be one of"):
        inversion.invert_layerwise([(w, None, jnp.tanh)], x, norm="l3")
    with pytest.raises(ValueError, match="x must be finite"):
        inversion.invert_layerwise([(w, None, jnp.tanh)], x * jnp.nan)
    overlapping = nets.ConvGenerator(
        2, (3,), jnp.tanh, kernels=((4, 4),), strides=((2, 2),), rngs=nnx.Rngs(0)
    )
    with pytest.raises(ValueError, match="model must have stride = kernel in every layer"):
        nets.layers(overlapping)
