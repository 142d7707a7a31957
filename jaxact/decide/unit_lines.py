"""Lines around the activations of a layer: a short way for relu, `relax` for the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.relax import relax_unit
from jaxact.bounds.relax_lines import Lines, quotient
from jaxact.bounds.relax_slopes import lines_with_slopes
from jaxact.tracing.analysis import analyse_linear


def is_relu(fn: Callable[..., Any], theta: tuple[Any, ...] = ()) -> bool:
    """Whether an activation is max(x, 0), by its certified pieces; none with parameters is.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> is_relu(lambda x: jnp.maximum(x, 0)), is_relu(jax.nn.softplus)
        (True, False)
    """
    return not theta and _is_relu(fn)


@functools.lru_cache(maxsize=256)
def _is_relu(fn: Callable[..., Any]) -> bool:
    try:
        shape = analyse_linear(fn)
    except (NotImplementedError, TypeError):  # beyond analysis
        return False
    if shape is None or len(shape.left) != 2 or shape.left[1] != 0 or shape.right[0] != 0:
        return False
    points = [-(2.0**30), -3.0, -0.7, 0.0, 0.7, 3.0, 2.0**30]
    return all(float(shape.value(p, p)[0]) == max(p, 0.0) for p in points)


def unit_lines(fn: Any, theta: tuple[Any, ...], lower: Array, upper: Array) -> Lines:
    """The lower and the upper line of an activation on [lower, upper], any shape.

    Of relu the chord above, rounded outward, and below the line of slope 0 or 1 that has the
    least area; of any other function `jaxact.bounds.relax`'s.
    """
    if not is_relu(fn, theta):
        return relax_unit(fn, lower, upper, theta)
    slope, intercept = _chord(lower, upper)
    active = (lower >= 0).astype(lower.dtype)
    unstable = (lower < 0) & (upper > 0)
    below = jnp.where(unstable, (upper > -lower).astype(lower.dtype), active)
    above = jnp.where(unstable, slope, active)
    return Lines(below, jnp.zeros_like(below), above, jnp.where(unstable, intercept, 0))


def parallel_lines(
    fn: Any, theta: tuple[Any, ...], lower: Array, upper: Array
) -> tuple[Array, Array, Array]:
    """(s, t, d) with |fn(x) - s x - t| <= d on [lower, upper]: lines of one slope, the chord's."""
    if not is_relu(fn, theta):
        rise = fn(upper, *theta) - fn(lower, *theta)
        slope = quotient(rise, upper - lower, jnp.zeros_like(lower))
        lines = lines_with_slopes(fn, lower, upper, slope, slope, theta)
        # a line that could not be certified has slope 0 on both sides
        middle = (lines.lower_intercept + lines.upper_intercept) / 2
        spread = (lines.upper_intercept - lines.lower_intercept) / 2
        return lines.lower_slope, middle, spread * (1 + 4 * jnp.finfo(lower.dtype).eps)
    slope, intercept = _chord(lower, upper)
    unstable = (lower < 0) & (upper > 0)
    half = jnp.where(unstable, intercept / 2, 0)
    return jnp.where(unstable, slope, (lower >= 0).astype(lower.dtype)), half, half


def _chord(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Relu's chord where lower < 0 < upper, its intercept rounded up."""
    slope = quotient(upper, upper - lower, jnp.ones_like(lower))
    intercept = jnp.maximum(-slope * lower, upper - slope * upper)
    return slope, intercept * (1 + 4 * jnp.finfo(lower.dtype).eps)
