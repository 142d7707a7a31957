"""What compiles once, what lowers for accelerators, and the whole catalogue."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxact as ja
from jaxact import inversion

M, K = 18, 3


def two_layers(act, weights, z):
    return act(weights[1] @ act(weights[0] @ z))


def weights(seed, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    shapes = (((9, K), 2.0), ((M, 9), 4.0))
    return tuple(jnp.asarray(rng.normal(size=s) / scale, dtype) for s, scale in shapes)


@pytest.mark.filterwarnings("ignore::jaxact.inversion.ConvergenceWarning")
def test_one_trace_serves_other_measurements_keys_masks_weights_and_settings():
    traces = []

    def counted(act, w, z):
        traces.append(1)
        return two_layers(act, w, z)

    def run(seed, solver, prior, theta=0.1):
        act = ja.get("leaky_relu", theta)
        generator = jax.tree_util.Partial(counted, act, weights(seed))
        see = inversion.mask(np.random.default_rng(seed).permutation(M)[:12])
        y = jnp.full(12, 0.1 + seed / 10)
        key = jax.random.key(seed)
        return inversion.invert(
            generator, y, latent=K, operator=see, solver=solver, prior=prior, key=key, restarts=2
        )

    run(0, inversion.LevenbergMarquardt(), 0.0)
    first = len(traces)
    run(1, inversion.LevenbergMarquardt(damping=0.1, steps=7), 0.0)
    run(2, inversion.LevenbergMarquardt(), 0.3, theta=0.2)
    assert len(traces) == first

    run(0, inversion.Adam(steps=5), 0.0)
    second = len(traces)
    run(1, inversion.Adam(learning_rate=0.2, steps=9), 0.5)
    assert len(traces) == second


def test_a_plain_function_compiles_once_too():
    traces = []

    def generator(z):
        traces.append(1)
        return jnp.tanh(weights(0)[0] @ z)

    def more(call):
        before = len(traces)
        call()
        return len(traces) - before

    for seed in range(3):
        y, z, key = jnp.full(9, 0.1 * seed), jnp.full(K, 0.1 * seed), jax.random.key(seed)
        found = more(
            lambda y=y, key=key: inversion.invert(generator, y, latent=K, restarts=2, key=key)
        )
        assert found == 0 or seed == 0
        # The host reads the kinks off one trace a call: they may move with the weights.
        found = more(lambda z=z: inversion.certificate(generator, z))
        assert found == 1 or seed == 0


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_kernels_lower_for_accelerators(platform):
    generator = jax.tree_util.Partial(two_layers, ja.get("tanh"), weights(0))
    see = inversion.mask(np.arange(10))
    problem = inversion.pose(generator, see, jnp.float32, (K,))
    starts = jnp.ones((2, K))
    lowers = functools.partial(lambda f, *a: jax.jit(f).trace(*a).lower(
        lowering_platforms=(platform,)
    ))  # fmt: skip
    for solver in (
        inversion.LevenbergMarquardt(),
        inversion.GaussNewton(),
        inversion.Fallback(inversion.GaussNewton(), inversion.LBFGS()),
        inversion.Adam(),
        inversion.Optax(optax.sgd(0.1)),
    ):
        lowers(lambda p, s, v: inversion.solve(p, s, v, sign_flip=True), problem, solver, starts)
    lowers(
        jax.grad(lambda p, v: inversion.solve(p, inversion.GaussNewton(), v).latent.sum(),
                 allow_int=True),
        problem,
        starts,
    )  # fmt: skip
    lowers(lambda g, z: inversion.certificate(g, z, operator=see), generator, jnp.ones(K))
    lowers(inversion.angle_map, jnp.ones(3))


@pytest.mark.parametrize("name", ja.names())
def test_every_catalogue_activation_runs(name):
    act = ja.get(name)
    generator = jax.tree_util.Partial(two_layers, act, weights(3))
    z = jnp.array([0.4, -0.3, 0.6])

    def run():
        return inversion.invert(
            generator, generator(z), latent=z[None] + 0.05, solver=inversion.LevenbergMarquardt()
        )

    if name in ("sign", "step"):  # piecewise constant: nothing to follow, and it says so
        with pytest.raises(ValueError, match="must be differentiable, got a derivative of exactly"):
            run()
        return
    found = run()
    for leaf in jax.tree.leaves((found.latent, found.output, found.loss, found.sigma_min)):
        assert jnp.isfinite(leaf).all()
        assert leaf.dtype == jnp.float32
    if bool(found.identifiable):
        np.testing.assert_allclose(found.latent, z, atol=2e-2)


def test_float64_goes_to_float64_accuracy(x64):
    generator = jax.tree_util.Partial(two_layers, ja.get("gelu"), weights(1, jnp.float64))
    z = jnp.array([0.4, -0.3, 0.6])
    for solver in (None, inversion.GaussNewton()):
        found = inversion.invert(
            generator, generator(z), latent=K, solver=solver, key=jax.random.key(0)
        )
        assert found.latent.dtype == jnp.float64
        np.testing.assert_allclose(found.latent, z, atol=1e-11)
