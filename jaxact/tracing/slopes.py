"""The certified range of a scalar function's derivative over an interval."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.tracing.analysis import Shape, analyse
from jaxact.tracing.intervals import Arithmetic, Interval
from jaxact.tracing.jets import Rules, Truth, evaluate
from jaxact.tracing.program import Program, plain, program_of
from jaxact.tracing.ranges import carry, down, is_traced, table, up

_JUMP = 1e-9
_FEW = 4
_COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne")


def slope_range(
    fn: Callable[..., Any], lower: Any, upper: Any, theta: tuple[Any, ...] = ()
) -> tuple[Any, Any]:
    """The range of f'(., *theta) over [lower, upper], elementwise, rounded outward.

    f' is monotone on every convex or concave piece of f, so its range is that of its one-sided
    values at the ends of the interval and of the pieces inside, which are found once on the host
    (`analyse`). At a kink every subgradient lies in the range, also where the kink is an end of
    the interval. Outside the analysed domain, and for a traced theta, the interval derivative of
    the function's own operations is used: sound, less tight, infinite across a select. A
    function that jumps has an infinite slope where it does; branches of a select that meet
    within 1e-9 count as continuous, since rounding cannot tell.

    Args:
        fn: elementwise function fn(x, *theta), hashable.
        lower: lower ends, any shape, float32 or float64.
        upper: upper ends, the same shape; lower <= upper.
        theta: parameters, concrete or traced.

    Returns:
        (low, high) of the same shape. Differentiable in the ends: the derivative is f'' at the
        end where the extreme is attained, else 0.

    Raises:
        NotImplementedError: for a primitive without an interval rule, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> ends = jnp.array([-1.0, 0.0, 1.0]), jnp.array([1.0, 0.0, 2.0])
        >>> low, high = slope_range(lambda x: jnp.maximum(x, 0), *ends)
        >>> low.tolist(), high.tolist()
        ([0.0, 0.0, 1.0], [1.0, 1.0, 1.0])
    """
    lower, upper = jnp.asarray(lower), jnp.asarray(upper)
    ar = Arithmetic(jnp, lower.dtype)
    a, b = jax.lax.stop_gradient(ar.widen((lower, upper)))
    if is_traced(theta):
        program = program_of(fn, theta, traced=True)
        leaves = tuple(jax.tree.leaves(theta))
        return evaluate(program, ar, (a, b), leaves, order=1)[1]
    shape = analyse(fn, theta)
    lows, highs = jnp.stack([a, b, a]), jnp.stack([a, b, b])
    _, (low, high) = evaluate(shape.program, ar, (lows, highs), order=1)
    pieces = _pieces(shape, str(lower.dtype))
    out_low, out_high = _within(pieces, a, b, (low[:2], high[:2]))
    if shape.slack:
        slack = ar.constant(shape.slack)[1]
        out_low, out_high = ar.widen((out_low - slack, out_high + slack), 1.0)
    known = (a >= pieces.domain[0]) & (b <= pieces.domain[1])
    out_low = jnp.where(known, jnp.maximum(out_low, low[2]), low[2])
    out_high = jnp.where(known, jnp.minimum(out_high, high[2]), high[2])
    return _differentiable(shape.program, lower, upper, (low, high), out_low, out_high)


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """Spans that bring derivatives into the range of an interval that meets them."""

    low: np.ndarray
    high: np.ndarray
    slope_low: np.ndarray
    slope_high: np.ndarray
    is_gap: np.ndarray
    domain: tuple[Any, Any]


@functools.lru_cache(maxsize=512)
def _pieces(shape: Shape, dtype: str) -> _Pieces:
    """Both ends of every piece as points, seen from inside, and every gap as a span."""
    ar = Arithmetic(np, np.float64)

    def slopes(a: np.ndarray, b: np.ndarray) -> Interval:
        with np.errstate(all="ignore"):
            return evaluate(shape.program, ar, (a, b), order=1)[1]

    left, right = shape.left, shape.right
    # a step inside: there a select is decided for the piece, and a monotone f' moves hardly
    step = np.minimum((right - left) / 2, 1e-13 * np.maximum(np.abs(left), 1e-3))
    starts = slopes(left, left + step)
    step = np.minimum((right - left) / 2, 1e-13 * np.maximum(np.abs(right), 1e-3))
    ends = slopes(right - step, right)
    gaps = right[:-1], left[1:]
    wide = gaps[0] < gaps[1]
    gaps = gaps[0][wide], gaps[1][wide]
    across = _across(shape.program, gaps)
    low, high = np.concatenate([left, right, gaps[0]]), np.concatenate([left, right, gaps[1]])
    slope_low, slope_high = (np.concatenate([starts[k], ends[k], across[k]]) for k in (0, 1))
    rounded = table(shape, dtype)
    return _Pieces(
        down(low, dtype), up(high, dtype), down(slope_low, dtype), up(slope_high, dtype),
        np.arange(len(low)) >= 2 * len(left), rounded.domain,
    )  # fmt: skip


class _Decided(Rules):
    """Every comparison that an interval leaves open is taken as `choice` says."""

    choice: dict[str, bool]

    def apply(self, step: Any, operands: list[Any]) -> Any:
        found = super().apply(step, operands)
        if step.name not in _COMPARISONS:
            return found
        unsure = ~(found.yes | found.no)
        yes = self.choice[_comparison(step)]
        return Truth(found.yes | (unsure & yes), found.no | (unsure & (not yes)))


def _comparison(step: Any) -> str:
    return repr((step.name, step.inputs))


def _across(program: Program, gaps: Interval) -> Interval:
    """The range of f' over gaps: if the branches of its selects meet there, theirs.

    Every outcome of the open comparisons is tried, so each point is covered by one of them.
    """
    ar = Arithmetic(np, np.float64)
    names = list(dict.fromkeys(_comparison(s) for s in program.steps if s.name in _COMPARISONS))
    with np.errstate(all="ignore"):
        _, slope = evaluate(program, ar, gaps, order=1)
        if not names or len(names) > _FEW:
            return slope
        value = branch = None
        for outcome in itertools.product((False, True), repeat=len(names)):

            def rules(ar: Arithmetic, order: int, outcome: Any = outcome) -> Rules:
                chosen = _Decided(ar, order)
                chosen.choice = dict(zip(names, outcome, strict=True))
                return chosen

            at, first = evaluate(program, ar, gaps, order=1, rules=rules)
            value = at if value is None else ar.hull(value, at)
            branch = first if branch is None else ar.hull(branch, first)
        meet = value[1] - value[0] <= _JUMP * (1 + np.maximum(np.abs(value[0]), np.abs(value[1])))  # pyright: ignore[reportOptionalSubscript]
    return np.where(meet, branch[0], slope[0]), np.where(meet, branch[1], slope[1])  # pyright: ignore[reportOptionalSubscript]


def _within(pieces: _Pieces, a: Any, b: Any, ends: Interval) -> Interval:
    rank = (len(pieces.low),) + (1,) * a.ndim

    def column(v: np.ndarray) -> jax.Array:
        return jnp.asarray(v.reshape(rank))

    def span(low: Any, high: Any) -> Any:
        return (column(pieces.low) <= high[None]) & (column(pieces.high) >= low[None])

    met = span(a, b)
    low = jnp.where(met, column(pieces.slope_low), np.inf).min(0, initial=np.inf)
    high = jnp.where(met, column(pieces.slope_high), -np.inf).max(0, initial=-np.inf)
    for k, point in enumerate((a, b)):
        # within a gap a select may be undecided even at a point: the gap speaks for it
        lost = (span(point, point) & column(pieces.is_gap)).any(0)
        low = jnp.where(lost, low, jnp.minimum(low, ends[0][k]))
        high = jnp.where(lost, high, jnp.maximum(high, ends[1][k]))
    return low, high


def _differentiable(
    program: Program, lower: Any, upper: Any, ends: Interval, out_low: Any, out_high: Any
) -> tuple[Any, Any]:
    """Give the range the derivative of f' at the end where it is attained."""

    def slope(x: Any) -> Any:
        return jax.jvp(lambda v: plain(program, v), (x,), (jnp.ones_like(x),))[1]

    at_lower, at_upper = slope(lower), slope(upper)

    def attach(value: Any, at: Any) -> Any:
        near = jnp.abs(value[None] - at[:2]) <= 1e-5 * (1 + jnp.abs(value[None]))
        pick = jnp.where(near[0], at_lower, jnp.where(near[1], at_upper, 0))
        return carry(value, jnp.where(jnp.isfinite(pick), pick, 0))

    return attach(out_low, ends[0]), attach(out_high, ends[1])
