"""The energy of a state, and the N energy differences that drive the dynamics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.memory.continuous import joint_energy
from jaxact.memory.interaction import (
    Interaction,
    Reals,
    anonymous,
    as_interaction,
    common,
    floating,
)
from jaxact.memory.joint import JointEnergy
from jaxact.memory.packed import (
    EXACT,
    Packed,
    check_patterns,
    packed_overlaps,
    spins_of,
    times_patterns,
)
from jaxact.memory.store import Store, contents
from jaxact.numerics import checks


def overlaps(patterns: Reals | Packed, state: Reals) -> Float[Array, "*batch K"]:
    """The overlaps h_mu = sum_i xi^mu_i sigma_i of states with the patterns.

    A matmul for an array; xor and popcount for `pack`ed patterns, exact and on a CPU several
    times as fast as a float32 matmul (benchmarks/memory_binary.py).

    Args:
        patterns: (K, N), any real values, or packed.
        state: (..., N); -1 or +1 with packed patterns.

    Returns:
        h, (..., K). Differentiable in both, unless the patterns are packed.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite, or the patterns are packed
            and an entry of the state is not -1 or +1.

    Example:
        >>> import jax.numpy as jnp
        >>> overlaps(jnp.array([[1, 1, -1], [1, -1, 1]]), jnp.array([1, 1, 1])).tolist()
        [1.0, 1.0]
    """
    return _overlaps(*_check(patterns, state))


def energy(
    patterns: Reals | Packed | Store, state: Reals, F: Interaction | Activation | JointEnergy
) -> Float[Array, " *batch"]:
    """The energy E = -sum_mu F(h_mu), h_mu = sum_i xi^mu_i sigma_i, in the paper's raw units.

    For a joint energy (`softmax`, `entmax`, ...) E is its own: see `JointEnergy`.

    Args:
        patterns: (K, N), any real values, or packed, or a `Store`.
        state: (..., N), any real values; -1 or +1 with packed patterns.
        F: an interaction, or an activation (then F is its primitive). It is applied to h as
            it is; pass `F.normalised(N)` for the units of `retrieve`. Or a joint energy, of
            patterns that are not packed.

    Returns:
        The energies, (...). Differentiable in the patterns, the state and F's leaves. Where
        h^n leaves the range of the dtype (float32: N = 784 from n = 14) it is -inf or +inf,
        never NaN.

    Raises:
        ValueError: if the shapes do not fit, or an entry is not finite.
        TypeError: if F is not an interaction, an activation or a joint energy, or is a joint
            energy of packed patterns.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> xor = jnp.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
        >>> float(memory.energy(xor, jnp.array([1, 1, 1]), memory.polynomial(3)))
        24.0

    Source: Krotov & Hopfield 2016, eq. 2.
    """
    array, used = contents(patterns)
    array, state = _check(array, state)
    if isinstance(F, JointEnergy):
        if isinstance(array, Packed):
            raise TypeError("patterns must be real, not packed, for a joint energy")
        return joint_energy(array, used, state, F)
    return _energy(array, state, anonymous(as_interaction(F)), used)


def gaps(
    patterns: Reals | Packed,
    state: Reals,
    F: Interaction | Activation,
    *,
    method: str = "auto",
) -> Float[Array, "*batch N"]:
    """All N energy differences g_i = E(sigma_i = -1) - E(sigma_i = +1) at a state.

    g_i = sum_mu F(h_i + xi_i) - F(h_i - xi_i), h_i = sum over j != i of xi_j sigma_j. The
    energy rule sets sigma_i to the sign of g_i; a state is stable if g_i sigma_i >= 0 for all i.
    For patterns and states of +-1 all of them follow from one overlap product and one more:
    g = M xi + sigma sum_mu (F - P), M = (F(h + 2) - F(h - 2)) / 2, P = (F(h + 2) + F(h - 2)) / 2.

    Args:
        patterns: (K, N), any real values, or packed.
        state: (..., N), any real values; -1 or +1 with packed patterns.
        F: an interaction or an activation, applied to the raw overlaps.
        method: "matmul" is the identity above (only for +-1), "direct" the definition, and
            "auto" the identity where both arrays are concrete and +-1, or patterns are packed.

    Returns:
        g, (..., N), finite or +-inf. The definition differentiates in everything; the identity
        rightly in F's leaves only, so under `jax.grad` and `jax.jit` "auto" is "direct".

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite, or method is "matmul"
            and an entry is not -1 or +1.
        TypeError: if F is not an interaction or an activation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> xor = jnp.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
        >>> memory.gaps(xor, jnp.array([1, 1, 1]), memory.polynomial(3)).tolist()
        [-48.0, -48.0, -48.0]

    Source: Krotov & Hopfield 2016, eq. 4.
    """
    checks.choice("method", method, ("auto", "matmul", "direct"))
    packed = isinstance(patterns, Packed)
    if method == "matmul" and not packed:
        checks.spins("patterns", patterns)
        checks.spins("state", state)
    binary = method == "matmul" or (
        method == "auto" and (packed or (_binary(patterns) and _binary(state)))
    )
    kernel = _gaps_matmul if binary else _gaps_direct
    return kernel(*_check(patterns, state), anonymous(as_interaction(F)))


def anchored(F: Interaction, h: Float[Array, "*batch K"]) -> tuple[Callable[[Array], Array], Any]:
    """Split F into a part G that stays in range near h and a positive factor: F = factor G.

    A homogeneous F is measured in units of the largest overlap, F(h) = m^d F(h / m), and an
    exponential one from it, exp(h) = exp(m) exp(h - m). The sign of any difference of F is that
    of G. Neither changes with m, so m is held fixed under differentiation.

    Returns:
        G (on overlaps that broadcast against (..., K)) and the factor, (..., 1).
    """
    if F.kind == "exponential":
        top = jax.lax.stop_gradient(jnp.max(h, axis=-1, keepdims=True))
        rate = F.gain / F.unit
        return lambda points: F.fn(rate * (points - top), *F.theta), F(top)
    if F.degree is not None:
        top = jax.lax.stop_gradient(jnp.max(jnp.abs(h), axis=-1, keepdims=True))
        top = jnp.maximum(top, jnp.finfo(h.dtype).tiny ** 0.25)
        return lambda points: F.fn(points / top, *F.theta), (F.gain / F.unit * top) ** F.degree
    return F, jnp.ones_like(h[..., :1])


def in_range(F: Interaction, N: int, K: int, dtype: Any) -> bool:
    """Whether sums of K raw F cannot leave the range of the dtype for spins."""
    if F.kind == "exponential":
        return False
    bits = (F.degree or 1) * math.log2(N + 2) + math.log2(K) + 2
    return bits < math.log2(float(jnp.finfo(dtype).max))


def _local(
    F: Interaction, patterns: Array | Packed, h: Array
) -> tuple[Callable[[Array], Array], Any]:
    if in_range(F, patterns.shape[1], patterns.shape[0], h.dtype):
        return F, jnp.ones_like(h[..., :1])
    return anchored(F, h)


def _times(factor: Array, value: Array) -> Array:
    """The product, where the factor may be infinite and the value zero."""
    return jnp.where(value == 0, 0, value * factor)


@jax.jit
def _overlaps(patterns: Array | Packed, state: Array) -> Array:
    if isinstance(patterns, Packed):
        return packed_overlaps(patterns, state).astype(state.dtype)
    return jnp.matmul(state, patterns.T, precision=EXACT)


@jax.jit
def _energy(patterns: Array | Packed, state: Array, F: Interaction, used: Array | None) -> Array:
    h = _overlaps(patterns, state)
    G, factor = _local(F, patterns, h)
    return -_times(factor[..., 0], jnp.sum(counted(G(h), used), axis=-1))


def counted(values: Array, used: Array | None) -> Float[Array, "*batch K"]:
    """The values of the patterns in use; zero for the free slots of a `Store`."""
    return values if used is None else jnp.where(jnp.broadcast_to(used, values.shape), values, 0)


def spin_field(
    patterns: Array | Packed, state: Array, h: Array, G: Callable[[Array], Array]
) -> Float[Array, "*batch N"]:
    """The gaps of +-1 states with +-1 patterns, from their overlaps: one matmul."""
    here = G(h)
    below, above = here - G(h - 2), G(h + 2) - here
    if isinstance(patterns, Packed):
        flat = times_patterns(patterns, ((below + above) / 2).reshape(-1, h.shape[-1]))
        field = flat.reshape(state.shape)
    else:
        field = jnp.matmul((below + above) / 2, patterns, precision=EXACT)
    return field + state * jnp.sum((below - above) / 2, axis=-1, keepdims=True)


@jax.jit
def _gaps_matmul(patterns: Array | Packed, state: Array, F: Interaction) -> Array:
    h = _overlaps(patterns, state)
    G, factor = _local(F, patterns, h + 2)
    return _times(factor, spin_field(patterns, state, h, G))


@jax.jit
def _gaps_direct(patterns: Array | Packed, state: Array, F: Interaction) -> Array:
    packed = isinstance(patterns, Packed)
    every = jnp.arange(state.shape[-1])
    columns = spins_of(patterns, every, state.dtype) if packed else patterns.T

    def one(sample: Array) -> Array:
        h = _overlaps(patterns, sample[None])
        G, factor = _local(F, patterns, h + 2)
        rest = h - columns * sample[:, None]
        change = G(rest + columns) - G(rest - columns)
        return _times(factor[0], jnp.sum(change, axis=-1))

    # One (N, K) array at a time: a batch of them would not fit.
    flat = state.reshape(-1, state.shape[-1])
    return jax.lax.map(one, flat).reshape(state.shape)


def _binary(value: Any) -> bool:
    if not checks.is_concrete(value):
        return False
    array = np.asarray(value)
    return array.dtype.kind in "iuf" and bool((np.abs(array) == 1).all())


def _check(patterns: Any, state: Any) -> tuple[Any, Array]:
    """Patterns (K, N) and states (..., N) of one floating dtype."""
    check_patterns(patterns)
    N = np.shape(patterns)[1]
    checks.finite("state", state)
    if np.ndim(state) == 0 or np.shape(state)[-1] != N:
        raise ValueError(f"state must have shape (..., {N}), got {np.shape(state)}")
    if isinstance(patterns, Packed):
        checks.spins("state", state)
        return patterns, floating(state)
    checks.finite("patterns", patterns)
    return common(patterns, state)
