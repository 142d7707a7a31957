"""Certified lines for every elementwise unit of a network, from the input on.

A unit's lines need its pre-activation interval, which needs the lines of the units before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxact.bounds.backward import (
    Forms,
    affine_part,
    both_sides,
    intersection,
    interval_of,
    lower_forms,
    unknown_is_infinite,
)
from jaxact.bounds.blocks import interval_at, neuron_bounds
from jaxact.bounds.joint import maximum_planes, product_planes
from jaxact.bounds.problem import Bounds
from jaxact.bounds.relax import relax_unit
from jaxact.bounds.relax_lines import Lines
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.joint import Product
from jaxact.tracing.ranges import unit_range


@pytree()
class Relaxed:
    """What is known of one unit or product.

    Attributes:
        box: (lower, upper) pre-activations; of a product one pair for each factor.
        lines: certified lines over the box, or planes.
        range: (lower, upper) values.
    """

    box: Leaf
    lines: Leaf
    range: Leaf


Known: TypeAlias = Mapping[Variable, Relaxed]
"""By the unit's output."""

Relaxer: TypeAlias = Callable[[Any, Any, Any, tuple[Any, ...]], Lines]
"""Certified lines of fn(x, *theta) from (fn, lower, upper, theta), such as `relax_unit`."""

Refine: TypeAlias = Callable[[Variable, tuple[Array, Array], Known], tuple[Array, Array]]
"""A better box for a variable, from the box it has and what is known before it."""


def relax_units(
    network: Network,
    region: Any,
    *,
    sparse: bool = False,
    relaxer: Relaxer = relax_unit,
    refine: Refine | None = None,
) -> tuple[dict[Variable, Relaxed], tuple[Any, ...]]:
    """Box, lines and range of every unit and joint node, and the boxes of the units in order.

    `sparse` bounds neurons in blocks and skips what cannot matter: for wide layers where nothing
    is vmapped or differentiated in reverse. `refine` improves the box of a unit's operand.
    """
    units = network.units
    kinds = {u.fn for u in units}
    shared = len(kinds) < len(units) and not any(u.theta for u in units)
    alone = all(isinstance(n, Affine | Unit) for n in network.graph.nodes)
    if refine is None and shared and alone and len({u.operand.dtype for u in units}) == 1:
        known = _in_one_loop(network, region, relaxer, sparse=sparse)
    else:
        known = _one_by_one(network, region, relaxer, sparse=sparse, refine=refine)
    return known, tuple(known[u.output].box for u in units)


def _one_by_one(
    network: Network, region: Any, relaxer: Relaxer, *, sparse: bool, refine: Refine | None
) -> dict[Variable, Relaxed]:
    known: dict[Variable, Relaxed] = {}
    for node in network.graph.nodes:
        if isinstance(node, Affine):
            continue
        if isinstance(node, Unit):
            box = _box(network, region, node.operand, known, unit=node, sparse=sparse)
            if refine is not None:
                box = refine(node.operand, box, known)
            theta = node.parameters(network.weights)
            known[node.output] = _relaxed(relaxer, node.fn, box, theta)
            continue
        if isinstance(node, Product):
            boxes = [_box(network, region, v, known, sparse=sparse) for v in node.variables]
        else:
            *ends, difference = node.variables
            boxes = [_interval_box(network, region, v, known, sparse=sparse) for v in ends]
            boxes.append(_box(network, region, difference, known, sparse=sparse))
        known[node.output] = relaxed_joint(network, node, boxes)
    return known


def relaxed_joint(network: Network, node: Any, boxes: Sequence[tuple[Any, Any]]) -> Relaxed:
    """Planes and range of a product or maximum whose operands lie in `boxes`."""
    if isinstance(node, Product):
        planes = product_planes(*boxes)
    else:
        planes = maximum_planes(node, boxes[-1])
    low, high = zip(*boxes, strict=True)
    value = node.interval(low, high, network.weights)
    return Relaxed(tuple(boxes), planes, value)


def relax_inside(
    network: Network, boxes: Mapping[Variable, tuple[Any, Any]]
) -> tuple[dict[Variable, Relaxed], tuple[Any, ...]]:
    """`relax_units` where a box of every operand is known already."""
    known = {}
    for node in network.graph.nodes:
        if isinstance(node, Unit):
            theta = node.parameters(network.weights)
            known[node.output] = _relaxed(relax_unit, node.fn, boxes[node.operand], theta)
        elif not isinstance(node, Affine):
            known[node.output] = relaxed_joint(network, node, [boxes[v] for v in node.variables])
    return known, tuple(boxes[u.operand] for u in network.units)


def bound_rows(
    network: Network,
    region: Any,
    variable: Variable,
    rows: Any,
    known: Known,
    *,
    sparse: bool = False,
) -> tuple[tuple[Array, Array], tuple[tuple[Array, Array], tuple[Array, Array]]]:
    """Bounds of `rows . variable`, and their linear bounds (rows, constant) in the input.

    The better of backward CROWN and of interval arithmetic from the nearest units.
    """
    return bound_forms(network, region, *affine_part(network, variable, rows), known, sparse=sparse)


def bound_forms(
    network: Network,
    region: Any,
    forms: Forms,
    constant: Array,
    known: Known,
    *,
    sparse: bool = False,
    pull: Callable[[Forms, Array], tuple[Any, Array]] | None = None,
) -> tuple[tuple[Array, Array], tuple[tuple[Array, Array], tuple[Array, Array]]]:
    """`bound_rows` of forms of unit outputs and the input, such as `affine_part` makes.

    `pull` replaces `lower_forms`, for what keeps its lines elsewhere than in `known`.
    """
    source = network.graph.source
    ranges = {v: k.range for v, k in known.items()}
    lower, upper = interval_of(forms, constant, ranges, source, region)
    count = constant.shape[0]
    if pull is None:
        lines = {v: k.lines for v, k in known.items()}
        pull = functools.partial(lower_forms, network, lines=lines, sparse=sparse)
    slopes, shifts = pull(*both_sides(forms, constant))
    sides = (slopes[:count], shifts[:count]), (-slopes[count:], -shifts[count:])
    if forms.keys() == {source}:  # affine up to here: the interval is exact
        return (lower, upper), sides
    middle, half = region.linear(slopes)
    below = middle - half + shifts
    found = unknown_is_infinite(below[:count], -below[count:])
    return intersection((lower, upper), found), sides


def answer(
    network: Network,
    spec: Any,
    bounds: tuple[Array, Array],
    sides: tuple[tuple[Array, Array], tuple[Array, Array]] | None,
    boxes: tuple[Any, ...],
) -> Bounds:
    """`Bounds` of the rows of a spec, or of the outputs, in their shapes."""
    shape = network.output_shape if spec is None else (spec.shape[0],)
    linear = []
    for slope, intercept in sides or ():
        linear += [slope.reshape(*shape, *network.input_shape), intercept.reshape(shape)]
    return Bounds(*shaped(bounds, shape), Lines(*linear) if linear else None, boxes)


def shaped(bounds: tuple[Array, Array], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Both ends in a shape."""
    return bounds[0].reshape(shape), bounds[1].reshape(shape)


def _box(
    network: Network,
    region: Any,
    variable: Variable,
    known: Known,
    *,
    unit: Unit | None = None,
    sparse: bool = False,
) -> tuple[Array, Array]:
    """Bounds of a variable, `unit` being what reads it, if one does."""
    moves = []  # copies of an array have the bounds of the array
    while isinstance(node := network.graph.maker(variable), Affine) and node.copies:
        moves.append(node)
        (variable,) = node.variables
    if sparse:
        ranges = {v: k.range for v, k in known.items()}
        lines = {v: k.lines for v, k in known.items()}
        lower, upper = neuron_bounds(network, region, variable, unit, ranges, lines)
    else:
        bounds, _ = bound_rows(network, region, variable, None, known)
        lower, upper = shaped(bounds, variable.shape)
    for node in reversed(moves):
        lower, upper = node.interval([lower], [upper], network.weights)
    return lower, upper


def _interval_box(
    network: Network, region: Any, variable: Variable, known: Known, *, sparse: bool
) -> tuple[Array, Array]:
    """The box by intervals from the nearest units alone, which costs no backward pass."""
    ranges = {v: k.range for v, k in known.items()}
    if sparse:
        return interval_at(network, region, variable, ranges)[0]
    forms = affine_part(network, variable)
    return shaped(interval_of(*forms, ranges, network.graph.source, region), variable.shape)


def _relaxed(
    relaxer: Relaxer, fn: Any, box: tuple[Any, Any], theta: tuple[Any, ...] = ()
) -> Relaxed:
    return Relaxed(box, relaxer(fn, *box, theta), unit_range(fn, *box, theta))


def _in_one_loop(
    network: Network, region: Any, relaxer: Relaxer, *, sparse: bool
) -> dict[Variable, Relaxed]:
    """The same with one copy of each activation's relaxation in the program, not one per layer.

    The relaxation is most of the program, so this halves its compile time or better. Units are
    flattened and padded to the largest.
    """
    units = network.units
    width = max(u.operand.size for u in units)
    kinds = list(dict.fromkeys(u.fn for u in units))
    which = np.array([kinds.index(u.fn) for u in units], np.int32)

    def known(table: Any, before: int) -> dict[Variable, Relaxed]:
        return {
            u.output: jax.tree.map(
                lambda column, k=k, u=u: column[k, : u.operand.size].reshape(u.operand.shape), table
            )
            for k, u in enumerate(units[:before])
        }

    def stage(k: int) -> Any:
        def box(table: Any) -> tuple[Array, Array]:
            ends = _box(
                network, region, units[k].operand, known(table, k), unit=units[k], sparse=sparse
            )
            flat = [e.reshape(-1) for e in ends]
            # padded by a value that occurs, where the activation is defined
            low, high = (jnp.pad(e, (0, width - e.size), mode="edge") for e in flat)
            return low, high

        return box

    stages = [stage(k) for k in range(len(units))]
    relaxers = [lambda low, high, fn=fn: _relaxed(relaxer, fn, (low, high)) for fn in kinds]

    def step(table: Any, index: tuple[Array, Array]) -> tuple[Any, None]:
        k, kind = index
        box = lax.switch(k, stages, table)
        row = lax.switch(kind, relaxers, *box) if len(kinds) > 1 else relaxers[0](*box)
        return jax.tree.map(lambda column, r: column.at[k].set(r), table, row), None

    empty = jnp.zeros((len(units), width), units[0].operand.dtype)
    table = Relaxed((empty, empty), Lines(empty, empty, empty, empty), (empty, empty))
    order = jnp.arange(len(units), dtype=jnp.int32), jnp.asarray(which)
    table, _ = lax.scan(step, table, order)
    return known(table, len(units))
