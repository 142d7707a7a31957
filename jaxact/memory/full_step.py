"""One full step of a joint memory: scores, energy, weights, and the patterns they pull to."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.memory.joint import JointEnergy
from jaxact.numerics.pytrees import Leaf, pytree

HIGHEST = jax.lax.Precision.HIGHEST
_SPARSE = 16


@pytree()
class Memory:
    """Patterns (K, N), the scores of those that count (0, else very low), and the energy."""

    patterns: Leaf
    bias: Leaf
    F: JointEnergy

    def overlaps(self, state: Array) -> Array:
        """X q, (..., K)."""
        return jnp.matmul(state, self.patterns.T, precision=HIGHEST)

    def scores(self, state: Array) -> Array:
        """z, (..., K)."""
        if self.F.similarity == "distance":
            h = self.overlaps(state)
            norms = jnp.broadcast_to(jnp.sum(self.patterns**2, axis=-1), h.shape)
            square = jnp.sum(state**2, axis=-1, keepdims=True) + norms - 2 * h
            z = -self.F.beta * jnp.maximum(square, 0) / 2
        else:
            z = self.overlaps(self.F.beta * state)
        if self.bias is not None:
            z = z + jnp.broadcast_to(self.bias, z.shape)
        # Every use must see the same rounding: fused into exp(z - max z), a contracted multiply
        # is off by eps |z|, which overflows from |z| = 1e9 in float32.
        return jax.lax.optimization_barrier(z)

    def energy(self, state: Array, z: Array, mode: str) -> Array:
        """E of a state with scores z, (...)."""
        value = -self.F.potential(z) / self.F.beta
        if self.F.similarity == "distance" or mode == "sphere":
            return value
        return value + jnp.sum(state**2, axis=-1) / 2

    def aim(self, pull: Array, weights: Array, state: Array, mode: str) -> Array:
        """Where a full step goes, from sum_mu w_mu xi_mu."""
        if mode == "sphere":
            return unit(pull, state)
        if self.F.similarity == "distance" and self.F.slope is None:
            total = jnp.sum(weights, axis=-1, keepdims=True)
            return jnp.where(total > 0, pull / jnp.where(total > 0, total, 1), state)
        return pull

    def target(self, state: Array, mode: str) -> Array:
        """The state after one full step, in the form that differentiates."""
        weights = self.F.weights(self.scores(state))
        pull = jnp.matmul(weights, self.patterns, precision=HIGHEST)
        return self.aim(pull, weights, state, mode)

    def look(self, state: Array, mode: str) -> tuple[Array, Array]:
        """Energies and full steps of a batch, in the form that is fast."""
        z = self.scores(state)
        weights = self.F.weights(z)
        pull = combine(weights, self.patterns)
        return self.energy(state, z, mode), self.aim(pull, weights, state, mode)


@jax.custom_jvp
def combine(weights: Float[Array, "B K"], patterns: Float[Array, "K N"]) -> Float[Array, "B N"]:
    """The product of both; where few weights matter to rounding, from those patterns alone.

    A memory that recalls is in that case, and it halves the work: the overlaps are the rest.
    Derivatives are those of the whole product: a weight of zero may have one.
    """
    K = patterns.shape[0]
    if K < 64 * _SPARSE:
        return jnp.matmul(weights, patterns, precision=HIGHEST)

    def chosen(weights: Array, patterns: Array) -> Array:
        # The barrier keeps XLA from rewriting a top-k whose last column is read as a full sort.
        top, index = jax.lax.optimization_barrier(jax.lax.top_k(jnp.abs(weights), _SPARSE))
        negligible = float(jnp.finfo(weights.dtype).eps) / K
        few = jnp.all(top[:, -1] <= negligible * top[:, 0])

        def sparse(w: Array, x: Array) -> Array:
            kept = jnp.take_along_axis(w, index, axis=1)
            return jnp.sum(kept[:, :, None] * x[index], axis=1)

        dense = functools.partial(jnp.matmul, precision=HIGHEST)
        return jax.lax.cond(few, sparse, dense, weights, patterns)

    dense = functools.partial(jnp.matmul, precision=HIGHEST)
    return jax.lax.platform_dependent(weights, patterns, cpu=chosen, default=dense)


@combine.defjvp
def _combine_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (weights, patterns), (dweights, dpatterns) = primals, tangents
    change = jnp.matmul(dweights, patterns, precision=HIGHEST)
    return combine(*primals), change + jnp.matmul(weights, dpatterns, precision=HIGHEST)


def unit(v: Array, otherwise: Array) -> Array:
    """The direction v / |v|, safe from underflow; `otherwise` where v = 0."""
    top = jax.lax.stop_gradient(jnp.max(jnp.abs(v), axis=-1, keepdims=True))
    scaled = v / jnp.where(top > 0, top, 1)
    square = jnp.sum(scaled**2, axis=-1, keepdims=True)
    return jnp.where(top > 0, scaled / jnp.sqrt(jnp.where(top > 0, square, 1)), otherwise)
