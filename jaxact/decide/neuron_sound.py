"""Dual bounds that hold in real arithmetic: once more in float64, less what rounding may add.

Any multipliers give a lower bound, so the ascent may round as it likes: only the last pass back
must be right. Written with the coefficients that it computed, every product, sum and mixed line
of it leaves a residual of at most gamma times the sum of the sizes of its terms, which multiplies
activations or pre-activations whose sizes the boxes bound.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.decide.layers import Layers
from jaxact.decide.neuron_dual import Multipliers, Question, product, pull_back, total
from jaxact.decide.neuron_lines import cut, cut_places, families_of
from jaxact.tracing.ranges import unit_range
from jaxact.tracing.rounding import gamma

_UNDERFLOW = 1e-280
"""More than products of float64 that underflow can make of any sizes that float32 has."""


class Certifier:
    """Certified bounds for a network; arrays of float32 come in, float64 goes out.

    Args:
        layers: the network, float32; its function is that of these very numbers.
        relu: which activations are relu.
    """

    def __init__(self, layers: Layers, relu: tuple[bool, ...]) -> None:
        self.relu, self.layers = relu, layers
        with jax.enable_x64(True):
            self.wide = jax.tree.map(lambda v: jnp.asarray(np.asarray(v), jnp.float64), layers)

    def __call__(
        self, lower: np.ndarray, upper: np.ndarray, known: Any, question: Question,
        places: np.ndarray, mu: np.ndarray, weights: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Lower bounds of B rows in real arithmetic.

        Args:
            lower: ends of the activations' boxes, side by side, shape (B, N).
            upper: the same.
            known: lines of the rows, as of `host_lines`.
            question: the rows.
            places: (B, M), multipliers (B, N) and weights (B, H): any finite ones.
            mu: see `places`.
            weights: see `places`.

        Returns:
            Shape (B,), float64; -inf where something is not finite.
        """
        widths = self.layers.widths
        boxes = zip(cut(lower, widths), cut(upper, widths), strict=True)
        reach = _reaches(self.layers, tuple(boxes), relu=self.relu)
        arguments = (lower, upper, known, question, places, mu, weights, reach)
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda v: np.asarray(v, np.float64), arguments)
            return np.asarray(_certified(self.wide, *wide, relu=self.relu))


@functools.partial(jax.jit, static_argnames="relu")
def _reaches(layers: Layers, boxes: Any, *, relu: tuple[bool, ...]) -> tuple[Array, ...]:
    """The largest size of every activation on its box."""
    found = []
    parts = zip(layers.fns, layers.thetas, relu, boxes, strict=True)
    for fn, theta, kind, (lower, upper) in parts:
        low, high = (jnp.zeros_like(upper), upper) if kind else unit_range(fn, lower, upper, theta)
        found.append(jnp.maximum(jnp.abs(low), jnp.abs(high)))
    return tuple(found)


@functools.partial(jax.jit, static_argnames="relu")
def _certified(
    layers: Layers, lower: Array, upper: Array, known: Any, question: Question, places: Array,
    mu: Array, weights: Array, reach: tuple[Array, ...], *, relu: tuple[bool, ...],
) -> Array:  # fmt: skip
    widths = layers.widths
    boxes = tuple(zip(cut(lower, widths), cut(upper, widths), strict=True))
    families = families_of(known, boxes)
    free = Multipliers(
        cut_places(jnp.clip(places, 0, 1), widths, relu), cut(mu, widths), jnp.maximum(weights, 0)
    )
    lines = tuple(f.at(p) for f, p in zip(families, free.places, strict=True))
    found = pull_back(layers, lines, boxes, question, free)
    inputs = jnp.abs(question.middle) + question.half
    size = found.size
    top = len(lines)
    for k, (matrix, offset) in enumerate(zip(layers.matrices, layers.offsets, strict=True)):
        # what a coefficient times W is off by multiplies what the layer reads
        spread = product(reach[k - 1] if k else inputs, jnp.abs(matrix).T) + jnp.abs(offset)[None]
        size = size + total(jnp.abs(found.before[k]) * spread)
        if k == top:  # sums of half-spaces
            rows = (free.weights[:, :, None] * jnp.abs(question.rows)).sum(1)
            size = size + total(rows * spread)
            continue
        # what a coefficient of z is off by multiplies z
        slopes, shifts = families[k].sizes()
        ends = jnp.minimum(jnp.maximum(jnp.abs(boxes[k][0]), jnp.abs(boxes[k][1])), spread)
        passed = jnp.abs(found.after[k]) * (slopes * ends + shifts)
        size = size + total(passed + jnp.abs(free.mu[k]) * ends)
        if question.extra is not None and question.extra[k] is not None:
            size = size + total(jnp.abs(question.extra[k]) * ends)
    count = sum(widths) + sum(layers.offsets[-1].shape) + inputs.shape[1] + 64
    bound = found.bound - gamma(count, size.dtype) * size - _UNDERFLOW
    return jnp.where(jnp.isfinite(bound) & jnp.isfinite(size), bound, -jnp.inf)
