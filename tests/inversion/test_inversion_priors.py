"""Priors against closed forms and SciPy, and the sets that hold a latent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear, minimize

from jaxact import inversion

M, K = 12, 3


@pytest.fixture
def linear(x64, rng):
    return rng.normal(size=(M, K)), rng.normal(size=M)


def apply(w, z):
    return w @ z


@pytest.mark.parametrize("solver", ["lm", "gn"])
def test_a_gaussian_prior_is_the_posterior_mean(linear, rng, solver):
    w, y = linear
    root = rng.normal(size=(K, K))
    precision, mean = root @ root.T, rng.normal(size=K)
    prior = inversion.GaussianPrior(jnp.asarray(mean), jnp.asarray(precision), 0.3)
    methods = {
        "lm": inversion.LevenbergMarquardt(damping=0.0, tol=1e-10),
        "gn": inversion.GaussNewton(damping=0.0, tol=1e-8, cg_tol=1e-12),
    }
    generator = jax.tree_util.Partial(apply, jnp.asarray(w))
    found = inversion.invert(
        generator, jnp.asarray(y), latent=jnp.zeros(K), prior=prior, solver=methods[solver]
    )
    expected = np.linalg.solve(w.T @ w + 0.3 * precision, w.T @ y + 0.3 * precision @ mean)
    np.testing.assert_allclose(found.latent, expected, atol=1e-8)
    assert float(found.sigma_min) == pytest.approx(np.linalg.svd(w)[1][-1])
    if solver == "lm":
        assert int(found.iterations[0]) <= 3

        def by_weight(v):
            changed = inversion.GaussianPrior(prior.mean, prior.precision, v)
            return inversion.invert(
                generator, jnp.asarray(y), latent=jnp.zeros(K), prior=changed,
                solver=methods["lm"],
            ).latent  # fmt: skip

        slope = jax.jacfwd(by_weight)(jnp.asarray(0.3))
        step = 1e-6
        by_hand = (by_weight(jnp.asarray(0.3 + step)) - by_weight(jnp.asarray(0.3 - step))) / 2e-6
        np.testing.assert_allclose(slope, by_hand, rtol=1e-5)


def test_the_weight_and_a_unit_gaussian_agree(linear):
    w, y = linear
    start = jnp.ones(K)

    def generator(z):
        return jnp.tanh(jnp.asarray(w) @ z)

    # tanh cannot reach these y: with a large residual the steps shrink only linearly.
    solver = inversion.LevenbergMarquardt(steps=300)
    a, b = (
        inversion.invert(generator, jnp.asarray(y), latent=start, prior=prior, solver=solver)
        for prior in (0.2, inversion.GaussianPrior(weight=0.2))
    )
    np.testing.assert_allclose(a.latent, b.latent, atol=1e-7)
    assert float(a.loss) == pytest.approx(float(b.loss), rel=1e-12)


def test_any_negative_log_density(linear):
    w, y = linear

    def density(z):
        return 0.7 * jnp.sum(jnp.log(jnp.cosh(2 * z)))

    found = inversion.invert(
        lambda z: jnp.asarray(w) @ z, jnp.asarray(y), latent=jnp.zeros(K), prior=density
    )
    oracle = minimize(
        lambda z: np.sum((w @ z - y) ** 2) / 2 + 0.7 * np.sum(np.log(np.cosh(2 * z))),
        np.zeros(K), tol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(found.latent, oracle.x, atol=1e-5)
    assert float(found.loss) == pytest.approx(oracle.fun, rel=1e-9)


def test_sets_that_hold_the_latent(linear):
    w, y = linear

    def generator(z):
        return jnp.asarray(w) @ z

    def constrained(region):
        solver = inversion.ProjectedGradient(region, steps=2000, tol=1e-12)
        start = jnp.asarray([3.0, -3.0, 0.1])
        return inversion.invert(generator, jnp.asarray(y), latent=start, solver=solver)

    box = constrained(inversion.Box(-0.1, 0.15))
    np.testing.assert_allclose(box.latent, lsq_linear(w, y, (-0.1, 0.15)).x, atol=1e-6)
    ball = inversion.Sphere(0.2)
    z = np.asarray(constrained(ball).latent)
    assert np.linalg.norm(z) == pytest.approx(0.2)
    gradient = w.T @ (w @ z - y)
    tangent = gradient - (gradient @ z) / (z @ z) * z
    assert np.linalg.norm(tangent) < 1e-5 * np.linalg.norm(gradient)


@pytest.mark.fast
def test_bad_priors():
    y = jnp.ones(3)
    for prior, error, message in (
        (-1.0, ValueError, "prior must be non-negative"),
        (jnp.tanh, TypeError, "prior must return one number for one latent"),
        (inversion.GaussianPrior(precision=jnp.ones(2)), ValueError, "prior.precision must be a"),
        (inversion.GaussianPrior(mean=jnp.ones(2)), ValueError, "prior.mean must be a scalar or"),
        (inversion.GaussianPrior(weight=-1.0), ValueError, "prior.weight must be non-negative"),
        (
            inversion.GaussianPrior(precision=-jnp.eye(3)), ValueError,
            "prior.precision must be positive semidefinite",
        ),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            inversion.invert(jnp.sinh, y, latent=jnp.zeros(3), prior=prior)
