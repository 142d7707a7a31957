"""Deformed families against closed forms, finite differences and NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import geometry


def line(x):
    return x


def test_finite_support_has_mass_one(x64):
    # q = 1/2: p = [1 - (theta x^2 + C) / 2]^2 on |x| < r; its mass is 16/15 a^2 r.
    family = geometry.DeformedFamily(
        geometry.tsallis(0.5), lambda x: -x * x, geometry.interval(-3.0, 3.0)
    )
    theta = 4.0
    c = float(geometry.cumulant(family, theta))
    a = 1 - c / 2
    r = np.sqrt(a / (theta / 2))
    assert r < 3
    assert 16 / 15 * a**2 * r == pytest.approx(1, abs=1e-12)
    at = jnp.array([0.0, 0.9 * r, 1.01 * r, -2.9])
    want = np.where(np.abs(at) < r, (a - theta / 2 * np.asarray(at) ** 2) ** 2, 0)
    np.testing.assert_allclose(geometry.density(family, theta, at), want, atol=1e-12)
    # The escort is [.]^1, so its mean of x^2 is r^2 / 5, and dC/dtheta its negative.
    slope = jax.grad(lambda t: geometry.cumulant(family, t))(theta)
    assert float(slope) == pytest.approx(-(r**2) / 5, abs=1e-11)
    assert float(geometry.escort_mean(family, theta)) == pytest.approx(-(r**2) / 5, abs=1e-11)


def test_heavy_tails_on_the_line(x64):
    # q = 2: p = 1 / (1 + C + theta x^2) is Cauchy: pi / sqrt(theta (1 + C)) = 1.
    family = geometry.DeformedFamily(
        geometry.tsallis(2.0), lambda x: -x * x, geometry.line(panels=60)
    )
    c = float(geometry.cumulant(family, 1.5))
    assert c == pytest.approx(np.pi**2 / 1.5 - 1, rel=1e-12)
    assert float(geometry.escort_mean(family, 1.5)) == pytest.approx(
        -((np.pi / 1.5) ** 2), rel=1e-10
    )
    with pytest.raises(ValueError, match="has no normaliser"):
        geometry.cumulant(family, -1.5)


def test_metric_and_escort_mean_are_derivatives(softplus_two, parabola, x64):
    family = geometry.DeformedFamily(
        geometry.signature(softplus_two),
        parabola,
        geometry.interval(-1.0, 1.0, panels=1, nodes=64),
    )
    theta = jnp.array([0.8, -0.6])
    metric = geometry.metric(family, theta)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(metric), [0.053605494497, 0.207126492635], atol=1e-11
    )
    eta = geometry.escort_mean(family, theta)
    h = 1e-4
    for i, step in enumerate(h * np.eye(2)):
        up, down = theta + step, theta - step
        slope = (geometry.cumulant(family, up) - geometry.cumulant(family, down)) / (2 * h)
        assert float(slope) == pytest.approx(float(eta[i]), abs=1e-8)
        bend = (geometry.escort_mean(family, up) - geometry.escort_mean(family, down)) / (2 * h)
        np.testing.assert_allclose(bend, metric[i], atol=1e-8)
    second = jax.jacfwd(jax.grad(lambda t: geometry.cumulant(family, t)))(theta)
    np.testing.assert_allclose(second, metric, atol=1e-10)


def test_a_box_is_the_product_of_its_sides(x64):
    one = geometry.DeformedFamily(
        geometry.tsallis(1.0), line, geometry.interval(-1.0, 2.0, panels=1, nodes=24)
    )
    two = geometry.DeformedFamily(
        geometry.tsallis(1.0),
        lambda x: x,
        geometry.box((-1.0, 2.0), (-1.0, 2.0), panels=1, nodes=24),
    )
    whole = geometry.cumulant(two, jnp.array([0.3, -0.8]))
    parts = geometry.cumulant(one, 0.3) + geometry.cumulant(one, -0.8)
    assert float(whole) == pytest.approx(float(parts), abs=1e-12)


def test_a_finite_set(x64):
    # Two points and q = 2: p_i = 1 / (1 + C - theta x_i), solved by a quadratic.
    family = geometry.DeformedFamily(
        geometry.tsallis(2.0), line, geometry.finite_set([0.0, 1.0], [1.0, 2.0])
    )
    c = float(geometry.cumulant(family, 0.3))
    s = (3.3 + np.sqrt(3.3**2 - 1.2)) / 2  # 1 / s + 2 / (s - 0.3) = 1
    assert c == pytest.approx(s - 1, abs=1e-13)
    p = geometry.density(family, 0.3, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(p, [1 / s, 1 / (s - 0.3)], atol=1e-13)


def test_one_compilation_serves_every_theta_and_q(x64):
    count = []

    def statistic(x):
        count.append(None)
        return x

    base = geometry.interval(-1.0, 1.0, panels=1, nodes=8)
    sizes = []
    for q, theta in ((0.5, 0.1), (1.2, 0.4), (2.0, -0.3)):
        geometry.cumulant(geometry.DeformedFamily(geometry.tsallis(q), statistic, base), theta)
        sizes.append(len(count))
    # Only the check of theta's shape looks at the statistic again.
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] <= 1


def test_bad_input_is_refused(parabola, x64):
    family = geometry.DeformedFamily(
        geometry.tsallis(1.0), parabola, geometry.interval(-1.0, 1.0, panels=1, nodes=8)
    )
    with pytest.raises(ValueError, match=r"theta must have shape \(2,\), got \(\)"):
        geometry.cumulant(family, 0.3)
    with pytest.raises(ValueError, match="theta must be finite, got nan"):
        geometry.escort_mean(family, jnp.array([0.0, jnp.nan]))
    with pytest.raises(ValueError, match=r"x must be in \[-1.0, 1.0\], got 1.5"):
        geometry.density(family, jnp.array([0.3, 0.1]), 1.5)
    with pytest.raises(ValueError, match="sides must be finite pairs low < high"):
        geometry.interval(1.0, 1.0)
    with pytest.raises(ValueError, match="weights must be positive, got 0"):
        geometry.finite_set([0.0, 1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="scale must be positive, got -1"):
        geometry.line(scale=-1.0)


def test_fit_recovers_the_member_and_beats_the_plain_gradient(parabola, x64):
    family = geometry.DeformedFamily(
        geometry.tsallis(1.5), parabola, geometry.interval(-1.0, 1.0, panels=1, nodes=64)
    )
    x = jnp.array([-0.9, -0.3, 0.1, 0.2, 0.55, 0.8])
    mean = jnp.mean(jax.vmap(parabola)(x), axis=0)
    found = geometry.fit(family, x, start=jnp.zeros(2))
    assert bool(found.converged)
    np.testing.assert_allclose(geometry.escort_mean(family, found.theta), mean, atol=1e-11)

    def steps(direction):
        theta = jnp.zeros(2)
        for count in range(60):
            residual = mean - geometry.escort_mean(family, theta)
            if float(jnp.abs(theta - found.theta).max()) < 1e-6:
                return count
            theta = theta + direction(theta, residual)
        return 60

    natural = steps(lambda theta, g: geometry.natural_gradient(family, theta, g))
    assert natural <= int(found.iterations) <= 8
    # Its best constant step is 2 / (largest + smallest eigenvalue) at the maximum.
    spectrum = np.linalg.eigvalsh(geometry.metric(family, found.theta))
    best = 2 / float(spectrum[0] + spectrum[-1])
    assert steps(lambda _, g: best * g) > 3 * natural


def test_fit_by_the_ordinary_likelihood(x64):
    # A Cauchy scale: p = s / (pi (s^2 + x^2)), with s^2 = (1 + C) / theta = (pi / theta)^2.
    family = geometry.DeformedFamily(
        geometry.tsallis(2.0), lambda x: -x * x, geometry.line(panels=60)
    )
    x = jnp.array([-3.0, -0.4, 0.2, 0.7, 1.1, 9.0])
    found = geometry.fit(family, x, start=1.0, objective="ordinary")
    assert bool(found.converged)
    s = np.pi / float(found.theta)
    # The likelihood equation of the scale: sum 2 s^2 / (s^2 + x^2) = n.
    assert float(np.sum(2 * s**2 / (s**2 + np.asarray(x) ** 2))) == pytest.approx(6, abs=1e-9)
    value = np.mean(np.log(s / np.pi / (s**2 + np.asarray(x) ** 2)))
    assert float(found.value) == pytest.approx(value, abs=1e-12)
    with pytest.raises(ValueError, match="objective must be one of 'chi', 'ordinary'"):
        geometry.fit(family, x, start=1.0, objective="log")


def test_escort_expectations(parabola, x64):
    family = geometry.DeformedFamily(
        geometry.tsallis(1.5), parabola, geometry.interval(-1.0, 1.0, panels=1, nodes=64)
    )
    theta = jnp.array([0.3, -0.2])
    x, w = np.polynomial.legendre.leggauss(80)
    mass = w * np.asarray(geometry.density(family, theta, jnp.asarray(x))) ** 1.5
    got = geometry.escort_expectation(family, theta, jnp.cos)
    assert float(got) == pytest.approx(mass @ np.cos(x) / mass.sum(), abs=1e-13)


@pytest.mark.parametrize("q", [0.5, 1.0, 1.5])
def test_float32_families(q):
    # A uniform statistic: C = -log_chi of the constant density 1/2 where theta = 0.
    family = geometry.DeformedFamily(
        geometry.tsallis(q), line, geometry.interval(-1.0, 1.0, panels=2, nodes=16)
    )
    assert family.base.weights.dtype == jnp.float32
    c = geometry.cumulant(family, 0.0)
    assert c.dtype == jnp.float32
    assert float(c) == pytest.approx(-float(geometry.log_chi(geometry.tsallis(q), 0.5)), abs=3e-6)
    mass = family.base.weights @ geometry.density(family, 0.7, family.base.points)
    assert float(mass) == pytest.approx(1, abs=3e-6)
    draws = geometry.sample(family, 0.7, jax.random.key(0), 64)
    assert draws.dtype == jnp.float32
    assert bool(jnp.all(jnp.abs(draws) <= 1))


def test_rescaled_signatures_and_escorts(x64):
    z = jnp.array([0.2, 0.9, 4.0])
    chi = geometry.rescale(geometry.tsallis(1.5), 0.3)
    np.testing.assert_allclose(chi(z), (0.3 * z) ** 1.5 / 0.3, rtol=1e-14)
    # t^q / (p^(1-q)): log is that of t^q times p^(1-q).
    want = 0.3**-0.5 * (z**-0.5 - 1) / -0.5
    np.testing.assert_allclose(geometry.log_chi(chi, z), want, rtol=1e-13)
    np.testing.assert_allclose(geometry.exp_chi(chi, jnp.asarray(want)), z, rtol=1e-12)
    p, weights = jnp.array([0.0, 0.5, 0.25]), jnp.array([1.0, 1.0, 2.0])
    got = geometry.escort(geometry.tsallis(2.0), p, weights)
    np.testing.assert_allclose(got, [0, 0.25 / 0.375, 0.0625 / 0.375], rtol=1e-14)
    with pytest.raises(ValueError, match="p must be positive, got 0"):
        geometry.rescale(geometry.tsallis(1.5), 0.0)
