"""Masks: three ways to write one measurement, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import inversion

K = 3


def apply(weights, z):
    return jnp.tanh(weights[1] @ jnp.tanh(weights[0] @ z)).reshape(6, 5)


@pytest.fixture
def generator(rng):
    w1 = jnp.asarray(rng.normal(size=(12, K)), jnp.float32)
    w2 = jnp.asarray(rng.normal(size=(30, 12)) / 4, jnp.float32)
    return jax.tree_util.Partial(apply, (w1, w2))


def solve(generator, y, operator=None, **options):
    options = {"latent": K, "restarts": 4, "key": jax.random.key(0)} | options
    return inversion.invert(generator, y, operator=operator, **options)


@pytest.mark.fast
def test_boolean_gather_multiply_and_permuted_masks_give_the_same_latent(generator, rng):
    image = generator(jnp.array([0.5, -1.0, 0.2])) + jnp.asarray(
        0.05 * rng.normal(size=(6, 5)), jnp.float32
    )
    seen = rng.random((6, 5)) < 0.6
    index = np.flatnonzero(seen)
    expected = solve(generator, inversion.mask(seen)(image), inversion.mask(seen))
    for operator in (
        inversion.mask(index),
        inversion.mask(rng.permutation(index)),
        lambda x: x * seen.astype(x.dtype),
    ):
        found = solve(generator, operator(image), operator)
        np.testing.assert_allclose(found.latent, expected.latent, atol=1e-5)
        np.testing.assert_allclose(found.sigma_min, expected.sigma_min, rtol=1e-4)
    full = solve(generator, image)
    everything = solve(generator, image.ravel(), inversion.mask(np.ones((6, 5), bool)))
    np.testing.assert_allclose(everything.latent, full.latent, atol=1e-5)


@pytest.mark.fast
def test_masks_work_and_are_checked_inside_jit(generator):
    z = jnp.array([0.5, -1.0, 0.2])
    see = inversion.mask(np.arange(12))

    @jax.jit
    def latent(y):
        return inversion.invert(generator, y, latent=z[None] + 0.1, operator=see).latent

    np.testing.assert_allclose(latent(see(generator(z))), z, atol=1e-4)
    far = inversion.mask([30])
    with pytest.raises(ValueError, match="positions below 30"):
        jax.jit(lambda v: inversion.certificate(generator, v, operator=far))(z)


@pytest.mark.fast
def test_masks_compose_with_functions(generator):
    see = inversion.mask(np.arange(10, 25))

    def blurred(x):
        return see((x + jnp.roll(x, 1, 0)) / 2)

    z = jnp.array([0.5, -1.0, 0.2])
    found = solve(generator, blurred(generator(z)), blurred)
    np.testing.assert_allclose(found.latent, z, atol=1e-4)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        (np.zeros((6, 5), bool), ValueError, r"where must observe at least one entry"),
        (np.zeros(0, int), ValueError, r"where must observe at least one entry"),
        (np.array([0, -1]), ValueError, r"where must be non-negative, got -1 at index \(1,\)"),
        (np.array([2, 2]), ValueError, r"where must hold distinct positions"),
        (np.array([[1, 2]]), ValueError, r"where must have shape \(m,\), got \(1, 2\)"),
        (np.array([0.5]), TypeError, r"where must be boolean or integer, got dtype float64"),
    ],
)
def test_bad_masks(where, error, message):
    with pytest.raises(error, match=message):
        inversion.mask(where)


@pytest.mark.fast
def test_a_traced_mask_is_refused():
    with pytest.raises(TypeError, match="where must be a concrete mask"):
        jax.jit(lambda w: inversion.mask(w)(jnp.ones(3)))(jnp.array([0, 1]))


@pytest.mark.fast
def test_bad_problems(generator):
    y = jnp.ones((6, 5))

    def refused(error, message, *args, **options):
        options = {"latent": K, "key": jax.random.key(0)} | options
        with pytest.raises(error, match=message):
            inversion.invert(*args, **options)

    refused(ValueError, r"y must have shape \(6, 5\), got \(5,\)", generator, jnp.ones(5))
    bad = y.at[1, 2].set(jnp.nan)
    refused(ValueError, r"y must be finite, got nan at index \(1, 2\)", generator, bad)
    refused(ValueError, "latent must be at least 1, got 0", generator, y, latent=0)
    refused(ValueError, "latent must be at least 1, got -2", generator, y, latent=(3, -2))
    refused(TypeError, "latent must be an integer, got 2.5", generator, y, latent=2.5)
    refused(ValueError, "latent must be finite", generator, y, latent=jnp.full(3, jnp.inf))
    refused(ValueError, "restarts must be at least 1, got 0", generator, y, restarts=0)
    refused(TypeError, "key must be a typed key", generator, y, key=0)
    refused(TypeError, "key must be a typed key", generator, y, key=None)
    refused(ValueError, "prior must be non-negative, got -1", generator, y, prior=-1.0)
    refused(TypeError, "generator must be a function of one array, got 3", 3, y)
    refused(TypeError, "operator must be a function of one array", generator, y, operator="half")
    refused(TypeError, "solver must be a LevenbergMarquardt", generator, y, solver="adam")
    refused(
        ValueError,
        "solver.damping must be non-negative",
        generator,
        y,
        solver=inversion.GaussNewton(damping=-1.0),
    )
    refused(TypeError, "generator must return one real or complex array", lambda z: (z, z), y)
    outside = inversion.mask(np.array([3, 30]))
    refused(ValueError, "positions below 30 .* got 30", generator, jnp.ones(2), operator=outside)
    other = inversion.mask(np.ones((5, 6), bool))
    refused(
        ValueError,
        r"a mask of the generator's output shape \(6, 5\), got a mask of shape \(5, 6\)",
        generator,
        jnp.ones(30),
        operator=other,
    )


@pytest.mark.fast
def test_a_generator_that_is_nowhere_finite_is_refused():
    with pytest.raises(ValueError, match="generator must be finite at a start"):
        inversion.invert(lambda z: jnp.log(-jnp.abs(z)), jnp.ones(2), latent=jnp.ones(2))
    with pytest.raises(ValueError, match="generator must be finite and differentiable at z"):
        inversion.certificate(lambda z: jnp.sqrt(z), jnp.zeros(2))


@pytest.mark.fast
def test_one_bad_start_does_not_spoil_the_others():
    def generator(z):
        return jnp.stack([jnp.log(z[0]), 2 * z[0], z[0] ** 2])

    y = generator(jnp.array([2.0]))
    found = inversion.invert(generator, y, latent=jnp.array([[-1.0], [1.0]]))
    assert float(found.latent[0]) == pytest.approx(2.0, rel=1e-5)
    assert np.isinf(found.losses[0])
    assert float(found.agreement) == 0.5
