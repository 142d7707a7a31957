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


def cut(flat: Array, widths: tuple[int, ...]) -> tuple[Array, ...]:
    """The layers of (B, N)."""
    found, start = [], 0
    for width in widths:
        found.append(flat[:, start : start + width])
        start += width
    return tuple(found)


def families_of(layers: Layers, relu: tuple[bool, ...], boxes: Any) -> tuple[Any, ...]:
    """Lines of every activation over boxes of shapes (B, n)."""
    return tuple(
        lines_of(fn, theta, *box, relu=kind)
        for fn, theta, kind, box in zip(layers.fns, layers.thetas, relu, boxes, strict=True)
    )


@functools.partial(jax.jit, static_argnames=("relu", "layer"))
def neuron_bounds(
    layers: Layers,
    lower: Array,
    upper: Array,
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
        lower, upper: boxes of the activations of these layers, side by side, shape (R, N).
        question: its `rows` are not looked at where the layers end at `layer`.
        which: the neurons, shape (R,).
        sign: 1 or -1, shape (R,).
        rates: of the ascent.
        relu: which activations are relu.
        layer: whose neurons.

    Returns:
        The bounds and their rounding's scale, shape (R,).
    """
    boxes = tuple(zip(cut(lower, layers.widths), cut(upper, layers.widths), strict=True))
    families = families_of(layers, relu, boxes)
    width, dtype = layers.matrices[layer].shape[0], sign.dtype
    one_hot = sign[:, None] * (jnp.arange(width)[None] == which[:, None]).astype(dtype)
    count, through = which.shape[0], len(relu) > layer
    extra = [None] * (len(relu) + 1)
    if through:
        extra[layer] = one_hot
        rows, thresholds = question.rows, question.thresholds
        weights = jnp.zeros_like(thresholds)
    else:
        rows, thresholds = one_hot[:, None], jnp.zeros((count, 1), dtype)
        weights = jnp.ones((count, 1), dtype)
    question = Question(question.middle, question.half, rows, thresholds, tuple(extra))
    starts = tuple(f.start() for f in families)
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
    """Boxes of the pre-activations of many subdomains, tightened; float32, on the host.

    Args:
        layers: the network.
        relu: which activations are relu.
        block: rows bounded at once.
        allowance: for rounding, relative to the sum of a bound's absolute terms.
    """

    def __init__(
        self, layers: Layers, relu: tuple[bool, ...], block: int, allowance: float
    ) -> None:
        self.layers, self.relu, self.block, self.allowance = layers, relu, block, allowance
        self.starts = np.cumsum([0, *layers.widths])

    def boxes(self, middle: np.ndarray, half: np.ndarray, steps: int) -> tuple[Any, Any]:
        """From the input on, of D input boxes: lower and upper, shape (D, N)."""
        count = len(middle)
        lower = np.full((count, self.starts[-1]), -np.inf, np.float32)
        upper = -lower
        nothing = np.zeros((count, 1, 1), np.float32), np.zeros((count, 1), np.float32)
        for k in range(len(self.relu)):
            part = first_layers(self.layers, k)
            question = Question(middle, half, *nothing)
            for wanted in (1, steps) if k else (1,):
                self._tighten(part, lower, upper, question, k, wanted)
        return lower, upper

    def refine(self, lower: np.ndarray, upper: np.ndarray, question: Question, steps: int) -> None:
        """Tighten, in place, to the inputs for which the question's half-spaces hold."""
        for k in range(len(self.relu)):
            self._tighten(self.layers, lower, upper, question, k, steps)

    def open(self, lower: np.ndarray, upper: np.ndarray, k: int) -> np.ndarray:
        """The neurons of layer k, (D, n), for which a tighter box can matter."""
        part = slice(self.starts[k], self.starts[k + 1])
        low, high = lower[:, part], upper[:, part]
        return (low < 0) & (high > 0) if self.relu[k] else high > low

    def _tighten(
        self, layers: Layers, lower: np.ndarray, upper: np.ndarray, question: Question, k: int,
        steps: int,
    ) -> None:  # fmt: skip
        owner, neuron = np.nonzero(self.open(lower, upper, k))
        owner, neuron = np.concatenate([owner, owner]), np.concatenate([neuron, neuron])
        sign = np.repeat(np.float32([1, -1]), len(owner) // 2)
        rates = Rates(np.int32(steps), *np.float32([0.3, 0.3, 1.0, 0.95]))
        relu = self.relu[: len(layers.fns)]
        known = self.starts[len(relu)]
        for start in range(0, len(owner), self.block):
            rows = np.arange(start, min(start + self.block, len(owner)))
            padded = np.resize(rows, self.block)
            mine = owner[padded]
            asked = Question(*(v[mine] for v in (question.middle, question.half, question.rows,
                                                 question.thresholds)))  # fmt: skip
            bound, size = neuron_bounds(
                layers, lower[mine, :known], upper[mine, :known], asked,
                neuron[padded].astype(np.int32), sign[padded], rates, relu=relu, layer=k,
            )  # fmt: skip
            low = (np.asarray(bound) - self.allowance * np.asarray(size))[: len(rows)]
            below, above = rows[sign[rows] > 0], rows[sign[rows] < 0]
            where = owner, self.starts[k] + neuron
            np.maximum.at(lower, (where[0][below], where[1][below]), low[below - start])
            np.minimum.at(upper, (where[0][above], where[1][above]), -low[above - start])
