"""The certified range of a scalar function over an interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks
from jaxact.tracing.analysis import Shape, analyse
from jaxact.tracing.intervals import Arithmetic, Interval
from jaxact.tracing.jets import evaluate
from jaxact.tracing.program import Program, plain, program_of


def is_traced(theta: Any) -> bool:
    """Whether a leaf of theta has no value yet."""
    return not checks.is_concrete(theta)


def unit_range(
    fn: Callable[..., Any], lower: Any, upper: Any, theta: tuple[Any, ...] = ()
) -> tuple[Any, Any]:
    """The range of fn(., *theta) over [lower, upper], elementwise, rounded outward.

    A function is monotone between its turning points, so its range is attained at the ends and
    at the turning points inside; these are found once on the host (`analyse`) and certified.
    Outside the analysed domain, and for a traced theta, the interval value of the function's
    own operations is used: sound, less tight.

    Args:
        fn: elementwise function fn(x, *theta), hashable.
        lower: lower ends, any shape, float32 or float64.
        upper: upper ends, the same shape; lower <= upper.
        theta: parameters, concrete or traced.

    Returns:
        (low, high) of the same shape, low <= f(x) <= high for every x of the interval.
        Differentiable in the ends.

    Raises:
        NotImplementedError: for a primitive without an interval rule, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> low, high = unit_range(jnp.sin, jnp.array([0.5, 1.0]), jnp.array([1.0, 2.0]))
        >>> [round(float(v), 4) for v in (*low, *high)]
        [0.4794, 0.8415, 0.8415, 1.0]
    """
    checks.interval(lower, upper, infinite=True)
    dtype = jnp.result_type(lower, upper, float)
    lower, upper = jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)
    ar = Arithmetic(jnp, lower.dtype)
    if is_traced(theta):
        program = program_of(fn, theta, traced=True)
        leaves = tuple(jax.tree.leaves(theta))
        (value,) = evaluate(program, ar, (lower, upper), leaves, order=0)
        return value
    shape = analyse(fn, theta)
    return shape_range(shape, lower, upper)


def shape_range(shape: Shape, lower: jax.Array, upper: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`unit_range` of an analysed function."""
    ar = Arithmetic(jnp, lower.dtype)
    a, b = jax.lax.stop_gradient((lower, upper))
    lows, highs = jnp.stack([a, b, a]), jnp.stack([a, b, b])
    (value,) = evaluate(shape.program, ar, (lows, highs), order=0)
    ends = (value[0][:2], value[1][:2])
    turns = turning(shape, str(lower.dtype))
    return range_from(shape, turns, lower, upper, ends, (value[0][2], value[1][2]))


def range_from(
    shape: Shape, turns: Turning, lower: Any, upper: Any, ends: Interval, whole: Interval
) -> tuple[jax.Array, jax.Array]:
    """The range from certified values at both ends (2, ...) and over the whole interval."""
    ar = Arithmetic(jnp, lower.dtype)
    a, b = jax.lax.stop_gradient((lower, upper))
    low, high = ends
    tight_low, tight_high = jnp.minimum(low[0], low[1]), jnp.maximum(high[0], high[1])
    if len(turns.low):
        rank = (len(turns.low),) + (1,) * a.ndim

        def column(v: np.ndarray) -> jax.Array:
            return jnp.asarray(v.reshape(rank))

        hit = (column(turns.low) <= b[None]) & (column(turns.high) >= a[None])
        inside_low = jnp.where(hit, column(turns.value_low), np.inf).min(0)
        inside_high = jnp.where(hit, column(turns.value_high), -np.inf).max(0)
        tight_low = jnp.minimum(tight_low, inside_low)
        tight_high = jnp.maximum(tight_high, inside_high)
    if shape.turn_slack:
        slack = ar.constant(shape.turn_slack)
        tight_low = ar.sub((tight_low, tight_low), slack)[0]
        tight_high = ar.add((tight_high, tight_high), slack)[1]
    known = (a >= turns.domain[0]) & (b <= turns.domain[1])
    out_low = jnp.where(known, jnp.maximum(tight_low, whole[0]), whole[0])
    out_high = jnp.where(known, jnp.minimum(tight_high, whole[1]), whole[1])
    return _differentiable(shape.program, lower, upper, low, high, known, out_low, out_high)


@jax.custom_jvp
def carry(value: Any, smooth: Any) -> Any:
    """The number `value`, with the derivative of `smooth` (0 where that is not finite)."""
    del smooth
    return value


@carry.defjvp  # pyright: ignore[reportFunctionMemberAccess]
def _carry_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    value, smooth = primals
    return value, jnp.where(jnp.isfinite(smooth), tangents[1], 0)


def _differentiable(
    program: Program, lower: Any, upper: Any, low: Any, high: Any, known: Any, out_low: Any,
    out_high: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Give the range the derivative of f at the end where it is attained."""
    at_lower, at_upper = plain(program, lower), plain(program, upper)

    def attach(value: Any, ends: Any, best: Any) -> Any:
        near = jnp.abs(best[None] - ends) <= 1e-5 * (1 + jnp.abs(best[None]))
        pick = jnp.where(near[0], at_lower, jnp.where(near[1], at_upper, 0))
        pick = jnp.where(known & jnp.isfinite(pick), pick, 0)
        return carry(value, pick)

    return attach(out_low, low, out_low), attach(out_high, high, out_high)


@dataclasses.dataclass(frozen=True)
class Turning:
    """Turning gaps and the range of f over each, rounded outward to a dtype."""

    low: np.ndarray
    high: np.ndarray
    value_low: np.ndarray
    value_high: np.ndarray
    domain: tuple[Any, Any]


def turning(shape: Shape, dtype: str) -> Turning:
    """The turning gaps of a shape in a dtype."""
    low = down(shape.turn_low, dtype)
    high = up(shape.turn_high, dtype)
    value = shape.value(low.astype(np.float64), high.astype(np.float64))
    lo, hi = shape.turn_domain
    return Turning(
        low, high, down(value[0], dtype), up(value[1], dtype),
        (up(np.float64(lo), dtype)[()], down(np.float64(hi), dtype)[()]),
    )  # fmt: skip


def down(values: Any, dtype: str) -> np.ndarray:
    """Round float64 values downward to a dtype."""
    values = np.asarray(values, np.float64)
    near = values.astype(dtype)
    return np.where(
        near.astype(np.float64) > values, np.nextafter(near, np.array(-np.inf, dtype)), near
    )


def up(values: Any, dtype: str) -> np.ndarray:
    """Round float64 values upward to a dtype."""
    return -down(-np.asarray(values, np.float64), dtype)


@dataclasses.dataclass(frozen=True)
class Table:
    """A shape rounded to a dtype: pieces inward, gaps and the range of f over them outward."""

    left: np.ndarray
    right: np.ndarray
    label: np.ndarray
    gap_low: np.ndarray
    gap_high: np.ndarray
    domain: tuple[Any, Any]


def table(shape: Shape, dtype: str) -> Table:
    """The pieces and gaps of a shape in a dtype."""
    left, right = up(shape.left, dtype), down(shape.right, dtype)
    keep = left <= right
    left, right, label = left[keep], right[keep], shape.label[keep]
    value = shape.value(right[:-1].astype(np.float64), left[1:].astype(np.float64))
    domain = (left[0], right[-1]) if len(left) else (np.array(1, dtype), np.array(0, dtype))
    return Table(left, right, label, down(value[0], dtype), up(value[1], dtype), domain)
