"""Retrieval of real-valued patterns: steps that never raise a joint energy, to a fixed point."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from jaxact.memory.full_step import HIGHEST, Memory, unit
from jaxact.memory.interaction import Interaction, Reals, Scalar, anonymous, common
from jaxact.memory.joint import JointEnergy, summed
from jaxact.memory.store import contents
from jaxact.numerics import checks
from jaxact.numerics.shards import sharded

MODES = ("cccp", "flow", "sphere")
_CHUNK = 256


def update(patterns: Any, state: Reals, F: JointEnergy) -> Float[Array, "*batch N"]:
    """One step of the memory, q <- X^T w(q): attention of the states over the patterns.

    For "dot" energies w is the gradient of L at beta X q; for `softmax` this is
    X^T softmax(beta X q). For "distance" ones it is the weighted mean of the patterns, one
    mean-shift step. It never raises `energy` (convex L).

    Args:
        patterns: (K, N), or a `Store`.
        state: (..., N).
        F: a joint energy.

    Returns:
        The next state, (..., N). Differentiable in everything, the state included: the layer
        to train with. (`retrieve` differentiates its fixed point instead.)

    Raises:
        ValueError: if shapes do not fit or an entry is not finite.
        TypeError: if F is not a joint energy.

    Example:
        >>> from jaxact import memory
        >>> patterns = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> memory.update(patterns, jnp.array([2.0, 0.0]), memory.sparsemax()).tolist()
        [1.0, 0.0]

    Source: Ramsauer et al. 2020, eq. 3; Santos et al. 2024, eq. 11.
    """
    if not isinstance(F, JointEnergy):
        raise TypeError(f"F must be a joint energy (softmax, entmax, ...), got {F!r}")
    checks.finite("F", F)
    array, used = contents(patterns)
    check_states("state", array, state, None)
    return _update(_memory(*common(array, state), used, F))


@jax.jit
def _update(pair: tuple[Memory, Array]) -> Array:
    memory, state = pair
    states = state.reshape(-1, state.shape[-1])
    return memory.look(states, "cccp")[1].reshape(state.shape)


def joint_energy(patterns: Any, used: Any, state: Array, F: JointEnergy) -> Array:
    """`energy` of a joint F, on checked arrays."""
    return _energy(_memory(patterns, state, used, F))


@jax.jit
def _energy(pair: tuple[Memory, Array]) -> Array:
    memory, state = pair
    return memory.energy(state, memory.scores(state), "cccp")


def recall(
    patterns: Any, used: Any, probe: Reals, F: JointEnergy | Interaction, *,
    mode: str, step: Scalar, max_sweeps: int, chunk: int | None, mesh: Any = None,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """The state, energies, steps and convergence that `retrieve` returns."""
    check_states("probe", patterns, probe, (1, 2))
    checks.choice("mode", mode, MODES)
    checks.positive("step", step)
    checks.between("step", step, 0.0, 1.0)
    checks.integer("max_sweeps", max_sweeps, 1)
    chunk = _CHUNK if chunk is None else chunk
    checks.integer("chunk", chunk, 1)
    array, probes = common(patterns, probe)
    if isinstance(F, Interaction):
        array, F = _on_sphere(array, F)
    memory, probes = _memory(array, probes, used, F)
    check_batch(probes, mesh)
    single = probes.ndim == 1
    batch = probes[None] if single else probes
    share = -(-batch.shape[0] // (1 if mesh is None else mesh.size))
    parts = -(-share // int(chunk))
    size = -(-share // parts)  # even parts: little padding
    pace = jnp.asarray(step if mode == "flow" else 1.0, probes.dtype)
    args, static = (memory, batch, pace), {"mode": mode, "max_sweeps": int(max_sweeps)}
    if mesh is None:
        found = _recall(*args, chunk=size, **static)
    else:
        found = sharded(_recall, args, (False, True, False), mesh=mesh, chunk=size, **static)
        found = jax.tree.map(jnp.asarray, found)
    return jax.tree.map(lambda leaf: leaf[0], found) if single else found


@functools.partial(jax.jit, static_argnames=("mode", "max_sweeps", "chunk"))
def _recall(
    memory: Memory, probes: Array, step: Array, *, mode: str, max_sweeps: int, chunk: int
) -> tuple[Array, Array, Array, Array]:
    B, N = probes.shape
    full = -(-B // chunk) * chunk
    padded = jnp.concatenate([probes, jnp.broadcast_to(probes[:1], (full - B, N))])
    frozen = jax.lax.stop_gradient((memory, step))

    def part(probes: Array) -> tuple[Array, Array, Array, Array]:
        start = jax.lax.stop_gradient(probes)
        state, energies, steps, converged = _descend(*frozen, start, mode, max_sweeps)
        state = jax.vmap(lambda q: _fixed_point(mode, memory, q))(state)
        return state, energies, steps, converged

    # One chunk needs no loop, and a matmul outside one keeps its operands where they lie.
    if full == chunk:
        return part(padded)
    found = jax.lax.map(part, padded.reshape(-1, chunk, N))
    return jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:])[:B], found)


def _descend(
    memory: Memory, step: Array, probes: Array, mode: str, max_sweeps: int
) -> tuple[Array, Array, Array, Array]:
    """Step until every state stands still, to rounding, or has used up its steps."""
    B = probes.shape[0]
    eps = float(jnp.finfo(probes.dtype).eps)
    largest = jnp.max(jnp.abs(memory.patterns), axis=0)  # by columns: XLA vectorises that
    scale = jnp.ones((), probes.dtype) if mode == "sphere" else jnp.max(largest)
    state = (
        unit(probes, jnp.ones_like(probes) / probes.shape[1] ** 0.5) if mode == "sphere" else probes
    )
    places = jnp.arange(max_sweeps + 1, dtype=jnp.int32)[None, :]

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        count, active, state, energies, steps, converged = carry
        value, target = memory.look(state, mode)
        energies = jnp.where(active[:, None] & (places >= count), value[:, None], energies)
        still = jnp.max(jnp.abs(target - state), axis=-1) <= 32 * eps * scale
        converged = converged | (active & still)
        active = active & ~still & (count < max_sweeps)
        moved = state + step * (target - state)
        # A full step lands on the target itself, which a pattern recalled exactly needs.
        moved = jnp.where(step == 1, target, moved)
        moved = unit(moved, state) if mode == "sphere" else moved
        state = jnp.where(active[:, None], moved, state)
        return count + 1, active, state, energies, steps + active.astype(steps.dtype), converged

    energies = jnp.zeros((B, max_sweeps + 1), probes.dtype)
    none = jnp.zeros(B, jnp.int32)
    start = (none[0], none == 0, state, energies, none, none > 0)
    found = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), body, start)
    return found[2], found[3], found[4], found[5]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _fixed_point(mode: str, memory: Memory, state: Float[Array, " N"]) -> Float[Array, " N"]:
    """state, a fixed point of the memory's step T, as a function of what the memory holds.

    dq = (I - dT/dq)^{-1} dT(memory). I - dT/dq is the Hessian of the energy (on the sphere, its
    tangential part), symmetric and positive definite at a minimum: conjugate gradients.
    """
    del mode, memory
    return state


@_fixed_point.defjvp
def _fixed_point_jvp(mode: str, primals: Any, tangents: Any) -> tuple[Array, Array]:
    memory, state = primals
    state = _fixed_point(mode, memory, state)
    shift = jax.jvp(lambda m: m.target(state, mode), (memory,), (tangents[0],))[1]

    _, turn = jax.linearize(lambda q: memory.target(q, mode), state)

    def hessian(v: Array) -> Array:
        inner = v - state * jnp.dot(state, v, precision=HIGHEST) if mode == "sphere" else v
        return v - turn(inner)

    # Around cg, which does not transpose under vmap: it ties its own start to the right side.
    moved = jax.lax.custom_linear_solve(hessian, shift, _conjugate_gradients, symmetric=True)
    return state, moved


def _conjugate_gradients(matvec: Callable[[Array], Array], b: Array) -> Array:
    eps = float(jnp.finfo(b.dtype).eps)
    return cg(matvec, b, tol=8 * eps, maxiter=2 * b.shape[0])[0]


def _on_sphere(patterns: Array, F: Interaction) -> tuple[Array, JointEnergy]:
    """The sum of F over overlaps measured in the largest norm of a pattern, in [-1, 1]."""
    if F.kind == "exponential":
        raise ValueError(
            "mode 'sphere' must have a softmax in place of an exponential F: both "
            "have the same dynamics there, and softmax(beta) cannot overflow"
        )
    if F.convex is False:
        raise ValueError(f"mode 'sphere' must have a convex F, got {F.name}")
    square = jnp.max(jnp.sum(patterns**2, axis=-1))
    scaled = patterns / jnp.sqrt(jnp.where(square > 0, square, 1))
    # A factor does not turn a homogeneous F, but it can carry it out of the dtype's range.
    gain = 1.0 if F.degree is not None else F.gain
    return scaled, summed(anonymous(dataclasses.replace(F, gain=gain, unit=1.0)))


def _memory(patterns: Array, state: Array, used: Any, F: JointEnergy) -> tuple[Memory, Array]:
    lowest = -(float(jnp.finfo(patterns.dtype).max) ** 0.5)
    bias = None if used is None else jnp.where(used, 0, lowest).astype(patterns.dtype)
    F = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(patterns.dtype), F)
    return Memory(patterns, bias, F), state


def check_batch(probes: Any, mesh: Any) -> None:
    """Refuse a mesh for one probe."""
    if mesh is not None and np.ndim(probes) == 1:
        raise ValueError(f"probe must be a batch (B, N) with a mesh, got shape {np.shape(probes)}")


def check_states(name: str, patterns: Any, state: Any, ranks: tuple[int, ...] | None) -> None:
    """Refuse patterns and states that are not real, finite and of one length."""
    checks.shape("patterns", patterns, ("K", "N"))
    checks.finite(name, state)
    if np.size(patterns) == 0:
        raise ValueError(f"patterns must not be empty, got shape {np.shape(patterns)}")
    N, shape = np.shape(patterns)[1], np.shape(state)
    wanted = f"(..., {N})" if ranks is None else f"({N},) or (B, {N})"
    if not shape or shape[-1] != N or 0 in shape or (ranks is not None and len(shape) not in ranks):
        raise ValueError(f"{name} must have shape {wanted}, got {shape}")
    checks.finite("patterns", patterns)
