"""How many flipped bits one update repairs: the finite-N theory, solved for the share."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.memory.capacity import check_error, deliver, one_update_error, prepare
from jaxact.memory.interaction import Interaction, Reals, Scalar
from jaxact.numerics import checks, increasing_root


def basin_radius(
    N: int,
    F: int | Interaction | Activation,
    K: Reals,
    error: Scalar = 0.005,
    *,
    rectified: bool = False,
) -> Any:
    """The largest share of flipped bits from which one update leaves at most `error` wrong.

    rho with `bit_error`(N, F, K, flips=rho) = error: the signal of a pattern at overlap
    (1 - 2 rho) N against the crosstalk of the K - 1 others, taken as Gaussian. For the
    exponential F see also `exponential_basin`, a guarantee that does not rest on that.

    Args:
        N: spins, N >= 2.
        F: a degree n, an interaction, or an activation, as in `bit_error`.
        K: number of patterns, K >= 1, any shape.
        error: share of bits, in (0, 0.5), that may be wrong after the update.
        rectified: for a degree: F = max(h, 0)^n instead of h^n.

    Returns:
        rho in [0, 0.5], of K's shape, 0 where stored patterns themselves lose more than `error`;
        a Python float for a concrete scalar K. Differentiable in K, error and F's leaves by
        the implicit function theorem.

    Raises:
        TypeError: if N is not an integer, or F is none of the above.
        ValueError: if N < 2, a degree is below 1, K < 1, or error is not in (0, 0.5).

    Example:
        >>> round(basin_radius(1000, 3, 5000, rectified=True), 3)
        0.264

    Source: the signal-to-noise argument of Krotov & Hopfield 2016, section 3, away from the
    pattern.
    """
    F = prepare(N, F, rectified)
    checks.between("K", K, 1.0, math.inf)
    check_error(error)
    return deliver(_basin_radius, F, N, K, error)


def _basin_radius(F: Interaction, N: int, K: Array, error: Array) -> Array:
    def wrong(flips: Array, F: Interaction, K: Array) -> Array:
        return one_update_error(F, N, K, jnp.clip(flips, 0, 0.5))

    target = jnp.broadcast_to(error, K.shape).astype(K.dtype)
    return jnp.clip(increasing_root(wrong, target, (F, K)), 0, 0.5)
