"""The inverse problem: F(z) = sum_i rho(a_i, y_i) + prior/2 ||z||^2 with a = A G(z), flat z."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.callables import Function, hoist
from jaxact.inversion.noise import Custom, GaussianNoise
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
        noise: the model of the misfit, `jaxact.inversion.noise.Noise`; least squares by default.
        penalty: a further term of F, latent -> scalar: a negative log density; None for none.
    """

    generator: Function
    operator: Function
    y: Leaf
    prior: Leaf
    shape: tuple[int, ...]
    noise: Any = GaussianNoise()
    penalty: Function | None = None

    def replace(self, y: Array) -> Problem:
        """The same problem with other measurements, in the dtype of the operator's."""
        return dataclasses.replace(self, y=y.astype(self.y.dtype))

    def hoisted(self, z: Float[Array, " k"]) -> Problem:
        """The same problem, with traced values in closures of its functions made into leaves."""
        generator = hoist(self.generator, z.reshape(self.shape))
        operator, noise = hoist(self.operator, self.output(z)), self.noise
        if isinstance(noise, Custom):
            noise = Custom(hoist(noise.rho, self.bare().measured(z), self.data(z.dtype)))
        penalty = self.penalty
        if penalty is not None:
            penalty = hoist(penalty, z.reshape(self.shape))
        return dataclasses.replace(
            self, generator=generator, operator=operator, noise=noise, penalty=penalty
        )

    def bare(self) -> Problem:
        """The same problem without its penalty."""
        return dataclasses.replace(self, penalty=None)

    def output(self, z: Float[Array, " k"]) -> Array:
        """G(z)."""
        return self.generator(z.reshape(self.shape))

    def measured(self, z: Float[Array, " k"]) -> Float[Array, " m"]:
        """A G(z) as a flat real vector (complex measurements: real, then imaginary parts).

        With a penalty, z itself follows: what the penalty sees is measured, too, so every solver
        treats it as a part of the misfit.
        """
        a = _real(self.operator(self.output(z)))
        return a if self.penalty is None else jnp.concatenate([a, z.astype(a.dtype)])

    def data(self, dtype: Any) -> Float[Array, " m"]:
        """y, flattened likewise."""
        return _real(self.y).astype(dtype)

    def residual(self, z: Float[Array, " k"]) -> Float[Array, " m"]:
        """A G(z) - y, flat."""
        a = self.bare().measured(z)
        return a - self.data(a.dtype)

    def objective(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        """F(z); +inf where the generator is not finite."""
        a = self.bare().measured(z)
        value = self.noise.misfit(a, self.data(a.dtype))
        if self.penalty is not None:
            value = value + self._penalty(z)
        value = value + jnp.asarray(self.prior, z.dtype) * (z @ z) / 2
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    def target(self) -> Float[Array, ""]:
        """sum_i w_i y_i^2, the scale of the misfit: ||y||^2 for least squares."""
        y = _real(self.y)
        weights = self.noise.weights(y, y)
        return y @ (y if weights is None else weights * y)

    def expand(self, a: Float[Array, " m"]) -> tuple[Float[Array, " m"], Callable[[Array], Array]]:
        """The misfit's slope d rho / da, and v -> W v with the curvatures W = diag(w).

        v is (m,) or (m, n). grad F = J^T slope + prior z, and the generalised Gauss-Newton
        matrix is J^T W J + prior I.
        """
        y = self.data(a.dtype)
        if self.penalty is not None:
            return self._expand_both(a[: y.size], a[y.size :])
        slope = jax.grad(self.noise.misfit)(a, y)
        w = self.noise.weights(a, y)
        if w is None:
            return slope, lambda v: v
        return slope, lambda v: v * w.reshape((-1,) + (1,) * (v.ndim - 1))

    def _expand_both(self, a: Array, z: Array) -> tuple[Array, Callable[[Array], Array]]:
        slope, weigh = self.bare().expand(a)
        pull = jax.grad(self._penalty)

        def bend(v: Array) -> Array:
            return jax.jvp(pull, (z,), (v,))[1]

        def weigh_both(v: Array) -> Array:
            tail = bend(v[a.size :]) if v.ndim == 1 else jax.vmap(bend, 1, 1)(v[a.size :])
            return jnp.concatenate([weigh(v[: a.size]), tail])

        return jnp.concatenate([slope, pull(z)]), weigh_both

    def _penalty(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        if self.penalty is None:
            return jnp.zeros((), z.dtype)
        return jnp.asarray(self.penalty(z.reshape(self.shape)), z.dtype)

    def jacobian(self, z: Float[Array, " k"]) -> tuple[Float[Array, " m"], Float[Array, "m k"]]:
        """A G(z) and J = d(A G)/dz, by k forward or m reverse products, the fewer."""
        a, push = jax.linearize(self.measured, z)
        if a.size >= z.size:
            return a, jax.vmap(push, out_axes=1)(jnp.eye(z.size, dtype=z.dtype))
        pull = jax.linear_transpose(push, z)
        return a, jax.vmap(lambda row: pull(row)[0])(jnp.eye(a.size, dtype=a.dtype))


def _real(x: Any) -> Array:
    x = jnp.ravel(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.concatenate([x.real, x.imag])
    return x
