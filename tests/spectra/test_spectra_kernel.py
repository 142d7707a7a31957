"""The kernel of a random layer against closed forms, a NumPy twin and finite differences."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra.covariance import kernel_matrix

N0 = 5


def of_norms(rng, norms):
    x = rng.normal(size=(len(norms), N0))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * math.sqrt(N0) * np.asarray(norms)[:, None]


def closed(name, x, y):
    """The arc-cosine and the arcsine kernel, from the covariances."""
    c = x @ y.T / N0
    a, b = (np.sqrt((v**2).sum(1) / N0) for v in (x, y))
    ab = np.outer(a, b)
    if name == "relu":
        t = np.arccos(np.clip(c / np.where(ab > 0, ab, 1), -1, 1))
        return ab * (np.sin(t) + (np.pi - t) * np.cos(t)) / (2 * np.pi)
    room = np.sqrt(np.outer(1 + 2 * a**2, 1 + 2 * b**2))
    return 2 / np.pi * np.arcsin(np.clip(2 * c / room, -1, 1))


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_closed_forms_on_one_norm_with_parallel_samples(name, rng, x64):
    x = of_norms(rng, np.ones(9))
    x[1], x[2] = x[0], -x[0]
    expected = closed(name, x, x)
    found = np.asarray(spectra.kernel(jaxact.get(name), x))
    # The correlation of parallel samples is right to rounding, the angle to its root.
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-13 * expected.max())
    assert np.linalg.eigvalsh(found).min() > -1e-11


def test_samples_of_near_norms_and_other_samples(rng, x64):
    x, y = of_norms(rng, (0.9, 1.0, 1.2, 1.6)), of_norms(rng, (1.6, 1.1))
    found = spectra.kernel(jaxact.get("erf"), x, y, scale=1.2)
    np.testing.assert_allclose(found, closed("erf", 1.2 * x, 1.2 * y), rtol=0, atol=1e-10)


def test_samples_of_far_norms_and_zero(rng, x64):
    x = of_norms(rng, (0.0, 0.5, 1.0, 2.5))
    found = spectra.kernel(jaxact.get("erf"), x)
    np.testing.assert_allclose(found, closed("erf", x, x), rtol=0, atol=2e-7)


def clipped_gaussian(mean, deviation):
    """E clip(mean + deviation xi, -1, 1) in closed form."""
    low, high = (-1 - mean) / deviation, (1 - mean) / deviation
    tail = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))
    bell = lambda z: np.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    inner = mean * (tail(high) - tail(low)) + deviation * (bell(low) - bell(high))
    return inner - tail(low) + 1 - tail(high)


@pytest.mark.parametrize(("norms", "tolerance"), [((1.0, 1.0), 2e-9), ((0.8, 1.4), 1e-7)])
def test_kinks_away_from_zero(norms, tolerance, rng, x64):
    x = of_norms(rng, norms)
    a, b = norms
    rho = float(x[0] @ x[1]) / N0 / a / b
    # Outer integral by brute force: a fine trapezoidal rule on a Gaussian integrand.
    u = np.linspace(-9, 9, 60_001)
    weight = np.exp(-u * u / 2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    smooth = clipped_gaussian(b * rho * u, b * math.sqrt(1 - rho**2))
    expected = weight @ (np.clip(a * u, -1, 1) * smooth)
    found = spectra.kernel(lambda v: jnp.clip(v, -1, 1), x)
    assert float(found[0, 1]) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("size", [(1, 32), (4, 24)])
def test_gradients(size, rng, x64):
    x = of_norms(rng, np.ones(4))
    mix = rng.normal(size=(4, 4))

    @jax.jit
    def total(slope, scale, x):
        act = jaxact.get("leaky_relu", slope)
        return jnp.sum(mix * kernel_matrix(act, x, None, scale, size))

    def exact(slope, scale, x):  # f = relu(x) - slope relu(-x)
        k, across = closed("relu", x, x), closed("relu", x, -x)
        return scale**2 * (mix * ((1 + slope**2) * k - 2 * slope * across)).sum()

    at = (0.2, 1.1, x)
    found = jax.jit(jax.grad(total, (0, 1, 2)))(*at)
    step, h = np.zeros_like(x), 1e-5
    step[2, 1] = 1.0
    for value, way in zip(
        (found[0], found[1], found[2][2, 1]), ((1.0, 0, 0), (0, 1.0, 0), (0, 0, step)), strict=True
    ):
        up, down = (exact(*(v + s * h * w for v, w in zip(at, way, strict=True))) for s in (1, -1))
        assert float(value) == pytest.approx((up - down) / (2 * h), rel=1e-7)


def test_float32_and_no_retrace(rng):
    x = of_norms(rng, np.ones(6)).astype(np.float32)
    found = spectra.kernel(jaxact.get("leaky_relu", 0.0), x)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, closed("relu", x, x), rtol=0, atol=2e-6)
    before = kernel_matrix._cache_size()
    for slope, scale in ((0.1, 1.0), (0.3, 2.0)):
        assert np.isfinite(spectra.kernel(jaxact.get("leaky_relu", slope), x, scale=scale)).all()
    assert kernel_matrix._cache_size() == before


def test_bad_input():
    act, x = jaxact.get("relu"), np.ones((3, 2))
    with pytest.raises(ValueError, match=r"x must have shape \(m, n0\)"):
        spectra.kernel(act, np.ones(3))
    with pytest.raises(ValueError, match="x must hold samples in rows"):
        spectra.kernel(act, np.ones((0, 3)))
    with pytest.raises(ValueError, match=r"y must have shape \(k, 2\)"):
        spectra.kernel(act, x, np.ones((3, 3)))
    with pytest.raises(ValueError, match="x must be finite"):
        spectra.kernel(act, x * np.nan)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        spectra.kernel(act, x, scale=0.0)
