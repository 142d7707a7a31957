"""Retrieval: descend the energy from a probe, one spin at a time or all at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.memory import continuous
from jaxact.memory.energy import EXACT, anchored, counted, spin_field
from jaxact.memory.interaction import (
    Interaction,
    Reals,
    Scalar,
    anonymous,
    as_interaction,
    common,
)
from jaxact.memory.joint import JointEnergy
from jaxact.memory.store import Store, contents
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

MODES = ("async", "sync", "cccp", "cccp+async")
ORDERS = ("sequential", "random")
_CHUNK = 32
_LARGE_DEGREE = 24


@pytree()
class Retrieval:
    """What `retrieve` found, for one probe (...) = () or for a batch (...) = (B,).

    Attributes:
        state: the last state, (..., N): +-1, or real for a joint energy or the sphere.
        energies: the energy before the first sweep and after each one, (..., max_sweeps + 1),
            of the normalised F: `energy(patterns, state, F.normalised(N))`; of a joint energy:
            `energy(patterns, state, F)`. After the last sweep made, its energy repeats to the
            end.
        sweeps: the number of sweeps (steps, in the synchronous modes) made, (...).
        converged: whether the state is a fixed point of the last mode's rule, (...).
    """

    state: Leaf
    energies: Leaf
    sweeps: Leaf
    converged: Leaf


def retrieve(
    patterns: Reals | Store,
    probe: Reals,
    F: Interaction | Activation | JointEnergy,
    *,
    mode: str | None = None,
    order: str = "sequential",
    key: Any = None,
    step: Scalar = 0.1,
    max_sweeps: int = 50,
    chunk: int | None = None,
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
            `Store` of them, whose free slots take no part.
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
        chunk: probes that run side by side; the rest follow in sequence. 32 if None, which
            keep the overlaps of 10,000 patterns in a CPU's cache (a GPU wants more); 256 for
            real patterns, where a step is two matmuls.

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
    array, used = contents(patterns)
    if isinstance(F, JointEnergy) or mode == "sphere":
        return Retrieval(
            *continuous.recall(
                array, used, probe, F, mode=mode, step=step, max_sweeps=max_sweeps, chunk=chunk
            )
        )
    chunk = _CHUNK if chunk is None else chunk
    check_run(array, F, mode, max_sweeps, chunk)
    _check_probe(probe, np.shape(array)[1], order, key)
    spins, probes = common(array, probe)
    single = probes.ndim == 1
    found = run(
        spins,
        probes[None] if single else probes,
        anonymous(F.normalised(spins.shape[1])),
        key if order == "random" else None,
        used,
        mode=mode,
        max_sweeps=int(max_sweeps),
        chunk=int(chunk),
    )
    return jax.tree.map(lambda leaf: leaf[0], found) if single else found


@functools.partial(jax.jit, static_argnames=("mode", "max_sweeps", "chunk"))
def run(
    patterns: Float[Array, "K N"],
    probes: Float[Array, "B N"],
    F: Interaction,
    key: Any,
    used: Any = None,
    *,
    mode: str,
    max_sweeps: int,
    chunk: int,
) -> Retrieval:
    """`retrieve` on a checked batch and a normalised F, chunk by chunk."""
    patterns, probes, F = jax.lax.stop_gradient((patterns, probes, F))
    B, N = probes.shape
    chunk = min(chunk, B)
    full = -(-B // chunk) * chunk
    padded = jnp.concatenate([probes, jnp.broadcast_to(probes[:1], (full - B, N))])
    kernel = functools.partial(_chunk, _Rule(patterns, F, used), key, mode, max_sweeps)
    found = jax.lax.map(kernel, padded.reshape(-1, chunk, N))
    return jax.tree.map(lambda leaf: leaf.reshape(full, *leaf.shape[2:])[:B], found)


class _Rule:
    """The patterns and F, ready for batches of states (B, N) and overlaps (B, K)."""

    def __init__(self, patterns: Array, F: Interaction, used: Any) -> None:
        self.patterns, self.columns, self.F, self.used = patterns, patterns.T, F, used
        self.N = patterns.shape[1]
        if F.tabulated:
            grid = jnp.arange(-self.N - 2, self.N + 3).astype(patterns.dtype)
            self.table = F(grid)

    def near(self, h: Array) -> Callable[[Array], Array]:
        """A positive multiple of F that is in range around h, as a function of the overlap."""
        G: Callable[[Array], Array] = self.F
        if self.F.tabulated:
            G = self._look_up
        elif self.F.kind == "exponential" or (self.F.degree or 0) > _LARGE_DEGREE:
            G = anchored(self.F, h)[0]
        return G if self.used is None else lambda points: counted(G(points), self.used)

    def _look_up(self, points: Array) -> Array:
        return self.table[points.astype(jnp.int32) + self.N + 2]

    def overlaps(self, states: Array) -> Array:
        return jnp.matmul(states, self.columns, precision=EXACT)

    def energy(self, states: Array) -> Array:
        h = self.overlaps(states)
        F = self.near(h) if self.F.tabulated else self.F
        return -jnp.sum(counted(F(h), self.used), axis=-1)

    def gaps(self, states: Array) -> Array:
        h = self.overlaps(states)
        return spin_field(self.patterns, states, h, self.near(h))

    def stable(self, states: Array) -> Array:
        return jnp.all(self.gaps(states) * states >= 0, axis=-1)

    def cccp(self, states: Array) -> Array:
        h = self.overlaps(states)
        F = self.F if self.F.tabulated else self.near(h)
        slope = jax.jvp(F, (h,), (jnp.ones_like(h),))[1]
        slope = counted(slope, self.used)
        return _follow(jnp.matmul(slope, self.patterns, precision=EXACT), states)

    def sweep(self, order: Array, states: Array) -> Array:
        """One pass over the spins in the given order, which all states share."""

        def one(state: Array, h: Array) -> Array:
            def visit(h: Array, spin: tuple[Array, Array]) -> tuple[Array, Array]:
                i, old = spin
                x = self.columns[i]
                rest = h - x * old
                G = self.near(rest)
                # A dot: XLA does not vectorise a float reduction on the CPU.
                gap = jnp.dot(G(rest + 1) - G(rest - 1), x, precision=EXACT)
                new = _follow(gap, old)
                return rest + x * new, new

            return state.at[order].set(jax.lax.scan(visit, h, (order, state[order]))[1])

        return jax.vmap(one)(states, self.overlaps(states))


def _follow(field: Array, old: Array) -> Array:
    """The sign of the field; a tie keeps the old spin."""
    return jnp.where(field == 0, old, jnp.sign(field))


def _chunk(rule: _Rule, key: Any, mode: str, max_sweeps: int, states: Array) -> Retrieval:
    B = states.shape[0]
    energies = jnp.broadcast_to(rule.energy(states)[:, None], (B, max_sweeps + 1))
    sweeps = jnp.zeros(B, jnp.int32)
    found = Retrieval(states, energies, sweeps, jnp.zeros(B, bool))
    for phase in mode.split("+"):
        if phase == "async":
            step = functools.partial(_async_step, rule, key)
            found = _descend(rule, step, rule.stable, max_sweeps, found, rule.stable(found.state))
        else:
            rules = {
                "sync": lambda _, s: _follow(rule.gaps(s), s),
                "cccp": lambda _, s: rule.cccp(s),
            }
            found = _descend(rule, rules[phase], None, max_sweeps, found, jnp.zeros(B, bool))
    return found


def _async_step(rule: _Rule, key: Any, sweep: Array, states: Array) -> Array:
    order = jnp.arange(rule.N)
    if key is not None:
        order = jax.random.permutation(jax.random.fold_in(key, sweep), order)
    return rule.sweep(order, states)


def _descend(
    rule: _Rule,
    step: Callable[[Array, Array], Array],
    settled: Callable[[Array], Array] | None,
    max_sweeps: int,
    found: Retrieval,
    done: Array,
) -> Retrieval:
    """Step until every state of the chunk is a fixed point or has used up its sweeps."""
    places = jnp.arange(max_sweeps + 1, dtype=found.sweeps.dtype)[None, :]

    def unfinished(found: Retrieval) -> Array:
        return ~found.converged & (found.sweeps < max_sweeps)

    def body(carry: tuple[Array, Retrieval]) -> tuple[Array, Retrieval]:
        count, found = carry
        active = unfinished(found)
        state = jnp.where(active[:, None], step(count, found.state), found.state)
        still = jnp.all(state == found.state, axis=-1)
        if settled is not None:
            still = still | settled(state)
        sweeps = found.sweeps + active.astype(found.sweeps.dtype)
        later = active[:, None] & (places >= sweeps[:, None])
        energies = jnp.where(later, rule.energy(state)[:, None], found.energies)
        return count + 1, Retrieval(state, energies, sweeps, found.converged | (active & still))

    start = Retrieval(found.state, found.energies, found.sweeps, done)
    first = jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(lambda c: jnp.any(unfinished(c[1])), body, (first, start))[1]


def check_run(patterns: Any, F: Interaction, mode: str, max_sweeps: int, chunk: int) -> None:
    """Refuse what no retrieval can use."""
    checks.shape("patterns", patterns, ("K", "N"))
    if np.size(patterns) == 0:
        raise ValueError(f"patterns must not be empty, got shape {np.shape(patterns)}")
    checks.spins("patterns", patterns)
    checks.choice("mode", mode, MODES)
    checks.integer("max_sweeps", max_sweeps, 1)
    checks.integer("chunk", chunk, 1)
    if mode.startswith("cccp") and F.convex is False:
        raise ValueError(
            f"mode {mode!r} must have a convex F, or its steps may raise the energy; got "
            f"{F.name}: use mode='async'"
        )


def _check_probe(probe: Any, N: int, order: str, key: Any) -> None:
    if np.ndim(probe) not in (1, 2) or np.shape(probe)[-1] != N or np.size(probe) == 0:
        raise ValueError(f"probe must have shape ({N},) or (B, {N}), got {np.shape(probe)}")
    checks.spins("probe", probe)
    checks.choice("order", order, ORDERS)
    if order == "random":
        checks.key("key", key)
