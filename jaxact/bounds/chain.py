"""CROWN of networks whose hidden layers are alike: one layer's program, run in a loop.

Unrolled, a network of m layers has m^2 / 2 backward steps in its program, and compiling them is
what a user waits for. Where layers differ in their weights only, the weights are stacked and one
step serves all of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxact.bounds.backward import Walk, affine_part, lower_forms
from jaxact.bounds.problem import Bounds
from jaxact.bounds.relax import relax_unit
from jaxact.bounds.relax_lines import Lines
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import Relaxed, answer, bound_forms, shaped
from jaxact.tracing.affine import Affine, Variable, Weight, Written
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.ranges import unit_range

_FEWEST = 4


@dataclasses.dataclass(frozen=True)
class Chain:
    """A network without branches whose layers from the second hidden one on are alike.

    Attributes:
        units: the hidden units, all of one activation and shape.
        places: for every layer behind the first, where its weights are in the network.
    """

    units: tuple[Unit, ...]
    places: tuple[tuple[int, ...], ...]


def chain_of(network: Network) -> Chain | None:
    """The chain that a network is, if it is one of enough layers to gain by it."""
    units = network.units
    if len(units) < _FEWEST or len({(u.fn, u.operand.shape, u.operand.dtype) for u in units}) > 1:
        return None
    if any(unit.theta for unit in units):
        return None
    layers: list[list[Affine]] = [[]]
    last = network.graph.source
    for node in network.graph.nodes:
        if list(node.variables) != [last]:
            return None
        last = node.output
        if isinstance(node, Affine):
            layers[-1].append(node)
        else:
            layers.append([])
    alike = layers[1:-1]
    described = {tuple(_description(node, network) for node in layer) for layer in alike}
    if len(described) != 1 or not layers[-1]:
        return None
    places = tuple(
        tuple(o.index for node in layer for o in node.operands if isinstance(o, Weight))
        for layer in alike
    )
    return Chain(units, places)


def _description(node: Affine, network: Network) -> Any:
    def kind(operand: Any) -> Any:
        if isinstance(operand, Variable):
            return "variable", operand.shape, operand.dtype
        if isinstance(operand, Written):
            return operand
        weight = network.weights[operand.index]
        return "weight", np.shape(weight), jnp.result_type(weight)

    return node.name, node.params, tuple(map(kind, node.operands)), node.output.shape


def crown_of_chain(network: Network, region: Any, spec: Any, chain: Chain) -> Bounds:
    """`crown` of a chain; its loops have no reverse derivatives."""
    work = _Loop(network, region, chain)
    table = work.table()
    target = network.graph.target
    forms, constant = affine_part(network, target, spec_rows(spec, target))
    bounds, sides = work.bound(forms, constant, table, len(chain.units) - 1)
    boxes = tuple((table.box[0][k], table.box[1][k]) for k in range(len(chain.units)))
    return answer(network, spec, bounds, sides, boxes)


class _Loop:
    """What the layers share: unit k's row of a table of `Relaxed`, layer k's weights."""

    def __init__(self, network: Network, region: Any, chain: Chain) -> None:
        self.network, self.region, self.chain = network, region, chain
        columns = zip(*chain.places, strict=True)
        self.stacks = [jnp.stack([network.weights[i] for i in column]) for column in columns]
        self.first, self.second = chain.units[:2]

    def layer(self, k: Any) -> Network:
        """The network with the weights of layer k in the place of layer 1's."""
        weights = list(self.network.weights)
        for place, stack in zip(self.chain.places[0], self.stacks, strict=True):
            weights[place] = lax.dynamic_index_in_dim(stack, k - 1, keepdims=False)
        return Network(tuple(weights), self.network.graph)

    def table(self) -> Relaxed:
        """Boxes, lines and ranges of all units, one row each."""
        source, shape = self.network.graph.source, self.first.operand.shape

        def exact(_: Any, __: Any) -> tuple[Array, Array]:
            forms, constant = affine_part(self.network, self.first.operand)
            (lower, upper), _ = bound_forms(
                self.network, self.region, forms, constant, {}, pull=_nothing(source)
            )
            return lower, upper

        def hidden(k: Array, table: Any) -> tuple[Array, Array]:
            forms, constant = affine_part(self.layer(k), self.second.operand)
            return self.bound(forms, constant, table, k - 1)[0]

        def step(table: Any, k: Array) -> tuple[Any, None]:
            box = shaped(lax.cond(k == 0, exact, hidden, k, table), shape)
            fn = self.first.fn
            row = Relaxed(box, relax_unit(fn, *box), unit_range(fn, *box))
            return jax.tree.map(lambda column, r: column.at[k].set(r), table, row), None

        count = len(self.chain.units)
        empty = jnp.zeros((count, *shape), self.first.operand.dtype)
        table = Relaxed((empty, empty), Lines(empty, empty, empty, empty), (empty, empty))
        return lax.scan(step, table, jnp.arange(count, dtype=jnp.int32))[0]

    def bound(self, forms: Any, constant: Array, table: Any, top: Any) -> Any:
        """`bound_forms` of forms of unit `top`'s output, whatever variable they name."""
        (rows,) = forms.values()
        return bound_forms(
            self.network, self.region, {self.first.output: rows}, constant,
            {self.first.output: _row(table, top)}, pull=lambda f, c: self.pull(f, c, table, top),
        )  # fmt: skip

    def pull(self, forms: Any, constant: Array, table: Any, top: Any) -> tuple[Any, Array]:
        """Lower forms of unit `top`'s output as lower forms of the input."""

        def back(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            k = top - i
            walk = Walk(self.layer(k), {self.second.output: state[0]}, state[1])
            found, total = walk.run({self.second.output: _row(table, k).lines})
            return found[self.first.output], total

        state = forms[self.first.output], constant
        rows, constant = lax.fori_loop(0, top, back, state)
        lines = {self.first.output: _row(table, 0).lines}
        return lower_forms(self.network, {self.first.output: rows}, constant, lines)


def _row(table: Any, k: Any) -> Any:
    return jax.tree.map(lambda column: lax.dynamic_index_in_dim(column, k, keepdims=False), table)


def _nothing(source: Variable) -> Any:
    """Affine in the input: the interval is exact, and no lines are asked for."""

    def pull(forms: Any, constant: Array) -> tuple[Array, Array]:
        return forms[source], constant

    return pull
