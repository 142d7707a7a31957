"""Where zeta = 0: the closed form, chosen by the value, against the general curve and in slope."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra.limit import NoLinearPart

RATIOS = ((0.5, 0.75), (0.6, 0.6), (1.4, 0.5))  # n1 below, at and above m
KINDS = {
    "stieltjes": spectra.stieltjes,
    "companion": spectra.companion,
    "density": spectra.density,
    "cdf": spectra.cdf,
    "training_error": spectra.training_error,
}
# Traced, zeta is not known to be 0: these take the general curve.
GENERAL = {name: jax.jit(fn) for name, fn in KINDS.items()}


def points(name, dtype):
    x = np.linspace(0.013, 8.2, 12)
    if name in ("stieltjes", "companion"):
        # Off the real axis, below it, and on it within and outside the support.
        z = np.concatenate([x + 1e-3j, x - 0.5j, -x + 1e-6j, x + 0j, -x + 0j])
        return z.astype(np.result_type(dtype, np.complex64))
    return x.astype(dtype)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-3)])
def test_the_closed_form_is_the_general_curve(name, dtype, tolerance, x64):
    at = points(name, dtype)
    for phi, psi in RATIOS:
        law = spectra.Law(*(jnp.asarray(v, dtype) for v in (1.7, 0.0, phi, psi)))
        closed, general = KINDS[name](law, at), GENERAL[name](law, at)
        assert closed.dtype == general.dtype
        scale = np.abs(np.asarray(general)) + 0.1
        assert (np.abs(np.asarray(closed) - np.asarray(general)) <= tolerance * scale).all()


def test_slopes_in_zeta_are_those_of_the_general_curve(x64):
    def values(kind, zeta, phi):
        law = kind(*(jnp.asarray(v, float) for v in (1.7, zeta, phi, 0.75)))
        at = jnp.asarray(3.7)
        g = spectra.stieltjes(law, at)
        return jnp.stack(
            [g.real, g.imag, spectra.density(law, at), spectra.cdf(law, at)]
            + [spectra.training_error(law, at)]
        )

    @jax.jit
    def closed(zeta, phi):
        at = functools.partial(values, NoLinearPart)
        in_zeta = jax.jacfwd(at)
        return in_zeta(zeta, phi), jax.jacfwd(in_zeta)(zeta, phi), jax.jacfwd(at, 1)(zeta, phi)

    general = jax.jit(functools.partial(values, spectra.Law))
    first, second, across = closed(0.0, 0.5)
    # Theorem 1 has no term of first order in zeta, at fixed eta. Differences are one-sided.
    np.testing.assert_allclose(first, 0, atol=1e-13)
    start = general(0.0, 0.5)
    rise = [2 * (general(h, 0.5) - start) / h**2 for h in (1e-3, 2e-3)]
    assert (abs(np.asarray(second)) > 1e-3).all()
    np.testing.assert_allclose(second, 2 * rise[0] - rise[1], rtol=1e-4, atol=1e-5)
    slope = (general(0.0, 0.5 + 1e-5) - general(0.0, 0.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(across, slope, rtol=1e-7, atol=1e-8)


def test_derivatives_of_the_density_in_theta(x64):
    def rho(a):
        act = jaxact.activation(lambda x, a: jnp.tanh(a * x) + a * x**2 / 4, theta=(a,))
        return spectra.density(spectra.law(act, phi=0.5, psi=0.75), 0.3)

    @jax.jit
    def twice(a):
        (value, first), (_, second) = jax.jvp(
            lambda b: jax.jvp(rho, (b,), (jnp.ones_like(b),)), (a,), (jnp.ones_like(a),)
        )
        return jnp.stack([value, first, second])

    a, step = 1.2, 2e-3
    found, far = twice(jnp.asarray(a)), {k: twice(jnp.asarray(a + k * step)) for k in range(-3, 4)}
    # Central differences of the sixth order: of the density, and of its own first derivative.
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    slopes = sum(w * (far[k] - far[-k]) for k, w in weights.items()) / (60 * step)
    np.testing.assert_allclose(found[1:], slopes[:2], rtol=1e-8, atol=1e-8)
