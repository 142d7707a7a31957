"""A certified Jacobian of a traced network over a box, with centre slopes and what they miss.

For a and b in the box, s(a) - s(b) = d (a - b) at every unit with d in the range of s' on its
pre-activations, at kinks for every subgradient. So f(a) - f(b) = J (a - b) exactly, where J is the
network's linear part with each unit replaced by its own d = c +- r, c the centre of the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.numerics.pytrees import pytree
from jaxact.tracing.affine import BILINEAR, Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.joint import Maximum
from jaxact.tracing.ranges import unit_range
from jaxact.tracing.rounding import gamma, magnitude, narrowest, node_error, summands, tiny
from jaxact.tracing.slopes import slope_range

Interval = tuple[Any, Any]


@pytree()
class Centred:
    """What a forward pass over the box z +- eps learns.

    Attributes:
        value: an enclosure of the measurements at z.
        jacobian: (m, k) of the network with centre slopes, up to rounding.
        radius: (m, k) how far the Jacobian of any point may be from it, entrywise.
        slopes: by joint index (node, operand): centre and radius of the slope.
        reach: by the same index: the largest |d operand / dz_j|, shape (k, *operand shape).
    """

    value: Any
    jacobian: Any
    radius: Any
    slopes: Any
    reach: Any


def centred_jacobian(network: Network, z: Float[Array, " k"], eps: Float[Array, ""]) -> Centred:
    """Interval tangents pushed forward; every variable is also bounded by the mean value form.

    Rounded outward: each affine step's rounding is bounded by gamma_n |W| |x| and joins the
    radius, each unit's range and slope range are rounded outward by the tracing core.
    """
    graph, weights = network.graph, network.weights
    shape, k, dtype = graph.source.shape, z.size, z.dtype
    z, margin = z.reshape(shape), gamma(2, dtype) * (jnp.abs(z.reshape(shape)) + eps)
    low, high = jnp.stack([z, z - eps - margin]), jnp.stack([z, z + eps + margin])
    boxes: dict[Variable, Interval] = {graph.source: (low, high)}
    eye = jnp.eye(k, dtype=dtype).reshape(k, *shape)
    tangents: dict[Variable, Interval] = {graph.source: (eye, jnp.zeros_like(eye))}
    slopes: dict[tuple[int, int], Interval] = {}
    reach: dict[tuple[int, int], Array] = {}
    for index, node in enumerate(graph.nodes):
        ends = [boxes[v] for v in node.variables]
        given = [tangents[v] for v in node.variables]
        box = _box(node, ends, weights)
        if isinstance(node, Affine):
            tangents[node.output] = _push(node, given, weights)
        else:
            whole = [(lo[1], hi[1]) for lo, hi in ends]
            middle, radius = jnp.zeros((k, *node.output.shape), dtype), 0
            for i, part in enumerate(_slopes(node, whole, weights)):
                if part is None:
                    continue
                slopes[index, i] = part
                reach[index, i] = size = _up(jnp.abs(given[i][0]) + given[i][1])
                more = part[0][None] * given[i][0]
                middle = middle + more
                radius = radius + jnp.abs(part[0])[None] * given[i][1] + part[1][None] * size
                radius = radius + gamma(4, dtype) * (jnp.abs(more) + jnp.abs(middle))
                radius = radius + tiny(4, dtype)
            tangents[node.output] = middle, _up(radius)
        boxes[node.output] = _mean_value(box, tangents[node.output], eps)
    jacobian, radius = (t.reshape(k, -1).T for t in tangents[graph.target])
    low, high = boxes[graph.target]
    return Centred((low[0].ravel(), high[0].ravel()), jacobian, radius, slopes, reach)


def deviation(
    network: Network, centred: Centred, left: Float[Array, "k m"]
) -> tuple[Float[Array, "k k"], Float[Array, "k k"]]:
    """For `left` P: P Jc up to rounding, and how far P J may be from it for any J of the box.

    P J - P Jc telescopes over the units: the sum of (P times the linear part from the unit on,
    with centre slopes) (slope - centre) (the tangent that arrives there). What cancels between
    the paths behind a unit is seen, where the radius of J itself would add it up.
    """
    graph, weights, dtype = network.graph, network.weights, left.dtype
    k = left.shape[0]
    rows = left.reshape(k, *graph.target.shape)
    found: dict[Variable, Interval] = {graph.target: (rows, jnp.zeros_like(rows))}
    total = jnp.zeros((k, k), dtype)
    for index in reversed(range(len(graph.nodes))):
        node = graph.nodes[index]
        if node.output not in found:
            continue
        middle, radius = found.pop(node.output)
        if isinstance(node, Affine):
            parts = _pull(node, middle, radius, weights)
        else:
            parts = []
            for i, variable in enumerate(node.variables):
                part = centred.slopes.get((index, i))
                if part is None:
                    parts.append(None)
                    continue
                seen = _up(jnp.abs(middle) + radius)
                total = total + _absolute(seen * part[1][None], centred.reach[index, i])
                more = middle * part[0][None]
                error = radius * jnp.abs(part[0])[None] + gamma(2, dtype) * jnp.abs(more)
                parts.append((variable, more, _up(error) + tiny(2, dtype)))
        for variable, more, error in filter(None, parts):
            if variable in found:
                old, spread = found[variable]
                error = _up(error + spread + gamma(2, dtype) * (jnp.abs(old) + jnp.abs(more)))
                more = old + more
            found[variable] = more, error
    middle, radius = (part.reshape(k, k) for part in found[graph.source])
    return middle, _up(total + radius)


def _box(node: Any, ends: Sequence[Interval], weights: Sequence[Any]) -> Interval:
    """The node's range at the centre and over the whole box, rows 0 and 1."""

    def one(lower: list[Any], upper: list[Any]) -> Interval:
        if isinstance(node, Unit):
            low, high = unit_range(node.fn, lower[0], upper[0], node.parameters(weights))
        else:
            low, high = node.interval(lower, upper, weights)
        if isinstance(node, Affine):
            sizes = [magnitude(e) for e in zip(lower, upper, strict=True)]
            error = node_error(node, sizes, weights)
            low, high = low - error, high + error
        return jnp.where(jnp.isnan(low), -jnp.inf, low), jnp.where(jnp.isnan(high), jnp.inf, high)

    return jax.vmap(one)([e[0] for e in ends], [e[1] for e in ends])


def _mean_value(box: Interval, tangent: Interval, eps: Any) -> Interval:
    """Tighten the whole box's range to value(centre) +- eps sum_j max |d / dz_j|."""
    low, high = box
    size = _up((jnp.abs(tangent[0]) + tangent[1]).sum(0), tangent[0].shape[0])
    reach = _up(eps * size)
    below, above = low[0] - reach, high[0] + reach
    slack = gamma(2, low.dtype) * (jnp.maximum(jnp.abs(low[0]), jnp.abs(high[0])) + reach)
    below, above = below - slack, above + slack
    tight_low = jnp.where(below > low[1], below, low[1])
    tight_high = jnp.where(above < high[1], above, high[1])
    return jnp.stack([low[0], tight_low]), jnp.stack([high[0], tight_high])


def _slopes(node: Any, ends: Sequence[Interval], weights: Sequence[Any]) -> list[Any]:
    """Centre and radius of the divided differences of a unit, product or maximum, by operand."""
    if isinstance(node, Unit):
        return [_centre(slope_range(node.fn, *ends[0], node.parameters(weights)))]
    if isinstance(node, Maximum):  # b + fn(a - b)
        one = jnp.ones(node.output.shape, node.output.dtype)
        return [None, (one, jnp.zeros_like(one)), _centre(slope_range(node.fn, *ends[2]))]
    left, right = ends  # l r - l' r' = mean(r) (l - l') + mean(l) (r - r')
    return [_centre(right), _centre(left)]


def _centre(ends: Interval) -> Interval:
    """Centre and radius; an unbounded interval has centre 0."""
    low, high = ends
    middle = low / 2 + high / 2
    middle = jnp.where(jnp.isfinite(middle), middle, 0)
    return middle, _up(jnp.maximum(high - middle, middle - low))


def _push(node: Affine, given: Sequence[Interval], weights: Sequence[Any]) -> Interval:
    """The linear part of an affine step on interval tangents."""
    count, dtype = summands(node), narrowest(node)

    def one(middle: list[Any], radius: list[Any]) -> Interval:
        more = _size(node, radius, weights)
        if count:
            more = more + gamma(count + 4, dtype) * (_size(node, middle, weights) + more)
            more = more + tiny(count + 4, dtype)
        return node.push(middle, weights), more

    return jax.vmap(one)([g[0] for g in given], [g[1] for g in given])


def _size(node: Affine, parts: Sequence[Any], weights: Sequence[Any]) -> Any:
    """|W| |x| of the linear part, x one array for each operand."""
    parts = [jnp.abs(p) for p in parts]
    if node.name in BILINEAR:
        return node.spread(parts, weights)
    # each operand has coefficients of one sign
    alone = [
        [p if i == j else jnp.zeros_like(p) for j, p in enumerate(parts)] for i in range(len(parts))
    ]
    return sum(jnp.abs(node.push(only, weights)) for only in alone)


def _pull(node: Affine, middle: Any, radius: Any, weights: Sequence[Any]) -> list[Any]:
    """Rows pulled back through an affine step, with what rounding may add."""
    count, dtype = summands(node), narrowest(node)
    scale = gamma(count + 4, dtype) if count else 0.0
    parts = node.pull(middle, weights)
    errors = node.pull_size(radius + scale * (jnp.abs(middle) + radius), weights)
    slack = tiny(count + 4, dtype) if count else 0.0
    triples = zip(node.variables, parts, errors, strict=True)
    return [(v, part, _up(error) + slack) for v, part, error in triples]


def _absolute(rows: Any, reach: Any) -> Float[Array, "k k"]:
    """Sum over a unit's entries of rows (k, *shape) times reach (k, *shape), both >= 0."""
    left, right = (part.reshape(part.shape[0], -1) for part in (rows, reach))
    return _up(jnp.matmul(left, right.T, precision="highest"), left.shape[1])


def _up(value: Any, count: int = 4) -> Any:
    """A sum of `count` non-negative products, rounded up."""
    return (1 + gamma(count + 4, value.dtype)) * value
