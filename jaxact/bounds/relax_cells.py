"""Lines for a function whose parameters are traced: the interval is cut into cells at run time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.relax_lines import Lines, attach, quotient
from jaxact.tracing.intervals import Arithmetic
from jaxact.tracing.jets import evaluate, predicates, restrict
from jaxact.tracing.program import Program, plain, program_of

_CELLS = 32
_CHOICES = 2


def cell_lines(
    fn: Callable[..., Any], lower: jax.Array, upper: jax.Array, theta: tuple[Any, ...]
) -> Lines:
    """Lines of fn(., *theta) for a traced theta."""
    program = program_of(fn, theta, traced=True)
    leaves = tuple(jax.tree.leaves(theta))
    held = jax.lax.stop_gradient(leaves)
    size = lower.shape
    lower, upper = lower.reshape(-1), upper.reshape(-1)
    l, u = jax.lax.stop_gradient((lower, upper))  # noqa: E741
    points, f, sides = cells_between(program, l, u, held)

    m = l + (u - l) / 2
    slope_m = jax.jvp(lambda w: plain(program, w, held), (m,), (jnp.ones_like(m),))[1]
    results = []
    for sign, bound in zip((1.0, -1.0), sides, strict=True):
        ia, ib = _bridge(points, sign * f, m)
        pick = [jnp.take_along_axis(v, i[None], 0)[0] for i in (ia, ib) for v in (points, f)]
        chord = quotient(sign * (pick[3] - pick[1]), pick[2] - pick[0], sign * slope_m)
        best: Any = None
        for kind, s in enumerate((sign * slope_m, chord, jnp.zeros_like(m))):
            s = jnp.where(jnp.isfinite(s), s, 0)
            t, spot = bound(s)
            gain = s * m + t
            new = (gain, s, t, spot, jnp.full(m.shape, kind))
            if best is None:
                best = new
            else:
                # a tangent must be worth it: ties go to the earlier candidate
                better = new[0] > best[0]
                best = tuple(jnp.where(better, p, q) for p, q in zip(new, best, strict=True))
        results.append((*best[1:], pick[0], pick[2]))
    lines = []
    for sign, (s, t, spot, kind, pa, pb) in zip((1.0, -1.0), results, strict=True):
        ends = (lower, upper)
        # the level candidate (kind 2) has no derivative of its own: two equal touch points
        a, b = jnp.where(kind == 1, pa, 0), jnp.where(kind == 1, pb, 0)
        s, t = attach(program, leaves, ends, sign, s, t, (a, b), kind == 0, spot)
        lines += [sign * s, sign * t]
    return jax.tree.map(lambda v: v.reshape(size), Lines(*lines))


def cells_between(
    program: Program,
    l: Any,  # noqa: E741
    u: Any,
    theta: tuple[Any, ...],
) -> tuple[Any, Any, tuple[Callable[[Any], tuple[Any, Any]], ...]]:
    """Cut intervals into cells.

    Returns:
        the cells' edges, then their middles, shape (points, N); f there, uncertified; and for f
        and for -f the map of a slope s (N,) to a certified lower bound of f - s x over [l, u]
        and the point that sets it.
    """
    ar = Arithmetic(jnp, l.dtype)
    cuts = jnp.asarray(np.linspace(0, 1, _CELLS + 1), l.dtype)[:, None]
    edges = jnp.clip(l[None] + (u - l)[None] * cuts, l[None], u[None])
    edges = jnp.concatenate([edges[:-1], u[None]])
    edges = jax.lax.cummax(edges, 0)
    a, b = edges[:-1], edges[1:]
    points = jnp.concatenate([edges, jnp.clip(a + (b - a) / 2, l[None], u[None])])
    variants = _variants(program, ar, a, b, theta)

    def bound(slope: Any, sign: float) -> tuple[Any, Any]:
        t, spot = _Cells(ar, sign, *variants[0]).bound(slope)
        for parts in variants[1:]:
            other, place = _Cells(ar, sign, *parts).bound(slope)
            t, spot = jnp.minimum(t, other), jnp.where(other < t, place, spot)
        return t, spot

    sides = tuple(functools.partial(bound, sign=sign) for sign in (1.0, -1.0))
    return points, plain(program, points, theta), sides


def _variants(program: Any, ar: Arithmetic, a: Any, b: Any, theta: Any) -> list[Any]:
    """Cells, jets over them and at their three points, once for each way through the branches.

    Where a predicate is not certain over a cell, f is one of its branches at every point there:
    each is bounded, as the smooth function that it is, over the part where it may be taken.
    """
    truths = predicates(program, ar, (a, b), theta)
    ways: list[tuple[bool, ...]] = [()]
    if len(truths) <= _CHOICES:
        ways = list(itertools.product((True, False), repeat=len(truths)))
    found = []
    for way in ways:
        left, right, branches = a, b, {}
        for (key, truth), taken in zip(truths.items(), way, strict=False):
            shape = a.shape
            certain = jnp.broadcast_to(truth.yes | truth.no, shape)
            branches[key] = jnp.where(certain, jnp.broadcast_to(truth.yes, shape), taken)
            low, high = restrict(key, a, b, ar, theta, way=taken)
            left = jnp.maximum(left, jnp.where(certain, a, low))
            right = jnp.minimum(right, jnp.where(certain, b, high))
        # two predicates may leave nothing of a cell; any part of it will do then
        right = jnp.maximum(left, right)
        points = jnp.stack([left, jnp.clip(left + (right - left) / 2, left, right), right])
        over = evaluate(program, ar, (left, right), theta, branches=branches)
        branches = {k: jnp.broadcast_to(v[None], points.shape) for k, v in branches.items()}
        at = evaluate(program, ar, (points, points), theta, order=1, branches=branches)
        found.append((points, over, at))
    return found


def _flip(a: Any, sign: float) -> Any:
    return a if sign > 0 else (-a[1], -a[0])


def _bridge(x: Any, f: Any, m: Any) -> tuple[Any, Any]:
    """Indices of the edge of the points' lower hull that passes over m."""
    last = jnp.full(m.shape, _CELLS)
    state = (jnp.zeros_like(last), last)

    def cut(_: Any, state: Any) -> Any:
        i, j = state
        xa, fa, xb, fb = (jnp.take_along_axis(v, k[None], 0)[0] for k in (i, j) for v in (x, f))
        s = quotient(fb - fa, xb - xa, jnp.zeros_like(m))
        best = jnp.argmin(f - s[None] * x, 0)
        xs, fs = (jnp.take_along_axis(v, best[None], 0)[0] for v in (x, f))
        below = fs - s * xs < fa - s * xa
        return jnp.where(below & (xs < m), best, i), jnp.where(below & (xs > m), best, j)

    return jax.lax.fori_loop(0, 8, cut, state)


class _Cells:
    """Enclosures of f, f', f'' over each cell."""

    def __init__(self, ar: Any, sign: float, points: Any, over: Any, at: Any) -> None:
        self.ar, self.points = ar, points
        self.value, self.first, self.second = (_flip(v, sign) for v in over)
        self.held, self.slopes = (_flip(v, sign) for v in at)

    def bound(self, slope: Any) -> tuple[Any, Any]:
        """A certified lower bound of f - s x over all cells, and the point that sets it."""
        ar, points = self.ar, self.points
        a, middle, b = points
        s = slope[None]
        left, centre, right = ar.sub(self.held, ar.mul((s[None], s[None]), (points, points)))[0]
        span = jnp.maximum(
            ar.sub((b, b), (middle, middle))[1],
            ar.sub((middle, middle), (a, a))[1],
        )
        span = jnp.maximum(span, 0)
        plain_bound = ar.sub(self.value, ar.mul((s, s), (a, b)))[0]

        def cone(tilt: Any) -> Any:
            steep = jnp.maximum(jnp.maximum(tilt[1], -tilt[0]), 0)
            drop = ar.mul((steep, steep), (span, span))[1]
            return ar.sub((centre, centre), (drop, drop))[0]

        square = ar.square((span, span))[1]
        # by slopes over the cell; by the tangent at its centre; by the chord of its ends
        by_slope = cone(ar.sub(self.first, (s, s)))
        tangent = cone(ar.sub((self.slopes[0][1], self.slopes[1][1]), (s, s)))
        sag = jnp.maximum(-self.second[0], 0)
        sag = ar.mul((sag, sag), (square / 2, square / 2))[1]
        by_tangent = ar.sub((tangent, tangent), (sag, sag))[0]
        ends = jnp.minimum(left, right)
        dip = jnp.maximum(self.second[1], 0)
        dip = ar.mul((dip, dip), (square / 2, square / 2))[1]
        by_chord = ar.sub((ends, ends), (dip, dip))[0]
        bounds = [plain_bound, by_slope, by_tangent, by_chord]
        cell = bounds[0]
        for other in bounds[1:]:
            cell = jnp.maximum(cell, jnp.where(jnp.isnan(other), -np.inf, other))
        k = jnp.argmin(cell, 0)[None]
        t = jnp.take_along_axis(cell, k, 0)[0]
        local = jnp.stack([left, centre, right])
        where = points
        k3 = jnp.broadcast_to(k[None], (3, *k.shape))
        values = jnp.take_along_axis(local, k3, 1)[:, 0]
        spots = jnp.take_along_axis(where, k3, 1)[:, 0]
        spot = jnp.take_along_axis(spots, jnp.argmin(values, 0)[None], 0)[0]
        return t, spot
