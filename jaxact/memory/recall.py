"""Recall measured: corrupt stored patterns, retrieve, count."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.memory.dynamics import Retrieval, check_run, run_over
from jaxact.memory.interaction import (
    Interaction,
    Reals,
    Scalar,
    anonymous,
    as_interaction,
    floating,
)
from jaxact.memory.packed import Packed, chosen, packed
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Recall:
    """How well a memory recalls corrupted patterns; scalars, averages over the probes.

    Attributes:
        exact: fraction of probes that returned to their pattern in every bit.
        overlap: mean of sigma . xi / N with the pattern they came from, in [-1, 1].
        bit_error: mean fraction of wrong bits.
        sweeps: mean number of sweeps.
        converged: fraction of probes that reached a fixed point.
    """

    exact: Leaf
    overlap: Leaf
    bit_error: Leaf
    sweeps: Leaf
    converged: Leaf


def measure_recall(
    key: Any,
    patterns: Reals | Packed,
    F: Interaction | Activation,
    *,
    flips: Scalar = 0.2,
    probes: int = 256,
    mode: str = "async",
    max_sweeps: int = 50,
    chunk: int = 32,
    mesh: Any = None,
) -> Recall:
    """Flip a fraction of the bits of stored patterns, retrieve, and compare.

    Args:
        key: a typed key.
        patterns: (K, N), entries -1 or +1, or packed.
        F: an interaction or an activation, as in `retrieve`.
        flips: fraction of bits flipped in each probe (exactly round(flips N) of them), in
            [0, 1]; may be traced, nothing is recompiled for it.
        probes: number of probes; they start from the patterns in turn, in a random order.
        mode: as in `retrieve`.
        max_sweeps: as in `retrieve`.
        chunk: as in `retrieve`.
        mesh: as in `retrieve`; the probes are split.

    Returns:
        A `Recall`. Piecewise constant: all derivatives are zero.

    Raises:
        ValueError: as `retrieve`, and if flips is not in [0, 1].
        TypeError: if key is not a typed key.

    Example:
        >>> import jax
        >>> from jaxact import memory
        >>> patterns = jax.random.rademacher(jax.random.key(0), (100, 64))
        >>> F = memory.rectified(4)
        >>> found = memory.measure_recall(jax.random.key(1), patterns, F, probes=32)
        >>> float(found.exact)
        1.0
    """
    F = as_interaction(F)
    checks.key("key", key)
    check_run(patterns, F, mode, max_sweeps, chunk)
    checks.between("flips", flips, 0.0, 1.0)
    checks.integer("probes", probes, 1)
    if isinstance(patterns, Packed):
        stored, dtype = patterns, jnp.result_type(float)
    else:
        stored, dtype = packed(jnp.asarray(patterns)), floating(patterns).dtype
    target, start = _draw(key, stored, jnp.asarray(flips, dtype), probes=int(probes))
    F = anonymous(F.normalised(stored.N))
    static = {"mode": mode, "max_sweeps": int(max_sweeps), "chunk": int(chunk)}
    return _averages(run_over(mesh, stored, start, F, None, **static), target)


@functools.partial(jax.jit, static_argnames="probes")
def _draw(key: Array, stored: Packed, flips: Array, *, probes: int) -> tuple[Array, Array]:
    """The patterns that the probes come from, and the probes."""
    choose, corrupt = jax.random.split(key)
    which = jax.random.permutation(choose, stored.shape[0])[jnp.arange(probes) % stored.shape[0]]
    target = chosen(stored, which, flips.dtype)
    return target, flipped(corrupt, target, flips)


@jax.jit
def _averages(found: Retrieval, target: Array) -> Recall:
    overlap = jnp.mean(found.state * target, axis=-1)
    right = jnp.all(found.state == target, axis=-1)

    def mean(values: Array) -> Array:
        return jnp.mean(values.astype(target.dtype))

    return Recall(
        exact=mean(right),
        overlap=mean(overlap),
        bit_error=mean((1 - overlap) / 2),
        sweeps=mean(found.sweeps),
        converged=mean(found.converged),
    )


def flipped(key: Array, states: Array, flips: Array) -> Array:
    """The states with exactly round(flips N) random bits of each turned."""
    N = states.shape[-1]
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(key, states.shape), axis=-1), axis=-1)
    return jnp.where(rank < jnp.round(flips * N).astype(rank.dtype), -states, states)
