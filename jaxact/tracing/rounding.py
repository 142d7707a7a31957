"""What rounding can do to a sum: error bounds of the affine steps of a network.

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

from jaxact.tracing.affine import Affine, Variable

# operations that move entries about: neither they nor their transposes round
_EXACT = frozenset(
    "concatenate copy copy_p dynamic_slice dynamic_update_slice neg pad reshape rev select_n slice "
    "split squeeze stack transpose".split()
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
    count, dtype = summands(node), narrowest(node)
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


def narrowest(node: Affine) -> Any:
    """The least precise dtype among the node's output and variables."""
    kinds = [np.dtype(v.dtype) for v in (node.output, *node.variables)]
    return max(kinds, key=lambda d: float(jnp.finfo(d).eps))
