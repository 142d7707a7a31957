"""Retrieval: descend the energy from a probe, one spin at a time or all at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.memory import continuous
from jaxact.memory.continuous import check_batch
from jaxact.memory.interaction import (
    Interaction,
    Reals,
    Scalar,
    anonymous,
    as_interaction,
    common,
    floating,
)
from jaxact.memory.joint import JointEnergy
from jaxact.memory.packed import Packed, check_patterns, packed
from jaxact.memory.rules import Rules, follow
from jaxact.memory.store import Store, contents
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.shards import sharded

MODES = ("async", "sync", "cccp", "cccp+async")
ORDERS = ("sequential", "random")
_CHUNK = 32


@pytree()
class Retrieval:
    """What `retrieve` found, for one probe (...) = () or for a batch (...) = (B,).

    Attributes:
        state: the last state, +-1, (..., N).
        energies: the energy before the first sweep and after each one, (..., max_sweeps + 1),
            of the normalised F: `energy(patterns, state, F.normalised(N))`. After the last
            sweep made, its energy repeats to the end.
        sweeps: the number of sweeps (steps, in the synchronous modes) made, (...).
        converged: whether the state is a fixed point of the last mode's rule, (...).
    """

    state: Leaf
    energies: Leaf
    sweeps: Leaf
    converged: Leaf


def retrieve(
    patterns: Reals | Packed | Store,
    probe: Reals,
    F: Interaction | Activation | JointEnergy,
    *,
    mode: str | None = None,
    order: str = "sequential",
    key: Any = None,
    step: Scalar = 0.1,
    max_sweeps: int = 50,
    chunk: int | None = None,
    mesh: Any = None,
) -> Retrieval:
    """Recall: run the dynamics from a probe until no spin wants to flip, or nothing moves.

    Spins, for an interaction or an activation. The energy rule is sigma_i <- sign(g_i), g_i the
    energy difference of `gaps`; a tie g_i = 0 keeps the spin, so the energy never rises along
    "async" and no cycle exists.

    - "async": spin after spin; overlaps are updated, so a spin costs O(K). Stops once all N
      gaps (two matmuls) agree with the state, or a sweep flips nothing.
    - "sync": all spins at once by the same rule. Fast, may raise the energy and may cycle.
    - "cccp": sigma <- sign(xi^T F'(h)), self-coupling kept. For convex F the energy never
      rises. Every async fixed point is one of these, the converse is false.
    - "cccp+async": cccp until it stops, then async: fast, with the paper's fixed points.

    Real patterns, for a joint energy (`softmax`, `entmax`, `epanechnikov`, `joint`). No step
    raises the energy; a state stands still when a full step moves it by rounding only.

    - "cccp": `update` repeated, q <- X^T w(q): the concave-convex step.
    - "flow": q <- q + step (update - q). For "dot" energies these are Euler steps of the
      gradient flow dq/dt = -dE/dq; for the others, of the same flow in another time.
    - "sphere": q <- X^T w(q) / |X^T w(q)|, states of length one. It takes a convex interaction
      or an activation too: F(gain x.q / m), m the largest norm of a pattern; the energy trace
      is -sum_mu F of that.

    Args:
        patterns: (K, N), entries -1 or +1, or real for a joint energy or "sphere"; or a
            `Store` of them, whose free slots take no part. Spins may come `pack`ed: they are
            packed in any case, so pack once what you use often.
        probe: (N,), or a batch (B, N), of the same kind.
        F: an interaction, or an activation (then F is its primitive). The dynamics run
            `F.normalised(N)`: the same dynamics for a homogeneous or exponential F, and
            F(gain h / N) for any other. Or a joint energy.
        mode: see above; "async" if None, "cccp" for a joint energy.
        order: "sequential", or "random": one fresh permutation a sweep, shared by the batch.
            Only "async" sweeps have an order.
        key: a typed key, needed by "random" alone.
        step: in (0, 1], the time of a "flow" step.
        max_sweeps: sweeps (steps) at most, over both parts of "cccp+async".
        chunk: probes that run side by side; the rest follow in sequence, so that memory is flat
            in their number. Between sweeps the unfinished ones move together. 32 if None, which
            keep the overlaps of 10,000 patterns in a CPU's cache (a GPU wants more); 256 for
            real patterns, where a step is two matmuls.
        mesh: a `jax.sharding.Mesh` over whose devices the probes of a batch are split; their
            number need not divide, and each device stops when its own are done. With
            `jax.distributed` every process makes the same call and gets the whole result.

    Returns:
        A `Retrieval`. For spins it is piecewise constant: all derivatives are zero. For real
        patterns the state has the implicit derivative of a fixed point in the patterns and
        F's leaves; in the probe it is zero, also where `converged` is false (to differentiate
        through steps, repeat `update`). The energies carry no derivative: differentiate
        `energy` at the state. Terms of F smaller than the range of the dtype count as ties.

    Raises:
        ValueError: for shapes that do not fit, entries that are not finite or (for spins) not
            -1 or +1, an unknown mode or order, a step outside (0, 1], or "cccp" or "sphere"
            with an F that is not convex.
        TypeError: if F is not an interaction, an activation or a joint energy, or key is not a
            typed key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact import memory
        >>> patterns = jax.random.rademacher(jax.random.key(0), (200, 64), jnp.float32)
        >>> probe = patterns[0].at[:12].multiply(-1)
        >>> found = memory.retrieve(patterns, probe, memory.rectified(4))
        >>> bool((found.state == patterns[0]).all()), bool(found.converged)
        (True, True)

    Source: Krotov & Hopfield 2016, eq. 4; Yuille & Rangarajan 2003 for cccp; Krotov & Hopfield
    2021, models B and C, for real states.
    """
    if not isinstance(F, JointEnergy):
        F = as_interaction(F)
    if mode is None:
        mode = "cccp" if isinstance(F, JointEnergy) else "async"
    checks.instance("mode", mode, str)
    array, used = contents(patterns)
    if isinstance(F, JointEnergy) or mode == "sphere":
        if isinstance(array, Packed):
            raise TypeError("patterns must be real, not packed, for a joint energy or 'sphere'")
        return Retrieval(
            *continuous.recall(
                array,
                used,
                probe,
                F,
                mode=mode,
                step=step,
                max_sweeps=max_sweeps,
                chunk=chunk,
                mesh=mesh,
            )
        )
    chunk = _CHUNK if chunk is None else chunk
    check_run(array, F, mode, max_sweeps, chunk)
    _check_probe(array, probe, order, key)
    stored, probes = stored_and(array, probe)
    check_batch(probes, mesh)
    single = probes.ndim == 1
    found = run_over(
        mesh,
        stored,
        probes[None] if single else probes,
        anonymous(F.normalised(stored.N)),
        key if order == "random" else None,
        used,
        mode=mode,
        max_sweeps=int(max_sweeps),
        chunk=int(chunk),
    )
    return jax.tree.map(lambda leaf: leaf[0], found) if single else found


def run_over(mesh: Any, stored: Packed, probes: Array, *rest: Any, **static: Any) -> Retrieval:
    """`run`, each device of a mesh doing its share of the probes; without a mesh just `run`."""
    if mesh is None:
        return run(stored, probes, *rest, **static)
    args = (stored, probes, *rest)
    found = sharded(run, args, (False, True, *[False] * len(rest)), mesh=mesh, **static)
    return jax.tree.map(jnp.asarray, found)


@functools.partial(jax.jit, static_argnames=("mode", "max_sweeps", "chunk"))
def run(
    stored: Packed,
    probes: Float[Array, "B N"],
    F: Interaction,
    key: Any,
    used: Any = None,
    *,
    mode: str,
    max_sweeps: int,
    chunk: int,
) -> Retrieval:
    """`retrieve` on a checked batch and a normalised F."""
    probes, F = jax.lax.stop_gradient((probes, F))
    B = probes.shape[0]
    rules = Rules(stored, F, probes.dtype, used)
    each = functools.partial(_chunked, min(chunk, B))
    nothing = jnp.zeros(B, bool)

    def look(states: Array) -> tuple[Array, Array]:
        h = rules.overlaps(states)
        return rules.energy(h), rules.stable(states, h)

    def survey(states: Array) -> tuple[Array, Array]:
        return each(look, ~nothing, states, (jnp.zeros_like(states[:, 0]), nothing))

    energy, stable = survey(probes)
    energies = jnp.broadcast_to(energy[:, None], (B, max_sweeps + 1))
    found = Retrieval(probes, energies, jnp.zeros(B, jnp.int32), stable)
    for number, phase in enumerate(mode.split("+")):
        if phase != "async":
            found = dataclasses.replace(found, converged=nothing)
        elif number > 0:
            found = dataclasses.replace(found, converged=survey(found.state)[1])
        found = _descend(functools.partial(_advance, rules, phase, key), each, max_sweeps, found)
    return found


def _advance(
    rules: Rules, phase: str, key: Any, sweep: Array, states: Array
) -> tuple[Array, Array, Array]:
    """One sweep or step: the new states, their energies, and whether they are fixed points."""
    h = rules.overlaps(states)
    if phase == "async":
        order = jnp.arange(states.shape[1])
        if key is not None:
            order = jax.random.permutation(jax.random.fold_in(key, sweep), order)
        new, h = rules.sweep(order, states, h)
        return new, rules.energy(h), rules.stable(new, h) | jnp.all(new == states, axis=-1)
    new = follow(rules.gaps(states, h), states) if phase == "sync" else rules.cccp(states, h)
    return new, rules.energy(rules.overlaps(new)), jnp.all(new == states, axis=-1)


def _descend(
    advance: Callable[[Array, Array], tuple[Array, Array, Array]],
    each: Callable[..., Any],
    max_sweeps: int,
    found: Retrieval,
) -> Retrieval:
    """Step until every state is a fixed point or has used up its sweeps."""
    places = jnp.arange(max_sweeps + 1, dtype=found.sweeps.dtype)[None, :]

    def unfinished(found: Retrieval) -> Array:
        return ~found.converged & (found.sweeps < max_sweeps)

    def body(carry: tuple[Array, Retrieval]) -> tuple[Array, Retrieval]:
        count, found = carry
        active = unfinished(found)
        kept = (found.state, found.energies[:, 0], found.converged)
        step = functools.partial(advance, count)
        state, energy, fixed = each(step, active, found.state, kept)
        sweeps = found.sweeps + active.astype(found.sweeps.dtype)
        later = active[:, None] & (places >= sweeps[:, None])
        energies = jnp.where(later, energy[:, None], found.energies)
        return count + 1, Retrieval(state, energies, sweeps, fixed)

    first = jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(lambda c: jnp.any(unfinished(c[1])), body, (first, found))[1]


def _chunked(size: int, fn: Callable[[Array], Any], active: Array, states: Array, kept: Any) -> Any:
    """Apply fn to the active states, `size` at a time; the others keep what they have.

    The active ones are gathered first, so that a few late states do not cost a whole batch.
    """
    B = active.shape[0]
    first = jnp.argsort((~active).astype(jnp.int32), stable=True)
    count = jnp.sum(active, dtype=jnp.int32)

    def body(i: Array, kept: Any) -> Any:
        place = i * size + jnp.arange(size, dtype=jnp.int32)
        rows = first[jnp.minimum(place, B - 1)]
        into = jnp.where(place < count, rows, B)
        return jax.tree.map(
            lambda old, new: old.at[into].set(new, mode="drop"), kept, fn(states[rows])
        )

    return jax.lax.fori_loop(jnp.zeros_like(count), (count + size - 1) // size, body, kept)


def check_run(patterns: Any, F: Interaction, mode: str, max_sweeps: int, chunk: int) -> None:
    """Refuse what no retrieval can use."""
    check_patterns(patterns)
    if not isinstance(patterns, Packed):
        checks.spins("patterns", patterns)
    checks.choice("mode", mode, MODES)
    checks.integer("max_sweeps", max_sweeps, 1)
    checks.integer("chunk", chunk, 1)
    if mode.startswith("cccp") and F.convex is False:
        raise ValueError(
            f"mode {mode!r} must have a convex F, or its steps may raise the energy; got "
            f"{F.name}: use mode='async'"
        )


def stored_and(patterns: Any, state: Any) -> tuple[Packed, Array]:
    """Checked patterns at one bit a spin, and the state in the floating dtype of both."""
    if isinstance(patterns, Packed):
        return patterns, floating(state)
    patterns, state = common(patterns, state)
    return packed(patterns), state


def _check_probe(patterns: Any, probe: Any, order: str, key: Any) -> None:
    checks.spins("probe", probe)
    N = np.shape(patterns)[1]
    if np.ndim(probe) not in (1, 2) or np.shape(probe)[-1] != N or np.size(probe) == 0:
        raise ValueError(f"probe must have shape ({N},) or (B, {N}), got {np.shape(probe)}")
    checks.choice("order", order, ORDERS)
    if order == "random" or key is not None:
        checks.key("key", key)
