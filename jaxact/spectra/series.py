"""Moments of a layer's limiting law, by Lagrange inversion of its spectral curve."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.numerics import checks
from jaxact.spectra.limit import Law, SpectralLaw, prepared, unit_parameters


def moment(law: SpectralLaw, k: int) -> Float[Array, ""]:
    """The k-th moment of the law, lim E tr M^k / n1.

    m_k = psi^(1-k) / k [v^(k-1)] p'(v) ((1 + phi p(v)) (1 + psi p(v)))^k, where
    p = (eta - zeta) v + zeta v / (1 - zeta v): Lagrange inversion of the spectral curve. So
    m_1 = eta and m_2 = eta^2 (1 + phi / psi) + zeta^2 / psi.

    Args:
        law: the law.
        k: an integer >= 0; one compilation each.

    Returns:
        m_k, a scalar.

    Raises:
        ValueError: if k is negative, or the law is not valid.
        TypeError: if k is not an integer.

    Differentiable in the law.

    Example:
        >>> round(float(moment(Law(eta=1.0, zeta=0.3, phi=0.5, psi=0.75), 3)), 6)
        4.092444
    """
    checks.integer("k", k, 0)
    return _moment(prepared(law)[0], k)


@functools.singledispatch
def moment_of(law: Any, k: int) -> Array:
    """The k-th moment of a prepared law."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


@functools.partial(jax.jit, static_argnames="k")
def _moment(law: Any, k: int) -> Array:
    return moment_of(law, k)


@moment_of.register(Law)
def _moment_of_layer(law: Law, k: int) -> Array:
    s, phi, psi = unit_parameters(law)
    if k == 0:
        return jnp.ones_like(s)
    # p = v + s^2 v^2 + s^3 v^3 + ... in units of eta; series are vectors of k coefficients.
    power = s ** jnp.arange(k, dtype=s.dtype)
    p = jnp.concatenate([jnp.zeros_like(s)[None], jnp.ones_like(s)[None], s * power[1:]])[:k]
    slope = jnp.concatenate([jnp.ones_like(s)[None], s * power[1:]])
    slope = slope * jnp.arange(1, k + 1, dtype=s.dtype)
    one = jnp.zeros_like(p).at[0].set(1)
    step = multiply(one + phi * p, one + psi * p)
    series = jax.lax.fori_loop(0, k, lambda _, a: multiply(a, step), slope)
    return law.eta**k * psi ** (1 - k) / k * series[k - 1]


def multiply(a: Array, b: Array) -> Array:
    """The product of two power series to the order of a."""
    return jnp.convolve(a, b, precision=jax.lax.Precision.HIGHEST)[: a.shape[0]]


def series_inverse(series: Array) -> Array:
    """1 / series for a power series that begins with 1; every step doubles the right terms."""
    two = jnp.zeros_like(series).at[0].set(2)
    steps = (series.shape[0] - 1).bit_length()
    double = lambda _, x: multiply(x, two - multiply(series, x))  # noqa: E731
    return jax.lax.fori_loop(0, steps, double, two / 2)
