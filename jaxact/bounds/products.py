"""Products that leave out what is zero."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

_PRECISE = lax.Precision.HIGHEST
_PARTS = 16
_FEWEST_ROWS, _FEWEST_COLUMNS = 64, 256


def sparse_product(rows: Array, matrix: Array, seen: Array) -> Array:
    """`rows @ matrix` where columns of `rows` outside the mask `seen` are zero.

    The columns that are left are gathered in front and the product runs over the smallest of a
    few sizes that holds them, chosen at run time.

    Args:
        rows: shape (R, n).
        matrix: shape (n, *shape).
        seen: shape (n,).

    Returns:
        An array of shape (R, *shape).
    """
    shape = matrix.shape[1:]
    # a transposed operand costs a product twice its time on a CPU
    matrix = lax.optimization_barrier(matrix.reshape(matrix.shape[0], -1))
    count, n = rows.shape
    if count < _FEWEST_ROWS or n < _FEWEST_COLUMNS:
        product = jnp.matmul(rows, matrix, precision=_PRECISE)
        return product.reshape(count, *shape)
    order = jnp.argsort(~seen, stable=True)
    sizes = [n * k // _PARTS for k in range(1, _PARTS)]

    def front(size: int) -> Array:
        chosen = order[:size]
        left = jnp.take(rows, chosen, axis=1, mode="clip")  # the fastest mode on a CPU
        right = jnp.take(matrix, chosen, axis=0, mode="clip")
        return jnp.matmul(left, right, precision=_PRECISE)

    branches: list[Callable[[], Array]] = [functools.partial(front, size) for size in sizes]
    branches.append(lambda: jnp.matmul(rows, matrix, precision=_PRECISE))
    enough = seen.sum() > jnp.array(sizes)
    return lax.switch(enough.sum(), branches).reshape(count, *shape)
