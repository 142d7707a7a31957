"""Lines for an analysed function: pieces of one curvature, certified one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.relax_few import few_lines, shape_slack
from jaxact.bounds.relax_lines import Lines, attach, derivatives, quotient
from jaxact.bounds.relax_touch import plans
from jaxact.tracing.analysis import CONVEX, Shape
from jaxact.tracing.intervals import Arithmetic
from jaxact.tracing.jets import evaluate
from jaxact.tracing.program import Program, plain
from jaxact.tracing.ranges import Table, shape_range, table

_WINDOW = 8
_UNIFORM = 8
_HULL_STEPS = 6
_NEWTON_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Slots:
    """The pieces and gaps that meet each interval; arrays (slots, N), clipped to [l, u]."""

    a: Any
    b: Any
    label: Any
    gap_a: Any
    gap_b: Any
    gap_low: Any
    gap_high: Any
    gap_met: Any
    few: Any


def slots_of(table: Table, l: Any, u: Any) -> Slots:  # noqa: E741
    """The pieces and gaps of a function that meet each interval [l, u]."""
    n = len(table.left)
    left, right = jnp.asarray(table.left), jnp.asarray(table.right)
    label = jnp.asarray(table.label, jnp.int32)
    if n <= _WINDOW:
        index = jnp.broadcast_to(jnp.arange(n)[:, None], (n, l.shape[0]))
        gaps = jnp.broadcast_to(jnp.arange(n - 1)[:, None], (n - 1, l.shape[0]))
        few = jnp.ones(l.shape, bool)
    else:
        first = jnp.searchsorted(right, l).astype(jnp.int32)
        index = jnp.clip(first[None] + jnp.arange(_WINDOW, dtype=jnp.int32)[:, None], 0, n - 1)
        gaps = jnp.clip(first[None] + jnp.arange(-1, _WINDOW, dtype=jnp.int32)[:, None], 0, n - 2)
        few = jnp.searchsorted(left, u, side="right").astype(jnp.int32) - first <= _WINDOW

    def clip(x: Any) -> Any:
        return jnp.clip(x, l[None], u[None])

    if n > 1:
        gap_a, gap_b = right[:-1][gaps], left[1:][gaps]
        met = (gap_a <= u[None]) & (gap_b >= l[None])
        gap_low = jnp.asarray(table.gap_low)[gaps]
        gap_high = jnp.asarray(table.gap_high)[gaps]
    else:
        gap_a = gap_b = gap_low = gap_high = jnp.zeros((0, l.shape[0]), l.dtype)
        met = jnp.zeros((0, l.shape[0]), bool)
    return Slots(
        clip(left[index]), clip(right[index]), label[index],
        clip(gap_a), clip(gap_b), gap_low, gap_high, met, few,
    )  # fmt: skip


def piece_lines(shape: Shape, lower: jax.Array, upper: jax.Array) -> Lines:
    """Lines of an analysed function; outside its domain the range, as two level lines."""
    size = lower.shape
    lower, upper = lower.reshape(-1), upper.reshape(-1)
    pieces = table(shape, str(lower.dtype))
    both = plans(shape)
    if both is not None and len(pieces.left) == len(shape.left):
        return _shaped(few_lines(shape, both, lower, upper), size)
    low, high = shape_range(shape, lower, upper)
    level = jnp.zeros_like(low)
    if not len(pieces.left):
        return _shaped(Lines(level, low, level, high), size)
    l, u = jax.lax.stop_gradient((lower, upper))  # noqa: E741
    inside = (l >= pieces.domain[0]) & (u <= pieces.domain[1])
    home = jnp.clip(jnp.zeros_like(l), pieces.domain[0], pieces.domain[1])
    l, u = jnp.where(inside, l, home), jnp.where(inside, u, home)  # noqa: E741
    slots = slots_of(pieces, l, u)
    slope, touch, tangent = _slopes(shape.program, slots, l, u)
    t, at = certificate(shape, slots, l, u, slope, touch)
    # a line that is worse at the midpoint than the range itself is not worth having
    worth = slope * _middle(l, u)[None] + t >= jax.lax.stop_gradient(jnp.stack([low, -high]))
    good = (inside & slots.few)[None] & jnp.isfinite(slope) & jnp.isfinite(t) & worth
    ends = (jnp.where(inside, lower, home), jnp.where(inside, upper, home))
    lines = []
    for k, (side, level_t) in enumerate(((1.0, low), (-1.0, high))):
        s, intercept = attach(
            shape.program, (), ends, side, slope[k], t[k], (touch[k, 0], touch[k, 1]), tangent[k],
            at[k],
        )  # fmt: skip
        lines += [
            jnp.where(good[k], side * s, level),
            jnp.where(good[k], side * intercept, level_t),
        ]
    return _shaped(Lines(*lines), size)


def _shaped(lines: Lines, size: tuple[int, ...]) -> Lines:
    return jax.tree.map(lambda v: v.reshape(size), lines)


def _middle(l: Any, u: Any) -> Any:  # noqa: E741
    return jnp.clip(l + (u - l) / 2, l, u)


def _sign(rank: int, like: Any) -> Any:
    """+1 for the lower line, -1 for the upper (the lower line of -f)."""
    return jnp.asarray(np.array([1.0, -1.0]).reshape((2,) + (1,) * rank), like.dtype)


def _slopes(program: Program, slots: Slots, l: Any, u: Any) -> tuple[Any, Any, Any]:  # noqa: E741
    """The slope of the supporting line at the midpoint, for f and for -f.

    Returns:
        slopes (2, N); the touch points (2 sides, 2 points, N); where the line is the tangent
        at the midpoint (2, N).
    """
    m = _middle(l, u)
    fractions = jnp.asarray((np.arange(_UNIFORM) + 0.5) / _UNIFORM, l.dtype)
    uniform = l[None] + (u - l)[None] * fractions[:, None]
    x = jnp.concatenate(
        [l[None], m[None], u[None], slots.a, slots.b, jnp.clip(uniform, l[None], u[None])]
    )
    sign = _sign(2, l)
    f = sign * plain(program, x)[None]
    x = jnp.broadcast_to(x[None], f.shape)
    _, slope_m, _ = derivatives(program, m)
    slope_m = sign[:, 0] * slope_m[None]
    middle = jnp.broadcast_to(m[None], slope_m.shape)
    a, b, fa, fb = _sample_bridge(x, f, middle)
    rough = quotient(fb - fa, b - a, slope_m)
    pa, pb, fpa, fpb = _polish(program, sign[:, 0], x, middle, (a, b, fa, fb), slope_m)
    fine = quotient(fpb - fpa, pb - pa, slope_m)
    candidates = jnp.stack([slope_m, fine, rough])
    points = jnp.concatenate([x, pa[:, None], pb[:, None]], 1)
    values = jnp.concatenate([f, fpa[:, None], fpb[:, None]], 1)
    gain = (values[None] - candidates[:, :, None] * (points - m[None, None])[None]).min(2)
    best = jnp.argmax(jnp.where(jnp.isnan(gain), -np.inf, gain), 0)
    slope = jnp.take_along_axis(candidates, best[None], 0)[0]
    touch = jnp.stack(
        [
            jnp.where(best == 0, middle, jnp.where(best == 1, pa, a)),
            jnp.where(best == 0, middle, jnp.where(best == 1, pb, b)),
        ],
        1,
    )
    return slope, touch, best == 0


def _sample_bridge(x: Any, f: Any, m: Any) -> tuple[Any, Any, Any, Any]:
    """The edge of the samples' lower hull that passes over m, by cutting planes."""
    state = (x[:, 0], x[:, 2], f[:, 0], f[:, 2])

    def cut(_: Any, state: Any) -> Any:
        a, b, fa, fb = state
        s = quotient(fb - fa, b - a, jnp.zeros_like(a))
        best = jnp.argmin(f - s[:, None] * x, 1)[:, None]
        xs = jnp.take_along_axis(x, best, 1)[:, 0]
        fs = jnp.take_along_axis(f, best, 1)[:, 0]
        below = fs - s * xs < fa - s * a
        left, right = below & (xs < m), below & (xs > m)
        return (
            jnp.where(left, xs, a), jnp.where(right, xs, b),
            jnp.where(left, fs, fa), jnp.where(right, fs, fb),
        )  # fmt: skip

    return jax.lax.fori_loop(0, _HULL_STEPS, cut, state)


def _polish(program: Program, sign: Any, x: Any, m: Any, bridge: Any, slope_m: Any) -> Any:
    """Newton on both touch points, f'(a) = s = f'(b), each kept next to its samples."""
    a, b, fa, fb = bridge
    touch = jnp.stack([a, b], 1)
    middle = m[:, None]
    before = jnp.where(x[:, None] < touch[:, :, None], x[:, None], -np.inf).max(2)
    after = jnp.where(x[:, None] > touch[:, :, None], x[:, None], np.inf).min(2)
    before = jnp.where(jnp.isfinite(before), before, touch)
    after = jnp.where(jnp.isfinite(after), after, touch)
    # the left point stays left of the midpoint, the right point right of it
    before = jnp.concatenate([before[:, :1], jnp.maximum(before[:, 1:], middle)], 1)
    after = jnp.concatenate([jnp.minimum(after[:, :1], middle), after[:, 1:]], 1)

    def step(_: Any, touch: Any) -> Any:
        value, slope, curvature = (sign[:, None] * v for v in derivatives(program, touch))
        s = quotient(value[:, 1] - value[:, 0], touch[:, 1] - touch[:, 0], slope_m)[:, None]
        curved = curvature > 0
        move = (slope - s) / jnp.where(curved, curvature, 1)
        # without curvature, walk to the end of the bracket that the slope points at
        flat = jnp.where(slope > s, before, jnp.where(slope < s, after, touch))
        new = jnp.where(curved, touch - move, jnp.where(curvature == 0, flat, touch))
        new = jnp.where(jnp.isfinite(new), new, touch)
        return jnp.clip(new, before, after)

    touch = jax.lax.fori_loop(0, _NEWTON_STEPS, step, touch)
    value = sign[:, None] * plain(program, touch)
    return touch[:, 0], touch[:, 1], value[:, 0], value[:, 1]


def certificate(
    shape: Shape,
    slots: Slots,
    l: Any,  # noqa: E741
    u: Any,
    slope: Any,
    touch: Any,
) -> tuple[Any, Any]:
    """A certified lower bound of f - s x (and of -f - s x), and where it is nearly attained."""
    ar = Arithmetic(jnp, l.dtype)
    sign = _sign(2, l)
    s = slope[:, None]
    a = jnp.broadcast_to(slots.a[None], (2, *slots.a.shape))
    b = jnp.broadcast_to(slots.b[None], (2, *slots.b.shape))
    ends = jnp.stack([a, b])
    (raw,) = evaluate(shape.program, ar, (ends[:, 0], ends[:, 0]), order=0)
    held = _signed(tuple(jnp.stack([v, v], 1) for v in raw), ar, axis=1)
    by_end = ar.sub(held, ar.mul((s[None], s[None]), (ends, ends)))[0]
    lower_end = jnp.minimum(by_end[0], by_end[1])

    bound, place = lower_end, jnp.where(by_end[0] <= by_end[1], a, b)
    if shape.label.any():  # some piece is convex, or concave and so convex for the other side
        x, by_tangent = _by_tangents(shape, ar, sign, a, b, s, touch)
        convex = slots.label[None] * sign.astype(slots.label.dtype) == CONVEX
        bound, place = jnp.where(convex, by_tangent, bound), jnp.where(convex, x, place)
    if slots.gap_a.shape[0]:
        gap = _signed(tuple(jnp.stack([v, v]) for v in (slots.gap_low, slots.gap_high)), ar)
        lean = ar.mul((s, s), (slots.gap_a[None], slots.gap_b[None]))
        in_gap = jnp.where(slots.gap_met[None], ar.sub(gap, lean)[0], np.inf)
        bound = jnp.concatenate([bound, in_gap], 1)
        spot = jnp.broadcast_to(slots.gap_a[None], in_gap.shape)
        place = jnp.concatenate([place, spot], 1)
    t, at = bound[:, 0], place[:, 0]
    for k in range(1, bound.shape[1]):  # argmin and a gather are far slower than comparisons
        at = jnp.where(bound[:, k] < t, place[:, k], at)
        t = jnp.minimum(t, bound[:, k])
    return shape_slack(shape, ar, t, l[None], u[None]), at


def _by_tangents(
    shape: Shape, ar: Arithmetic, sign: Any, a: Any, b: Any, s: Any, touch: Any
) -> tuple[Any, Any]:
    """A near minimiser of f - s x in each convex piece, and what two tangents certify.

    On [a, b] f - s x is above both tangents, so above every mean of them; the level one is best,
    and exact at a kink between them. A tangent alone is best where both lean to one side.
    """
    x = jnp.stack(_around_minimum(shape.program, sign, a, b, s, touch))
    value, first = evaluate(shape.program, ar, (x, x), order=1)
    value, first = _signed(value, ar, 1), _signed(first, ar, 1)
    a, b, slope = a[None], b[None], s[None]
    held, tilt = ar.sub(value, ar.mul((slope, slope), (x, x))), ar.sub(first, (slope, slope))
    at_a = ar.sub(held, ar.mul(tilt, _nonnegative(ar.sub((x, x), (a, a)))))[0]
    at_b = ar.add(held, ar.mul(tilt, _nonnegative(ar.sub((b, b), (x, x)))))[0]
    alone = jnp.minimum(at_a, at_b)
    lean = (tilt[0] + tilt[1]) / 2
    share = jnp.clip(quotient(lean[1], lean[1] - lean[0], jnp.ones_like(lean[0])), 0, 1)
    weight = ar.sub((jnp.ones_like(share), jnp.ones_like(share)), (share, share))
    means = []
    for end in (at_a, at_b):
        first_part = ar.mul((share, share), (end[0], end[0]))
        means.append(ar.add(first_part, ar.mul(weight, (end[1], end[1])))[0])
    mean = jnp.minimum(*means)
    mean = jnp.where(jnp.isnan(mean), -np.inf, mean)
    bound = jnp.maximum(mean, jnp.maximum(alone[0], alone[1]))
    # the minimiser: a touch point if it is one, else where the tangents meet, or one of the points
    base = held[0] - lean * x
    meet = jnp.clip(quotient(base[0] - base[1], lean[1] - lean[0], x[0]), x[0], x[1])
    spots = [x[0], x[1], meet]
    spots += [jnp.clip(touch[:, k][:, None], a[0], b[0]) for k in range(touch.shape[1])]
    place, level = spots[0], jnp.full_like(meet, np.inf)
    for spot in spots:
        here = sign * plain(shape.program, spot) - s * spot
        better = here <= level + 4 * jnp.finfo(here.dtype).eps * jnp.abs(level)
        place = jnp.where(better & (level < np.inf) | (here < level), spot, place)
        level = jnp.minimum(here, level)
    return place, bound


def _nonnegative(a: Any) -> Any:
    return jnp.maximum(a[0], 0), a[1]


def _signed(a: Any, ar: Arithmetic, axis: int = 0) -> Any:
    """Entry 0 of an axis of length 2 as it is, entry 1 negated."""
    plus = tuple(jax.lax.index_in_dim(v, 0, axis) for v in a)
    minus = ar.neg(tuple(jax.lax.index_in_dim(v, 1, axis) for v in a))  # pyright: ignore[reportArgumentType]
    return tuple(jnp.concatenate([p, q], axis) for p, q in zip(plus, minus, strict=True))


def _around_minimum(
    program: Program, sign: Any, a: Any, b: Any, s: Any, touch: Any
) -> tuple[Any, Any]:
    """Two points of each piece with the minimum of f - s x between them, by bracketed Newton."""
    first, last = touch[:, :1], touch[:, -1:]
    near = jnp.clip(jnp.where((last >= a) & (last <= b), last, first), a, b)
    _, slope, curvature = (sign * v for v in derivatives(program, near))
    # beside the touch point unless it is stationary: at a kink there is no derivative to go by
    still = (curvature > 0) & (jnp.abs(slope - s) <= 0.01 * curvature * (b - a))
    x = jnp.where(still, near, jnp.clip(near + (b - a) * 0.0027, a, b))

    def step(_: Any, state: Any) -> Any:
        x, low, high = state
        _, slope, curvature = (sign * v for v in derivatives(program, x))
        low, high = jnp.where(slope <= s, x, low), jnp.where(slope >= s, x, high)
        move = x - (slope - s) / jnp.where(curvature > 0, curvature, 1)
        # on a flat stretch Newton leaps: halve the bracket instead
        safe = (curvature > 0) & (move >= low) & (move <= high)
        return jnp.where(safe, move, low + (high - low) / 2), low, high

    _, low, high = jax.lax.fori_loop(0, _NEWTON_STEPS, step, (x, a, b))
    return low, high
