"""T = f'(e^s) and f*(T) = e^s f'(e^s) - f(e^s) of the named divergences, in the log-ratio s.

In s nothing leaves the domain of f* and nothing cancels. Where e^s itself overflows the value is
infinite and its derivative set to 0, so that no gradient is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax.nn import log_sigmoid, softplus

_LOG2 = math.log(2)


def exp_or_inf(x: Any) -> Any:
    """e^x; +inf with derivative 0 where it overflows."""
    top = math.log(float(jnp.finfo(x.dtype).max)) - 3
    fits = x < top
    return jnp.where(fits, jnp.exp(jnp.where(fits, x, 0)), jnp.inf)


def expm1_or_inf(x: Any) -> Any:
    """e^x - 1; +inf with derivative 0 where it overflows."""
    top = math.log(float(jnp.finfo(x.dtype).max)) - 3
    fits = x < top
    return jnp.where(fits, jnp.expm1(jnp.where(fits, x, 0)), jnp.inf)


def kl(s: Any) -> Any:
    """1 + s and e^s."""
    return 1 + s, exp_or_inf(s)


def reverse_kl(s: Any) -> Any:
    """-e^-s and s - 1."""
    return -exp_or_inf(-s), s - 1


def pearson(s: Any) -> Any:
    """2 (e^s - 1) and e^2s - 1."""
    return 2 * expm1_or_inf(s), expm1_or_inf(2 * s)


def neyman(s: Any) -> Any:
    """1 - e^-2s and 2 (1 - e^-s)."""
    return -expm1_or_inf(-2 * s), -2 * expm1_or_inf(-s)


def squared_hellinger(s: Any) -> Any:
    """1 - e^(-s/2) and e^(s/2) - 1."""
    return -expm1_or_inf(-s / 2), expm1_or_inf(s / 2)


def gan(s: Any) -> Any:
    """Log sigmoid(s) and softplus(s)."""
    return log_sigmoid(s), softplus(s)


def jensen_shannon(s: Any) -> Any:
    """GAN's, shifted so that the value at p = q is 0."""
    return log_sigmoid(s) + _LOG2, softplus(s) - _LOG2


def jeffrey(s: Any) -> Any:
    """1 + s - e^-s and e^s + s - 1."""
    return s - expm1_or_inf(-s), expm1_or_inf(s) + s


def alpha(s: Any, a: Any) -> Any:
    """(e^((a - 1) s) - 1) / (a - 1) and (e^(a s) - 1) / a."""
    return expm1_or_inf((a - 1) * s) / (a - 1), expm1_or_inf(a * s) / a
