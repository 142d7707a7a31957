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
from jaxact.decide.neuron_lines import families_of, host_lines


def cut(flat: Any, widths: tuple[int, ...]) -> tuple[Any, ...]:
    """The layers of (B, N)."""
    found, start = [], 0
    for width in widths:
        found.append(flat[:, start : start + width])
        start += width
    return tuple(found)


@functools.partial(jax.jit, static_argnames=("relu",))
def neuron_bounds(
    layers: Layers,
    lower: Array,
    upper: Array,
    known: Any,
    owner: Array,
    question: Question,
    which: Array,
    sign: Array,
    rates: Rates,
    *,
    relu: tuple[bool, ...],
) -> tuple[Array, Array]:
    """Lower bounds of sign * z of single neurons, over the inputs that the question asks for.

    Args:
        layers: the network.
        lower: ends of its activations' boxes, side by side, shape (R, N); finite.
        upper: the same.
        known: lines of D subdomains, as of `host_lines`.
        owner: each row's subdomain, shape (R,).
        question: the half-spaces to use, shape (R, H, outputs); zero for none.
        which: the neurons, among all, shape (R,).
        sign: 1 or -1, shape (R,).
        rates: of the ascent.
        relu: which activations are relu.

    Returns:
        The bounds and their rounding's scale, shape (R,).
    """
    widths, dtype = layers.widths, sign.dtype
    boxes = tuple(zip(cut(lower, widths), cut(upper, widths), strict=True))
    mine = jax.tree.map(lambda v: v[:, owner], known)
    families = families_of(mine, boxes)
    every = jnp.arange(sum(widths), dtype=which.dtype)[None]
    one_hot = cut(jnp.where(every == which[:, None], sign[:, None], 0), widths)
    question = Question(
        question.middle, question.half, question.rows, question.thresholds, (*one_hot, None)
    )
    mu = tuple(jnp.zeros_like(b[0]) for b in boxes)
    weights = jnp.zeros_like(question.thresholds)
    free = Multipliers(tuple(f.start() for f in families), mu, weights)

    def done(best: Array) -> Array:
        return best > 0 if all(relu) else jnp.zeros_like(best, bool)

    found = climb(layers, families, boxes, question, free, rates, done, simplex=False)
    lines = tuple(f.at(p) for f, p in zip(families, found.free.places, strict=True))
    last = pull_back(layers, lines, boxes, question, found.free)
    return last.bound.astype(dtype), last.size


class Root:
    """Boxes of the pre-activations of many subdomains, tightened; float32, on the host.

    Args:
        layers: the network.
        relu: which activations are relu.
        block: rows bounded at once.
        allowance: for rounding, relative to the sum of a bound's absolute terms.
        half_spaces: of a question, H.
        group: subdomains tightened at once, at most.
    """

    def __init__(
        self, layers: Layers, relu: tuple[bool, ...], block: int, allowance: float,
        half_spaces: int, group: int,
    ) -> None:  # fmt: skip
        self.half_spaces, self.group = half_spaces, group
        self.layers, self.relu, self.block, self.allowance = layers, relu, block, allowance
        self.starts = np.cumsum([0, *layers.widths])

    def boxes(self, middle: np.ndarray, half: np.ndarray, steps: int) -> tuple[Any, Any]:
        """From the input on, of D input boxes: lower and upper, shape (D, N)."""
        count = len(middle)
        lower = np.zeros((count, self.starts[-1]), np.float32)
        upper = np.zeros_like(lower)
        shape = count, self.half_spaces
        nothing = np.zeros((*shape, self.layers.matrices[-1].shape[0]), np.float32)
        question = Question(middle, half, nothing, np.zeros(shape, np.float32))
        for k in range(len(self.relu)):
            part = slice(self.starts[k], self.starts[k + 1])
            ends = self._first(lower, upper, question, k)
            lower[:, part], upper[:, part] = ends
            if k:
                self._tighten(lower, upper, question, k, steps, known=k)
        return lower, upper

    def refine(self, lower: np.ndarray, upper: np.ndarray, question: Question, steps: int) -> None:
        """Tighten, in place, to the inputs for which the question's half-spaces hold."""
        for k in range(len(self.relu)):
            self._tighten(lower, upper, question, k, steps)

    def open(self, lower: np.ndarray, upper: np.ndarray, k: int) -> np.ndarray:
        """The neurons of layer k, (D, n), for which a tighter box can matter."""
        part = slice(self.starts[k], self.starts[k + 1])
        low, high = lower[:, part], upper[:, part]
        return (low < 0) & (high > 0) if self.relu[k] else high > low

    def _first(self, lower: Any, upper: Any, question: Question, k: int) -> tuple[Any, Any]:
        """Bounds of all neurons of a layer at the lines to start from."""
        count, width = len(lower), self.starts[k + 1] - self.starts[k]
        owner, neuron = (v.reshape(-1) for v in np.indices((count, width)))
        low, high = self._bounds(lower, upper, question, k, owner, neuron, 1, k)
        return low.reshape(count, width), high.reshape(count, width)

    def _tighten(
        self, lower: Any, upper: Any, question: Question, k: int, steps: int, *,
        known: int | None = None,
    ) -> None:  # fmt: skip
        owner, neuron = np.nonzero(self.open(lower, upper, k))
        low, high = self._bounds(lower, upper, question, k, owner, neuron, steps, known)
        where = owner, self.starts[k] + neuron
        lower[where] = np.maximum(lower[where], low)
        upper[where] = np.minimum(upper[where], high)

    def _lines(self, lower: Any, upper: Any) -> Any:
        """Of all layers, for as many subdomains as `group`: equal shapes compile once."""
        more = max(self.group, len(lower)) - len(lower)
        low, high = (np.pad(v, ((0, more), (0, 0)), mode="edge") for v in (lower, upper))
        widths = self.layers.widths
        boxes = zip(cut(low, widths), cut(high, widths), strict=True)
        return host_lines(self.layers, self.relu, boxes)

    def _bounds(
        self, lower: Any, upper: Any, question: Question, k: int, owner: np.ndarray,
        neuron: np.ndarray, steps: int, known: int | None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Lower and upper bounds of pairs (subdomain, neuron of layer k).

        `known`: how many layers have boxes; the others have no multipliers.
        """
        count = len(owner)
        owner, neuron = np.concatenate([owner, owner]), np.concatenate([neuron, neuron])
        sign = np.repeat(np.array([1, -1], np.float32), count)
        on_mu = 0.3 * (np.arange(len(self.relu)) < (len(self.relu) if known is None else known))
        rates = Rates(np.int32(steps), np.float32(0.3), on_mu.astype(np.float32),
                      np.float32(1.0), np.float32(0.95))  # fmt: skip
        lines = self._lines(lower, upper)
        found = np.zeros(2 * count, np.float32)
        for start in range(0, 2 * count, self.block):
            rows = np.arange(start, min(start + self.block, 2 * count))
            padded = np.resize(rows, self.block)
            mine = owner[padded]
            asked = (question.middle, question.half, question.rows, question.thresholds)
            bound, size = neuron_bounds(
                self.layers, lower[mine], upper[mine], lines, mine.astype(np.int32),
                Question(*(v[mine] for v in asked)),
                (self.starts[k] + neuron[padded]).astype(np.int32), sign[padded], rates,
                relu=self.relu,
            )  # fmt: skip
            found[rows] = (np.asarray(bound) - self.allowance * np.asarray(size))[: len(rows)]
        return found[:count], -found[count:]
