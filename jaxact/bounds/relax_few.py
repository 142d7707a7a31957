"""Lines for a function of few pieces: touch points from tables, no search in the kernel.

Almost every activation is of this kind. The supporting line at the midpoint is the tangent
there, or it is a bridge: from an end of the interval to a core, or from core to core.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.relax_lines import Lines, attach, derivatives, quotient
from jaxact.bounds.relax_touch import Plan, Touch
from jaxact.tracing.analysis import CONVEX, Shape
from jaxact.tracing.intervals import Arithmetic, Interval
from jaxact.tracing.jets import evaluate
from jaxact.tracing.program import Program, plain
from jaxact.tracing.ranges import Table, range_from, table, turning

_SIDES = (1, -1)


def few_lines(shape: Shape, both: tuple[Plan, Plan], lower: jax.Array, upper: jax.Array) -> Lines:
    """Lines over vectors of intervals."""
    dtype = str(lower.dtype)
    ar = Arithmetic(jnp, dtype)
    pieces = table(shape, dtype)
    raw_l, raw_u = jax.lax.stop_gradient((lower, upper))
    inside = (raw_l >= pieces.domain[0]) & (raw_u <= pieces.domain[1])
    home = jnp.clip(jnp.zeros_like(raw_l), pieces.domain[0], pieces.domain[1])
    l, u = jnp.where(inside, raw_l, home), jnp.where(inside, raw_u, home)  # noqa: E741
    m = jnp.clip(l + (u - l) / 2, l, u)

    # the ends, and the whole interval for the range
    rows, tops = jnp.stack([raw_l, raw_u, raw_l]), jnp.stack([raw_l, raw_u, raw_u])
    (value,) = each(lambda r: evaluate(shape.program, ar, r, order=0), (rows, tops))
    low, high = range_from(
        shape, turning(shape, dtype), lower, upper,
        (value[0][:2], value[1][:2]), (value[0][2], value[1][2]),
    )  # fmt: skip

    seen = _touch_points(shape.program, both, l, u)
    contacts = [
        _contact(plan, pieces, touch, l, m, u) for plan, touch in zip(both, seen, strict=True)
    ]
    at = _Values(shape, ar, pieces, contacts, value, l, u)
    slope = jnp.stack([at.slope(side, contact) for side, contact in enumerate(contacts)])
    t, place = _certificate(ar, pieces, at, slope, l, u)
    t = shape_slack(shape, ar, t, l[None], u[None])
    # a line that is worse at the midpoint than the range itself is not worth having
    level = jnp.stack([low, high])
    sign = jnp.asarray([[1], [-1]], l.dtype)
    worth = slope * m[None] + t >= jax.lax.stop_gradient(sign * level)
    good = inside[None] & jnp.isfinite(slope) & jnp.isfinite(t) & worth
    ends = tuple(
        jnp.broadcast_to(jnp.where(inside, v, home)[None], t.shape) for v in (lower, upper)
    )
    a, b = (jnp.stack(v) for v in zip(*((c.a, c.b) for c in contacts), strict=True))
    smooth, t = attach(shape.program, (), ends, sign, slope, t, (a, b), a == b, place)
    s, t = jnp.where(good, sign * smooth, 0), jnp.where(good, sign * t, level)
    return Lines(s[0], t[0], s[1], t[1])


def each(fn: Any, rows: Any) -> Any:
    """Fn of every row: a loop, so that XLA does not fuse it into each use and compute it again."""
    return jax.lax.map(fn, rows)


def shape_slack(shape: Shape, ar: Arithmetic, t: Any, l: Any, u: Any) -> Any:  # noqa: E741
    """Take the shape's curvature slack off an intercept."""
    if not shape.slack:
        return t
    width = ar.sub((u, u), (l, l))[1]
    loss = ar.mul(ar.constant(shape.slack), (width, width))[1]
    return ar.sub((t, t), (loss, loss))[0]


def _touch_points(
    program: Program,
    both: tuple[Plan, Plan],
    l: Any,  # noqa: E741
    u: Any,
) -> list[list[Any]]:
    """For each side the touch points seen from l and from u (None where there is no map)."""
    maps = [(plan.from_left, plan.from_right) for plan in both]
    anchors, starts = [], []
    for left, right in maps:
        if left is not None:
            anchors.append(jnp.maximum(l, left.limit))
            starts.append(_look_up(left, anchors[-1]))
        if right is not None:
            anchors.append(jnp.minimum(u, right.limit))
            starts.append(_look_up(right, anchors[-1]))
    refined = iter(())
    if anchors:
        c = jnp.stack(anchors)
        d, low, high = (jnp.stack(v) for v in zip(*starts, strict=True))

        def newton(row: tuple[Any, ...]) -> Any:
            c, d, low, high = row
            f, slope, curve = derivatives(program, d)
            step = (slope * (c - d) + f - plain(program, c)) / (curve * (c - d))
            return jnp.clip(d - jnp.where(jnp.isfinite(step), step, 0), low, high)

        refined = iter(each(newton, (c, d, low, high)))
    return [[None if one is None else next(refined) for one in pair] for pair in maps]


def _look_up(touch: Touch, x: Any) -> tuple[Any, Any, Any]:
    """The tabulated touch point by linear interpolation, and its two neighbours in order."""
    values = jnp.asarray(touch.table, x.dtype)
    cells = len(touch.table) - 1
    z = (x - touch.centre) / touch.scale
    place = (z / (1 + jnp.abs(z)) + 1) * (cells / 2)
    index = jnp.clip(place.astype(jnp.int32), 0, cells - 1)
    before = values.at[index].get(mode="promise_in_bounds")
    after = values.at[index + 1].get(mode="promise_in_bounds")
    share = jnp.clip(place - index.astype(x.dtype), 0, 1)
    return (
        before + share * (after - before),
        jnp.minimum(before, after),
        jnp.maximum(before, after),
    )


@dataclasses.dataclass(frozen=True)
class _Contact:
    """What one line touches.

    Attributes:
        a, b: touch points, equal where the line is the tangent at the midpoint.
        points: one point a core: where it is touched, or where a tangent to it bounds it best.
        cores: first and last piece of each core.
        at_l, at_u: whether a is l and b is u, beside the one core.
    """

    a: Any
    b: Any
    points: tuple[Any, ...]
    cores: tuple[tuple[int, int], ...]
    at_l: Any
    at_u: Any


def _contact(
    plan: Plan,
    pieces: Table,
    seen: list[Any],
    l: Any,  # noqa: E741
    m: Any,
    u: Any,
) -> _Contact:
    if not plan.cores:
        return _Contact(l, u, (), (), None, None)
    first, final = plan.cores[0], plan.cores[-1]
    from_l, from_u = seen
    if from_l is not None:
        from_l = jnp.clip(jnp.where(l >= pieces.left[final[0]], l, from_l), l, u)
    if from_u is not None:
        from_u = jnp.clip(jnp.where(u <= pieces.right[first[1]], u, from_u), l, u)
    if len(plan.cores) == 2:
        # a bridge from core to core, and tangents to either side of it
        from_l, from_u = jnp.asarray(from_l), jnp.asarray(from_u)
        left, right = jnp.minimum(m, from_u), jnp.maximum(m, from_l)
        a, b = jnp.where(m >= from_l, m, left), jnp.where(m <= from_u, m, right)
        return _Contact(a, b, (left, right), plan.cores, None, None)
    # tangents to the core, and bridges from it to the ends; a hidden core leaves the chord
    from_l = l if from_l is None else from_l
    from_u = u if from_u is None else from_u
    chord = from_l >= from_u
    near_l, near_u = chord | (m < from_l), chord | (m > from_u)
    x = jnp.where(near_l, from_l, jnp.where(near_u, from_u, m))
    a, b = jnp.where(near_l, l, x), jnp.where(near_u, u, x)
    return _Contact(a, b, (x,), plan.cores, near_l, near_u)


class _Values:
    """Certified values of side * f: at both ends, and with slopes at one point a row.

    Rows are first the points of the cores, then those of convex pieces that are not alone in
    their core, where the core's point may lie outside the piece.
    """

    def __init__(
        self, shape: Shape, ar: Arithmetic, pieces: Table, contacts: list[_Contact],
        value: Interval, l: Any, u: Any,  # noqa: E741
    ) -> None:  # fmt: skip
        low, high = value
        self.ends = [(low[k], high[k]) for k in (0, 1)], [(-high[k], -low[k]) for k in (0, 1)]
        rows: list[tuple[int, Any]] = []
        self.point: dict[tuple[int, int], int] = {}
        self.tangents: list[tuple[int, int, int]] = []
        for side, contact in enumerate(contacts):
            for core, x in enumerate(contact.points):
                self.point[side, core] = len(rows)
                rows.append((side, x))
        for side, contact in enumerate(contacts):
            for core, (first, last) in enumerate(contact.cores):
                for k in range(first, last + 1):
                    if _SIDES[side] * pieces.label[k] != CONVEX:
                        continue
                    row = self.point[side, core]
                    if first < last:
                        row = len(rows)
                        inner = (jnp.clip(v[k], l, u) for v in (pieces.left, pieces.right))
                        rows.append((side, jnp.clip(contact.points[core], *inner)))
                    self.tangents.append((side, k, row))
        if not rows:
            return
        self.x = jnp.stack([x for _, x in rows])
        upper = jnp.asarray([side == 1 for side, _ in rows])

        def body(row: tuple[Any, Any]) -> Any:
            x, flip = row
            jets = evaluate(shape.program, ar, (x, x), order=1)
            return [
                (jnp.where(flip, -high, low), jnp.where(flip, -low, high)) for low, high in jets
            ]

        self.f, self.first = each(body, (self.x, upper))

    def slope(self, side: int, contact: _Contact) -> Any:
        """Of the line through the touch points, from values that the certificate needs anyway."""
        at_l, at_u = (_middle(v) for v in self.ends[side])
        if not contact.points:
            return quotient(at_u - at_l, contact.b - contact.a, 0)
        f, first = _middle(self.f), _middle(self.first)
        left = self.point[side, 0]
        right = self.point[side, len(contact.cores) - 1]
        fa, fb, tangent = f[left], f[right], first[left]
        if contact.at_l is not None:
            fa, fb = jnp.where(contact.at_l, at_l, fa), jnp.where(contact.at_u, at_u, fb)
        else:
            tangent = jnp.where(contact.a == contact.points[0], tangent, first[right])
        return quotient(fb - fa, contact.b - contact.a, tangent)


def _middle(a: Interval) -> Any:
    return a[0] + (a[1] - a[0]) / 2


def _certificate(
    ar: Arithmetic,
    pieces: Table,
    at: _Values,
    slope: Any,
    l: Any,  # noqa: E741
    u: Any,
) -> tuple[Any, Any]:
    """A certified lower bound of side * f - s x, both sides, and where it is nearly attained."""
    held = []
    for side in (0, 1):
        held += [(side, at.ends[side][k][0], x, x, None) for k, x in enumerate((l, u))]
        held += [(side, *joint) for joint in _joints(pieces, _SIDES[side], l, u)]

    def hold(row: tuple[Any, ...]) -> Any:
        """A value that f does not undercut anywhere in [a, b]."""
        s, low, a, b = row
        return ar.sub((low, low), ar.mul((s, s), (a, b)))[0]

    def touch(row: tuple[Any, ...]) -> Any:
        """A convex piece [a, b] lies above its tangent at x."""
        s, a, b, x, f, first = row
        tilt = ar.sub(first, (s, s))
        base = ar.sub(f, ar.mul((s, s), (x, x)))[0]
        right = ar.mul(tilt, _length(ar, b, x))[0]
        left = ar.mul(ar.neg(tilt), _length(ar, x, a))[0]
        drop = jnp.minimum(jnp.minimum(left, right), 0)
        return ar.add((base, base), (drop, drop))[0]

    columns = [[slope[row[0]] for row in held], *([row[k] for row in held] for k in (1, 2, 3))]
    bounds = hold(tuple(jnp.stack(v) for v in columns))
    found: list[list[tuple[Any, Any]]] = [[], []]
    for (side, _, a, _, met), bound in zip(held, bounds, strict=True):
        found[side].append((bound if met is None else jnp.where(met, bound, np.inf), a))
    if at.tangents:
        spans = [
            [jnp.clip(v[k], l, u) for _, k, _ in at.tangents] for v in (pieces.left, pieces.right)
        ]
        take = np.array([row for _, _, row in at.tangents])
        x, f, first = jax.tree.map(lambda v: v[take], (at.x, at.f, at.first))
        s = jnp.stack([slope[side] for side, _, _ in at.tangents])
        bounds = touch((s, jnp.stack(spans[0]), jnp.stack(spans[1]), x, f, first))
        for row, (side, _, _) in enumerate(at.tangents):
            found[side].append((bounds[row], x[row]))
    return tuple(jnp.stack(v) for v in zip(*map(_least, found), strict=True))  # pyright: ignore[reportReturnType]


def _least(found: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The least bound, and its place."""
    t, at = found[0]
    for bound, place in found[1:]:
        at = jnp.where(bound < t, place, at)
        t = jnp.minimum(bound, t)
    return t, at


def _joints(pieces: Table, side: int, l: Any, u: Any) -> list[tuple[Any, ...]]:  # noqa: E741
    """Between pieces: the least value there, from where to where, and whether [l, u] meets it.

    A joint that belongs to a convex piece is covered by that piece's tangent.
    """
    found = []
    for k in range(len(pieces.label) - 1):
        low, high = pieces.right[k], pieces.left[k + 1]
        if low == high and CONVEX in (side * v for v in pieces.label[k : k + 2]):
            continue
        least = pieces.gap_low[k] if side > 0 else -pieces.gap_high[k]
        met = (low <= u) & (high >= l)
        found.append((jnp.full_like(l, least), jnp.clip(low, l, u), jnp.clip(high, l, u), met))
    return found


def _length(ar: Arithmetic, b: Any, a: Any) -> Interval:
    low, high = ar.sub((b, b), (a, a))
    return jnp.maximum(low, 0), jnp.maximum(high, 0)
