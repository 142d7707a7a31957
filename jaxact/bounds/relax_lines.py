"""The result of a relaxation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Lines:
    """Two lines around a function over [l, u]; all four arrays have the shape of l.

    Attributes:
        lower_slope: s_low.
        lower_intercept: t_low, with s_low x + t_low <= f(x).
        upper_slope: s_up.
        upper_intercept: t_up, with f(x) <= s_up x + t_up.
    """

    lower_slope: Leaf
    lower_intercept: Leaf
    upper_slope: Leaf
    upper_intercept: Leaf


def carry(value: Any, smooth: Any) -> Any:
    """The number `value`, with the derivative of `smooth`."""
    value = jax.lax.stop_gradient(value)
    held = jax.lax.stop_gradient(smooth)
    return value + jnp.where(jnp.isfinite(held), smooth - held, 0)


def quotient(rise: Any, run: Any, otherwise: Any) -> Any:
    """rise / run where run > 0."""
    safe = jnp.where(run > 0, run, 1)
    return jnp.where(run > 0, rise / safe, otherwise)
