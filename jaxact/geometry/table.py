"""The generators f and conjugates f* of the named f-divergences, as in Nowozin et al. 2016.

Every conjugate is the sup over u >= 0, so below the range of f' it is -f(0), and above it
+inf. Arguments are guarded before a singular function sees them: gradients stay finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import xlogy

from jaxact.geometry import heads
from jaxact.numerics.roots import increasing_root

_LOG2 = math.log(2)


def _on(inside: Any, x: Any, safe: float) -> Any:
    return jnp.where(inside, x, safe)


def _kl(u: Any) -> Any:
    return xlogy(u, u)


def _kl_conjugate(t: Any) -> Any:
    return jnp.exp(t - 1)


def _reverse_kl(u: Any) -> Any:
    return -jnp.log(u)


def _reverse_kl_conjugate(t: Any) -> Any:
    inside = t < 0
    return jnp.where(inside, -1 - jnp.log(-_on(inside, t, -1)), jnp.inf)


def _pearson(u: Any) -> Any:
    return (u - 1) ** 2


def _pearson_conjugate(t: Any) -> Any:
    return jnp.where(t < -2, -1, t**2 / 4 + t)


def _neyman(u: Any) -> Any:
    return (1 - u) ** 2 / u


def _neyman_conjugate(t: Any) -> Any:
    inside = t < 1
    value = 2 - 2 * jnp.sqrt(1 - _on(inside, t, 0))
    return jnp.where(inside, value, jnp.where(t == 1, 2, jnp.inf))


def _squared_hellinger(u: Any) -> Any:
    return (jnp.sqrt(u) - 1) ** 2


def _squared_hellinger_conjugate(t: Any) -> Any:
    inside = t < 1
    safe = _on(inside, t, 0)
    return jnp.where(inside, safe / (1 - safe), jnp.inf)


def _gan(u: Any) -> Any:
    return xlogy(u, u) - (u + 1) * jnp.log1p(u)


def _gan_conjugate(t: Any) -> Any:
    inside = t < 0
    return jnp.where(inside, -jnp.log(-jnp.expm1(_on(inside, t, -1))), jnp.inf)


def _jensen_shannon(u: Any) -> Any:
    return xlogy(u, u) - (u + 1) * jnp.log((1 + u) / 2)


def _jensen_shannon_conjugate(t: Any) -> Any:
    return _gan_conjugate(t - _LOG2) - _LOG2


def _jeffrey(u: Any) -> Any:
    return (u - 1) * jnp.log(u)


def _jeffrey_conjugate(t: Any) -> Any:
    # With w = 1/u at the maximum: w + log w = 1 - t, and f* = 1/w + w + t - 2.
    log_w = log_omega(1 - t)
    return jnp.exp(-log_w) + jnp.exp(log_w) + t - 2


def log_omega(y: Any) -> Any:
    """The root x of e^x + x = y: the logarithm of Wright's omega function."""
    return increasing_root(_exp_plus, y)


def _exp_plus(x: Any) -> Any:
    return heads.exp_or_inf(x) + x


def _total_variation(u: Any) -> Any:
    return jnp.abs(u - 1) / 2


def _total_variation_conjugate(t: Any) -> Any:
    return jnp.where(t > 0.5, jnp.inf, jnp.maximum(t, -0.5))


def alpha(u: Any, a: Any) -> Any:
    """(u^a - 1 - a (u - 1)) / (a (a - 1)), with f(0) = 1/a for a > 0, else +inf."""
    inside = u > 0
    value = (_on(inside, u, 1) ** a - 1 - a * (u - 1)) / (a * (a - 1))
    return jnp.where(inside, value, jnp.where(a > 0, 1 / a, jnp.inf))


def alpha_conjugate(t: Any, a: Any) -> Any:
    """((t (a - 1) + 1)^(a / (a - 1)) - 1) / a on its domain."""
    base = t * (a - 1) + 1
    inside = base > 0
    value = (_on(inside, base, 1) ** (a / (a - 1)) - 1) / a
    at_end = jnp.where((base == 0) & (a < 0), -1 / a, jnp.inf)
    return jnp.where(inside, value, jnp.where(a > 1, -1 / a, at_end))


def alpha_slope_limit(a: Any) -> Any:
    """The supremum of f': 1 / (1 - a) for a < 1, else +inf."""
    return jnp.where(a < 1, 1 / jnp.where(a < 1, 1 - a, 1), jnp.inf)


class Row(NamedTuple):
    """One divergence: f, f*, its heads in the log-ratio, and sup f', the upper end of dom f*."""

    f: Callable[..., Any]
    conjugate: Callable[..., Any]
    heads: Callable[..., Any] | None
    slope_limit: float


NAMED = {
    "kl": Row(_kl, _kl_conjugate, heads.kl, math.inf),
    "reverse_kl": Row(_reverse_kl, _reverse_kl_conjugate, heads.reverse_kl, 0.0),
    "pearson": Row(_pearson, _pearson_conjugate, heads.pearson, math.inf),
    "neyman": Row(_neyman, _neyman_conjugate, heads.neyman, 1.0),
    "squared_hellinger": Row(
        _squared_hellinger, _squared_hellinger_conjugate, heads.squared_hellinger, 1.0
    ),
    "jensen_shannon": Row(_jensen_shannon, _jensen_shannon_conjugate, heads.jensen_shannon, _LOG2),
    "gan": Row(_gan, _gan_conjugate, heads.gan, 0.0),
    "jeffrey": Row(_jeffrey, _jeffrey_conjugate, heads.jeffrey, math.inf),
    "total_variation": Row(_total_variation, _total_variation_conjugate, None, 0.5),
}
