"""Lines of a layer's activations over the sub-intervals of many subdomains, by place in a family.

A convex combination of certified lines is a certified line, so inside the optimisation a line is
moved within a family of certified ones by a number in [0, 1], which costs no certificate.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.bounds.relax_slopes import lines_with_slopes, slope_ranges
from jaxact.numerics.pytrees import Leaf, pytree

_CHUNK = 512
"""Intervals whose lines are made at once."""

_CHORD = 1 + 2.0**-20
"""On the intercept of a chord: covers the rounding of its slope, of the ends and of itself."""


@pytree()
class ReluLines:
    """Relu: below any slope in [0, 1] through 0, above the chord; exact where it is linear.

    Attributes:
        least: the slope at place 0: 1 where active, else 0; shape (B or 1, n).
        free: whether there is a choice: the slope at place 1 less that at place 0.
        slope: of the upper line.
        shift: its intercept.
    """

    least: Leaf
    free: Leaf
    slope: Leaf
    shift: Leaf

    def at(self, place: Array) -> tuple[Array, Any, Array, Array]:
        """Slope and intercept below, slope and intercept above; `place` (1, B, n) in [0, 1]."""
        low = self.least + place[0] * self.free
        return low, jnp.zeros_like(self.shift), self.slope, self.shift

    def pull(self, place: Array, positive: Array, negative: Array, z: Array) -> Array:
        """The derivative of positive . lower(z) + negative . upper(z) by the place."""
        del place, negative
        return (positive * self.free * z)[None]

    def sizes(self) -> tuple[Array, Array]:
        """Upper bounds of the sizes of the slopes and of the intercepts."""
        return jnp.ones_like(self.slope), jnp.abs(self.shift)

    def start(self) -> Array:
        """The place of the adaptive line: slope 1 where the interval leans to the right."""
        return jnp.where(self.slope > 0.5, self.free, 0)[None]


@pytree()
class KnotLines:
    """Any activation: three lines below and three above, and what lies between neighbours.

    Attributes:
        low_slope, low_shift, high_slope, high_shift: shape (3, B or 1, n).
    """

    low_slope: Leaf
    low_shift: Leaf
    high_slope: Leaf
    high_shift: Leaf

    def at(self, place: Array) -> tuple[Array, Array, Array, Array]:
        """As of `ReluLines`; `place` (2, B, n): of the lower line and of the upper."""
        low, high = _weights(place[0]), _weights(place[1])
        return (
            _mixed(low, self.low_slope), _mixed(low, self.low_shift),
            _mixed(high, self.high_slope), _mixed(high, self.high_shift),
        )  # fmt: skip

    def pull(self, place: Array, positive: Array, negative: Array, z: Array) -> Array:
        """As of `ReluLines`."""
        low = _rise(place[0], self.low_slope) * z + _rise(place[0], self.low_shift)
        high = _rise(place[1], self.high_slope) * z + _rise(place[1], self.high_shift)
        return jnp.stack([positive * low, negative * high])

    def sizes(self) -> tuple[Array, Array]:
        """As of `ReluLines`, and of what is mixed."""
        slopes = jnp.maximum(jnp.abs(self.low_slope), jnp.abs(self.high_slope))
        shifts = jnp.maximum(jnp.abs(self.low_shift), jnp.abs(self.high_shift))
        return slopes.max(0), shifts.max(0)

    def start(self) -> Array:
        """The middle lines."""
        return jnp.full((2, *self.low_slope.shape[1:]), 0.5, self.low_slope.dtype)


def _weights(place: Array) -> tuple[Array, Array, Array]:
    first, last = jnp.maximum(1 - 2 * place, 0), jnp.maximum(2 * place - 1, 0)
    return first, 1 - first - last, last


def _mixed(weights: tuple[Array, Array, Array], knots: Any) -> Array:
    return weights[0] * knots[0] + weights[1] * knots[1] + weights[2] * knots[2]


def _rise(place: Array, knots: Any) -> Array:
    return 2 * jnp.where(place < 0.5, knots[1] - knots[0], knots[2] - knots[1])


def places(relu: bool) -> int:  # noqa: FBT001
    """How many numbers an activation's two lines have."""
    return 1 if relu else 2


def cut(flat: Any, widths: tuple[int, ...]) -> tuple[Any, ...]:
    """The layers of (B, N)."""
    found, start = [], 0
    for width in widths:
        found.append(flat[:, start : start + width])
        start += width
    return tuple(found)


def cut_places(flat: Array, widths: tuple[int, ...], relu: tuple[bool, ...]) -> tuple[Array, ...]:
    """Places (1 or 2, B, n) of the layers from (B, M)."""
    sizes = tuple(places(kind) * n for kind, n in zip(relu, widths, strict=True))
    parts = zip(cut(flat, sizes), relu, widths, strict=True)
    return tuple(jnp.moveaxis(p.reshape(-1, places(r), n), 1, 0) for p, r, n in parts)


def join_places(parts: tuple[Array, ...]) -> Array:
    """(B, M) from the layers' places."""
    return jnp.concatenate([jnp.moveaxis(p, 0, 1).reshape(p.shape[1], -1) for p in parts], axis=1)


def relu_lines(lower: Array, upper: Array) -> ReluLines:
    """Of relu; where the interval is on one side of 0 both lines are relu itself."""
    active, free = lower >= 0, (lower < 0) & (upper > 0)
    width = jnp.where(free, upper - lower, 1)
    slope = jnp.where(free, upper / width, active.astype(lower.dtype))
    # above relu at both ends, hence between them
    shift = jnp.maximum(-slope * lower, upper - slope * upper) * _CHORD
    shift = jnp.where(free, shift + 2.0**-20 * upper * 2.0**-3, 0)
    return ReluLines(active.astype(lower.dtype), free.astype(lower.dtype), slope, shift)


def rough_lines(fn: Any, theta: Any, lower: Array, upper: Array) -> tuple[Array, ...]:
    """Lines of the chord's slope that hold at some points: to choose by, not to certify with."""
    width = jnp.maximum(upper - lower, 1e-6)
    x = lower[None] + width[None] * jnp.linspace(0, 1, 9, dtype=lower.dtype)[:, None]
    y = fn(x, *theta)
    slope = (y[-1] - y[0]) / width
    rest = y - slope[None] * x
    return slope, rest.min(0), slope, rest.max(0)


@functools.partial(jax.jit, static_argnames="fn")
def _knots(lower: Array, upper: Array, theta: Any, *, fn: Any) -> KnotLines:
    """Three slopes a side: the ends of what can be best, and between them."""
    below, above = slope_ranges(fn, lower, upper, theta)

    def three(ends: tuple[Any, Any]) -> Array:
        return jnp.stack([ends[0], ends[0] + (ends[1] - ends[0]) / 2, ends[1]])

    lines = lines_with_slopes(fn, lower, upper, three(below), three(above), theta)
    return KnotLines(
        lines.lower_slope, lines.lower_intercept, lines.upper_slope, lines.upper_intercept
    )


def knot_lines(fn: Any, theta: Any, lower: np.ndarray, upper: np.ndarray) -> KnotLines:
    """The family over intervals (B, n), on the host: in chunks, so that it compiles once."""
    ends = (np.asarray(v).reshape(-1) for v in (lower, upper))
    low, high = ends
    found = []
    for start in range(0, low.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        count = low[part].size
        padded = (np.pad(v[part], (0, _CHUNK - count), mode="edge") for v in (low, high))
        lines = _knots(*padded, theta, fn=fn)
        found.append(jax.tree.map(lambda v, n=count: np.asarray(v)[:, :n], lines))
    whole = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *found)
    return jax.tree.map(lambda v: v.reshape(3, *lower.shape), whole)


def host_lines(layers: Any, relu: tuple[bool, ...], boxes: Any) -> tuple[KnotLines | None, ...]:
    """What `families_of` cannot make inside a kernel without a long compilation: None for relu."""
    boxes = list(boxes)
    found: list[KnotLines | None] = [None] * len(relu)
    groups: dict[Any, list[int]] = {}
    for k, (fn, theta) in enumerate(zip(layers.fns, layers.thetas, strict=True)):
        if not relu[k]:
            groups.setdefault((fn, k if theta else -1), []).append(k)
    for group in groups.values():
        ends = (np.concatenate([boxes[k][side] for k in group], axis=1) for side in (0, 1))
        lines = knot_lines(layers.fns[group[0]], layers.thetas[group[0]], *ends)
        cuts = np.cumsum([boxes[k][0].shape[1] for k in group])[:-1]
        parts = [np.split(v, cuts, axis=2) for v in jax.tree.leaves(lines)]
        for k, part in zip(group, zip(*parts, strict=True), strict=True):
            found[k] = KnotLines(*part)
    return tuple(found)


def families_of(known: tuple[KnotLines | None, ...], boxes: Any) -> tuple[Any, ...]:
    """Lines of every activation over boxes of shapes (B, n): those known, and those of relu."""
    return tuple(
        relu_lines(*box) if lines is None else lines
        for lines, box in zip(known, boxes, strict=True)
    )
