"""Rows of linear forms, pulled back through a network from one variable to its input."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.joint import Planes, through_planes
from jaxact.bounds.products import sparse_product
from jaxact.bounds.regions import inner
from jaxact.bounds.relax_lines import Lines
from jaxact.bounds.windows import Window
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit

Forms: TypeAlias = dict[Variable, Any]
"""Rows for each variable: an array (R, *shape), a `Window`, None for the identity; or `Both`."""

Intervals: TypeAlias = Mapping[Variable, tuple[Any, Any]]


def affine_part(network: Network, variable: Variable, rows: Any = None) -> tuple[Forms, Array]:
    """`rows . variable` as exact forms of the nearest unit outputs (and the input) before it.

    Args:
        network: the traced network.
        variable: where the rows start.
        rows: shape (R, *variable.shape), or None for the identity.

    Returns:
        The forms and their constant, of shape (R,).
    """
    count = variable.size if rows is None else rows.shape[0]
    constant = jnp.zeros(count, network.dtype)
    return Walk(network, {variable: rows}, constant).run(None)


def lower_forms(
    network: Network,
    forms: Forms,
    constant: Array,
    lines: Mapping[Variable, Lines | Planes],
    *,
    sparse: bool = False,
) -> tuple[Any, Array]:
    """Linear lower bounds of the forms in the input: rows and constants, by backward CROWN.

    Where a row's coefficient at a unit is positive its lower line enters, else its upper line
    (Zhang et al. 2018, eq. 3 and 4).

    Args:
        network: the traced network.
        forms: what to bound, by variable. R rows in `Both` are bounded from both sides: they
            give 2 R lower forms, of the rows and of their negatives.
        constant: of shape (R,), or (2 R,).
        lines: of every unit, by its output; with a leading axis of R, every row has its own
            (then forms must be explicit).
        sparse: leave out of a dense layer's product what no row can see; only worth it where
            nothing is vmapped, and without reverse derivatives.

    Returns:
        Rows over the input, an array (R, *shape) or a `Window`, and constants (R,).
    """
    source = network.graph.source
    forms, constant = Walk(network, forms, constant, sparse=sparse).run(lines)
    rows = forms.get(source)
    if source not in forms:
        return jnp.zeros((constant.shape[0], *source.shape), constant.dtype), constant
    return explicit(rows, source, window=True), constant


def both_sides(forms: Forms, constant: Array) -> tuple[Forms, Array]:
    """The forms and their negatives, stacked: lower bounds of the latter are upper bounds."""
    stacked = {}
    for variable, rows in forms.items():
        rows = explicit(rows, variable)
        stacked[variable] = jnp.concatenate([rows, -rows])
    return stacked, jnp.concatenate([constant, -constant])


def interval_of(
    forms: Forms, constant: Array, ranges: Intervals, source: Variable, region: Any
) -> tuple[Array, Array]:
    """Range of the forms where unit outputs lie in `ranges` and the input in `region`."""
    middle, half = constant, jnp.zeros_like(constant)
    for variable, rows in forms.items():
        if rows is None:
            lower, upper = region.box() if variable == source else ranges[variable]
            m, h = ((lower + upper) / 2).reshape(-1), ((upper - lower) / 2).reshape(-1)
        elif variable == source:
            m, h = region.linear(rows)
        else:
            lower, upper = ranges[variable]
            m, h = inner(rows, (lower + upper) / 2), inner(jnp.abs(rows), (upper - lower) / 2)
        middle, half = middle + m, half + h
    return unknown_is_infinite(middle - half, middle + half)


def unknown_is_infinite(lower: Array, upper: Array) -> tuple[Array, Array]:
    """NaN ends, out of infinite ranges (a quotient by what may be 0), as infinite ones."""
    return jnp.where(jnp.isnan(lower), -jnp.inf, lower), jnp.where(jnp.isnan(upper), jnp.inf, upper)


def intersection(*intervals: tuple[Any, Any]) -> tuple[Array, Array]:
    """The intersection of intervals (lower, upper) of one set of numbers."""
    lower = functools.reduce(jnp.maximum, [low for low, _ in intervals])
    upper = functools.reduce(jnp.minimum, [high for _, high in intervals])
    # where they meet in one number the two ends are equal up to rounding
    return jnp.minimum(lower, upper), jnp.maximum(lower, upper)


def explicit(rows: Any, variable: Variable, *, window: bool = False) -> Any:
    """Lower forms as an array (R, *variable.shape), or also as a `Window` if that may be."""
    if isinstance(rows, Both | Split):
        rows = rows.stacked()
    if isinstance(rows, Window):
        return rows if window else rows.dense(variable.shape)
    if rows is not None:
        return rows
    eye = jnp.eye(variable.size, dtype=variable.dtype)
    return eye.reshape(variable.size, *variable.shape)


@dataclasses.dataclass(frozen=True)
class Both:
    """Rows that bound from both sides: R rows stand for themselves and their negatives."""

    rows: Any

    def stacked(self) -> Any:
        """The rows and their negatives, as lower forms."""
        if isinstance(self.rows, Window):
            return self.rows.with_negatives()
        return jnp.concatenate([self.rows, -self.rows])


@dataclasses.dataclass(frozen=True)
class Split:
    """Lower forms `middle - spread` and upper forms `middle + spread`.

    After the first unit the two sides share their rows: middle = A (s_low + s_up) / 2 and
    spread = |A| (s_up - s_low) / 2, and the spread is zero wherever the activation is linear.

    Attributes:
        middle, spread: shape (R, *shape).
        middle_seen, spread_seen: flat masks of the entries that may be non-zero, or None.
    """

    middle: Array
    spread: Array
    middle_seen: Any = None
    spread_seen: Any = None

    def stacked(self) -> Array:
        """Lower forms of the rows and of their negatives."""
        return jnp.concatenate([self.middle - self.spread, -(self.middle + self.spread)])


class Walk:
    """One way back through the nodes.

    Attributes:
        forms: what is left to pull, by variable.
        constant: what has been collected.
        seen: for a variable, the flat mask of the entries at which rows may be non-zero.
    """

    def __init__(
        self, network: Network, forms: Forms, constant: Array, *, sparse: bool = False
    ) -> None:
        self.network = network
        self.forms = dict(forms)
        self.constant = constant
        self.sparse = sparse
        self.seen: dict[Variable, Array] = {}

    def run(self, lines: Mapping[Variable, Lines | Planes] | None) -> tuple[Forms, Array]:
        """Pull back to the input, or to the nearest units that have no lines."""
        for node in reversed(self.network.graph.nodes):
            if node.output not in self.forms:
                continue
            if isinstance(node, Affine):
                self.affine(node)
            elif lines is not None and node.output in lines:
                relaxed = lines[node.output]
                if isinstance(node, Unit) and isinstance(relaxed, Lines):
                    self.unit(node, relaxed)
                elif isinstance(relaxed, Planes):
                    self.joint(node, relaxed)
        return self.forms, self.constant

    def joint(self, node: Any, planes: Planes) -> None:
        """Pull the rows back through a product's or maximum's planes."""
        rows = explicit(self.forms.pop(node.output), node.output)
        self.seen.pop(node.output, None)
        parts, shift = through_planes(rows, planes)
        self.constant = self.constant + shift
        for variable, part in zip(node.variables, parts, strict=True):
            self.add(variable, part, None)

    def unit(self, node: Unit, lines: Lines) -> None:
        """Pull the rows back through a unit's lines."""
        rows = self.forms.pop(node.output)
        self.seen.pop(node.output, None)
        if isinstance(rows, Both) and not isinstance(rows.rows, Window):
            split, shift = _split(rows.rows, lines)
            self.constant = self.constant + shift
            self.add(node.operand, split, None)
            return
        own = jnp.ndim(lines.lower_slope) > len(node.output.shape)  # lines of each row
        rows = explicit(rows, node.output, window=not own)
        if own:
            rows, shift = _through_own_lines(rows, lines)
        elif isinstance(rows, Window):
            rows, shift = rows.through_lines(lines)
        else:
            rows, shift = _through_lines(rows, lines)
        self.constant = self.constant + shift
        seen = (lines.lower_slope != 0) | (lines.upper_slope != 0)
        self.add(node.operand, rows, seen.reshape(-1) if self.sparse and not own else None)

    def affine(self, node: Affine) -> None:
        """Pull the rows back through an affine step."""
        rows = self.forms.pop(node.output)
        seen = self.seen.pop(node.output, None)
        if node.has_offset:
            self.constant = self.constant + _at(rows, node.offset(self.network.weights))
        if isinstance(rows, Split):
            parts = [
                self.back(node, part, mask)
                for part, mask in (
                    (rows.middle, rows.middle_seen), (rows.spread, rows.spread_seen),
                )
            ]  # fmt: skip
            keep = (rows.middle_seen, rows.spread_seen) if node.keeps_order else (None, None)
            for variable, middle, spread in zip(node.variables, *parts, strict=True):
                self.add(variable, Split(middle, spread, *keep), None)
            return
        both = isinstance(rows, Both)
        pulled = self.back(node, rows.rows if both else rows, seen)
        for variable, part in zip(node.variables, pulled, strict=True):
            self.add(variable, Both(part) if both else part, seen if node.keeps_order else None)

    def back(self, node: Affine, rows: Any, seen: Any) -> list[Any]:
        """Rows over the node's output as rows over its operands."""
        weights = self.network.weights
        if isinstance(rows, Window):
            pulled = rows.pull(node, weights)
            if pulled is not None:
                return list(pulled)
            rows = rows.dense(node.output.shape)
        if node.keeps_order:
            shape = node.variables[0].shape
            return [None if rows is None else rows.reshape(rows.shape[0], *shape)]
        if rows is None:
            return node.pull_identity(weights)
        if seen is not None and (matrix := node.dense_rows(weights)) is not None:
            return [sparse_product(rows.reshape(rows.shape[0], -1), matrix, seen)]
        return node.pull(rows, weights)

    def add(self, variable: Variable, rows: Any, seen: Any) -> None:
        """Add rows to those of a variable."""
        if variable not in self.forms:
            self.forms[variable] = rows
            if seen is not None:
                self.seen[variable] = seen
            return
        self.seen.pop(variable, None)
        self.forms[variable] = _sum(self.forms[variable], rows, variable)


def _sum(a: Any, b: Any, variable: Variable) -> Any:
    if isinstance(a, Both) and isinstance(b, Both):
        return Both(_sum(a.rows, b.rows, variable))
    if isinstance(a, Split) and isinstance(b, Split):
        return Split(a.middle + b.middle, a.spread + b.spread)
    a, b = (explicit(rows, variable, window=True) for rows in (a, b))
    if isinstance(a, Window) and isinstance(b, Window) and (total := a.plus(b)) is not None:
        return total
    return explicit(a, variable) + explicit(b, variable)


def _at(rows: Any, value: Array) -> Array:
    """Rows . value for every kind of rows."""
    if rows is None:
        return value.reshape(-1)
    if isinstance(rows, Both):
        one = _at(rows.rows, value)
        return jnp.concatenate([one, -one])
    if isinstance(rows, Split):
        middle, spread = inner(rows.middle, value), inner(rows.spread, value)
        return jnp.concatenate([middle - spread, -(middle + spread)])
    return rows.dot(value) if isinstance(rows, Window) else inner(rows, value)


def _through_lines(rows: Array, line: Lines) -> tuple[Array, Array]:
    positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
    slopes = positive * line.lower_slope[None] + negative * line.upper_slope[None]
    shift = inner(positive, line.lower_intercept) + inner(negative, line.upper_intercept)
    return slopes, shift


def _through_own_lines(rows: Array, line: Lines) -> tuple[Array, Array]:
    """`_through_lines` where every row has lines of its own."""
    positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
    slopes = positive * line.lower_slope + negative * line.upper_slope
    shift = positive * line.lower_intercept + negative * line.upper_intercept
    return slopes, shift.reshape(shift.shape[0], -1).sum(1)


def _split(rows: Array, line: Lines) -> tuple[Split, Array]:
    size = jnp.abs(rows)
    slope = (line.lower_slope + line.upper_slope) / 2
    slack = (line.upper_slope - line.lower_slope) / 2
    middle = inner(rows, (line.lower_intercept + line.upper_intercept) / 2)
    spread = inner(size, (line.upper_intercept - line.lower_intercept) / 2)
    seen = [(v != 0).reshape(-1) for v in (slope, slack)]
    shift = jnp.concatenate([middle - spread, -(middle + spread)])
    return Split(rows * slope[None], size * slack[None], *seen), shift
