"""Bounds that hold in real arithmetic: every method's pass with an allowance for rounding."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.backward import Forms, both_sides, explicit, interval_of, unknown_is_infinite
from jaxact.bounds.problem import Bounds
from jaxact.bounds.regions import Ball, inner
from jaxact.bounds.relax import relax_unit
from jaxact.bounds.rounding import SoundWalk
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import Relaxed, Relaxer, answer, relaxed_joint, shaped
from jaxact.numerics.pytrees import pytree
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.ranges import unit_range
from jaxact.tracing.rounding import gamma, magnitude, node_error, tiny


@pytree(static=("inner", "outer", "relaxer"))
class Method:
    """A way to bound a network.

    Attributes:
        inner: "crown" or "ibp", for the pre-activations.
        outer: the same, for the rows of the spec.
        relaxer: what makes the lines.
    """

    inner: str = "crown"
    outer: str = "crown"
    relaxer: Relaxer = relax_unit


@functools.partial(jax.jit, static_argnums=3)
def sound_bounds(network: Network, region: Any, spec: Any, method: Method) -> Bounds:
    """Bounds of the exact network of the given weights, valid whatever the rounding was.

    Each sum on the way is off by at most gamma_n times the sum of its absolute terms; the
    errors are bounded where they arise (`SoundWalk`) and subtracted, and so are those of the
    interval arithmetic in between. Products must be sums in some order in the working
    precision, which holds for dense layers everywhere and for convolutions on CPU (a fast
    convolution algorithm on an accelerator has other error bounds).

    Source: Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1.
    """
    work = _Pass(network, region, method)
    for node in network.graph.nodes:
        work.step(node)
    target = network.graph.target
    rows = spec_rows(spec, target)
    bounds, sides = work.rows(target, rows, crown=method.outer == "crown")
    boxes = tuple(work.boxes[unit.operand] for unit in network.units)
    return answer(network, spec, bounds, sides, boxes)


class _Pass:
    """Sound boxes of the variables that were visited, and lines of the units."""

    def __init__(self, network: Network, region: Any, method: Method) -> None:
        self.network, self.region, self.method = network, region, method
        source = network.graph.source
        lower, upper = region.box()
        size = magnitude((lower, upper))
        if isinstance(region, Ball):
            size = jnp.maximum(size, jnp.abs(region.sample) + region.eps)
        error = gamma(2, lower.dtype) * size
        self.boxes = {source: (lower - error, upper + error)}
        self.sizes = {source: size + error}
        self.known: dict[Variable, Relaxed] = {}
        self.straight = {source}

    def step(self, node: Any) -> None:
        """Visit the next node."""
        weights = self.network.weights
        if isinstance(node, Affine):
            low, high = zip(*(self.boxes[v] for v in node.variables), strict=True)
            lower, upper = node.interval(low, high, weights)
            error = node_error(node, [self.sizes[v] for v in node.variables], weights)
            self._set(node.output, lower - error, upper + error)
            if self.straight.issuperset(node.variables):
                self.straight.add(node.output)
            return
        crown = self.method.inner == "crown"
        for variable in node.variables:
            ball = variable in self.straight and not self.region.is_box
            if variable != self.network.graph.source and (crown or ball):
                (lower, upper), _ = self.rows(variable, None, crown=crown)
                old = self.boxes[variable]
                lower, upper = shaped((lower, upper), variable.shape)
                self._set(variable, jnp.maximum(lower, old[0]), jnp.minimum(upper, old[1]))
        if isinstance(node, Unit):
            theta, box = node.parameters(weights), self.boxes[node.operand]
            lines = self.method.relaxer(node.fn, *box, theta)
            relaxed = Relaxed(box, lines, unit_range(node.fn, *box, theta))
        else:
            relaxed = relaxed_joint(self.network, node, [self.boxes[v] for v in node.variables])
        self.known[node.output] = relaxed
        self._set(node.output, *relaxed.range)

    def rows(self, variable: Variable, rows: Any, *, crown: bool) -> tuple[Any, Any]:
        """Bounds of `rows . variable`, and (by CROWN) linear ones in the input."""
        network, source = self.network, self.network.graph.source
        count = variable.size if rows is None else rows.shape[0]
        walk = SoundWalk(network, {variable: rows}, jnp.zeros(count, network.dtype), self.sizes)
        forms, constant = walk.run(None)
        lower, upper = interval_of(forms, constant, self.boxes, source, self.region)
        error = walk.allowance + self._read(forms, constant, walk.allowance)
        lower, upper = unknown_is_infinite(lower - error, upper + error)
        if not crown:
            return (lower, upper), None
        lines = {v: k.lines for v, k in self.known.items()}
        back = SoundWalk(network, *both_sides(forms, constant), self.sizes)
        back.allowance = jnp.concatenate([walk.allowance] * 2)
        forms, constant = back.run(lines)
        slopes = explicit(forms[source], source) if source in forms else None
        if slopes is None:
            slopes = jnp.zeros((2 * count, *source.shape), constant.dtype)
        middle, half = self.region.linear(slopes)
        error = back.allowance + self._read({source: slopes}, constant, back.allowance)
        below = middle - half + constant - error
        low, high = unknown_is_infinite(below[:count], -below[count:])
        shift = constant - (1 + gamma(2, constant.dtype)) * back.allowance
        shift = shift - gamma(2, constant.dtype) * jnp.abs(constant)
        sides = (slopes[:count], shift[:count]), (-slopes[count:], -shift[count:])
        return (jnp.maximum(lower, low), jnp.minimum(upper, high)), sides

    def _read(self, forms: Forms, constant: Array, allowance: Array) -> Array:
        """What rounding may add where the forms meet the region and the ranges."""
        total = gamma(len(forms) + 4, constant.dtype) * (jnp.abs(constant) + allowance)
        for variable, rows in forms.items():
            count = variable.size + len(forms) + 8
            size = self.sizes[variable]
            reach = size.reshape(-1) if rows is None else inner(jnp.abs(rows), size)
            if variable == self.network.graph.source and rows is not None:
                reach = reach + self.region.linear(rows)[1]
            total = total + gamma(count, constant.dtype) * reach
            slack = tiny(count, constant.dtype) * (1 + size.sum())
            total = total + slack
        return total

    def _set(self, variable: Variable, lower: Array, upper: Array) -> None:
        lower, upper = unknown_is_infinite(lower, upper)
        self.boxes[variable] = lower, upper
        self.sizes[variable] = magnitude((lower, upper))
