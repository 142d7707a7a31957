"""The update rules on batches of states: by energy differences, and concave-convex."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxact.memory.energy import anchored, counted, in_range, spin_field
from jaxact.memory.interaction import Interaction
from jaxact.memory.packed import (
    EXACT,
    Packed,
    blocks,
    packed_overlaps,
    spins_of,
    times_patterns,
)

_LARGE_DEGREE = 24


class Rules:
    """Patterns and a normalised F, ready for states (B, N) and their overlaps (B, K).

    `used` (K,) says which patterns count; None for all of them.
    """

    def __init__(self, stored: Packed, F: Interaction, dtype: Any, used: Any = None) -> None:
        self.stored, self.F, self.dtype, self.used = stored, F, dtype, used
        if F.tabulated:
            self.table = F(jnp.arange(-stored.N - 2, stored.N + 3).astype(dtype))

    def overlaps(self, states: Float[Array, "B N"]) -> Float[Array, "B K"]:
        """h, exact: it is counted in integers."""
        return packed_overlaps(self.stored, states).astype(self.dtype)

    def near(self, h: Float[Array, "B K"]) -> Callable[[Array], Array]:
        """A positive multiple of F that is in range up to h, as a function of the overlap."""
        G = self._near(h)
        return G if self.used is None else lambda points: counted(G(points), self.used)

    def _near(self, h: Array) -> Callable[[Array], Array]:
        F, (K, N) = self.F, self.stored.shape
        if F.tabulated:
            return lambda points: self.table[points.astype(jnp.int32) + N + 2]
        if F.kind == "exponential" or (F.degree or 0) > _LARGE_DEGREE:
            return anchored(F, h)[0]
        if F.degree is not None and in_range(F, N, K, self.dtype):
            return lambda points: F.fn(points, *F.theta)  # the unit is a power of two
        return F

    def energy(self, h: Float[Array, "B K"]) -> Float[Array, " B"]:
        """E of the normalised F."""
        F = self.near(h) if self.F.tabulated else self.F
        return -jnp.sum(counted(F(h), self.used), axis=-1)

    def gaps(self, states: Float[Array, "B N"], h: Float[Array, "B K"]) -> Float[Array, "B N"]:
        """A positive multiple of all energy differences."""
        return spin_field(self.stored, states, h, self.near(h + 2))

    def stable(self, states: Float[Array, "B N"], h: Float[Array, "B K"]) -> Bool[Array, " B"]:
        """Whether no spin gains by a flip."""
        return jnp.all(self.gaps(states, h) * states >= 0, axis=-1)

    def cccp(self, states: Float[Array, "B N"], h: Float[Array, "B K"]) -> Float[Array, "B N"]:
        """The states after one concave-convex step."""
        F = self.F if self.F.tabulated else self.near(h)
        slope = counted(jax.jvp(F, (h,), (jnp.ones_like(h),))[1], self.used)
        return follow(times_patterns(self.stored, slope), states)

    def sweep(
        self, order: Int[Array, " N"], states: Float[Array, "B N"], h: Float[Array, "B K"]
    ) -> tuple[Float[Array, "B N"], Float[Array, "B K"]]:
        """One pass over the spins in the given order, which all states share."""

        def visit(h: Array, spin: tuple[Array, Array]) -> tuple[Array, Array]:
            x, old = spin
            rest = h - old[:, None] * x[None, :]
            G = self.near(rest + 1)
            # A dot: XLA does not vectorise a float reduction on the CPU.
            gap = jnp.matmul(G(rest + 1) - G(rest - 1), x, precision=EXACT)
            new = follow(gap, old)
            # From h, not from rest: XLA then reads one array and writes it in place.
            return h + (new - old)[:, None] * x[None, :], new

        def block(h: Array, spins: Array) -> tuple[Array, Array]:
            # A padded spin has x = 0, hence no gap: nothing moves, and it is dropped below.
            return jax.lax.scan(
                visit, h, (spins_of(self.stored, spins, self.dtype), states.T[spins])
            )

        visits = blocks(order)
        h, new = jax.lax.scan(block, h, visits)
        new = new.reshape(-1, states.shape[0]).T
        return states.at[:, visits.reshape(-1)].set(new, mode="drop"), h


def follow(field: Float[Array, "*batch"], old: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The sign of the field; a tie keeps the old spin."""
    return jnp.where(field > 0, 1, jnp.where(field < 0, -1, old)).astype(old.dtype)
