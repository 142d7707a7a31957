"""Closed forms of the deformed logarithms that belong to no activation: Tsallis and GAN."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from jaxact.numerics.roots import increasing_root


def tsallis_log(z: Any, q: Any) -> Any:
    """log_q(z) = log(z) (e^w - 1) / w with w = (1 - q) log z; at 0 the limit."""
    inside = z > 0
    log = jnp.log(jnp.where(inside, z, 1))
    value = log * expm1_ratio((1 - q) * log)
    end = jnp.where(q < 1, -1 / jnp.where(q < 1, 1 - q, 1), -jnp.inf)
    return jnp.where(inside, value, jnp.where(z < 0, -jnp.inf, end)).astype(z.dtype)


def tsallis_exp(y: Any, q: Any) -> Any:
    """exp_q(y) = exp(y log(1 + u) / u) with u = (1 - q) y; 0 below and inf above the range."""
    u = (1 - q) * y
    inside = u > -1
    log = jnp.where(inside, y, 0) * log1p_ratio(jnp.where(inside, u, 0))
    fits = log < math.log(float(jnp.finfo(y.dtype).max))
    value = jnp.where(fits, jnp.exp(jnp.where(fits, log, 0)), jnp.inf)
    return jnp.where(inside, value, jnp.where(q < 1, 0, jnp.inf)).astype(y.dtype)


def expm1_ratio(w: Any) -> Any:
    """(e^w - 1) / w, with a series near 0 so that its derivatives are exact there too."""
    near = jnp.abs(w) < 0.5
    small, large = jnp.where(near, w, 0), jnp.where(near, 1, w)
    series = jnp.zeros_like(small)
    for n in range(18, -1, -1):
        series = series * small + 1 / math.factorial(n + 1)
    return jnp.where(near, series, jnp.expm1(large) / large)


def log1p_ratio(u: Any) -> Any:
    """log(1 + u) / u = 2 / (2 + u) * atanh(s) / s with s = u / (2 + u), a series near 0."""
    near = jnp.abs(u) < 0.25
    small, large = jnp.where(near, u, 0), jnp.where(near, 1, u)
    square = (small / (2 + small)) ** 2
    series = jnp.zeros_like(small)
    for n in range(12, -1, -1):
        series = series * square + 1 / (2 * n + 1)
    return jnp.where(near, 2 / (2 + small) * series, jnp.log1p(large) / large)


def gan_chi(t: Any) -> Any:
    """1 / log(1 + 1/t), 0 at 0."""
    inside = t > 0
    return jnp.where(inside, 1 / jnp.log1p(1 / jnp.where(inside, t, 1)), 0)


def gan_log(z: Any) -> Any:
    """log(1 + z) + z log(1 + 1/z) - 2 log 2; at 0 the limit."""
    inside = z > 0
    safe = jnp.where(inside, z, 1)
    value = jnp.log1p(safe) + safe * jnp.log1p(1 / safe)
    value = jnp.where(inside, value, jnp.where(z < 0, -jnp.inf, 0))
    return (value - 2 * math.log(2)).astype(z.dtype)


def gan_exp(y: Any) -> Any:
    """The inverse of `gan_log`, solved for log z."""
    return jnp.exp(increasing_root(_gan_log_of_exp, y))


def _gan_log_of_exp(s: Any) -> Any:
    # Monotone for every s, without the overflow of exp.
    large = s > 30
    z = jnp.exp(jnp.where(large, 0, s))
    below = gan_log(z)
    return jnp.where(large, s + 1 - 2 * math.log(2), below)
