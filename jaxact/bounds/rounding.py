"""What rounding can do to one pass back over a network: error bounds of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.backward import Walk
from jaxact.bounds.joint import Planes
from jaxact.bounds.regions import inner
from jaxact.bounds.relax_lines import Lines
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.rounding import gamma, narrowest, node_error, summands, tiny


class SoundWalk(Walk):
    """A walk back that collects, for each row, what rounding may have added to its bound.

    Each error is turned into a constant on the spot: a wrong coefficient d of x costs at most
    |d| max |x|.

    Attributes:
        allowance: shape (R,).
    """

    def __init__(
        self, network: Network, forms: Any, constant: Array, sizes: dict[Variable, Any]
    ) -> None:
        super().__init__(network, forms, constant)
        self.sizes = sizes
        self.allowance = jnp.zeros_like(constant)

    def affine(self, node: Affine) -> None:
        """Pull a row back, and allow for the product's rounding and for the offset's."""
        rows = self.forms[node.output]
        self._allow(rows, self.errors(node))
        if summands(node):
            # underflow of a product in the pulled row
            slack: Any = sum(jnp.sum(self.sizes[v]) for v in node.variables)
            slack = tiny(summands(node), narrowest(node)) * slack
            self.allowance = self.allowance + slack.astype(self.allowance.dtype)
        super().affine(node)
        if node.has_offset:
            self._allow_constant()

    def unit(self, node: Unit, lines: Lines) -> None:
        """Pass a unit, and allow for the products with its lines."""
        slope = jnp.maximum(jnp.abs(lines.lower_slope), jnp.abs(lines.upper_slope))
        shift = jnp.maximum(jnp.abs(lines.lower_intercept), jnp.abs(lines.upper_intercept))
        self._lines(node.output, [(slope, node.operand)], shift)
        super().unit(node, lines)
        self._allow_constant()

    def joint(self, node: Any, planes: Planes) -> None:
        """Pass a product or a maximum, in the same way."""
        slopes = [
            (jnp.maximum(jnp.abs(low), jnp.abs(high)), v)
            for low, high, v in zip(
                planes.lower_slopes, planes.upper_slopes, node.variables, strict=True
            )
        ]
        shift = jnp.maximum(jnp.abs(planes.lower_intercept), jnp.abs(planes.upper_intercept))
        self._lines(node.output, slopes, shift)
        super().joint(node, planes)
        self._allow_constant()

    def add(self, variable: Variable, rows: Any, seen: Any) -> None:
        """Collect rows; a sum of two rounds once."""
        twice = variable in self.forms
        super().add(variable, rows, seen)
        if twice:
            error = gamma(1, variable.dtype) * self.sizes[variable] + tiny(1, variable.dtype)
            self._allow(self.forms[variable], error)

    def errors(self, node: Affine) -> Any:
        """`node_error` for the magnitudes of this network."""
        return node_error(node, [self.sizes[v] for v in node.variables], self.network.weights)

    def _lines(self, output: Variable, slopes: Sequence[tuple[Any, Variable]], shift: Any) -> None:
        error = gamma(output.size + 4, output.dtype) * shift + tiny(output.size + 4, output.dtype)
        for slope, variable in slopes:
            error = error + gamma(4, output.dtype) * slope * self.sizes[variable]
            slack = tiny(4, output.dtype) * jnp.sum(self.sizes[variable])
            self.allowance = self.allowance + slack
        self._allow(self.forms[output], error)

    def _allow(self, rows: Any, error: Any) -> None:
        more = error.reshape(-1) if rows is None else inner(jnp.abs(rows), error)
        self.allowance = self.allowance + more.astype(self.allowance.dtype)

    def _allow_constant(self) -> None:
        dtype = self.constant.dtype
        self.allowance = self.allowance + gamma(1, dtype) * jnp.abs(self.constant)
