"""What happens where a solver fails: the fall-back, the warning, the refusal; and keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import inversion
from jaxact.sweep import sweep

K, M = 30, 90


def steep(weights, z):
    return jax.nn.sigmoid(weights[1] @ jnp.tanh(weights[0] @ z))


@pytest.fixture(scope="module")
def ill():
    """A generator whose latent directions differ by 300 in scale, and one of its outputs."""
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(K, K)))[0] * np.logspace(0, -np.log10(300), K)
    w1, w2 = rng.normal(size=(60, K)) @ axes.T * 2 / K**0.5, rng.normal(size=(M, 60)) / 4
    weights = (jnp.asarray(w1, jnp.float32), jnp.asarray(w2, jnp.float32))
    generator = jax.tree_util.Partial(steep, weights)
    z = jnp.asarray(rng.normal(size=K), jnp.float32)
    return generator, z, generator(z)


def run(ill, solver, restarts=3):
    generator, _, y = ill
    return inversion.invert(
        generator, y, latent=K, solver=solver, restarts=restarts, key=jax.random.key(0)
    )


def test_the_default_falls_back_where_truncated_cg_stalls(ill):
    truncated = inversion.GaussNewton(cg_steps=8)
    with pytest.warns(inversion.ConvergenceWarning, match="without converging"):
        alone = run(ill, truncated)
    found = run(ill, inversion.Fallback(truncated, inversion.LevenbergMarquardt()))
    error = [float(jnp.linalg.norm(f.latent - ill[1])) for f in (alone, found)]
    assert not bool(alone.converged)
    assert bool(found.converged)
    assert error[0] > 1e-2 > error[1]
    np.testing.assert_array_equal(found.finished_by, 1)
    np.testing.assert_array_equal(alone.finished_by, 0)
    assert (np.asarray(found.iterations) < 40).all()  # it gave up early, not at its last step

    one = inversion.invert(ill[0], ill[2], latent=ill[1][None] + 0.1)
    assert bool(one.converged)
    assert one.iterations.shape == one.finished_by.shape == (1,)


def test_what_the_first_solver_solves_is_not_touched_by_the_second(ill):
    generator, z, y = ill
    exact = inversion.LevenbergMarquardt()
    both = inversion.Fallback(exact, inversion.LevenbergMarquardt(damping=10.0))
    alone = inversion.invert(generator, y, latent=z[None] + 0.1, solver=exact)
    found = inversion.invert(generator, y, latent=z[None] + 0.1, solver=both)
    np.testing.assert_array_equal(found.finished_by, 0)
    np.testing.assert_array_equal(found.iterations, alone.iterations)
    np.testing.assert_array_equal(found.latent, alone.latent)


@pytest.mark.fast
def test_restarts_are_reproducible_by_key_and_a_sweep_is_the_same_problems(rng):
    matrix = jnp.asarray(rng.normal(size=(12, 3)), jnp.float32)

    def generator(z):
        return jnp.tanh(matrix @ z)

    ys = jnp.stack([generator(z) for z in jnp.asarray(rng.normal(size=(3, 3)), jnp.float32)])

    def one(pair):
        found = inversion.invert(generator, pair[0], latent=3, restarts=2, key=pair[1])
        return found.latents, found.latent, found.converged

    def seeded(pair):
        return one((pair[0], jax.random.key(pair[1])))

    seeds = jnp.arange(3)
    first, again = (one((ys[0], jax.random.key(0))) for _ in range(2))
    other = one((ys[0], jax.random.key(5)))
    np.testing.assert_array_equal(first[0], again[0])
    assert (np.asarray(first[0]) != np.asarray(other[0])).any()
    swept = sweep(seeded, (ys, seeds), chunk=2)
    assert swept[2].all()
    np.testing.assert_allclose(swept[1][0], first[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(generator)(jnp.asarray(swept[1])), ys, atol=1e-5)


@pytest.mark.fast
def test_bad_solvers_and_generators_are_refused():
    y = jnp.array([1.0, 0.0, 2.0])
    for solver in (inversion.GaussNewton, "adam", inversion.Fallback(1, 2)):
        with pytest.raises(TypeError, match="solver must be"):
            inversion.invert(jnp.abs, y, latent=3, solver=solver, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"solver\.memory must be at least 1, got 0"):
        inversion.invert(
            jnp.abs, y, latent=3, solver=inversion.LBFGS(memory=0), key=jax.random.key(0)
        )
    with pytest.raises(ValueError, match="must be differentiable, got a derivative of exactly 0"):
        inversion.invert(jnp.round, y, latent=3, prior=0.1, key=jax.random.key(0))
    with pytest.raises(TypeError, match="generator must return one real"):
        inversion.invert(lambda z: z.astype(int), y, latent=3, key=jax.random.key(0))


def test_lbfgs_reaches_no_further_than_half_its_norm_into_saturation(x64, rng):
    w1 = jnp.asarray(rng.normal(size=(40, 4)))

    def generator(z):
        return jnp.tanh(w1 @ z)

    # starts three times too far out: without the limit a few steps end in flat parts
    z = jnp.asarray(rng.normal(size=4))
    starts = 3 * jnp.asarray(rng.normal(size=(64, 4)))
    found = inversion.invert(generator, generator(z), latent=starts, solver=inversion.LBFGS())
    np.testing.assert_allclose(found.latents, np.tile(z, (64, 1)), rtol=1e-6)
    assert bool(found.converged)
