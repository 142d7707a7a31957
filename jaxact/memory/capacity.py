"""How many random patterns fit: the paper's asymptotic law and the exact finite-N form."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.memory.interaction import (
    Interaction,
    Reals,
    Scalar,
    anonymous,
    as_interaction,
    on_host,
    polynomial,
)
from jaxact.memory.interaction import rectified as rectified_power
from jaxact.numerics import checks


def alpha(n: int, error: Scalar = 0.005, *, rectified: bool = False) -> float | Float[Array, ""]:
    """The capacity coefficient alpha_n in K_max = alpha_n N^(n-1).

    alpha_n = 1 / (z^2 (2n - 3)!!), z = Q^-1(error), Q the Gaussian tail; twice that for the
    rectified F, whose crosstalk has exactly half the variance.

    Args:
        n: degree of F, n >= 2.
        error: probability, in (0, 0.5), that one bit of a stored pattern is unstable.
        rectified: F = max(h, 0)^n instead of h^n.

    Returns:
        alpha_n; a Python float if `error` is concrete, differentiable in it if not.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n < 2 or error is not in (0, 0.5).

    Example:
        >>> round(alpha(2), 6), round(alpha(3), 7)
        (0.150718, 0.0502394)

    Source: Krotov & Hopfield 2016, section 3 (eq. 5 and the text above it).
    """
    return capacity(1, n, error, rectified=rectified)


def capacity(
    N: int, n: int, error: Scalar = 0.005, *, rectified: bool = False
) -> float | Float[Array, ""]:
    """K_max = alpha_n N^(n-1): the number of patterns at which a bit fails with rate `error`.

    The leading order at large N; `finite_capacity` is exact in N up to the Gaussian tail, and
    takes any F. The paper's 0.14 N for n = 2 is error = 0.0036; its text says 0.005.

    Args:
        N: spins.
        n: degree of F, n >= 2.
        error: probability, in (0, 0.5), that one bit of a stored pattern is unstable.
        rectified: F = max(h, 0)^n instead of h^n.

    Returns:
        K_max; a Python float if `error` is concrete, differentiable in it if not.

    Raises:
        TypeError: if N or n is not an integer.
        ValueError: if N < 1, n < 2 or error is not in (0, 0.5).

    Example:
        >>> round(capacity(1000, 2), 2)
        150.72

    Source: Krotov & Hopfield 2016, section 3.
    """
    checks.integer("N", N, 1)
    checks.integer("n", n, 2)
    check_error(error)
    log_scale = (n - 1) * math.log(N) - _log_double_factorial(n) + math.log(1 + rectified)
    if checks.is_concrete(error):
        return math.exp(log_scale) / _margin_squared(error)
    return math.exp(log_scale) / ndtri(error) ** 2


def no_error_capacity(N: int, n: int, *, rectified: bool = False) -> float:
    """K_max = N^(n-1) / (2 (2n - 3)!! ln N): all bits of a pattern are stable.

    Args:
        N: spins, N >= 2.
        n: degree of F, n >= 2.
        rectified: F = max(h, 0)^n instead of h^n, which holds twice as many.

    Returns:
        K_max, where a bit fails with probability below 1 / N.

    Raises:
        TypeError: if N or n is not an integer.
        ValueError: if N < 2 or n < 2.

    Example:
        >>> round(no_error_capacity(100, 3), 2)
        361.91

    Source: Krotov & Hopfield 2016, eq. 6.
    """
    checks.integer("N", N, 2)
    checks.integer("n", n, 2)
    logarithm = (n - 1) * math.log(N) - _log_double_factorial(n)
    return (1 + rectified) * math.exp(logarithm) / (2 * math.log(N))


def bit_error(
    N: int,
    F: int | Interaction | Activation,
    K: Reals,
    *,
    flips: Scalar = 0.0,
    rectified: bool = False,
) -> Any:
    """The probability that a bit is wrong after one update of a stored random pattern.

    P = Q((F(N) - F(N - 2)) / sqrt((K - 1) v)), v = E (F(h + 1) - F(h - 1))^2 over h, the sum
    of N - 1 random signs: a closed sum over the binomial law. Exact in N for any F; the
    crosstalk of K - 1 patterns is taken as Gaussian, which needs K well above 1 and, for a
    steep F, K large enough that rare overlaps are seen.

    From a pattern with a share rho of its bits flipped, all bits updated at once, the signal is
    F(h + 1) - F(h - 1) with h = N - 1 - 2 rho N at a bit that was right and two more at one
    that was flipped; P is the average over both.

    Args:
        N: spins, N >= 2.
        F: a degree n, an interaction, or an activation (F is its primitive, as in `retrieve`
            applied to `F.normalised(N)`).
        K: number of patterns, K >= 1, any shape.
        flips: share rho of flipped bits, in [0, 1].
        rectified: for a degree: F = max(h, 0)^n instead of h^n.

    Returns:
        P, of K's shape; a Python float for a concrete scalar K. Differentiable in K, flips and
        F's leaves, so an activation can be designed for its memory.

    Raises:
        TypeError: if N is not an integer, or F is none of the above.
        ValueError: if N < 2, a degree is below 1, K < 1, or flips is not in [0, 1].

    Example:
        >>> round(bit_error(1000, 2, 150), 5)
        0.00481

    Source: Krotov & Hopfield 2016, eq. 5, with the exact mean and variance in place of their
    leading orders.
    """
    F = prepare(N, F, rectified)
    checks.between("K", K, 1.0, math.inf)
    checks.between("flips", flips, 0.0, 1.0)
    return deliver(one_update_error, F, N, K, flips)


def finite_capacity(
    N: int,
    F: int | Interaction | Activation,
    error: Scalar = 0.005,
    *,
    rectified: bool = False,
) -> Any:
    """The number of patterns at which `bit_error` reaches `error`, for any F.

    K = 1 + (F(N) - F(N - 2))^2 / (z^2 v), z = Q^-1(error), with v as in `bit_error`.

    Args:
        N: spins, N >= 2.
        F: a degree n, an interaction, or an activation.
        error: probability, in (0, 0.5).
        rectified: for a degree: F = max(h, 0)^n instead of h^n.

    Returns:
        K; a Python float where all is concrete. Differentiable in error and F's leaves.

    Raises:
        TypeError: if N is not an integer, or F is none of the above.
        ValueError: if N < 2, a degree is below 1, or error is not in (0, 0.5).

    Example:
        >>> import jaxact
        >>> round(finite_capacity(100, 3), 1)
        495.6
        >>> round(finite_capacity(100, jaxact.get("tanh")), 1)
        9.9

    Source: `bit_error`, solved for K.
    """
    F = prepare(N, F, rectified)
    check_error(error)
    return deliver(_finite_capacity, F, N, error)


def _crosstalk(F: Interaction, N: int, dtype: Any) -> Array:
    """The variance of one other pattern's share in the energy gap of a bit."""
    h, weight = (jnp.asarray(a, dtype) for a in _binomial(N - 1))
    return weight @ (F(h + 1) - F(h - 1)) ** 2


def one_update_error(F: Interaction, N: int, K: Array, flips: Array) -> Array:
    """`bit_error` of a normalised F, elementwise in K and flips."""
    noise = (K - 1) * _crosstalk(F, N, K.dtype)
    silent = noise == 0
    scale = jnp.sqrt(jnp.where(silent, 1, noise))

    def error(h: Array) -> Array:
        signal = F(h + 1) - F(h - 1)
        return jnp.where(silent, jnp.where(signal > 0, 0, 0.5), ndtr(-signal / scale))

    h = N - 1 - 2 * N * flips
    return ((1 - flips) * error(h) + flips * error(h + 2)).astype(K.dtype)


def _finite_capacity(F: Interaction, N: int, error: Array) -> Array:
    ends = F(jnp.asarray([N, N - 2], error.dtype))
    signal, variance = ends[0] - ends[1], _crosstalk(F, N, error.dtype)
    return 1 + jnp.maximum(signal, 0) ** 2 / (ndtri(error) ** 2 * variance)


def _binomial(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The values and probabilities of a sum of random signs, (steps + 1,) each."""
    up = np.arange(steps + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, steps + 1)))])
    log_weight = log_factorial[steps] - log_factorial[up] - log_factorial[steps - up]
    return (2.0 * up - steps), np.exp(log_weight - steps * math.log(2))


def prepare(N: Any, F: Any, rectified: bool) -> Interaction:  # noqa: FBT001
    """The normalised interaction of a degree, an interaction or an activation."""
    checks.integer("N", N, 2)
    if isinstance(F, int | np.integer):
        F = rectified_power(int(F)) if rectified else polynomial(int(F))
    return as_interaction(F).normalised(N)


def deliver(kernel: Any, F: Interaction, N: int, *values: Any) -> Any:
    """The kernel in float64 on the host where all is concrete, else as part of the trace."""
    if not checks.is_concrete(F, values):
        traced = (jnp.asarray(v, jnp.result_type(float)) for v in values)
        return kernel(anonymous(F), N, *traced)
    known = (np.asarray(v, np.float64) for v in values)
    result = on_host(kernel, anonymous(F), N, *known, static=(1,))
    return float(result) if result.ndim == 0 else jnp.asarray(result, jnp.result_type(float))


def check_error(error: Any) -> None:
    """Refuse an error rate outside (0, 0.5)."""
    checks.positive("error", error)
    checks.shape("error", error, ())
    if checks.is_concrete(error) and not float(error) < 0.5:
        raise ValueError(f"error must be below 0.5, got {float(error):g}")


def _margin_squared(error: Any) -> float:
    return float(on_host(ndtri, np.asarray(error, np.float64))) ** 2


def _log_double_factorial(n: int) -> float:
    """The logarithm of (2n - 3)!!."""
    return sum(math.log(odd) for odd in range(3, 2 * n - 2, 2))
