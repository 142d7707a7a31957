"""The exponential memory: capacities that grow exponentially with the number of spins."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlog1py
from jaxtyping import Array, Float

from jaxact.memory.interaction import Reals, Scalar, on_host
from jaxact.numerics import checks, increasing_root


def exponential_alpha(flips: Scalar = 0.0) -> float | Float[Array, ""]:
    """The rate alpha(rho) = I(1 - 2 rho) / 2 of the exponential memory, F(h) = exp(h).

    I(x) = ((1 + x) ln(1 + x) + (1 - x) ln(1 - x)) / 2. With K = exp(alpha N) + 1 random
    patterns and alpha below this, one update repairs rho N flipped bits of a pattern with a
    probability that goes to 1 with N; a sufficient condition, not a sharp one.

    Args:
        flips: share rho of flipped bits, in [0, 0.5].

    Returns:
        alpha, at most ln(2) / 2; a Python float if flips is concrete, differentiable in it for
        0 < flips < 0.5 if not.

    Raises:
        ValueError: if flips is not in [0, 0.5].

    Example:
        >>> round(exponential_alpha(), 6), round(exponential_alpha(0.2), 6)
        (0.346574, 0.096372)

    Source: Demircigil et al. 2017, theorem 3.
    """
    checks.between("flips", flips, 0.0, 0.5)
    if checks.is_concrete(flips):
        return float(on_host(_half_rate, np.asarray(1 - 2 * np.asarray(flips, np.float64))))
    return _half_rate(1 - 2 * jnp.asarray(flips, jnp.result_type(float)))


def exponential_capacity(N: int, flips: Scalar = 0.0) -> float | Float[Array, ""]:
    """K = exp(alpha N) + 1: how many patterns of N spins the exponential memory holds.

    Args:
        N: spins, N >= 1.
        flips: share of flipped bits that one update still repairs, in [0, 0.5].

    Returns:
        K, inf where it leaves the range of the dtype; a Python float if flips is concrete.

    Raises:
        TypeError: if N is not an integer.
        ValueError: if N < 1 or flips is not in [0, 0.5].

    Example:
        >>> round(exponential_capacity(40)), round(exponential_capacity(40, 0.1))
        (1048577, 1575)

    Source: Demircigil et al. 2017, theorem 3.
    """
    checks.integer("N", N, 1)
    exponent = N * exponential_alpha(flips)
    if isinstance(exponent, float):
        return math.exp(exponent) + 1 if exponent < math.log(np.finfo(float).max) else math.inf
    return jnp.exp(exponent) + 1


def exponential_basin(N: int, K: Reals) -> Any:
    """The share of flipped bits that the exponential memory is sure to repair in one update.

    rho with alpha(rho) = ln(K - 1) / N, the inverse of `exponential_capacity`.

    Args:
        N: spins, N >= 1.
        K: number of patterns, K >= 2, any shape.

    Returns:
        rho in [0, 0.5], of K's shape, 0 at and beyond the capacity; a Python float for a concrete
        scalar K, differentiable in K (implicitly) if not.

    Raises:
        TypeError: if N is not an integer.
        ValueError: if N < 1 or K < 2.

    Example:
        >>> round(exponential_basin(40, exponential_capacity(40, 0.1)), 6)
        0.1

    Source: Demircigil et al. 2017, theorem 3.
    """
    checks.integer("N", N, 1)
    checks.between("K", K, 2.0, math.inf)
    if not checks.is_concrete(K):
        return _basin(jnp.asarray(K, jnp.result_type(float)), N)
    result = on_host(_basin, np.asarray(K, np.float64), N, static=(1,))
    return float(result) if result.ndim == 0 else jnp.asarray(result, jnp.result_type(float))


def _half_rate(x: Array) -> Array:
    """I(x) / 2."""
    return (xlog1py(1 + x, x) + xlog1py(1 - x, -x)) / 4


def _basin(K: Array, N: int) -> Array:
    rate = jnp.log(K - 1) / N
    overlap = increasing_root(lambda x: _half_rate(jnp.clip(x, 0, 1)), rate)
    return (1 - jnp.clip(overlap, 0, 1)) / 2
