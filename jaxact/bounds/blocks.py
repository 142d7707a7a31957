"""Bounds of a wide layer's neurons, block by block, and only of those that need them.

Where an activation is linear on the interval that interval arithmetic gives already, its lines
are exact and a tighter interval changes nothing; such neurons are skipped. The rest is bounded
by backward CROWN in blocks of rows, as many as there are at run time, so memory stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxact.bounds.backward import Both, Intervals, intersection, lower_forms, unknown_is_infinite
from jaxact.bounds.joint import Planes
from jaxact.bounds.relax_lines import Lines
from jaxact.bounds.windows import Window, one_hot
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.analysis import linear_pieces
from jaxact.tracing.graph import Network, Unit

_SMALLEST, _LARGEST = 32, 512
_LARGEST_IN_IMAGE = 128  # most neurons of a convolution are often stable
_WIDE, _WIDE_ELSEWHERE = 256, 2048
_ENTRYWISE = frozenset("mul div neg pad rev slice transpose".split())


def is_wide(network: Network) -> bool:
    """Whether a layer is large enough for blocks to pay: later where products are parallel."""
    wide = _WIDE if jax.default_backend() == "cpu" else _WIDE_ELSEWHERE
    return any(unit.operand.size >= wide for unit in network.units)


def neuron_bounds(
    network: Network,
    region: Any,
    variable: Variable,
    unit: Unit | None,
    ranges: Intervals,
    lines: Mapping[Variable, Lines | Planes],
) -> tuple[Array, Array]:
    """Bounds of every entry of a variable that `unit` reads: CROWN within interval arithmetic."""
    (lower, upper), exact = interval_at(network, region, variable, ranges)
    if exact:
        return lower, upper
    count = variable.size
    ends = lower.reshape(-1), upper.reshape(-1)
    todo = jnp.ones(count, bool) if unit is None else ~linear_on(unit, *ends)
    largest = _LARGEST if len(variable.shape) == 1 else _LARGEST_IN_IMAGE
    block = min(largest, max(_SMALLEST, 1 << (count.bit_length() - 2)))
    blocks = -(-count // block)
    order = jnp.argsort(~todo, stable=True).astype(jnp.int32)
    order = jnp.pad(order, (0, blocks * block - count), mode="edge")

    def tighten(k: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = lax.dynamic_slice(order, (k * block,), (block,))
        forms = {variable: Both(one_hot(variable, rows))}
        constant = jnp.zeros(2 * block, lower.dtype)
        forms, constant = lower_forms(network, forms, constant, lines, sparse=True)
        middle, half = (
            forms.concretise(region) if isinstance(forms, Window) else region.linear(forms)
        )
        below = middle - half + constant
        low, high = ends
        bottom, top = unknown_is_infinite(below[:block], -below[block:])
        return low.at[rows].max(bottom), high.at[rows].min(top)

    used = (todo.sum() + block - 1) // block
    low, high = lax.fori_loop(0, used, tighten, ends)
    low, high = intersection((low, high))
    return low.reshape(variable.shape), high.reshape(variable.shape)


def interval_at(
    network: Network, region: Any, variable: Variable, ranges: Intervals
) -> tuple[tuple[Array, Array], bool]:
    """Interval arithmetic from the nearest units, and whether its result is the exact range."""
    source = network.graph.source
    makers = {n.output: n for n in network.graph.nodes if isinstance(n, Affine)}
    boxes: dict[Variable, tuple[Array, Array]] = {source: region.box()}
    mixing = dict.fromkeys([source], 0)

    def box(v: Variable) -> tuple[Array, Array]:
        if v in boxes:
            return boxes[v]
        if v not in makers:
            mixing[v] = 2
            boxes[v] = ranges[v]
            return boxes[v]
        node = makers[v]
        ends = [box(o) for o in node.variables]
        boxes[v] = node.interval([e[0] for e in ends], [e[1] for e in ends], network.weights)
        # one step that mixes entries keeps the range of each of its outputs exact over a box
        mixes = len(node.variables) > 1 or not (node.keeps_order or node.name in _ENTRYWISE)
        mixing[v] = max(mixing[o] for o in node.variables) + mixes
        return boxes[v]

    ends = box(variable)
    return ends, region.is_box and mixing[variable] <= 1


def linear_on(unit: Unit, lower: Array, upper: Array) -> Array:
    """Where [lower, upper] lies within one linear piece of the activation."""
    if unit.theta:
        return jnp.zeros(lower.shape, bool)
    inside = jnp.zeros(lower.shape, bool)
    for piece in linear_pieces(unit.fn):
        low, high = (np.asarray(end, lower.dtype) for end in piece)
        inside = inside | ((lower >= low) & (upper <= high))
    return inside
