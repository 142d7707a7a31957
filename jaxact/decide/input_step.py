"""One step of input splitting: bound a batch of boxes, cut them, say where to split and attack."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxact.bounds.crown import crown_bounds
from jaxact.bounds.regions import Box
from jaxact.decide.input_bounds import Planes, planes
from jaxact.decide.layers import Layers
from jaxact.numerics.pytrees import Leaf, pytree

_ROUNDING = 4
"""Units of rounding, of the sum of the sizes of a plane's terms, by which it is lowered."""


@pytree()
class Flat:
    """Any network, on flat samples.

    Attributes:
        network: a traced network.
    """

    network: Leaf

    def __call__(self, x: Any) -> Any:
        """The flat outputs at a flat sample."""
        return self.network(x.reshape(self.network.input_shape)).reshape(-1)


@pytree()
class Step:
    """What one step found of each box.

    Attributes:
        margin: certified lower bound of the largest slack over the box, shape (boxes,); inf where
            the planes leave no part of the box in which they all hold.
        lower, upper: the part of the box that the planes leave, shape (boxes, inputs).
        score: how much each input moves the planes within that part, shape (boxes, inputs).
        point: the best attack of each box, shape (boxes, inputs).
        slack: its largest slack, in the working precision, shape (boxes,).
        whole: as of `Planes`: whether the box was bounded as well as can be.
    """

    margin: Leaf
    lower: Leaf
    upper: Leaf
    score: Leaf
    point: Leaf
    slack: Leaf
    whole: Leaf


@functools.partial(jax.jit, static_argnames=("capacity", "joint_steps"))
def step(
    net: Any,
    lower: Array,
    upper: Array,
    rows: Array,
    thresholds: Array,
    real: Array,
    *,
    capacity: int,
    joint_steps: int,
) -> Step:
    """Bound boxes, each with a polyhedron of its own.

    Args:
        net: `Layers`, or any other network as `Flat`.
        lower: shape (boxes, inputs).
        upper: the same.
        rows: shape (boxes, half-spaces, outputs).
        thresholds: shape (boxes, half-spaces).
        real: which boxes matter, shape (boxes,).
        capacity: of `planes`.
        joint_steps: of the search for a convex combination of the half-spaces.

    Returns:
        `Step`.
    """
    if not isinstance(net, Layers):
        found = crown_planes(net, lower, upper, rows, real)
        return finish(net, found, lower, upper, rows, thresholds, joint_steps)
    bound = planes(net, lower, upper, real, capacity)
    found = bound(rows)
    # all half-spaces hold together at a counterexample, so the best combination of them does; as
    # one row it is bounded better than by the planes of its parts
    level = lowered(found, lower, upper, thresholds)
    weights = joint_margin(found.slopes, level, lower, upper, joint_steps)[1]
    combined = (weights[:, :, None] * rows).sum(1, keepdims=True)
    more = bound(combined)
    found = Planes(
        jnp.concatenate([found.slopes, more.slopes], 1),
        jnp.concatenate([found.constants, more.constants], 1),
        jnp.concatenate([found.size, more.size], 1),
        found.score + more.score,
        found.whole,
    )
    rows = jnp.concatenate([rows, combined], 1)
    level = (weights * thresholds).sum(1, keepdims=True)
    thresholds = jnp.concatenate([thresholds, level], 1)
    return finish(net, found, lower, upper, rows, thresholds, joint_steps)


def lowered(found: Planes, lower: Array, upper: Array, thresholds: Array) -> Array:
    """Constants less thresholds, and less what rounding may have added."""
    reach = jnp.maximum(jnp.abs(lower), jnp.abs(upper))[:, None]
    size = found.size + jnp.abs(thresholds) + (jnp.abs(found.slopes) * reach).sum(2)
    eps = float(jnp.finfo(thresholds.dtype).eps)
    return found.constants - thresholds - _ROUNDING * eps * size


def crown_planes(net: Flat, lower: Array, upper: Array, rows: Array, real: Array) -> Planes:
    """`planes` of any network, by CROWN box by box."""

    def one(lower: Array, upper: Array, rows: Array) -> tuple[Array, Array]:
        shape = net.network.input_shape
        lines = crown_bounds(net.network, Box(lower.reshape(shape), upper.reshape(shape)), rows)
        return lines.lines.lower_slope.reshape(len(rows), -1), lines.lines.lower_intercept

    slopes, constants = jax.vmap(one)(lower, upper, rows)
    score = jnp.abs(slopes).sum(1) * (upper - lower)
    return Planes(slopes, constants, 8 * jnp.abs(constants), score, real)


def finish(
    net: Any, found: Planes, lower: Array, upper: Array, rows: Array, thresholds: Array,
    joint_steps: int,
) -> Step:  # fmt: skip
    """What follows from planes: the margin, the part that is left, the score and the attack."""
    slopes, level = found.slopes, lowered(found, lower, upper, thresholds)
    before = joint_margin(slopes, level, lower, upper, joint_steps)[0]
    low, high, empty = clip(slopes, level, lower, upper)
    after, weights = joint_margin(slopes, level, low, high, joint_steps)
    margin = jnp.where(empty, jnp.inf, jnp.maximum(before, after))
    width = jnp.where(upper > lower, upper - lower, 1)
    score = found.score * (high - low) / width
    direction = (weights[:, :, None] * slopes).sum(1)
    vertex = jnp.where(direction > 0, low, high)
    points = jnp.stack([vertex, (low + high) / 2])
    outputs = jax.vmap(jax.vmap(net))(points)
    slack = (rows[None] * outputs[:, :, None, :]).sum(3) - thresholds[None]
    slack = slack.max(2)
    which = jnp.argmin(slack, 0)
    point = jnp.where((which == 0)[:, None], points[0], points[1])
    return Step(margin, low, high, score, point, slack.min(0), found.whole)


def joint_margin(
    slopes: Array, level: Array, lower: Array, upper: Array, steps: int
) -> tuple[Array, Array]:
    """The best lower bound of a convex combination of the planes over each box, and its weights.

    All half-spaces must hold together at a counterexample, so any combination of them must. By
    multiplicative weights, from equal ones; each plane alone is tried too.
    """
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    values = (slopes * middle[:, None]).sum(2) + level

    def bound(weights: Array) -> Array:
        direction = (weights[:, :, None] * slopes).sum(1)
        return (weights * values).sum(1) - (jnp.abs(direction) * half).sum(1)

    alone = values - (jnp.abs(slopes) * half[:, None]).sum(2)
    count = slopes.shape[1]
    best = jnp.argmax(alone, 1)
    start = jax.nn.one_hot(best, count, dtype=slopes.dtype)
    if count == 1 or not steps:
        return alone.max(1), start

    def ascend(state: Any, _: None) -> tuple[Any, None]:
        weights, value, chosen = state
        found = bound(weights)
        better = found > value
        value = jnp.where(better, found, value)
        chosen = jnp.where(better[:, None], weights, chosen)
        direction = (weights[:, :, None] * slopes).sum(1)
        least = middle - jnp.sign(direction) * half  # where the combination is least
        gain = (slopes * least[:, None]).sum(2) + level
        spread = gain.max(1, keepdims=True) - gain.min(1, keepdims=True)
        rate = 1 / jnp.where(spread > 0, spread, 1)
        moved = weights * jnp.exp(rate * (gain - gain.max(1, keepdims=True)))
        return (moved / moved.sum(1, keepdims=True), value, chosen), None

    equal = jnp.full_like(alone, 1 / count)
    (_, value, chosen), _ = lax.scan(ascend, (equal, alone.max(1), start), None, length=steps)
    eps = 8 * float(jnp.finfo(slopes.dtype).eps)
    size = jnp.abs(values).max(1) + (jnp.abs(slopes) * half[:, None]).sum(2).max(1)
    return value - eps * size, chosen


def clip(slopes: Array, level: Array, lower: Array, upper: Array) -> tuple[Array, Array, Array]:
    """The box that holds every x of a box with slopes . x + level <= 0, and whether none is left.

    Each plane bounds each input by the least of the others, twice over.
    """
    eps = 16 * float(jnp.finfo(slopes.dtype).eps)
    empty = jnp.zeros(len(lower), bool)
    low, high = lower, upper
    for _ in range(2):
        ends = jnp.minimum(slopes * low[:, None], slopes * high[:, None])
        total = ends.sum(2, keepdims=True)
        size = jnp.abs(slopes) * jnp.maximum(jnp.abs(low), jnp.abs(high))[:, None]
        room = eps * (size.sum(2, keepdims=True) + jnp.abs(level)[:, :, None])
        left = room - level[:, :, None] - (total - ends)  # slope x <= left
        empty = empty | (left < ends).any((1, 2))
        safe = jnp.where(slopes == 0, 1, slopes)
        edge = left / safe
        edge = edge + jnp.sign(slopes) * eps * jnp.abs(edge)
        below = jnp.where(slopes > 0, edge, jnp.inf).min(1)
        above = jnp.where(slopes < 0, edge, -jnp.inf).max(1)
        low, high = jnp.maximum(low, above), jnp.minimum(high, below)
        empty = empty | (low > high).any(1)
        low, high = jnp.where(empty[:, None], lower, low), jnp.where(empty[:, None], upper, high)
    return low, high, empty
