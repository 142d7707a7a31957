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


def few_lines(
    shape: Shape, both: tuple[Plan, Plan], lower: jax.Array, upper: jax.Array
) -> Lines:
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
    (value,) = evaluate(shape.program, ar, (rows, tops), order=0)
    low, high = range_from(
        shape, turning(shape, dtype), lower, upper,
        (value[0][:2], value[1][:2]), (value[0][2], value[1][2]),
    )  # fmt: skip

    seen = _touch_points(shape.program, both, l, u)
    contacts = [
        _contact(plan, pieces, touch, l, m, u) for plan, touch in zip(both, seen, strict=True)
    ]
    points = [x for contact in contacts for x in contact.points]
    spots: list[Any] = []
    for number, contact in zip((1, -1), contacts, strict=True):
        spots += _minimisers(pieces, number, contact, l, u)
    x = jnp.stack([*points, *(spot for spot in spots if spot is not None)]) if points else None
    jets = None if x is None else evaluate(shape.program, ar, (x, x), order=1)

    ends = (jnp.where(inside, lower, home), jnp.where(inside, upper, home))
    lines: list[Any] = []
    first, at_spot = 0, len(points)
    for number, contact in zip((1, -1), contacts, strict=True):
        certificate = _Certificate(ar, pieces, number, (value[0], value[1]), jets, l, u)
        s = contact.slope(certificate, first)
        found = [(certificate.end(0, s), l), (certificate.end(1, s), u)]
        found += certificate.joints(s)
        own = spots[: len(pieces.label)]
        spots = spots[len(pieces.label) :]
        for k, label in enumerate(pieces.label):
            if number * label != CONVEX:
                continue
            row = first + contact.row_of(k)
            if own[k] is not None:
                row, at_spot = at_spot, at_spot + 1
            found.append(certificate.tangent(k, row, x, s))
        first += len(contact.points)
        t, at = found[0]
        for bound, place in found[1:]:
            at = jnp.where(bound < t, place, at)
            t = jnp.minimum(bound, t)
        t = shape_slack(shape, ar, t, l, u)
        # a line that is worse at the midpoint than the range itself is not worth having
        level = low if number > 0 else -high
        worth = s * m + t >= jax.lax.stop_gradient(level)
        good = inside & jnp.isfinite(s) & jnp.isfinite(t) & worth
        smooth, t = attach(
            shape.program, (), ends, number, s, t, (contact.a, contact.b),
            contact.a == contact.b, at,
        )  # fmt: skip
        lines += [
            jnp.where(good, number * smooth, 0),
            jnp.where(good, number * t, low if number > 0 else high),
        ]
    return Lines(*lines)


def shape_slack(shape: Shape, ar: Arithmetic, t: Any, l: Any, u: Any) -> Any:  # noqa: E741
    """Take the shape's curvature slack off an intercept."""
    if not shape.slack:
        return t
    width = ar.sub((u, u), (l, l))[1]
    loss = ar.mul(ar.constant(shape.slack), (width, width))[1]
    return ar.sub((t, t), (loss, loss))[0]


def _touch_points(
    program: Program, both: tuple[Plan, Plan], l: Any, u: Any  # noqa: E741
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
        f, slope, curve = derivatives(program, d)
        step = (slope * (c - d) + f - plain(program, c)) / (curve * (c - d))
        refined = iter(jnp.clip(d - jnp.where(jnp.isfinite(step), step, 0), low, high))
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
        ends: per touch point whether it is l (0), u (1) or the first or last of `points` (2).
    """

    a: Any
    b: Any
    points: tuple[Any, ...]
    cores: tuple[tuple[int, int], ...]
    at_l: Any
    at_u: Any

    def slope(self, certificate: Any, row: int) -> Any:
        """From values the certificate needs anyway."""
        at_l, at_u = certificate.middle(0), certificate.middle(1)
        if not self.points:
            return quotient(at_u - at_l, self.b - self.a, 0)
        last = row + len(self.points) - 1
        (f, slope), (g, tilt) = certificate.near(row), certificate.near(last)
        fa, fb = jnp.where(self.at_l, at_l, f), jnp.where(self.at_u, at_u, g)
        tangent = slope
        if last > row:
            tangent = jnp.where(self.a == self.points[0], slope, tilt)
        return quotient(fb - fa, self.b - self.a, tangent)

    def row_of(self, piece: int) -> int:
        """Which of `points` belongs to a piece's core."""
        return next(k for k, (first, last) in enumerate(self.cores) if first <= piece <= last)


def _contact(
    plan: Plan, pieces: Table, seen: list[Any], l: Any, m: Any, u: Any  # noqa: E741
) -> _Contact:
    never = jnp.zeros(m.shape, bool)
    if not plan.cores:
        return _Contact(l, u, (), (), ~never, ~never)
    first, final = plan.cores[0], plan.cores[-1]
    from_l, from_u = seen
    if from_l is not None:
        from_l = jnp.clip(jnp.where(l >= pieces.left[final[0]], l, from_l), l, u)
    if from_u is not None:
        from_u = jnp.clip(jnp.where(u <= pieces.right[first[1]], u, from_u), l, u)
    if len(plan.cores) == 2:
        left = jnp.where(m <= from_u, m, from_u)
        right = jnp.where(m >= from_l, m, from_l)
        a = jnp.where(m >= from_l, m, left)
        b = jnp.where(m <= from_u, m, right)
        return _Contact(a, b, (left, right), plan.cores, never, never)
    from_l = l if from_l is None else from_l
    from_u = u if from_u is None else from_u
    chord = from_l >= from_u
    near_l, near_u = chord | (m < from_l), chord | (m > from_u)
    x = jnp.where(near_l, from_l, jnp.where(near_u, from_u, m))
    return _Contact(
        jnp.where(near_l, l, x), jnp.where(near_u, u, x), (x,), plan.cores, near_l, near_u
    )


def _minimisers(pieces: Table, number: int, contact: _Contact, l: Any, u: Any) -> list[Any]:  # noqa: E741
    """Per piece a point for its tangent, where the core's own point may lie outside the piece."""
    spots: list[Any] = []
    for k, label in enumerate(pieces.label):
        spot = None
        if number * label == CONVEX:
            core = contact.row_of(k)
            first, last = contact.cores[core]
            if first < last:
                low, high = (jnp.clip(v[k], l, u) for v in (pieces.left, pieces.right))
                spot = jnp.clip(contact.points[core], low, high)
        spots.append(spot)
    return spots


@dataclasses.dataclass(frozen=True)
class _Certificate:
    """Lower bounds of side * f - s x: at the ends, at joints, and over convex pieces."""

    ar: Arithmetic
    pieces: Table
    side: int
    value: Interval
    jets: Any
    l: Any
    u: Any

    def signed(self, a: Interval, row: int) -> Interval:
        return (a[0][row], a[1][row]) if self.side > 0 else (-a[1][row], -a[0][row])

    def middle(self, end: int) -> Any:
        low, high = self.signed(self.value, end)
        return low + (high - low) / 2

    def near(self, row: int) -> tuple[Any, Any]:
        f, slope = (self.signed(part, row) for part in self.jets)
        return f[0] + (f[1] - f[0]) / 2, slope[0] + (slope[1] - slope[0]) / 2

    def end(self, which: int, s: Any) -> Any:
        x = (self.l, self.u)[which]
        return self.ar.sub(self.signed(self.value, which), self.ar.mul((s, s), (x, x)))[0]

    def joints(self, s: Any) -> list[tuple[Any, Any]]:
        """Between pieces, unless a convex piece that ends there covers the point."""
        found = []
        pieces, ar = self.pieces, self.ar
        for k in range(len(pieces.label) - 1):
            low, high = pieces.right[k], pieces.left[k + 1]
            if low == high and CONVEX in (self.side * v for v in pieces.label[k : k + 2]):
                continue
            a, b = jnp.clip(low, self.l, self.u), jnp.clip(high, self.l, self.u)
            gap = tuple(jnp.full_like(s, v[k]) for v in (pieces.gap_low, pieces.gap_high))
            gap = gap if self.side > 0 else ar.neg(gap)  # pyright: ignore[reportArgumentType]
            bound = ar.sub(gap, ar.mul((s, s), (a, b)))[0]  # pyright: ignore[reportArgumentType]
            met = (low <= self.u) & (high >= self.l)
            found.append((jnp.where(met, bound, np.inf), a))
        return found

    def tangent(self, piece: int, row: int, points: Any, s: Any) -> tuple[Any, Any]:
        """A convex piece lies above its tangent at any of its points."""
        ar = self.ar
        a, b = (jnp.clip(v[piece], self.l, self.u) for v in (self.pieces.left, self.pieces.right))
        x = points[row]
        f, slope = (self.signed(part, row) for part in self.jets)
        tilt = ar.sub(slope, (s, s))
        base = ar.sub(f, ar.mul((s, s), (x, x)))[0]
        right = ar.mul(tilt, _length(ar, b, x))[0]
        left = ar.mul(ar.neg(tilt), _length(ar, x, a))[0]
        drop = jnp.minimum(jnp.minimum(left, right), 0)
        return ar.add((base, base), (drop, drop))[0], x


def _length(ar: Arithmetic, b: Any, a: Any) -> Interval:
    low, high = ar.sub((b, b), (a, a))
    return jnp.maximum(low, 0), jnp.maximum(high, 0)
