"""Inversion as a differentiable layer: derivatives against formulas and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import inversion

M, K = 20, 4


def apply(weights, z):
    return jax.nn.softplus(weights[1] @ jax.nn.softplus(weights[0] @ z))


@pytest.fixture
def problem(x64, rng):
    weights = (jnp.asarray(rng.normal(size=(9, K))), jnp.asarray(rng.normal(size=(M, 9)) / 3))
    z = jnp.asarray(rng.normal(size=K))
    noise = 0.05 * jnp.asarray(rng.normal(size=M))
    return weights, z, apply(weights, z), noise


def solve(weights, y, prior=0.0, **options):
    generator = jax.tree_util.Partial(apply, weights)
    options = {"latent": K, "restarts": 2, "key": jax.random.key(0)} | options
    return inversion.invert(generator, y, prior=prior, **options)


@pytest.mark.fast
def test_derivative_in_y_is_the_pseudo_inverse_of_the_jacobian(problem):
    weights, z, y, _ = problem
    found = jax.jacrev(lambda y: solve(weights, y).latent)(y)
    jacobian = jax.jacfwd(lambda v: apply(weights, v))(z)
    np.testing.assert_allclose(found, np.linalg.pinv(jacobian), rtol=1e-6, atol=1e-9)
    forward = jax.jacfwd(lambda y: solve(weights, y).latent)(y)
    np.testing.assert_allclose(forward, found, rtol=1e-9, atol=1e-12)


def test_derivatives_in_everything_against_finite_differences(problem, rng):
    weights, _, y, noise = problem
    inputs = (weights, y + noise, jnp.asarray(0.1))
    way = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), inputs)

    def path(t):
        found = solve(*jax.tree.map(lambda a, b: a + t * b, inputs, way))
        return found.latent, found.loss, found.sigma_min, found.output

    h = 1e-3
    _, slope = jax.jvp(path, (0.0,), (1.0,))
    sides = [path(s * h) for s in (-2, -1, 1, 2)]
    for index, exact in enumerate(slope):
        a, b, c, d = (side[index] for side in sides)
        difference = (a - 8 * b + 8 * c - d) / (12 * h)
        np.testing.assert_allclose(exact, difference, rtol=1e-4, atol=1e-5)


def test_second_derivative(problem):
    weights, _, y, noise = problem

    def along(t):
        return solve(weights, y + t * noise, 0.1).latent[0]

    slope = jax.jit(jax.grad(along))
    second = jax.grad(jax.grad(along))(1.0)
    h = 1e-2
    difference = (slope(1.0 + h) - slope(1.0 - h)) / (2 * h)
    assert float(second) == pytest.approx(float(difference), rel=1e-3)


@pytest.mark.parametrize(
    "model",
    [
        lambda t: inversion.HuberNoise(0.04 * (1 + t)),
        lambda t: inversion.GaussianNoise(0.3 + jnp.linspace(0.0, 0.1, M) * (1 + t)),
        lambda t: inversion.PoissonNoise(0.5 * t),
    ],
    ids=["huber", "gaussian", "poisson"],
)
def test_first_and_second_derivatives_with_a_noise_model(model, problem):
    weights, z, y, noise = problem
    way = jnp.asarray([1.0, -2.0, 0.5, 1.5])

    def along(t):
        generator = jax.tree_util.Partial(apply, (weights[0] * (1 + t / 9), weights[1]))
        found = inversion.invert(
            generator,
            y + (1 + t) * abs(noise),
            latent=z[None],
            solver=inversion.LevenbergMarquardt(steps=400),
            prior=0.1,
            noise=model(t),
        )
        return found.latent @ way, found.converged

    def slope(t):
        (value, converged), (first, _) = jax.jvp(along, (t,), (jnp.ones_like(t),))
        return value, first, converged

    @jax.jit
    def both(t):
        (value, first, converged), (_, second, _) = jax.jvp(slope, (t,), (jnp.ones_like(t),))
        return value, first, second, converged

    h = 1e-3
    middle = both(jnp.asarray(1.0))
    before, after = (both(jnp.asarray(1.0 + s * h)) for s in (-1, 1))
    assert all(bool(side[3]) for side in (before, middle, after))
    for order in (1, 2):
        difference = (after[order - 1] - before[order - 1]) / (2 * h)
        assert float(middle[order]) == pytest.approx(float(difference), rel=2e-4)


def test_weights_in_a_closure_are_differentiated_too(problem):
    weights, _, y, noise = problem

    def leaf(w):
        return solve(w, y + noise).latent.sum()

    def closure(w):
        key = jax.random.key(0)
        return inversion.invert(
            lambda z: apply(w, z), y + noise, latent=K, restarts=2, key=key
        ).latent.sum()

    expected = jax.grad(leaf)(weights)
    for gradient in (jax.grad(closure), jax.jit(jax.grad(closure)), jax.grad(jax.jit(closure))):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), gradient(weights), expected
        )


def test_the_activation_itself_can_be_differentiated(problem):
    weights, z, _, _ = problem
    act = ja.activation(lambda x, b: x * jax.nn.sigmoid(b * x), theta=(jnp.asarray(1.0),))

    def deep(act, w, z):
        return act(w[1] @ act(w[0] @ z))

    def conditioning(act):
        return inversion.certificate(jax.tree_util.Partial(deep, act, weights), z).condition

    slope = float(jax.grad(conditioning)(act).theta[0])
    h = 1e-5
    sides = [float(conditioning(act.replace(1.0 + s * h))) for s in (-1, 1)]
    assert slope == pytest.approx((sides[1] - sides[0]) / (2 * h), rel=1e-5)


@pytest.mark.fast
def test_flat_directions_get_zero_derivative_not_nan():
    def generator(z):
        return jnp.tanh(jnp.outer(jnp.arange(1.0, 6.0), z[:1]).ravel())

    y = generator(jnp.array([0.3, 0.0]))

    def latent(y):
        return inversion.invert(generator, y, latent=2, restarts=2, key=jax.random.key(0)).latent

    found = jax.jacrev(latent)(y)
    assert jnp.isfinite(found).all()
    np.testing.assert_array_equal(found[1], 0.0)


def test_vmap_and_jit_agree_with_single_calls(problem):
    weights, _, y, noise = problem
    scale = jnp.asarray([0.0, 1.0, 2.0])

    def keys():
        return jax.random.split(jax.random.key(4), 3)

    def one(s, key):
        found = solve(weights, y + s * noise, key=key)
        return found.latent, found.loss, found.converged

    batch = jax.vmap(one)(scale, keys())
    compiled = jax.jit(jax.vmap(one))(scale, keys())
    for i in range(3):
        single = one(scale[i], keys()[i])
        for a, b, c in zip(batch, compiled, single, strict=True):
            np.testing.assert_allclose(a[i], c, rtol=1e-5, atol=1e-12)
            np.testing.assert_allclose(b[i], c, rtol=1e-5, atol=1e-12)

    # the kernel is pure too: over y and starts
    generator = jax.tree_util.Partial(apply, weights)
    starts = jax.random.normal(jax.random.key(9), (3, 2, K))
    ys = y[None] + scale[:, None] * noise[None]
    template = inversion.pose(generator, None, y.dtype, (K,))
    kernel = jax.vmap(
        lambda y, s: inversion.solve(template.replace(y), inversion.LevenbergMarquardt(), s)
    )
    np.testing.assert_allclose(kernel(ys, starts).latent, batch[0], rtol=1e-5)
