"""Draws of deformed families against closed distribution functions and quadrature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import geometry

COUNT = 3000
CRITICAL = 1.63 / np.sqrt(COUNT)  # Kolmogorov's, at 1 %


def distance(cdf):
    """Kolmogorov's distance of values of a distribution function from uniform ones."""
    cdf, steps = np.sort(cdf), np.arange(COUNT + 1) / COUNT
    return max(np.abs(cdf - steps[:-1]).max(), np.abs(cdf - steps[1:]).max())


def negative_square(x):
    return -x * x


@pytest.fixture
def bump(x64):
    return geometry.DeformedFamily(
        geometry.tsallis(0.5), negative_square, geometry.interval(-3.0, 3.0, panels=2, nodes=32)
    )


def bump_cdf(family, theta, x):
    # p = [a (1 - (x/r)^2)]^2 on |x| < r.
    c = float(geometry.cumulant(family, theta))
    r = np.sqrt((1 - c / 2) / (theta / 2))
    s = np.asarray(x) / r
    assert np.abs(s).max() < 1
    return 0.5 + 15 / 16 * (s - 2 * s**3 / 3 + s**5 / 5)


def test_a_finite_support(bump, x64):
    x = geometry.sample(bump, 4.0, jax.random.key(1), COUNT)
    assert x.shape == (COUNT,)
    cdf = bump_cdf(bump, 4.0, x)
    assert distance(cdf) < CRITICAL
    uniform = jax.random.uniform(jax.random.key(1), (COUNT,))
    np.testing.assert_allclose(cdf, uniform, atol=1e-12)


def test_heavy_tails(x64):
    family = geometry.DeformedFamily(
        geometry.tsallis(2.0), negative_square, geometry.line(panels=60)
    )
    x = np.asarray(geometry.sample(family, 1.5, jax.random.key(2), COUNT))
    cdf = 0.5 + np.arctan(x / (np.pi / 1.5)) / np.pi  # Cauchy of scale pi / theta
    assert distance(cdf) < CRITICAL
    np.testing.assert_allclose(cdf, jax.random.uniform(jax.random.key(2), (COUNT,)), atol=1e-11)
    assert np.abs(x).max() > 200


def test_the_draws_follow_theta(bump, x64):
    def draw(theta):
        return geometry.sample(bump, theta, jax.random.key(3), 8)

    @jax.jit
    def derivatives(theta):
        def first(t):
            return jax.jvp(draw, (t,), (jnp.ones_like(t),))[1]

        return draw(theta), *jax.jvp(first, (theta,), (jnp.ones_like(theta),))

    h = 1e-5
    _, first, second = derivatives(jnp.asarray(4.0))
    up, down = derivatives(jnp.asarray(4 + h)), derivatives(jnp.asarray(4 - h))
    np.testing.assert_allclose(first, (up[0] - down[0]) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * h), atol=1e-8)
    assert float(jnp.abs(second).min()) > 1e-5


def test_a_box(x64):
    # p proportional to exp(theta x y): the marginal of x is (e^{theta x} - 1) / (theta x).
    family = geometry.DeformedFamily(
        geometry.tsallis(1.0),
        lambda x: x[0] * x[1],
        geometry.box((0.5, 2.0), (0.0, 1.0), panels=2, nodes=12),
    )
    theta = 1.7
    x, y = np.asarray(geometry.sample(family, theta, jax.random.key(4), COUNT)).T
    assert distance(np.expm1(theta * x * y) / np.expm1(theta * x)) < CRITICAL  # y given x
    u, w = np.polynomial.legendre.leggauss(40)

    def mass(end):
        at = 0.5 + (end[:, None] - 0.5) * (u + 1) / 2
        return (end - 0.5) / 2 * ((np.expm1(theta * at) / (theta * at)) @ w)

    assert distance(mass(x) / mass(np.array([2.0]))) < CRITICAL
    assert abs(np.corrcoef(x, np.expm1(theta * x * y) / np.expm1(theta * x))[0, 1]) < 0.06


def test_a_finite_set(x64):
    weights = np.array([1.0, 2.0, 0.5])
    family = geometry.DeformedFamily(
        geometry.tsallis(2.0), lambda x: x, geometry.finite_set([0.0, 1.0, 3.0], weights)
    )
    p = weights * np.asarray(geometry.density(family, 0.3, jnp.array([0.0, 1.0, 3.0])))
    x = np.asarray(geometry.sample(family, 0.3, jax.random.key(5), COUNT))
    share = np.array([(x == point).mean() for point in (0.0, 1.0, 3.0)])
    assert share.sum() == 1
    np.testing.assert_allclose(share, p, atol=4 * 0.5 / np.sqrt(COUNT))


def test_bad_input_is_refused(bump, x64):
    with pytest.raises(TypeError, match="key must be a typed key"):
        geometry.sample(bump, 4.0, jax.random.PRNGKey(0), 3)
    with pytest.raises(ValueError, match="count must be at least 1"):
        geometry.sample(bump, 4.0, jax.random.key(0), 0)
