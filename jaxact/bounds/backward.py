"""Rows of linear forms, pulled back through a network from one variable to its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.joint import Planes, through_planes
from jaxact.bounds.regions import inner
from jaxact.bounds.relax_lines import Lines
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit

Forms: TypeAlias = dict[Variable, Any]
"""Rows (R, *shape) for each variable; None stands for the identity on the flattened variable."""

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
    return _walk(network, {variable: rows}, constant, None)


def lower_forms(
    network: Network, forms: Forms, constant: Array, lines: Mapping[Variable, Lines | Planes]
) -> tuple[Array, Array]:
    """Linear lower bounds of the forms in the input: rows and constants, by backward CROWN.

    Where a row's coefficient at a unit is positive its lower line enters, else its upper line
    (Zhang et al. 2018, eq. 3 and 4).
    """
    forms, constant = _walk(network, forms, constant, lines)
    return _explicit(forms[network.graph.source], network.graph.source), constant


def both_sides(forms: Forms, constant: Array) -> tuple[Forms, Array]:
    """The forms and their negatives, stacked: lower bounds of the latter are upper bounds."""
    stacked = {}
    for variable, rows in forms.items():
        rows = _explicit(rows, variable)
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


def _walk(
    network: Network, forms: Forms, constant: Array, lines: Mapping[Variable, Lines | Planes] | None
) -> tuple[Forms, Array]:
    forms = dict(forms)
    for node in reversed(network.graph.nodes):
        if node.output not in forms or (lines is None and not isinstance(node, Affine)):
            continue
        rows = forms.pop(node.output)
        if not isinstance(node, Affine):
            rows = _explicit(rows, node.output)
            through: Any = _through_unit if isinstance(node, Unit) else through_planes
            parts, shift = through(rows, lines[node.output])  # pyright: ignore[reportOptionalSubscript]
            for variable, part in zip(node.variables, parts, strict=True):
                _accumulate(forms, variable, part)
            constant = constant + shift
            continue
        if node.has_offset:
            offset = node.offset(network.weights)
            constant = constant + (offset.reshape(-1) if rows is None else inner(rows, offset))
        if rows is None and node.keeps_order:
            _accumulate(forms, node.variables[0], None)
            continue
        pulled = (
            node.pull_identity(network.weights)
            if rows is None
            else node.pull(rows, network.weights)
        )
        for variable, part in zip(node.variables, pulled, strict=True):
            _accumulate(forms, variable, part)
    return forms, constant


def _through_unit(rows: Array, line: Lines) -> tuple[list[Array], Array]:
    positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
    slopes = positive * line.lower_slope[None] + negative * line.upper_slope[None]
    shift = inner(positive, line.lower_intercept) + inner(negative, line.upper_intercept)
    return [slopes], shift


def _accumulate(forms: Forms, variable: Variable, rows: Any) -> None:
    if variable not in forms:
        forms[variable] = rows
        return
    forms[variable] = _explicit(forms[variable], variable) + _explicit(rows, variable)


def _explicit(rows: Any, variable: Variable) -> Array:
    if rows is not None:
        return rows
    eye = jnp.eye(variable.size, dtype=variable.dtype)
    return eye.reshape(variable.size, *variable.shape)
