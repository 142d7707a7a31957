"""The implicit derivative of a minimiser: the solution map as a differentiable function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.problem import Problem


@jax.custom_jvp
def minimiser(problem: Problem, z: Float[Array, " k"]) -> Float[Array, " k"]:
    """z, a minimiser of problem's F, as a function of everything the problem holds.

    dz = -(d^2 F / dz^2)^+ d(grad F) along a change of y, prior, the generator's weights or the
    operator's arrays. On data that the generator fits exactly this is
    (J^T J + prior I)^{-1} J^T dy. Directions in which F is flat do not move. The rule may be
    differentiated again; z's own tangent is ignored.
    """
    del problem
    return z


@minimiser.defjvp
def _minimiser_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    problem, z = primals
    z = minimiser(problem, z)
    gradient = jax.grad(Problem.objective, argnums=1)
    shift = jax.jvp(lambda p: gradient(p, z), (problem,), (tangents[0],))[1]
    hessian = jax.jacfwd(gradient, argnums=1)(problem, z)
    return z, -(pseudo_inverse(hessian) @ shift)


@jax.custom_jvp
def pseudo_inverse(a: Float[Array, "k k"]) -> Float[Array, "k k"]:
    """The pseudo-inverse of a symmetric matrix; differentiable at fixed rank, repeatedly."""
    value, vector = jnp.linalg.eigh((a + a.T) / 2)
    size = jnp.abs(value)
    keep = size > 4 * a.shape[0] * float(jnp.finfo(a.dtype).eps) * jnp.max(size)
    return (vector * jnp.where(keep, 1 / jnp.where(keep, value, 1), 0)[None, :]) @ vector.T


@pseudo_inverse.defjvp
def _pseudo_inverse_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    inverse = pseudo_inverse(primals[0])
    return inverse, -(inverse @ tangents[0] @ inverse)
