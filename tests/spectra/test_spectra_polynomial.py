"""Aberth's iteration against polynomials built from known roots."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.numerics.polynomial import horner, monic_roots, reciprocal


def solve(roots, dtype=np.complex128):
    coefficients = np.array([np.poly(row)[1:] for row in roots]).T.astype(dtype)
    found = jax.jit(monic_roots)(tuple(jnp.asarray(c) for c in coefficients))
    return np.stack([np.asarray(r) for r in found], axis=-1)


def distance(found, expected):
    """For every expected root, the relative distance to the nearest found one."""
    gap = np.abs(found[:, None, :] - expected[:, :, None]).min(axis=-1)
    return (gap / np.abs(expected)).max()


@pytest.mark.fast
def test_random_roots(rng, x64):
    roots = rng.normal(size=(50, 4)) + 1j * rng.normal(size=(50, 4))
    assert distance(solve(roots), roots) < 1e-11


def test_roots_of_very_different_size(rng, x64):
    roots = 10.0 ** rng.uniform(-8, 8, (50, 4)) * np.exp(2j * np.pi * rng.uniform(size=(50, 4)))
    assert distance(solve(roots), roots) < 1e-9


def test_quintics_with_roots_at_zero(x64):
    roots = np.array([[0, 0, 0, 2, -3], [0, 1, 2, 3, 4]], complex)
    found = np.sort(np.abs(solve(roots)), axis=-1)
    np.testing.assert_allclose(found[:, -2:], [[2, 3], [3, 4]], rtol=1e-13)
    assert (found[:, 0] == 0).all()
    assert (found[0, :3] == 0).all()


def test_float32(rng):
    roots = rng.normal(size=(50, 4)) + 1j * rng.normal(size=(50, 4))
    found = solve(roots, np.complex64)
    assert found.dtype == np.complex64
    assert distance(found, roots) < 1e-2


@pytest.mark.fast
def test_derivatives_are_implicit_and_usable_twice(x64):
    def largest(b):
        zero = jnp.zeros_like(b)
        found = monic_roots((jax.lax.complex(b, zero), jax.lax.complex(zero - 1, zero)))
        return jnp.max(jnp.stack([r.real for r in found]))

    # x^2 + b x - 1 = 0: x = (-b + sqrt(b^2 + 4)) / 2.
    b = 0.7
    root = np.sqrt(b * b + 4)
    assert float(largest(b)) == pytest.approx((root - b) / 2, rel=1e-15)
    assert float(jax.grad(largest)(b)) == pytest.approx((b / root - 1) / 2, rel=1e-13)
    assert float(jax.grad(jax.grad(largest))(b)) == pytest.approx(2 / root**3, rel=1e-12)


def test_a_double_root_has_no_nan(x64):
    def first(c):
        zero = jnp.zeros_like(c)
        return monic_roots((jax.lax.complex(zero - 2, zero), jax.lax.complex(c, zero)))[0].real

    assert np.isfinite(float(jax.grad(first)(1.0)))


@pytest.mark.fast
def test_horner_and_reciprocal():
    value, slope = horner((0.0, -2.0, 1.0), jnp.float32(3.0))  # x^3 - 2 x + 1
    assert (float(value), float(slope)) == (22.0, 25.0)
    assert complex(reciprocal(jnp.asarray(3 + 4j, jnp.complex64))) == pytest.approx(0.12 - 0.16j)
