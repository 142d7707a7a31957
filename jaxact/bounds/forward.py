"""Linear bounds pushed from the input to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.backward import affine_part, explicit, interval_of, unknown_is_infinite
from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.relax import relax_unit
from jaxact.bounds.relax_lines import Lines
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import answer
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.ranges import unit_range


@pytree()
class Enclosure:
    """Two affine functions of the input around a variable, one pair for each entry.

    Attributes:
        lower: coefficients, shape (inputs, *shape).
        lower_at: constants, shape (*shape).
        upper: coefficients of the upper function.
        upper_at: its constants.
    """

    lower: Leaf
    lower_at: Leaf
    upper: Leaf
    upper_at: Leaf


def forward(f: Callable[..., Any], region: Any, spec: Any = None) -> Bounds:
    """Certified bounds of spec . f(x), by affine functions of the input pushed forward.

    Every variable y lies between L x + a and U x + b. An affine layer W maps their middle by W
    and their half-width by |W|; a unit maps them by its certified lines. The interval of each
    variable over the region, intersected with interval arithmetic, is where its unit is relaxed.
    One pass costs inputs + 1 evaluations of the network however many rows are asked, so it suits
    few inputs and many outputs; otherwise `crown` is tighter and cheaper. Products and maxima of
    perturbed arrays are enclosed by their intervals. Arguments, errors and differentiation are
    those of `crown`.

    Returns:
        `Bounds`, as from `crown`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.bounds import Ball, forward
        >>> f = lambda x: jnp.tanh(x) @ jnp.array([1.0, -2.0])
        >>> b = forward(f, Ball(jnp.zeros(2), eps=0.5))
        >>> round(float(b.lower), 3), round(float(b.upper), 3)
        (-1.386, 1.386)

    Source: Xu et al. 2020, "Automatic perturbation analysis for scalable certified robustness
    and beyond", section 3.1 (forward mode).
    """
    return _forward(*prepare(f, region, spec))


@jax.jit
def _forward(network: Network, region: Any, spec: Any) -> Bounds:
    graph, weights = network.graph, network.weights
    enclosures = {graph.source: _identity(graph.source)}
    boxes: dict[Variable, tuple[Any, Any]] = {graph.source: region.box()}
    for node in graph.nodes:
        ends = [boxes[v] for v in node.variables]
        if isinstance(node, Unit):
            theta = node.parameters(weights)
            lines = relax_unit(node.fn, *ends[0], theta)
            enclosures[node.output] = _through_lines(enclosures[node.operand], lines)
            box = unit_range(node.fn, *ends[0], theta)
        else:
            box = node.interval([e[0] for e in ends], [e[1] for e in ends], weights)
            if isinstance(node, Affine):
                given = [enclosures[v] for v in node.variables]
                enclosures[node.output] = _through_affine(node, given, weights)
            else:
                enclosures[node.output] = _flat(*box, graph.source.size)
        boxes[node.output] = _tightest(enclosures[node.output], box, region)
    return _answer(network, region, spec, enclosures, boxes)


def _answer(network: Network, region: Any, spec: Any, enclosures: Any, boxes: Any) -> Bounds:
    """The rows of the spec, merged with the last affine layers before they meet an enclosure."""
    graph = network.graph
    forms, constant = affine_part(network, graph.target, spec_rows(spec, graph.target))
    interval = interval_of(forms, constant, boxes, graph.source, region)
    sides = []
    for sign in (1, -1):  # upper bounds are those of the negated rows, negated
        slopes = jnp.zeros((constant.shape[0], graph.source.size), constant.dtype)
        shift = constant
        for variable, rows in forms.items():
            rows = sign * explicit(rows, variable).reshape(constant.shape[0], -1)
            part, at = _rows_of(enclosures[variable], rows)
            slopes, shift = slopes + sign * part, shift + sign * at
        sides.append((slopes.reshape(-1, *network.input_shape), shift))
    (low, low_at), (high, high_at) = sides
    lower, upper = _end(region, low, low_at, -1), _end(region, high, high_at, 1)
    lower, upper = unknown_is_infinite(lower, upper)
    lower, upper = jnp.maximum(lower, interval[0]), jnp.minimum(upper, interval[1])
    bounds = jnp.minimum(lower, upper), jnp.maximum(lower, upper)
    intermediate = tuple(boxes[unit.operand] for unit in network.units)
    return answer(network, spec, bounds, ((low, low_at), (high, high_at)), intermediate)


def _rows_of(enclosure: Enclosure, rows: Array) -> tuple[Array, Array]:
    """Lower functions of `rows . y`, for y in the enclosure."""
    positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)

    def against(values: Array, other: Array) -> Array:
        low, high = (v.reshape(-1, rows.shape[1]).T for v in (values, other))
        exact = jax.lax.Precision.HIGHEST
        return jnp.matmul(positive, low, precision=exact) + jnp.matmul(
            negative, high, precision=exact
        )

    slopes = against(enclosure.lower, enclosure.upper)
    return slopes, against(enclosure.lower_at, enclosure.upper_at)[:, 0]


def _end(region: Any, rows: Array, constant: Array, sign: int) -> Array:
    middle, half = region.linear(rows)
    return middle + sign * half + constant


def _identity(source: Variable) -> Enclosure:
    eye = explicit(None, source)
    zero = jnp.zeros(source.shape, source.dtype)
    return Enclosure(eye, zero, eye, zero)


def _flat(lower: Array, upper: Array, inputs: int) -> Enclosure:
    """Constant functions."""
    none = jnp.zeros((inputs, *lower.shape), lower.dtype)
    return Enclosure(none, lower, none, upper)


def _through_affine(node: Affine, given: Sequence[Enclosure], weights: Sequence[Any]) -> Enclosure:
    offset = node.offset(weights)

    def column(lower: list[Any], upper: list[Any]) -> tuple[Array, Array]:
        low, high = node.interval(lower, upper, weights)
        return low - offset, high - offset

    low, high = jax.vmap(column)([e.lower for e in given], [e.upper for e in given])
    at = node.interval([e.lower_at for e in given], [e.upper_at for e in given], weights)
    return Enclosure(low, at[0], high, at[1])


def _through_lines(given: Enclosure, lines: Lines) -> Enclosure:
    def side(slope: Array, intercept: Array, least: Any, most: Any) -> tuple[Array, Array]:
        rising, falling = jnp.maximum(slope, 0), jnp.minimum(slope, 0)
        rows = rising[None] * least[0] + falling[None] * most[0]
        return rows, rising * least[1] + falling * most[1] + intercept

    low, high = (given.lower, given.lower_at), (given.upper, given.upper_at)
    lower = side(lines.lower_slope, lines.lower_intercept, low, high)
    upper = side(lines.upper_slope, lines.upper_intercept, high, low)
    return Enclosure(*lower, *upper)


def _tightest(given: Enclosure, box: tuple[Any, Any], region: Any) -> tuple[Array, Array]:
    shape = given.lower_at.shape
    low = jnp.moveaxis(given.lower, 0, -1).reshape(-1, *region.sample.shape)
    high = jnp.moveaxis(given.upper, 0, -1).reshape(-1, *region.sample.shape)
    lower = _end(region, low, given.lower_at.reshape(-1), -1)
    upper = _end(region, high, given.upper_at.reshape(-1), 1)
    lower, upper = unknown_is_infinite(lower.reshape(shape), upper.reshape(shape))
    lower, upper = jnp.maximum(lower, box[0]), jnp.minimum(upper, box[1])
    return jnp.minimum(lower, upper), jnp.maximum(lower, upper)
