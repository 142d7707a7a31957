"""Patterns of +-1 at one bit a spin: overlaps by xor and popcount, exact, a 32nd of the memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxact.memory.interaction import Reals
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

WORD = 32
EXACT = jax.lax.Precision.HIGHEST
"""Overlaps are integers and gaps are small differences: no matmul here may round to bfloat16."""


@pytree(static=("N",))
class Packed:
    """K patterns of N spins, one bit each: what `pack` makes and the dynamics run on.

    `overlaps`, `energy`, `gaps`, `retrieve` and `measure_recall` take it in place of a (K, N)
    array. 10,000 patterns of 1,000 spins are 1.3 MB instead of 40.

    Attributes:
        words: (ceil(N / 32), K), uint32: bit i % 32 of words[i // 32, mu] is set where spin i of
            pattern mu is +1. The words of one spin lie side by side; unused bits are 0.
        N: number of spins.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> stored = memory.pack(jnp.array([[1, 1, -1], [1, -1, 1]]))
        >>> stored.words.tolist(), stored.shape
        ([[3, 5]], (2, 3))
    """

    words: Leaf
    N: int

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N), the shape of the array it stands for."""
        return (self.words.shape[-1], self.N)


def pack(patterns: Reals) -> Packed:
    """Store +-1 patterns at one bit a spin.

    Args:
        patterns: (K, N), entries -1 or +1.

    Returns:
        A `Packed`. Not differentiable in the patterns: derivatives are zero.

    Raises:
        ValueError: if patterns are not a non-empty (K, N) array of -1 and +1.

    Example:
        >>> import jax.numpy as jnp
        >>> unpack(pack(jnp.array([[1, 1, -1], [1, -1, 1]]))).tolist()
        [[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]
    """
    check_patterns(patterns)
    checks.spins("patterns", patterns)
    return packed(jnp.asarray(patterns))


def packed(patterns: Array) -> Packed:
    """`pack` of checked patterns."""
    return Packed(_pack(patterns), patterns.shape[1])


def unpack(stored: Packed) -> Float[Array, "K N"]:
    """The (K, N) array of -1.0 and +1.0 that `pack` was given.

    Args:
        stored: packed patterns.

    Returns:
        The patterns, in JAX's default floating dtype.

    Raises:
        TypeError: if stored is not a `Packed`.

    Example:
        >>> import jax.numpy as jnp
        >>> unpack(pack(jnp.array([[1, -1]]))).tolist()
        [[1.0, -1.0]]
    """
    if not isinstance(stored, Packed):
        raise TypeError(f"stored must be a Packed from memory.pack, got {stored!r}")
    return spins_of(stored, jnp.arange(stored.N), jnp.result_type(float)).T


def packed_overlaps(stored: Packed, states: Array) -> Int[Array, "*batch K"]:
    """N - 2 popcount(xi xor sigma), integer, for states of -1 and +1, (..., N)."""
    bits = _pack(states.reshape(-1, stored.N))
    # Words are the major axis, so that the reduction runs over whole rows of patterns.
    differ = jax.lax.population_count(bits.T[:, :, None] ^ stored.words[None, :, :])
    h = stored.N - 2 * jnp.sum(differ.astype(jnp.int32), axis=1)
    return h.reshape(*states.shape[:-1], -1)


def spins_of(stored: Packed, spins: Int[Array, " n"], dtype: Any) -> Float[Array, "n K"]:
    """The rows of xi^T for the given spins, +-1; 0 for a spin N, which pads a block."""
    inside = spins < stored.N
    spins = jnp.where(inside, spins, 0)
    shift = (spins % WORD).astype(jnp.uint32)[:, None]
    bits = (stored.words[spins // WORD] >> shift) & jnp.uint32(1)
    return jnp.where(inside[:, None], 2 * bits.astype(dtype) - 1, 0)


def chosen(stored: Packed, which: Int[Array, " B"], dtype: Any) -> Float[Array, "B N"]:
    """The patterns of the given numbers, +-1."""
    few = Packed(stored.words[:, which], stored.N)
    return spins_of(few, jnp.arange(stored.N), dtype).T


def blocks(order: Int[Array, " N"]) -> Int[Array, "blocks 32"]:
    """The spins in their order, 32 at a time: what is unpacked at once. N pads the last block."""
    N = order.shape[0]
    padded = -(-N // WORD) * WORD
    return jnp.concatenate([order, jnp.full(padded - N, N, order.dtype)]).reshape(-1, WORD)


def times_patterns(stored: Packed, field: Float[Array, "B K"]) -> Float[Array, "B N"]:
    """The matmul field @ xi, a block of spins at a time."""

    def block(spins: Array) -> Array:
        return jnp.matmul(field, spins_of(stored, spins, field.dtype).T, precision=EXACT)

    parts = jax.lax.map(block, blocks(jnp.arange(stored.N)))
    return jnp.moveaxis(parts, 0, 1).reshape(field.shape[0], -1)[:, : stored.N]


@jax.jit
def _pack(spins: Array) -> Array:
    """(K, N) -> (ceil(N / 32), K)."""
    K, N = spins.shape
    W = -(-N // WORD)
    up = jnp.pad(spins > 0, ((0, 0), (0, W * WORD - N))).reshape(K, W, WORD)
    place = jnp.arange(WORD, dtype=jnp.uint32)[None, None, :]
    return jnp.sum(up.astype(jnp.uint32) << place, axis=-1, dtype=jnp.uint32).T


def check_patterns(patterns: Any) -> None:
    """Refuse what is no non-empty (K, N) array."""
    checks.shape("patterns", patterns, ("K", "N"))
    if 0 in np.shape(patterns):
        raise ValueError(f"patterns must not be empty, got shape {np.shape(patterns)}")
