"""Planes under the rows of a property over many boxes at once, for dense layers.

Boxes go through the layers together as a linear form and a radius of error for each neuron
(parallel lines at each activation). Only the widest neurons on which an activation is still not
linear are bounded by backward CROWN. One layer's program serves all layers, in a loop: it compiles
fast, and the lines of a layer are computed once and not again in every row that passes them, which
is what XLA makes of the unrolled program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxact.bounds.relax_lines import Lines
from jaxact.decide.layers import Layers
from jaxact.decide.unit_lines import is_relu, parallel_lines, unit_lines
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.ranges import unit_range

_ROUNDING = 32
"""Units of rounding, of the largest pre-activation, by which intervals are widened."""

_GROUP = 4
"""Neurons of one box that are bounded together."""


@pytree()
class Planes:
    """Linear lower bounds of each row over each box: rows . f(x) >= slopes . x + constants.

    Attributes:
        slopes: shape (boxes, half-spaces, inputs).
        constants: shape (boxes, half-spaces).
        size: the sum of the sizes of what was added up, to allow for rounding by.
        score: what each input's width costs the planes, in the slopes and in the gaps of the lines
            that it opens, shape (boxes, inputs): an estimate, to split by.
        whole: whether the box got all the bounds it needs, shape (boxes,); the planes of the
            others hold too, but are loose.
    """

    slopes: Leaf
    constants: Leaf
    size: Leaf
    score: Leaf
    whole: Leaf


def planes(
    layers: Layers, lower: Array, upper: Array, real: Array, capacity: int
) -> Callable[[Array], Planes]:
    """Planes of rows over boxes: a function of the rows, (boxes, half-spaces, outputs).

    Args:
        layers: the network.
        lower: shape (boxes, inputs).
        upper: the same.
        real: which boxes matter, shape (boxes,); the others only fill the batch.
        capacity: places for backward CROWN, in neurons of a layer for each box, on average; a
            box that needs more takes those of the boxes behind it.

    Returns:
        rows -> `Planes`; what the rows share is computed once.

    Source: Zhang et al. 2018, theorem 3.2; Xu et al. 2020, section 3.1, for the forward part.
    """
    if not layers.fns:

        def exact(rows: Array) -> Planes:
            slopes, shift = _dot(rows, layers.matrices[0]), _dot(rows, layers.offsets[0])
            score = jnp.abs(slopes).sum(1) * (upper - lower)
            return Planes(slopes, shift, jnp.abs(shift), score, real)

        return exact
    work = _Batch(layers, lower, upper, real, capacity)
    table = work.table()
    return lambda rows: work.rows(rows, *table)


class _Batch:
    """Boxes, and the layers padded to one width; layer k's lines are row k of a table."""

    def __init__(
        self, layers: Layers, lower: Array, upper: Array, real: Array, capacity: int
    ) -> None:
        self.layers, self.real, self.capacity = layers, real, capacity
        self.lower, self.upper = lower, upper
        self.middle, self.half = (lower + upper) / 2, (upper - lower) / 2
        self.eps = float(jnp.finfo(lower.dtype).eps)
        self.count = len(layers.fns)
        self.width = width = max(layers.widths)

        def padded(matrix: Array, columns: int) -> Array:
            room = (0, width - len(matrix)), (0, columns - matrix.shape[1])
            return jnp.pad(matrix, room)

        self.first = padded(layers.matrices[0], lower.shape[1])
        inner = [padded(m, width) for m in layers.matrices[1:-1]]
        self.inner = jnp.stack([jnp.zeros((width, width), lower.dtype), *inner])
        self.offsets = jnp.stack([jnp.pad(b, (0, width - len(b))) for b in layers.offsets[:-1]])
        last = layers.matrices[-1]
        self.last = jnp.pad(last, ((0, 0), (0, width - last.shape[1])))
        # layers of one function without parameters share a branch of the program
        keys = [
            (f, k if t else -1)
            for k, (f, t) in enumerate(zip(layers.fns, layers.thetas, strict=True))
        ]
        unique = list(dict.fromkeys(keys))
        self.kinds = [(fn, layers.thetas[k] if k >= 0 else ()) for fn, k in unique]
        self.which = jnp.asarray(np.array([unique.index(key) for key in keys], np.int32))
        self.all_relu = all(not theta and is_relu(fn) for fn, theta in self.kinds)

    def table(self) -> tuple[Lines, Array, Array]:
        """Lines of every layer, their gaps by input, and which boxes got all they need.

        Lines have shape (layers, boxes, width).
        """
        boxes, inputs = self.lower.shape
        empty = jnp.zeros((self.count, boxes, self.width), self.lower.dtype)
        lines = Lines(empty, empty, empty, empty)
        form = jnp.zeros((self.width, boxes, inputs + 1), self.lower.dtype)
        error = ends = jnp.zeros((self.width, boxes), self.lower.dtype)

        def step(k: Any, state: Any) -> Any:
            lines, shares, form, error, ends, real = state
            low, high, form, error = lax.cond(
                k == 0, self._enter, self._forward, k, form, error, ends
            )
            low, high = self._outward(low, high)
            low, high, real = lax.cond(
                k == 0, lambda *a: a[2:], self._backward, k, lines, low, high, real
            )
            own, (s, t, d), ends = self._activate(k, low, high)
            shares = shares.at[k].set(self._shares(form, own, low, high))
            form = s[:, :, None] * form
            form = form.at[:, :, -1].add(t)
            lines = jax.tree.map(lambda column, new: column.at[k].set(new.T), lines, own)
            return lines, shares, form, jnp.abs(s) * error + d, ends, real

        shares = jnp.zeros((self.count, boxes, self.width, inputs), self.lower.dtype)
        state = lines, shares, form, error, (ends, ends), self.real
        lines, shares, _, _, _, real = lax.fori_loop(0, self.count, step, state)
        return lines, shares, real

    def _shares(self, form: Array, lines: Lines, low: Array, high: Array) -> Array:
        """How far apart the lines of a neuron are, split between the inputs that widen it."""
        slope = lines.upper_slope - lines.lower_slope
        gap = lines.upper_intercept - lines.lower_intercept
        gap = jnp.maximum(slope * low + gap, slope * high + gap)
        part = jnp.abs(form[:, :, :-1]) * self.half[None]
        total = part.sum(2)
        share = part * (gap / jnp.where(total > 0, total, 1))[:, :, None]
        return jnp.moveaxis(share, 0, 1)

    def _activate(self, k: Any, low: Array, high: Array) -> Any:
        def one(fn: Any, theta: Any) -> Any:
            def made(low: Array, high: Array) -> Any:
                parallel = parallel_lines(fn, theta, low, high)
                return unit_lines(fn, theta, low, high), parallel, unit_range(fn, low, high, theta)

            return made

        branches = [one(*kind) for kind in self.kinds]
        if len(branches) == 1:
            return branches[0](low, high)
        return lax.switch(self.which[k], branches, low, high)

    def _enter(self, k: Any, form: Array, error: Array, ends: Any) -> Any:
        """The first pre-activations: exact linear forms of the input."""
        boxes = len(self.lower)
        rows = jnp.broadcast_to(self.first[:, None], (self.width, boxes, self.first.shape[1]))
        offset = jnp.broadcast_to(self.offsets[0][:, None, None], (self.width, boxes, 1))
        form = jnp.concatenate([rows, offset], 2)
        centre = _dot(self.first, self.middle.T) + self.offsets[0][:, None]
        radius = _dot(jnp.abs(self.first), self.half.T)
        return centre - radius, centre + radius, form, error

    def _forward(self, k: Any, form: Array, error: Array, ends: Any) -> Any:
        """Push the forms through layer k; the better of them and of interval arithmetic."""
        matrix, offset = self.inner[k], self.offsets[k][:, None]
        middle = _dot(matrix, (ends[0] + ends[1]) / 2) + offset
        both = _dot(jnp.abs(matrix), jnp.concatenate([(ends[1] - ends[0]) / 2, error], 1))
        half, error = jnp.split(both, 2, axis=1)
        shape = form.shape
        form = _dot(matrix, form.reshape(self.width, -1)).reshape(shape)
        form = form.at[:, :, -1].add(offset)
        centre = (form[:, :, :-1] * self.middle[None]).sum(2) + form[:, :, -1]
        radius = (jnp.abs(form[:, :, :-1]) * self.half[None]).sum(2) + error
        low = jnp.maximum(middle - half, centre - radius)
        high = jnp.minimum(middle + half, centre + radius)
        return low, high, form, error

    def _outward(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Ends that crossed by rounding put right, and some units of rounding added."""
        room = _ROUNDING * self.eps * jnp.maximum(jnp.abs(low), jnp.abs(high))
        return jnp.minimum(low, high) - room, jnp.maximum(low, high) + room

    def _backward(self, k: Any, lines: Lines, low: Array, high: Array, real: Array) -> Any:
        """Backward CROWN of the neurons on which activation k may not be linear.

        In groups of one box's neurons, box after box until the places are full: a box that is
        bounded well may be done, and many that are bounded half are not. Which boxes got all
        that they need is told, and the others need nothing in later layers.
        """
        room = jnp.where(real[None], high - low, 0)
        if self.all_relu:
            room = jnp.where((low < 0) & (high > 0), room, 0)
        room = jnp.pad(room, ((0, -self.width % _GROUP), (0, 0)))
        widest, order = lax.top_k(room.T, len(room))
        boxes = len(self.lower)
        wanted = widest.reshape(boxes, -1, _GROUP)[:, :, 0] > 0
        count = max(min(self.capacity * boxes // _GROUP, wanted.size), 1)
        box, rank = jnp.nonzero(wanted, size=count, fill_value=0)
        box = box.astype(jnp.int32)
        real = real & (jnp.cumsum(wanted.sum(1)) <= count)
        neuron = order.reshape(boxes, -1, _GROUP)[box, rank].astype(jnp.int32)
        neuron = jnp.minimum(neuron, self.width - 1)
        rows = jnp.asarray(self.inner)[k][neuron]
        # gathered here, and not again in every row: a loop is what XLA does not look through
        own = lax.fori_loop(
            0, k, lambda j, own: jax.tree.map(lambda o, v: o.at[j].set(v[j][box]), own, lines),
            jax.tree.map(lambda v: jnp.zeros((self.count, count, self.width), v.dtype), lines),
        )  # fmt: skip
        slopes, shift, *_ = self._pull(jnp.concatenate([rows, -rows], 1), k - 1, own)
        middle, half = self.middle[box][:, None], self.half[box][:, None]
        below = (slopes * middle - jnp.abs(slopes) * half).sum(2) + shift
        offset = self.offsets[k][neuron]
        low = low.at[neuron, box[:, None]].max(below[:, :_GROUP] + offset)
        high = high.at[neuron, box[:, None]].min(offset - below[:, _GROUP:])
        return *self._outward(low, high), real

    def _pull(self, rows: Array, top: Any, lines: Lines, shares: Any = None) -> Any:
        """Rows over the values of activation `top`, (boxes, rows, width), as rows over the input.

        With their constants, the sum of the sizes of the constants' terms, and the gaps passed.
        """
        boxes, count, _ = rows.shape

        def through(k: Any, state: Any) -> Any:
            rows, constant, size, gaps = state
            if shares is not None:
                gaps = gaps + (jnp.abs(rows).sum(1)[:, :, None] * shares[k]).sum(1)
            own = jax.tree.map(lambda v: v[k][:, None], lines)
            positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
            shift = positive * own.lower_intercept + negative * own.upper_intercept
            rows = positive * own.lower_slope + negative * own.upper_slope
            flat = rows.reshape(boxes * count, -1)
            added = _dot(flat, self.offsets[k]).reshape(boxes, count), _sum(shift)
            size = size + jnp.abs(added[0]) + _sum(jnp.abs(shift))
            return rows, constant + added[0] + added[1], size, gaps

        def layer(i: Any, state: Any) -> Any:
            rows, *others = through(top - i, state)
            flat = _dot(rows.reshape(boxes * count, -1), self.inner[top - i])
            return flat.reshape(rows.shape), *others

        none = jnp.zeros((boxes, count), rows.dtype)
        gaps = jnp.zeros(self.lower.shape, rows.dtype)
        state = lax.fori_loop(0, top, layer, (rows, none, none, gaps))
        rows, constant, size, gaps = through(0, state)
        slopes = _dot(rows.reshape(boxes * count, -1), self.first)
        return slopes.reshape(boxes, count, -1), constant, size, gaps

    def rows(self, rows: Array, lines: Lines, shares: Array, whole: Array) -> Planes:
        """The planes of the property's rows."""
        boxes, half_spaces, _ = rows.shape
        flat = rows.reshape(boxes * half_spaces, -1)
        last = _dot(flat, self.last).reshape(boxes, half_spaces, -1)
        constant = _dot(flat, self.layers.offsets[-1]).reshape(boxes, half_spaces)
        slopes, shift, size, gaps = self._pull(last, self.count - 1, lines, shares)
        score = 2 * jnp.abs(slopes).sum(1) * self.half + gaps
        return Planes(slopes, constant + shift, size + jnp.abs(constant), score, whole)


def _dot(a: Any, b: Any) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _sum(terms: Array) -> Array:
    """Over the last axis, as a product: XLA's sums are not vectorised on CPUs."""
    return _dot(terms, jnp.ones(terms.shape[-1], terms.dtype))
