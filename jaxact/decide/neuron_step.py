"""One batch of subdomains: ascend, then choose the neuron to split by trying the best few."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.decide.layers import Layers
from jaxact.decide.neuron_climb import Rates, aim, climb
from jaxact.decide.neuron_dual import Multipliers, Question, pull_back, push_forward
from jaxact.decide.neuron_lines import (
    cut,
    cut_places,
    families_of,
    join_places,
    relu_lines,
    rough_lines,
)
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Batch:
    """B subdomains, float32; neurons of all layers side by side (N).

    Attributes:
        lower, upper: boxes of the pre-activations, shape (B, N).
        places: of the lines, shape (B, M).
        mu: shape (B, N).
        weights: shape (B, H).
        middle, half: of the input, shape (B, inputs).
        rows: shape (B, H, outputs).
        thresholds: shape (B, H).
        live: whether the row counts, shape (B,).
        goal: a distance above 0 to aim at, shape (B,).
    """

    lower: Leaf
    upper: Leaf
    places: Leaf
    mu: Leaf
    weights: Leaf
    middle: Leaf
    half: Leaf
    rows: Leaf
    thresholds: Leaf
    live: Leaf
    goal: Leaf


@pytree()
class Outcome:
    """What came of them.

    Attributes:
        bound: certified up to rounding, less its allowance; shape (B,).
        places, mu, weights: those of the best bound.
        neuron: candidates to split, the best first, shape (B, K); -1 for none.
        point: where, shape (B, K).
        children: estimates of the children's bounds (z <= point, z >= point), shape (B, K, 2).
        x: the minimiser, shape (B, inputs).
        margin: of the network there, in working precision, shape (B,).
        half: the best bound half-way through the steps, shape (B,).
    """

    bound: Leaf
    places: Leaf
    mu: Leaf
    weights: Leaf
    neuron: Leaf
    point: Leaf
    children: Leaf
    x: Leaf
    margin: Leaf
    half: Leaf


@functools.partial(jax.jit, static_argnames=("relu", "candidates", "first"))
def step(
    layers: Layers,
    batch: Batch,
    known: Any,
    steps: Any,
    allowance: Any,
    *,
    relu: tuple[bool, ...],
    candidates: int,
    first: bool = False,
) -> Outcome:
    """Bound a batch and choose how to split what stays open.

    Args:
        layers: the network.
        batch: the subdomains.
        known: their lines, as of `host_lines`.
        steps: of the ascent.
        allowance: for rounding, relative to the sum of the absolute terms of the bound.
        relu: which activations are relu.
        candidates: how many splits are tried, K.
        first: whether nothing is known yet: a plain ascent comes before.

    Returns:
        `Outcome`.
    """
    widths = layers.widths
    boxes = tuple(zip(cut(batch.lower, widths), cut(batch.upper, widths), strict=True))
    families = families_of(known, boxes)
    question = Question(batch.middle, batch.half, batch.rows, batch.thresholds)
    free = Multipliers(cut_places(batch.places, widths, relu), cut(batch.mu, widths), batch.weights)

    if first:
        rate = jnp.asarray(0.1, batch.lower.dtype)
        adam = Rates(steps, rate, jnp.full(len(relu), rate), rate, jnp.asarray(0.97, rate.dtype))
        found = climb(
            layers, families, boxes, question, free, adam, lambda b: (b > 0) | ~batch.live
        )
        free = found.free
        steps = steps // 2
    found, half = aim(layers, families, boxes, question, free, steps, batch.live, batch.goal)
    lines = tuple(f.at(p) for f, p in zip(families, found.free.places, strict=True))
    last = pull_back(layers, lines, boxes, question, found.free)
    x, _ = push_forward(layers, question, last)
    neuron, point = _candidates(layers, boxes, last, found.z, relu, candidates)
    children = _try(layers, lines, boxes, question, found.free, neuron, point, relu, allowance)
    children = jnp.where((neuron >= 0)[:, :, None], children, -jnp.inf)
    worth = _worth(children, last.bound)
    order = jnp.argsort(-worth, axis=1)
    neuron, point = (jnp.take_along_axis(v, order, 1) for v in (neuron, point))
    children = jnp.take_along_axis(children, order[:, :, None], 1)
    y = jax.vmap(layers)(x)
    margin = ((batch.rows * y[:, None]).sum(2) - batch.thresholds).max(1)
    return Outcome(
        last.bound - allowance * last.size, join_places(found.free.places),
        jnp.concatenate(found.free.mu, axis=1), found.free.weights, neuron, point, children,
        x, margin, half,
    )  # fmt: skip


def _worth(children: Array, bound: Array) -> Array:
    """Of a split: what its worse child gains, and a little of the better one's."""
    gain = jnp.minimum(children, 0) - bound[:, None, None]
    return gain.min(2) + 0.5 * gain.max(2)


def _candidates(
    layers: Layers, boxes: Any, last: Any, z: Any, relu: tuple[bool, ...], count: int
) -> tuple[Array, Array]:
    """Neurons by what their lines lose at the mean primal point, and where to split them."""
    scores, points = [], []
    for k, (fn, theta, kind) in enumerate(zip(layers.fns, layers.thetas, relu, strict=True)):
        (lower, upper), after = boxes[k], last.after[k]
        low, low_shift, high, high_shift = last.lines[k]
        inside = jnp.clip(z[k], lower, upper)
        y = fn(inside, *theta)
        loss = jnp.maximum(after, 0) * (y - low * inside - low_shift)
        loss = loss + jnp.minimum(after, 0) * (y - high * inside - high_shift)
        if kind:
            most = jnp.minimum(after, 0) * -high_shift
            loss = 0.5 * loss + 0.5 * most
            point, can = jnp.zeros_like(lower), (lower < 0) & (upper > 0)
        else:
            width = upper - lower
            point = jnp.clip(jnp.zeros_like(lower), lower + 0.25 * width, upper - 0.25 * width)
            can = (point > lower) & (point < upper) & (width > 1e-3)
        scores.append(jnp.where(can, loss, -1))
        points.append(point)
    score, point = jnp.concatenate(scores, axis=1), jnp.concatenate(points, axis=1)
    best, neuron = jax.lax.top_k(score, count)
    point = jnp.take_along_axis(point, neuron, 1)
    return jnp.where(best >= 0, neuron, -1).astype(jnp.int32), point


def _try(
    layers: Layers, lines: Any, boxes: Any, question: Question, free: Multipliers,
    neuron: Array, point: Array, relu: tuple[bool, ...], allowance: Any,
) -> Array:  # fmt: skip
    """The bounds of both children of every candidate, at the parent's multipliers."""
    batch, count = neuron.shape
    widths = layers.widths

    def wide(value: Array) -> Array:
        """(B, ...) for each candidate and child: (B K 2, ...)."""
        value = jnp.broadcast_to(value, (batch, *value.shape[1:]))
        return jnp.repeat(value, 2 * count, axis=0)

    flat = neuron.reshape(-1)
    which = jnp.repeat(flat, 2)
    lower, upper = (
        jnp.take_along_axis(jnp.concatenate(e, axis=1), jnp.maximum(neuron, 0), 1)
        for e in zip(*boxes, strict=True)
    )
    below = jnp.stack([lower, point], axis=2).reshape(-1)
    above = jnp.stack([point, upper], axis=2).reshape(-1)
    starts = [sum(widths[:k]) for k in range(len(widths) + 1)]
    new_lines, new_boxes = [], []
    cache: dict[Any, Any] = {}
    for k, (fn, theta, kind) in enumerate(zip(layers.fns, layers.thetas, relu, strict=True)):
        mine = (which >= starts[k]) & (which < starts[k + 1])
        key = (fn, kind, len(theta) == 0 or k)
        if key not in cache:
            if kind:
                family = relu_lines(below[None], above[None])
                cache[key] = [v[0] for v in family.at(family.start())]
            else:
                cache[key] = rough_lines(fn, theta, below, above)
        here = mine[:, None] & (which[:, None] - starts[k] == jnp.arange(widths[k])[None])
        new_lines.append(tuple(
            jnp.where(here, new[:, None], wide(old))
            for new, old in zip(cache[key], lines[k], strict=True)
        ))  # fmt: skip
        new_boxes.append((jnp.where(here, below[:, None], wide(boxes[k][0])),
                          jnp.where(here, above[:, None], wide(boxes[k][1]))))  # fmt: skip
    question = jax.tree.map(wide, question)
    free = Multipliers(free.places, tuple(wide(m) for m in free.mu), wide(free.weights))
    found = pull_back(layers, tuple(new_lines), tuple(new_boxes), question, free)
    bound = found.bound - allowance * found.size
    if not all(relu):  # rough lines steer, they close nothing
        bound = jnp.minimum(bound, -jnp.finfo(bound.dtype).tiny)
    return bound.reshape(batch, count, 2)
