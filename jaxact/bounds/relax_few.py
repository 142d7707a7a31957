"""Lines for a function of one, two or three pieces: touch points by Newton, no sampling.

Almost every activation is of this kind. The supporting line at the midpoint is the tangent
there, or it bridges two components of the set where the convex envelope can touch f: the convex
and linear pieces, and the ends of the interval where they lie in a concave piece.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.relax_lines import Lines, attach, derivatives, quotient
from jaxact.tracing.analysis import CONCAVE, CONVEX, Shape
from jaxact.tracing.intervals import Arithmetic, Interval
from jaxact.tracing.jets import evaluate
from jaxact.tracing.program import plain
from jaxact.tracing.ranges import range_from, table, turning

LIMIT = 3
_NODES = 16
_NEWTON_STEPS = 5
_SIDES = (1, -1)


@dataclasses.dataclass(frozen=True)
class Component:
    """Where the envelope may touch: a piece (its index) or an end of the interval ('l', 'u')."""

    piece: int | None
    end: str = ""


@functools.lru_cache(maxsize=512)
def _components(labels: tuple[int, ...], side: int) -> tuple[Component, ...]:
    found: list[Component] = []
    for k, label in enumerate(labels):
        if side * label != CONCAVE:
            found.append(Component(k))
            continue
        if k == 0:
            found.append(Component(None, "l"))
        if k == len(labels) - 1:
            found.append(Component(None, "u"))
    return tuple(found)


def nodes_of(shape: Shape, piece: int) -> np.ndarray:
    """Points of a piece where straight segments between them would follow f equally well."""
    low, high = shape.left[piece], shape.right[piece]
    grid = np.linspace(max(low, -16.0), min(high, 16.0), 4001)[1:-1]
    inner = np.zeros(0)
    if len(grid) and grid[-1] > grid[0]:
        _, slope, _ = _host(shape, grid)
        bend = np.sqrt(np.abs(np.gradient(slope, grid)))
        mass = np.cumsum(np.where(np.isfinite(bend), bend, 0.0))
        if mass[-1] > 0:
            levels = np.array([0.0005, 0.005, 0.03, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 0.97, 0.995])
            inner = np.interp(levels, mass / mass[-1], grid)
    tail = np.array([24.0, 96.0, 1e3, 2e4])
    extra = np.concatenate([-tail[::-1], tail])
    points = np.unique(np.concatenate([inner, extra[(extra > low) & (extra < high)]]))
    return points[:_NODES]


def _host(shape: Shape, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f, f' (midpoints of their enclosures) in float64: starting values, no certificates."""
    with np.errstate(all="ignore"):
        parts = evaluate(shape.program, Arithmetic(np, np.float64), (x, x))
        mid = [np.nan_to_num((p[0] + p[1]) / 2, nan=0.0, posinf=0.0, neginf=0.0) for p in parts]
    return mid[0], mid[1], mid[2]


def few_lines(shape: Shape, lower: jax.Array, upper: jax.Array) -> Lines:
    """Lines over vectors of intervals."""
    dtype = str(lower.dtype)
    pieces = table(shape, dtype)
    labels = tuple(int(v) for v in pieces.label)
    raw_l, raw_u = jax.lax.stop_gradient((lower, upper))
    inside = (raw_l >= pieces.domain[0]) & (raw_u <= pieces.domain[1])
    home = jnp.clip(jnp.zeros_like(raw_l), pieces.domain[0], pieces.domain[1])
    l, u = jnp.where(inside, raw_l, home), jnp.where(inside, raw_u, home)  # noqa: E741
    spans = [
        (jnp.clip(a, l, u), jnp.clip(b, l, u))
        for a, b in zip(pieces.left, pieces.right, strict=True)
    ]
    search = _Search(shape, labels, spans, l, u)
    sides = [search.side(side) for side in _SIDES]

    # one certified evaluation for everything: ends, breaks, minimisers, and the whole interval
    points = [l, u]
    for (_, b), (a, _) in zip(spans[:-1], spans[1:], strict=True):
        points += [b, a]
    first_minimiser = len(points)
    for side in sides:
        points += [x for x in side.minimisers if x is not None]
    rows = jnp.stack([*points, raw_l, raw_u, raw_l])
    tops = jnp.stack([*points, raw_l, raw_u, raw_u])
    ar = Arithmetic(jnp, dtype)
    value, slope = evaluate(shape.program, ar, (rows, tops), order=1)
    low, high = range_from(
        shape, turning(shape, dtype), lower, upper,
        tuple(v[-3:-1] for v in value), tuple(v[-1] for v in value),
    )  # fmt: skip

    lines = []
    row = first_minimiser
    for number, side in zip(_SIDES, sides, strict=True):
        bounds, places = [], []
        s = (side.slope, side.slope)

        def held(k: int, s: Any = s, number: int = number) -> Any:
            return ar.sub(_signed(value, k, number), ar.mul(s, (rows[k], rows[k])))[0]

        for k, (a, b) in enumerate(spans):
            x = side.minimisers[k]
            if x is None:
                start, stop = (
                    (0 if k == 0 else 2 * k + 1),
                    (1 if k == len(spans) - 1 else 2 * k + 2),
                )
                bounds += [held(start), held(stop)]
                places += [a, b]
                continue
            tilt = ar.sub(_signed(slope, row, number), s)
            base = held(row)
            right = ar.mul(tilt, _length(ar, b, x))[0]
            left = ar.mul(ar.neg(tilt), _length(ar, x, a))[0]
            drop = jnp.minimum(jnp.minimum(left, right), 0)
            bounds.append(ar.add((base, base), (drop, drop))[0])
            places.append(x)
            row += 1
        for k in range(len(spans) - 1):
            a, b = jnp.clip(pieces.right[k], l, u), jnp.clip(pieces.left[k + 1], l, u)
            if pieces.right[k] == pieces.left[k + 1]:
                continue  # the break is a point of both pieces
            met = (pieces.right[k] <= u) & (pieces.left[k + 1] >= l)
            gap = (jnp.full_like(l, pieces.gap_low[k]), jnp.full_like(l, pieces.gap_high[k]))
            gap = gap if number > 0 else ar.neg(gap)
            bound = ar.sub(gap, ar.mul(s, (a, b)))[0]
            bounds.append(jnp.where(met, bound, np.inf))
            places.append(a)
        t, at = bounds[0], places[0]
        for bound, place in zip(bounds[1:], places[1:], strict=True):
            at = jnp.where(bound < t, place, at)
            t = jnp.minimum(bound, t)
        t = shape_slack(shape, ar, t, l, u)
        # a line that is worse at the midpoint than the range itself is not worth having
        level = low if number > 0 else -high
        worth = side.slope * search.m + t >= jax.lax.stop_gradient(level)
        good = inside & jnp.isfinite(side.slope) & jnp.isfinite(t) & worth
        ends = (jnp.where(inside, lower, home), jnp.where(inside, upper, home))
        smooth, t = attach(
            shape.program, (), ends, number, side.slope, t, (side.a, side.b), side.tangent, at
        )
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


def _signed(a: Interval, row: int, side: int) -> Interval:
    return (a[0][row], a[1][row]) if side > 0 else (-a[1][row], -a[0][row])


def _length(ar: Arithmetic, b: Any, a: Any) -> Interval:
    low, high = ar.sub((b, b), (a, a))
    return jnp.maximum(low, 0), jnp.maximum(high, 0)


@dataclasses.dataclass(frozen=True)
class _Side:
    """The chosen slope of one line, its touch points, and a near minimiser in each piece."""

    slope: Any
    a: Any
    b: Any
    tangent: Any
    minimisers: tuple[Any, ...]


class _Search:
    """Finds slopes; nothing here is trusted by the certificate."""

    def __init__(self, shape: Shape, labels: Any, spans: Any, l: Any, u: Any) -> None:  # noqa: E741
        self.shape, self.labels, self.spans, self.l, self.u = shape, labels, spans, l, u
        self.m = jnp.clip(l + (u - l) / 2, l, u)
        points = jnp.stack([l, u, self.m, *(v for span in spans for v in span)])
        self.f, slopes, _ = derivatives(shape.program, points)
        self.slope_m = slopes[2]
        self.nodes: dict[int, tuple[Any, Any, Any]] = {}

    def node_table(self, piece: int) -> tuple[Any, Any, Any]:
        """Nodes of a piece with f and f' there, columns."""
        if piece not in self.nodes:
            x = nodes_of(self.shape, piece)
            f, slope, _ = _host(self.shape, x)
            self.nodes[piece] = tuple(jnp.asarray(v[:, None], self.l.dtype) for v in (x, f, slope))  # pyright: ignore[reportArgumentType]
        return self.nodes[piece]

    def side(self, side: int) -> _Side:
        parts = _components(self.labels, side)
        f = side * self.f
        slope_m = side * self.slope_m
        candidates = []
        convex = [k for k, label in enumerate(self.labels) if side * label == CONVEX]
        tangents = any(part.piece is not None for part in parts)
        if tangents:
            candidates.append((slope_m, self.m, self.m))
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                a, b, fa, fb = self.bridge(side, parts[i], parts[j])
                candidates.append((quotient(fb - fa, b - a, slope_m), a, b))
        known = [(self.l, f[0]), (self.u, f[1]), (self.m, f[2])]
        known += [(v, f[3 + k]) for k, v in enumerate(v for span in self.spans for v in span)]
        touches = []
        for _, a, b in candidates[1 if tangents else 0 :]:
            both = jnp.stack([a, b])
            value = side * plain(self.shape.program, both)
            touches += [(a, value[0]), (b, value[1])]
        chosen = candidates[0]
        gain = None
        if len(candidates) > 1:
            for candidate in candidates:
                s = candidate[0]
                worth = None
                for x, y in known + touches:
                    line = y - s * (x - self.m)
                    worth = line if worth is None else jnp.minimum(worth, line)
                for piece in convex:
                    x, y, _ = self.node_table(piece)
                    if not x.shape[0]:
                        continue
                    line = side * y - s[None] * (x - self.m[None])
                    within = (x > self.l[None]) & (x < self.u[None])
                    worth = jnp.minimum(worth, jnp.where(within, line, np.inf).min(0))  # pyright: ignore[reportArgumentType]
                if gain is None:
                    gain = worth
                    continue
                better = worth > gain  # pyright: ignore[reportOptionalOperand]
                chosen = tuple(
                    jnp.where(better, p, q) for p, q in zip(candidate, chosen, strict=True)
                )
                gain = jnp.maximum(gain, worth)  # pyright: ignore[reportArgumentType]
        slope, a, b = chosen
        minimisers = [
            self.minimiser(side, k, slope, a, b) if side * label == CONVEX else None
            for k, label in enumerate(self.labels)
        ]
        return _Side(slope, a, b, a == b, tuple(minimisers))

    def span(self, part: Component) -> tuple[Any, Any]:
        if part.piece is None:
            point = self.l if part.end == "l" else self.u
            return point, point
        return self.spans[part.piece]

    def bridge(self, side: int, left: Component, right: Component) -> tuple[Any, ...]:
        """Touch points of the line that lies on two components, by Newton on both."""
        (a_low, a_high), (b_low, b_high) = self.span(left), self.span(right)
        a, b = a_low, b_high
        if left.piece is not None:
            a = self.start(side, left.piece, b, a_low, a_high, leftward=True)
        if right.piece is not None:
            b = self.start(side, right.piece, a, b_low, b_high, leftward=False)
            if left.piece is not None:
                a = self.start(side, left.piece, b, a_low, a_high, leftward=True)
        if left.piece is None and right.piece is None:
            return a, b, side * self.f[0], side * self.f[1]

        def step(_: Any, state: Any) -> Any:
            a, b = state
            value, slope, curve = (
                side * v for v in derivatives(self.shape.program, jnp.stack([a, b]))
            )
            s = quotient(value[1] - value[0], b - a, side * self.slope_m)
            new = []
            for k, (x, low, high) in enumerate(((a, a_low, a_high), (b, b_low, b_high))):
                bent = curve[k] > 0
                move = x - (slope[k] - s) / jnp.where(bent, curve[k], 1)
                toward = jnp.where(slope[k] > s, low, jnp.where(slope[k] < s, high, x))
                move = jnp.where(bent & jnp.isfinite(move), move, toward)
                new.append(jnp.clip(move, low, high))
            return tuple(new)

        a, b = jax.lax.fori_loop(0, _NEWTON_STEPS, step, (a, b))
        value = side * plain(self.shape.program, jnp.stack([a, b]))
        return a, b, value[0], value[1]

    def start(self, side: int, piece: int, c: Any, low: Any, high: Any, *, leftward: bool) -> Any:
        """Bracket the tangent point of the line through (c, f(c)) between nodes."""
        x, y, slope = self.node_table(piece)
        if not x.shape[0]:
            return low + (high - low) / 2
        fc = side * plain(self.shape.program, c)
        above = side * y + side * slope * (c[None] - x) > fc[None]
        small = ~above if leftward else above
        return self.bracket(x, small, low, high)

    def bracket(self, x: Any, small: Any, low: Any, high: Any) -> Any:
        """A point between the last node below the root and the first above it."""
        within = (x > low[None]) & (x < high[None])
        lo = jnp.where(within & small, x, -np.inf).max(0)
        hi = jnp.where(within & ~small, x, np.inf).min(0)
        has_lo, has_hi = lo > -np.inf, hi < np.inf
        lo, hi = jnp.maximum(lo, low), jnp.minimum(hi, high)
        middle = lo + (hi - lo) / 2
        # a bracket that is open to one side may be very long: stay near its node
        near = jnp.clip(middle, lo, lo + 1)
        near = jnp.where(has_lo & ~has_hi, near, jnp.clip(middle, hi - 1, hi))
        return jnp.where(has_lo == has_hi, middle, near)

    def minimiser(self, side: int, piece: int, s: Any, a: Any, b: Any) -> Any:
        """Where f - s x is least in a convex piece: a touch point there, else Newton."""
        low, high = self.spans[piece]
        x, _, slope = self.node_table(piece)
        if x.shape[0]:
            start = self.bracket(x, side * slope < s[None], low, high)
        else:
            start = low + (high - low) / 2
        start = jnp.where((b >= low) & (b <= high), b, start)
        start = jnp.where((a >= low) & (a <= high), a, start)

        def step(_: Any, x: Any) -> Any:
            _, slope, curve = (side * v for v in derivatives(self.shape.program, x))
            bent = curve > 0
            move = x - (slope - s) / jnp.where(bent, curve, 1)
            toward = jnp.where(slope > s, low, jnp.where(slope < s, high, x))
            return jnp.clip(jnp.where(bent & jnp.isfinite(move), move, toward), low, high)

        if len(self.spans) == 1:
            return start
        return jax.lax.fori_loop(0, 3, step, start)
