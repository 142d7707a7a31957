"""Boxes of the pre-activations at the root, each neuron's bounds maximised over slopes of its own.

With a piece's half-spaces added (w >= 0 of rows z_m <= thresholds), the boxes hold for the inputs
that are unsafe, which is what branch and bound looks for (INVPROP).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.decide.layers import Layers
from jaxact.decide.neuron_climb import Rates, climb
from jaxact.decide.neuron_dual import Multipliers, Question, pull_back
from jaxact.decide.neuron_lines import lines_of


def first_layers(layers: Layers, count: int) -> Layers:
    """With so many activations."""
    return Layers(
        tuple(layers.matrices[: count + 1]), tuple(layers.offsets[: count + 1]),
        tuple(layers.thetas[:count]), layers.fns[:count],
    )  # fmt: skip


def families_of(layers: Layers, relu: tuple[bool, ...], boxes: Any) -> tuple[Any, ...]:
    """Lines of every activation over boxes of shapes (B, n)."""
    return tuple(
        lines_of(fn, theta, *box, relu=kind)
        for fn, theta, kind, box in zip(layers.fns, layers.thetas, relu, boxes, strict=True)
    )


@functools.partial(jax.jit, static_argnames=("relu", "layer"))
def neuron_bounds(
    layers: Layers,
    boxes: Any,
    question: Question,
    which: Array,
    sign: Array,
    rates: Rates,
    *,
    relu: tuple[bool, ...],
    layer: int,
) -> tuple[Array, Array]:
    """Lower bounds of sign * z of single neurons of a layer.

    Args:
        layers: up to that layer, or all where the question has half-spaces to use.
        boxes: (lower, upper) of the activations before, shapes (1, n).
        question: its `rows` are not looked at where the layers end at `layer`.
        which: the neurons, shape (R,).
        sign: 1 or -1, shape (R,).
        rates: of the ascent.
        relu: which activations are relu.
        layer: whose neurons.

    Returns:
        The bounds and their rounding's scale, shape (R,).
    """
    families = families_of(layers, relu, boxes)
    width, dtype = layers.matrices[layer].shape[0], sign.dtype
    one_hot = sign[:, None] * (jnp.arange(width)[None] == which[:, None]).astype(dtype)
    count, through = which.shape[0], len(relu) > layer
    extra = [None] * (len(relu) + 1)
    if through:
        extra[layer] = one_hot
        rows = jnp.broadcast_to(question.rows, (count, *question.rows.shape[1:]))
        thresholds = jnp.broadcast_to(question.thresholds, rows.shape[:2])
        weights = jnp.zeros(rows.shape[:2], dtype)
    else:
        rows, thresholds = one_hot[:, None], jnp.zeros((count, 1), dtype)
        weights = jnp.ones((count, 1), dtype)
    question = Question(question.middle, question.half, rows, thresholds, tuple(extra))
    starts = tuple(jnp.repeat(f.start(), count, axis=1) for f in families)
    mu = tuple(jnp.zeros((count, b[0].shape[1]), dtype) for b in boxes)
    free = Multipliers(starts, mu, weights)

    found = climb(
        layers, families, boxes, question, free, rates,
        lambda best: jnp.zeros_like(best, bool) if not all(relu) else best > 0, simplex=not through,
    )  # fmt: skip
    lines = tuple(f.at(p) for f, p in zip(families, found.free.places, strict=True))
    last = pull_back(layers, lines, boxes, question, found.free)
    return last.bound, last.size


class Root:
    """The boxes of every activation's pre-activations, tightened in place; float32, on the host."""

    def __init__(self, layers: Layers, relu: tuple[bool, ...], block: int) -> None:
        self.layers, self.relu, self.block = layers, relu, block

    def boxes(
        self, middle: np.ndarray, half: np.ndarray, steps: int, allowance: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """From the input on; (1, n) each."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for k in range(len(self.relu)):
            part = first_layers(self.layers, k)
            question = Question(middle, half, np.zeros((1, 1, 1), np.float32),
                                np.zeros((1, 1), np.float32))  # fmt: skip
            n = self.layers.matrices[k].shape[0]
            wide = np.full((1, n), np.float32(np.inf))
            ends = -wide, wide
            everything = np.arange(n)
            ends = self._tighten(part, found, question, k, ends, everything, 1 if k else 1,
                                 allowance)  # fmt: skip
            if k and steps > 1:
                unstable = self.open(k, ends)
                ends = self._tighten(part, found, question, k, ends, unstable, steps, allowance)
            found.append(ends)
        return found

    def open(self, k: int, ends: Any) -> np.ndarray:
        """The neurons for which a tighter box can matter."""
        lower, upper = ends[0][0], ends[1][0]
        if self.relu[k]:
            return np.flatnonzero((lower < 0) & (upper > 0))
        return np.flatnonzero(upper - lower > 0)

    def refined(
        self, boxes: Any, question: Question, steps: int, allowance: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The boxes of the inputs for which the question's half-spaces hold."""
        boxes = list(boxes)
        for k in range(len(boxes)):
            unstable = self.open(k, boxes[k])
            boxes[k] = self._tighten(
                self.layers, boxes, question, k, boxes[k], unstable, steps, allowance
            )
        return boxes

    def _tighten(
        self, layers: Layers, boxes: Any, question: Question, k: int, ends: Any,
        neurons: np.ndarray, steps: int, allowance: float,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        lower, upper = ends[0].copy(), ends[1].copy()
        which = np.concatenate([neurons, neurons])
        sign = np.repeat(np.float32([1, -1]), len(neurons))
        rates = Rates(np.int32(steps), *np.float32([0.3, 0.3, 1.0, 0.95]))
        relu = self.relu[: len(layers.fns)]
        for start in range(0, len(which), self.block):
            part = slice(start, start + self.block)
            rows, signs = which[part].astype(np.int32), sign[part]
            fill = self.block - len(rows)
            bound, size = neuron_bounds(
                layers, tuple(boxes), question, np.pad(rows, (0, fill)),
                np.pad(signs, (0, fill), constant_values=1), rates, relu=relu, layer=k,
            )  # fmt: skip
            low = (np.asarray(bound) - allowance * np.asarray(size))[: len(rows)]
            below, above = signs > 0, signs < 0
            np.maximum.at(lower[0], rows[below], low[below])
            np.minimum.at(upper[0], rows[above], -low[above])
        return lower, upper
