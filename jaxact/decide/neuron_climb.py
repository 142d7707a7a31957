"""Ascent of the dual bound: Adam within the constraints, the best of every row kept."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxact.decide.neuron_dual import (
    Multipliers,
    Question,
    gradient,
    pull_back,
    push_forward,
    total,
)
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Rates:
    """How far a step goes.

    Attributes:
        steps: at most so many, an integer.
        place: of the lines' places.
        mu: of the multipliers, in units of the mean coefficient of their layer; one a layer.
        weight: of the half-spaces' weights.
        decay: factor after every step.
    """

    steps: Leaf
    place: Leaf
    mu: Leaf
    weight: Leaf
    decay: Leaf


@pytree()
class Climbed:
    """The best that was found.

    Attributes:
        bound: shape (B,).
        free: its multipliers.
        z: the mean of the primal pre-activations over the steps.
    """

    bound: Leaf
    free: Multipliers
    z: Leaf


def climb(
    layers: Any,
    families: Any,
    boxes: Any,
    question: Question,
    free: Multipliers,
    rates: Rates,
    done: Any,
    *,
    simplex: bool = True,
) -> Climbed:
    """Maximise the bound of every row.

    Args:
        layers: the first layers.
        families: lines of every activation.
        boxes: its (lower, upper).
        question: the rows.
        free: where to start.
        rates: the steps.
        done: bounds (B,) -> whether each row is good enough; it stops when all are.
        simplex: whether the weights of the half-spaces sum to one; else they are only >= 0.

    Returns:
        `Climbed`.
    """

    def look(free: Multipliers) -> Any:
        lines = tuple(f.at(p) for f, p in zip(families, free.places, strict=True))
        found = pull_back(layers, lines, boxes, question, free)
        return found, push_forward(layers, question, found)[1]

    count = free.weights.shape[0]
    dtype = free.weights.dtype
    zero = jax.tree.map(jnp.zeros_like, free)
    unit = tuple(jnp.ones((count, 1), dtype) for _ in families)
    worst = jnp.full(count, -jnp.inf, dtype)
    mean = tuple(jnp.zeros_like(m) for m in free.mu)

    def step(state: Any) -> Any:
        i, free, first, second, best, chosen, unit, mean = state
        found, z = look(free)
        t = i.astype(dtype)
        slope = gradient(families, boxes, question, free, found, z[:-1] + (z[-1],))
        better = found.bound > best
        best = jnp.where(better, found.bound, best)
        chosen = jax.tree.map(lambda a, b: _pick(better, a, b), free, chosen)
        unit = tuple(
            jnp.where(i == 0, jnp.abs(p).mean(1, keepdims=True) + 1e-12, u)
            for p, u in zip(found.before, unit, strict=False)
        )
        share = 1 / (1 + t)
        mean = tuple(m + share * (v - m) for m, v in zip(mean, z, strict=False))
        first = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, first, slope)
        second = jax.tree.map(lambda a, g: 0.99 * a + 0.01 * g * g, second, slope)
        fix = jnp.sqrt(1 - 0.99 ** (t + 1)) / (1 - 0.9 ** (t + 1)) * rates.decay**t
        way = jax.tree.map(lambda a, b: fix * a / (jnp.sqrt(b) + 1e-12), first, second)
        free = _moved(free, way, rates, unit, simplex=simplex)
        return i + 1, free, first, second, best, chosen, unit, mean

    def unfinished(state: Any) -> Array:
        return (state[0] < rates.steps) & ~done(state[4]).all()

    start = (jnp.zeros((), jnp.int32), free, zero, zero, worst, free, unit, mean)
    _, _, _, _, best, chosen, _, mean = lax.while_loop(unfinished, step, start)
    return Climbed(best, chosen, mean)


def aim(
    layers: Any,
    families: Any,
    boxes: Any,
    question: Question,
    free: Multipliers,
    steps: Any,
    live: Array,
    goal: Array,
) -> tuple[Climbed, Array]:
    """Raise the bound of every row above 0, by Polyak's step towards a target a little above.

    The step (target - bound) D g / (g . D g) has no rate to be tuned. The metric D makes a move
    of a line's place and of a multiplier alike in what they change, the neuron's coefficient, and
    divides by the root mean square of the derivatives so far. A row that gets no better shortens
    its own steps.

    Args:
        layers: the first layers.
        families: lines of every activation.
        boxes: its (lower, upper).
        question: the rows.
        free: where to start.
        steps: at most so many; it stops when every live row is positive.
        live: rows that count.
        goal: targets are no less than these, shape (B,).

    Returns:
        `Climbed`, and the best bounds half-way.
    """
    count, dtype = free.weights.shape[0], free.weights.dtype
    ones = jnp.ones(count, dtype)

    def step(state: Any) -> Any:
        i, free, best, chosen, rho, scale, target, mean, square, half = state
        lines = tuple(f.at(p) for f, p in zip(families, free.places, strict=True))
        found = pull_back(layers, lines, boxes, question, free)
        _, z = push_forward(layers, question, found)
        slope = _allowed(free, gradient(families, boxes, question, free, found, z))
        largest = jnp.stack([jnp.abs(p).mean(1) for p in found.before]).max(0) + 1e-12
        scale = jnp.where(i == 0, largest, scale)
        target = jnp.where(i == 0, jnp.maximum(0.3 * jnp.abs(found.bound), goal), target)
        better = found.bound > best
        rho = jnp.where(better, jnp.minimum(rho * 1.1, 1), rho * 0.95)
        best = jnp.where(better, found.bound, best)
        half = jnp.where(i <= steps // 2, best, half)
        chosen = jax.tree.map(lambda a, b: _pick(better, a, b), free, chosen)
        share = 1 / (1 + i.astype(dtype))
        mean = tuple(m + share * (v - m) for m, v in zip(mean, z, strict=False))
        metric = _metric(found.after, slope, scale)
        square = jax.tree.map(lambda v, d, g: v + d * g * g, square, metric, slope)
        metric = jax.tree.map(lambda d, v: d * lax.rsqrt(share * v + 1e-12), metric, square)
        way = jax.tree.map(lambda d, g: d * g, metric, slope)
        length = (way.weights * slope.weights).sum(1)
        for a, b in zip(way.places, slope.places, strict=True):
            length = length + total((a * b).sum(0))
        for a, b in zip(way.mu, slope.mu, strict=True):
            length = length + total(a * b)
        size = rho * jnp.maximum(target - found.bound, 0) / (length + 1e-30)
        free = _stepped(free, way, size)
        return i + 1, free, best, chosen, rho, scale, target, mean, square, half

    def unfinished(state: Any) -> Array:
        return (state[0] < steps) & ((state[2] <= 0) & live).any()

    mean = tuple(jnp.zeros_like(m) for m in free.mu)
    low = -jnp.inf * ones
    zero = jax.tree.map(jnp.zeros_like, free)
    start = (jnp.zeros((), jnp.int32), free, low, free, ones, ones, ones, mean, zero, low)
    _, _, best, chosen, _, _, _, mean, _, half = lax.while_loop(unfinished, step, start)
    return Climbed(best, chosen, mean), half


def _metric(after: Any, slope: Multipliers, scale: Array) -> Multipliers:
    least = 0.1 * scale[:, None]
    places = tuple(
        jnp.broadcast_to((1 / jnp.maximum(jnp.abs(a), least) ** 2)[None], g.shape)
        for a, g in zip(after, slope.places, strict=True)
    )
    mus = tuple(jnp.ones_like(g) for g in slope.mu)
    return Multipliers(places, mus, jnp.ones_like(slope.weights) / scale[:, None] ** 2)


def _allowed(free: Multipliers, slope: Multipliers) -> Multipliers:
    """The derivatives without those that lead out of the constraints."""
    places = tuple(
        jnp.where(((p <= 0) & (g < 0)) | ((p >= 1) & (g > 0)), 0, g)
        for p, g in zip(free.places, slope.places, strict=True)
    )
    level = (free.weights * slope.weights).sum(1, keepdims=True)
    return Multipliers(places, slope.mu, slope.weights - level)


def _stepped(free: Multipliers, way: Multipliers, size: Array) -> Multipliers:
    places = tuple(
        jnp.clip(p + size[None, :, None] * w, 0, 1)
        for p, w in zip(free.places, way.places, strict=True)
    )
    mus = []
    for mu, w in zip(free.mu, way.mu, strict=True):
        new = mu + size[:, None] * w
        mus.append(jnp.where(new * mu < 0, 0, new))  # at 0 the bound has a kink: stop there
    push = jnp.clip(size[:, None] * way.weights, -2, 2)
    weights = jnp.maximum(free.weights * jnp.exp(push), 1e-6)
    return Multipliers(places, tuple(mus), weights / weights.sum(1, keepdims=True))


def _moved(
    free: Multipliers, way: Multipliers, rates: Rates, unit: Any, *, simplex: bool
) -> Multipliers:
    places = tuple(
        jnp.clip(p + rates.place * w, 0, 1) for p, w in zip(free.places, way.places, strict=True)
    )
    mus = []
    for k, (mu, w, u) in enumerate(zip(free.mu, way.mu, unit, strict=True)):
        new = mu + rates.mu[k] * u * w
        # at 0 the bound has a kink: stop there
        mus.append(jnp.where(new * mu < 0, 0, new))
    if simplex:  # multiplied and divided, so that a single weight stays exactly 1
        weights = jnp.maximum(free.weights * jnp.exp(rates.weight * way.weights), 1e-6)
        weights = weights / weights.sum(1, keepdims=True)
    else:
        weights = jnp.maximum(free.weights + rates.weight * way.weights, 0)
    return Multipliers(places, tuple(mus), weights)


def _pick(better: Array, new: Array, old: Array) -> Array:
    """Rows of `new` where better; the row's axis is the last but one, or the first of two."""
    shape = [1] * new.ndim
    shape[-2] = -1
    return jnp.where(better.reshape(shape), new, old)
