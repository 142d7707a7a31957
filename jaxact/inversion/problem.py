"""The inverse problem: F(z) = 1/2 ||A G(z) - y||^2 + prior/2 ||z||^2, over flat latents."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.callables import Function, hoist
from jaxact.numerics.pytrees import Leaf, pytree


@pytree(static=("shape",))
class Problem:
    """One inverse problem; latents are flat vectors (k,) here, whatever the generator takes.

    Attributes:
        generator: G, latent of `shape` -> output.
        operator: A, output -> measurements.
        y: the measurements.
        prior: weight of 1/2 ||z||^2, a scalar.
        shape: the latent's shape.
    """

    generator: Function
    operator: Function
    y: Leaf
    prior: Leaf
    shape: tuple[int, ...]

    def replace(self, y: Array) -> Problem:
        """The same problem with other measurements."""
        return Problem(self.generator, self.operator, y, self.prior, self.shape)

    def hoisted(self, z: Float[Array, " k"]) -> Problem:
        """The same problem, with traced values in closures of its functions made into leaves."""
        generator = hoist(self.generator, z.reshape(self.shape))
        operator = hoist(self.operator, self.output(z))
        return Problem(generator, operator, self.y, self.prior, self.shape)

    def output(self, z: Float[Array, " k"]) -> Array:
        """G(z)."""
        return self.generator(z.reshape(self.shape))

    def residual(self, z: Float[Array, " k"]) -> Float[Array, " m"]:
        """A G(z) - y as a flat real vector (complex measurements: real, then imaginary parts)."""
        measured = self.operator(self.output(z))
        return _real(measured - self.y.astype(measured.dtype))

    def objective(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        """F(z); +inf where the generator is not finite."""
        r = self.residual(z)
        value = (r @ r + jnp.asarray(self.prior, z.dtype) * (z @ z)) / 2
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    def target(self) -> Float[Array, ""]:
        """||y||^2, the scale of the misfit."""
        return jnp.sum(_real(self.y) ** 2)

    def jacobian(self, z: Float[Array, " k"]) -> tuple[Float[Array, " m"], Float[Array, "m k"]]:
        """The residual and J = d(A G)/dz, by k forward or m reverse products, the fewer."""
        r, push = jax.linearize(self.residual, z)
        if r.size >= z.size:
            return r, jax.vmap(push, out_axes=1)(jnp.eye(z.size, dtype=z.dtype))
        pull = jax.linear_transpose(push, z)
        return r, jax.vmap(lambda row: pull(row)[0])(jnp.eye(r.size, dtype=r.dtype))


def _real(x: Any) -> Array:
    x = jnp.ravel(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.concatenate([x.real, x.imag])
    return x
