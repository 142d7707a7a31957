"""Boxes of the pre-activations at the root, each neuron's bounds maximised over slopes of its own.

With a piece's half-spaces added (w >= 0 of rows z_m <= thresholds), the boxes hold for the inputs
that are unsafe, which is what branch and bound looks for (INVPROP).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.decide.layers import Layers
from jaxact.decide.neuron_climb import Rates, climb
from jaxact.decide.neuron_dual import Multipliers, Question, pull_back
from jaxact.decide.neuron_lines import cut, cut_places, families_of, host_lines, join_places, places
from jaxact.decide.neuron_memory import Memory
from jaxact.decide.neuron_sound import Certifier
from jaxact.tracing.ranges import down


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
    start: Any,
    rates: Rates,
    *,
    relu: tuple[bool, ...],
) -> tuple[Array, Array, tuple[Array, Array, Array]]:
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
        start: places (R, M), multipliers (R, N) and weights (R, H) to start from; rows whose
            first place is negative start at the lines' own.
        rates: of the ascent.
        relu: which activations are relu.

    Returns:
        The bounds, their rounding's scale, shape (R,), and where they were found, as `start`.
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
    at, mu, weights = (v.astype(dtype) for v in start)
    new = at[:, 0] < 0
    own = tuple(
        jnp.where(new[None, :, None], f.start(), p)
        for f, p in zip(families, cut_places(at, widths, relu), strict=True)
    )
    free = Multipliers(own, cut(mu, widths), weights)

    def done(best: Array) -> Array:
        return best > 0 if all(relu) else jnp.zeros_like(best, bool)

    found = climb(layers, families, boxes, question, free, rates, done, simplex=False)
    lines = tuple(f.at(p) for f, p in zip(families, found.free.places, strict=True))
    last = pull_back(layers, lines, boxes, question, found.free)
    kept = (
        join_places(found.free.places), jnp.clip(jnp.concatenate(found.free.mu, axis=1), -6e4, 6e4),
        found.free.weights,
    )  # fmt: skip
    at, mu, weights = (v.astype(s.dtype) for v, s in zip(kept, start, strict=True))
    return last.bound.astype(dtype), last.size, (at, mu, weights)


class Root:
    """Boxes of the pre-activations of many subdomains, tightened; float32, on the host.

    Args:
        layers: the network.
        relu: which activations are relu.
        block: rows bounded at once.
        allowance: for rounding, relative to the sum of a bound's absolute terms.
        half_spaces: of a question, H.
        group: subdomains tightened at once, at most.
        memory: bytes for what the next ascents start from.
        certifier: what makes the boxes hold in real arithmetic, or None.
    """

    def __init__(
        self, layers: Layers, relu: tuple[bool, ...], block: int, allowance: float,
        half_spaces: int, group: int, memory: int, certifier: Certifier | None = None,
    ) -> None:  # fmt: skip
        self.half_spaces, self.group, self.certifier = half_spaces, group, certifier
        self.layers, self.relu, self.block, self.allowance = layers, relu, block, allowance
        self.starts = np.cumsum([0, *layers.widths])
        numbers = sum(places(r) * n for r, n in zip(relu, layers.widths, strict=True))
        self.memory = Memory(int(self.starts[-1]), numbers, half_spaces, memory)

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

    def refine(
        self, lower: np.ndarray, upper: np.ndarray, question: Question, piece: np.ndarray,
        steps: int,
    ) -> None:  # fmt: skip
        """Tighten, in place, to the inputs for which the half-spaces of each row's piece hold."""
        for k in range(len(self.relu)):
            self._tighten(lower, upper, question, k, steps, piece=piece)

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
        known: int | None = None, piece: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        owner, neuron = np.nonzero(self.open(lower, upper, k))
        if not len(owner):
            return
        low, high = self._bounds(lower, upper, question, k, owner, neuron, steps, known, piece)
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
        neuron: np.ndarray, steps: int, known: int | None, piece: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Lower and upper bounds of pairs (subdomain, neuron of layer k).

        `known`: how many layers have boxes; the others have no multipliers.
        `piece`: of each subdomain: its memory is used.
        """
        count = len(owner)
        owner, neuron = np.concatenate([owner, owner]), np.concatenate([neuron, neuron])
        side = np.repeat(np.array([0, 1]), count)
        sign = (1 - 2 * side).astype(np.float32)
        rate, on_weights = (0.3, 1.0) if piece is None else (0.2, 0.3)
        on_mu = rate * (np.arange(len(self.relu)) < (len(self.relu) if known is None else known))
        rates = Rates(np.int32(steps), np.float32(rate), on_mu.astype(np.float32),
                      np.float32(on_weights), np.float32(0.95))  # fmt: skip
        lines = self._lines(lower, upper)
        found = np.zeros(2 * count, np.float32)
        for start in range(0, 2 * count, self.block):
            rows = np.arange(start, min(start + self.block, 2 * count))
            padded = np.resize(rows, self.block)
            mine = owner[padded]
            asked = (question.middle, question.half, question.rows, question.thresholds)
            which = self.starts[k] + neuron[padded]
            about = (mine * 0 - 1 if piece is None else piece[mine]), side[padded], which
            asked = Question(*(v[mine] for v in asked))
            bound, size, at = neuron_bounds(
                self.layers, lower[mine], upper[mine], lines, mine.astype(np.int32), asked,
                which.astype(np.int32), sign[padded], self.memory.recall(*about), rates,
                relu=self.relu,
            )  # fmt: skip
            ends = np.asarray(bound) - self.allowance * np.asarray(size)
            if self.certifier is not None:
                own = jax.tree.map(lambda v, mine=mine: v[:, mine], lines)
                ends = self._certain(lower[mine], upper[mine], own, asked, which, sign[padded], at)
            found[rows] = ends[: len(rows)]
            if piece is not None:
                self.memory.keep(*about, [np.asarray(v) for v in at])
        return found[:count], -found[count:]

    def _certain(
        self, lower: Any, upper: Any, lines: Any, question: Question, which: Any, sign: Any,
        at: tuple[Any, Any, Any],
    ) -> np.ndarray:  # fmt: skip
        """The bounds of single neurons at these multipliers in real arithmetic, rounded down."""
        one_hot = np.zeros((self.block, self.starts[-1]), np.float32)
        one_hot[np.arange(self.block), which] = sign
        rows = (*cut(one_hot, self.layers.widths), None)
        question = dataclasses.replace(question, extra=rows)
        assert self.certifier is not None
        return down(self.certifier(lower, upper, lines, question, *at), "float32")
