"""A memory of fixed capacity that patterns enter and leave one at a time."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.memory.interaction import Reals
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Store:
    """Patterns in a buffer: `retrieve` and `energy` take it where they take patterns.

    Free slots take no part. All shapes are fixed, so nothing is recompiled as it fills. It is
    a pytree of arrays: `jaxact.io.save_checkpoint(path, memory)` keeps it, and
    `jaxact.io.load_checkpoint(path, open_store(capacity, N))` brings it back.

    Attributes:
        patterns: (capacity, N); free slots hold ones or a forgotten pattern.
        written: (capacity,) integers, the turn at which a slot was written; 0 if it is free.
        turn: (), the number of patterns ever stored.

    Example:
        >>> memory = store(open_store(4, 3), jnp.array([1.0, -1.0, 1.0]))
        >>> memory.used.tolist()
        [True, False, False, False]
    """

    patterns: Leaf
    written: Leaf
    turn: Leaf

    @property
    def used(self) -> Any:
        """(capacity,): which slots hold a pattern."""
        return self.written > 0


def open_store(capacity: int, N: int, *, dtype: Any = None) -> Store:
    """An empty store.

    Args:
        capacity: patterns it can hold.
        N: length of a pattern.
        dtype: of the patterns; JAX's default float if None.

    Returns:
        The store.

    Raises:
        TypeError: if capacity or N is not an integer.
        ValueError: if one of them is below 1.

    Example:
        >>> open_store(4, 3).patterns.shape
        (4, 3)
    """
    checks.integer("capacity", capacity, 1)
    checks.integer("N", N, 1)
    dtype = checks.floating_dtype("dtype", float if dtype is None else dtype)
    free = jnp.zeros(capacity, jnp.int32)
    return Store(jnp.ones((capacity, N), dtype), free, jnp.zeros((), jnp.int32))


def store(memory: Store, pattern: Reals) -> Store:
    """Write a pattern into the first free slot; into the oldest one's if all are taken.

    The buffer is donated: it is changed in place, and `memory` must not be used again. Write
    `memory = store(memory, pattern)`. Under `jax.jit` or `jax.vmap` it is a plain pure function.

    Args:
        memory: a store.
        pattern: (N,), finite.

    Returns:
        The store with the pattern. Differentiable in both.

    Raises:
        ValueError: if the pattern has another length or is not finite.

    Example:
        >>> memory = open_store(1, 2)
        >>> for pattern in ([1.0, 2.0], [3.0, 4.0]):
        ...     memory = store(memory, jnp.array(pattern))
        >>> memory.patterns.tolist()
        [[3.0, 4.0]]
    """
    _check_store(memory)
    checks.shape("pattern", pattern, np.shape(memory.patterns)[1:])
    checks.finite("pattern", pattern)
    return _store(memory, jnp.asarray(pattern).astype(memory.patterns.dtype))


def forget(memory: Store, index: Any) -> Store:
    """Free the slot at an index; a free slot stays free. The buffer is donated, as in `store`.

    Args:
        memory: a store.
        index: integer in [0, capacity); may be traced.

    Returns:
        The store without that pattern.

    Raises:
        ValueError: if index is not in that range.

    Example:
        >>> memory = store(open_store(4, 2), jnp.array([1.0, 2.0]))
        >>> bool(forget(memory, 0).used.any())
        False
    """
    _check_store(memory)
    checks.between("index", index, 0, np.shape(memory.patterns)[0] - 1)
    return _forget(memory, jnp.asarray(index, jnp.int32))


def contents(patterns: Any) -> tuple[Any, Float[Array, " K"] | None]:
    """The array of patterns, and for a store which of them count.

    Free slots repeat the first pattern that counts, so that they can set no scale.
    """
    if not isinstance(patterns, Store):
        return patterns, None
    used = patterns.used
    if checks.is_concrete(used) and not bool(np.asarray(used).any()):
        raise ValueError("patterns must not be empty, got a store without a pattern")
    array = jnp.asarray(patterns.patterns)
    return jnp.where(used[:, None], array, array[jnp.argmax(used)][None]), used


def _check_store(memory: Any) -> None:
    if not isinstance(memory, Store):
        raise TypeError(f"memory must be a Store from open_store, got {type(memory).__name__}")


@functools.partial(jax.jit, donate_argnums=0)
def _store(memory: Store, pattern: Array) -> Store:
    # A free slot has turn 0, the oldest pattern the least turn: one argmin finds either.
    slot, turn = jnp.argmin(memory.written), memory.turn + 1
    return Store(memory.patterns.at[slot].set(pattern), memory.written.at[slot].set(turn), turn)


@functools.partial(jax.jit, donate_argnums=0)
def _forget(memory: Store, index: Array) -> Store:
    return Store(memory.patterns, memory.written.at[index].set(0), memory.turn)
