"""Capacity by simulation: random memories, one update, counted bits beside the theory."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.memory.capacity import bit_error
from jaxact.memory.interaction import Interaction, Scalar, anonymous, as_interaction
from jaxact.memory.packed import WORD, Packed, chosen
from jaxact.memory.recall import flipped
from jaxact.memory.rules import Rules, follow
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class MeasuredCapacity:
    """One update of stored patterns, simulated, beside the finite-N theory; scalars.

    Standard errors are those of the mean over independent memories: the bits of one memory share
    their crosstalk and do not count as independent.

    Attributes:
        bit_error: share of bits that are wrong after the update.
        bit_error_se: its standard error.
        exact: share of patterns that are right in every bit.
        exact_se: its standard error.
        theory: `bit_error` of the finite-N theory.
        theory_exact: (1 - theory)^N, as if bits failed independently.
    """

    bit_error: Leaf
    bit_error_se: Leaf
    exact: Leaf
    exact_se: Leaf
    theory: Leaf
    theory_exact: Leaf


def measure_capacity(
    key: Any,
    N: int,
    K: int,
    F: Interaction | Activation,
    *,
    flips: Scalar = 0.0,
    memories: int = 16,
    probes: int = 64,
    chunk: int = 32,
) -> MeasuredCapacity:
    """Store K random patterns, flip bits of some, update all bits once, and count.

    The update is the synchronous energy rule of `retrieve`, so from the patterns themselves
    (flips = 0) the count is that of unstable bits.

    Args:
        key: a typed key.
        N: spins, N >= 2.
        K: number of patterns, K >= 1. Memories are drawn at one bit a spin, one after the other.
        F: an interaction or an activation, as in `retrieve`.
        flips: share of bits flipped at the start (exactly round(flips N)), in [0, 1]; may be
            traced, nothing is recompiled for it.
        memories: independent memories, at least 2.
        probes: patterns tried of each memory, at most K of them.
        chunk: probes side by side: (chunk, K) overlaps are in memory at once.

    Returns:
        A `MeasuredCapacity`. The counts are piecewise constant: their derivatives are zero.

    Raises:
        TypeError: if key is not a typed key, or F is not an interaction or an activation.
        ValueError: if a number is out of its range.

    Example:
        >>> import jax
        >>> from jaxact import memory
        >>> found = measure_capacity(jax.random.key(0), 100, 300, memory.polynomial(3), memories=8)
        >>> bool(abs(found.bit_error - found.theory) < 4 * found.bit_error_se)
        True

    Source: Krotov & Hopfield 2016, section 3, as an experiment.
    """
    checks.key("key", key)
    checks.integer("N", N, 2)
    checks.integer("K", K, 1)
    checks.between("flips", flips, 0.0, 1.0)
    checks.integer("memories", memories, 2)
    checks.integer("probes", probes, 1)
    checks.integer("chunk", chunk, 1)
    F = as_interaction(F)
    wrong, exact = _simulate(
        key,
        anonymous(F.normalised(N)),
        jnp.asarray(flips, jnp.result_type(float)),
        N=int(N), K=int(K), memories=int(memories), probes=min(int(probes), int(K)),
        chunk=int(chunk),
    )  # fmt: skip

    def error_of_mean(values: Array) -> Array:
        return jnp.std(values, ddof=1) / memories**0.5

    theory = jnp.asarray(bit_error(N, F, K, flips=flips))
    return MeasuredCapacity(
        jnp.mean(wrong),
        error_of_mean(wrong),
        jnp.mean(exact),
        error_of_mean(exact),
        theory,
        (1 - theory) ** N,
    )


@functools.partial(jax.jit, static_argnames=("N", "K", "memories", "probes", "chunk"))
def _simulate(
    key: Array, F: Interaction, flips: Array,
    *, N: int, K: int, memories: int, probes: int, chunk: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Shares of wrong bits and of exact patterns, one of each a memory."""
    F, flips = jax.lax.stop_gradient((F, flips))

    def one(key: Array) -> tuple[Array, Array]:
        draw, corrupt = jax.random.split(key)
        stored = random_patterns(draw, N, K)
        rules = Rules(stored, F, flips.dtype)
        target = chosen(stored, jnp.arange(probes), flips.dtype)

        def update(state: Array) -> Array:
            states = state[None, :]
            return follow(rules.gaps(states, rules.overlaps(states)), states)[0]

        start = flipped(corrupt, target, flips)
        wrong = jax.lax.map(update, start, batch_size=min(chunk, probes)) != target
        dtype = flips.dtype
        return jnp.mean(wrong.astype(dtype)), jnp.mean(~jnp.any(wrong, axis=-1), dtype=dtype)

    return jax.lax.map(one, jax.random.split(key, memories))


def random_patterns(key: Array, N: int, K: int) -> Packed:
    """K random patterns of N spins, drawn as bits."""
    words = jax.random.bits(key, (-(-N // WORD), K), jnp.uint32)
    unused = -N % WORD
    return Packed(words.at[-1].set(words[-1] >> jnp.uint32(unused)), N)
