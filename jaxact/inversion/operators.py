"""Measurement operators: what is seen of a generator's output. Any JAX function is one."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree(static=("shape",))
class Mask:
    """The observed entries of an array, as a flat vector; made by `mask`.

    Attributes:
        indices: (m,) positions in the flattened array, a leaf: other indices of the same
            number compile nothing new.
        shape: the array's shape where a boolean mask gave it, else None.
    """

    indices: Leaf
    shape: tuple[int, ...] | None = None

    def __call__(self, x: Any) -> Any:
        """Gather the observed entries of x, shape (m,)."""
        return jnp.reshape(x, (-1,))[self.indices]


def mask(where: Any) -> Mask:
    """Observe some entries of the generator's output: y = x[observed], flat.

    Args:
        where: a boolean array of the output's shape, True where it is observed; or distinct
            non-negative integer positions in the flattened output, shape (m,), in any order.

    Returns:
        A `Mask`: an operator for `invert` and `certificate`, and a function x -> (m,). Apply it
        to a full image to make measurements.

    Raises:
        ValueError: if nothing is observed, or a position is negative or repeated. (A position
            beyond the output is refused by `invert`, which knows the output.)
        TypeError: if `where` is neither boolean nor integer, or is being traced.

    Differentiation: linear in x; the positions are not differentiable.

    Example:
        >>> import jax.numpy as jnp
        >>> see = mask([[True, False], [False, True]])
        >>> see(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [1.0, 4.0]
        >>> mask([3, 0])(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [4.0, 1.0]

    Source: Ma, Ayaz & Karaman 2018, sub-sampled measurements y = A G(z).
    """
    if not checks.is_concrete(where):
        raise TypeError("where must be a concrete mask: make it outside jit, vmap and grad")
    array = np.asarray(where)
    if array.size == 0 or (array.dtype == bool and not array.any()):
        raise ValueError(f"where must observe at least one entry, got none of shape {array.shape}")
    if array.dtype == bool:
        return Mask(jnp.asarray(np.flatnonzero(array), jnp.int32), array.shape)
    if array.dtype.kind not in "iu":
        raise TypeError(f"where must be boolean or integer, got dtype {array.dtype}")
    checks.shape("where", array, ("m",))
    checks.non_negative("where", array)
    if np.unique(array).size != array.size:
        raise ValueError("where must hold distinct positions, got a repeated one")
    return Mask(jnp.asarray(array, jnp.int32))


def identity(x: Any) -> Any:
    """Observe everything: the operator that `operator=None` stands for.

    Example:
        >>> identity(2.0)
        2.0
    """
    return x


def check_operator(operator: Any, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` if a mask does not fit an output of this shape."""
    if not isinstance(operator, Mask):
        return
    if operator.shape is not None and operator.shape != shape:
        raise ValueError(
            f"operator must be a mask of the generator's output shape {shape}, "
            f"got a mask of shape {operator.shape}"
        )
    size = int(np.prod(shape))
    if not checks.is_concrete(operator.indices):
        return
    largest = int(np.asarray(operator.indices).max())
    if largest >= size:
        raise ValueError(
            f"operator must observe positions below {size} (the generator's output has shape "
            f"{shape}), got {largest}"
        )
