"""What rounding can do to one pass: error bounds of the sums that a bound is made of.

A sum of n products, in any order and with or without fused steps, is off by at most
gamma_n sum |a_i b_i|, gamma_n = n u / (1 - n u), u the unit roundoff (Higham 2002, section 3.1),
plus n times the smallest normal number where products underflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.bounds.backward import Walk
from jaxact.bounds.joint import Planes
from jaxact.bounds.regions import inner
from jaxact.bounds.relax_lines import Lines
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit

# operations that move entries about: neither they nor their transposes round
_EXACT = frozenset(
    "concatenate copy copy_p dynamic_slice dynamic_update_slice neg pad reshape rev select_n slice "
    "split squeeze transpose".split()
)
_ENTRYWISE = frozenset("add add_any convert_element_type div mul sub".split())
_SAFETY = 1.1  # covers the rounding of the allowances themselves, sums of positive numbers
_LARGEST = 0.05


def gamma(count: int, dtype: Any) -> float:
    """An upper bound of the relative error of a sum of `count` products.

    Raises:
        ValueError: if the sum is too long for the dtype to certify anything.

    Example:
        >>> gamma(1000, "float32") < 7e-5
        True
    """
    unit = float(jnp.finfo(dtype).eps) / 2
    if count * unit > _LARGEST:
        raise ValueError(f"sound=True needs sums shorter than {_LARGEST / unit:.0f}, got {count}")
    return _SAFETY * count * unit / (1 - count * unit)


def tiny(count: int, dtype: Any) -> float:
    """An upper bound of the absolute error of `count` products that underflow."""
    return _SAFETY * count * float(jnp.finfo(dtype).tiny)


def summands(node: Affine) -> int:
    """The longest sum in an entry of the node's output, or of a row pulled through it; 0: none."""
    if node.name in _EXACT:
        return 0
    if node.name in _ENTRYWISE:
        return 2
    sizes = [node.output.size, *(v.size for v in node.variables)]
    if node.name == "dot_general":
        (left, right), _ = dict(node.params)["dimension_numbers"]
        x = node.operands[0] if isinstance(node.operands[0], Variable) else node.operands[1]
        axes = left if x is node.operands[0] else right
        forward = math.prod(x.shape[d] for d in axes)
        return max(forward, node.output.size * forward // x.size if x.size else 1, 1) + 1
    return max(sizes) + 1


def node_error(node: Any, sizes: Sequence[Any], weights: Sequence[Any]) -> Any:
    """For each entry of an affine node's output: what rounding there and in a pull may add.

    Pulling a row A through y = W x + b gives A W + d with |d| <= gamma |A| |W|, so d . x is at
    most |A| times gamma |W| |x|; the offset adds gamma |A| |b|.
    """
    count, dtype = summands(node), _narrowest(node)
    error = jnp.zeros(node.output.shape, node.output.dtype)
    if count:
        spread = node.spread(sizes, weights)
        error = error + gamma(count + 4, dtype) * spread + tiny(count + 4, dtype)
    if node.has_offset:
        long = node.output.size + 4
        error = error + gamma(long, dtype) * jnp.abs(node.offset(weights)) + tiny(long, dtype)
    return error


def magnitude(box: tuple[Any, Any]) -> Any:
    """The largest |x| of an interval."""
    return jnp.maximum(jnp.abs(box[0]), jnp.abs(box[1]))


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
            slack = tiny(summands(node), _narrowest(node)) * slack
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


def _narrowest(node: Affine) -> Any:
    kinds = [np.dtype(v.dtype) for v in (node.output, *node.variables)]
    return max(kinds, key=lambda d: float(jnp.finfo(d).eps))
