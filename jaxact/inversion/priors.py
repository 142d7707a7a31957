"""What is known of the latent beforehand, beyond the weight of N(0, I)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.inversion.callables import Function, as_function
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class GaussianPrior:
    """The negative log density of N(mean, precision^-1), up to a constant, times a weight.

    weight/2 (z - mean)^T precision (z - mean): `invert(..., prior=GaussianPrior(...))`. With a
    least-squares misfit and noise of variance s^2, weight = s^2 makes the minimiser the most
    probable latent.

    Attributes:
        mean: (k,), or a scalar for all coordinates.
        precision: (k, k) symmetric positive semidefinite, the inverse covariance; or (k,), its
            diagonal; or a scalar.
        weight: >= 0, a scalar.

    Example:
        >>> prior = GaussianPrior(jnp.array([1.0, 0.0]), jnp.array([2.0, 4.0]))
        >>> float(prior(jnp.array([2.0, 1.0])))
        3.0
    """

    mean: Leaf = 0.0
    precision: Leaf = 1.0
    weight: Leaf = 1.0

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, ""]:
        """The penalty of one latent."""
        v = z.ravel() - jnp.broadcast_to(jnp.asarray(self.mean, z.dtype).ravel(), (z.size,))
        precision = jnp.asarray(self.precision, z.dtype)
        scaled = precision @ v if precision.ndim == 2 else precision * v
        return jnp.asarray(self.weight, z.dtype) * (v @ scaled) / 2


def with_prior(problem: Problem, prior: Any) -> Problem:
    """The problem with a prior: the weight of N(0, I), or a negative log density.

    Raises:
        TypeError: for a density that does not give one real number.
        ValueError: for a `GaussianPrior` that is not finite, or whose shapes do not fit.
    """
    if not callable(prior):
        return dataclasses.replace(problem, prior=prior)
    if isinstance(prior, GaussianPrior):
        _check(prior, int(np.prod(problem.shape)))
    penalty = as_function("prior", prior)
    value = jax.eval_shape(_evaluate, penalty, jax.ShapeDtypeStruct(problem.shape, problem.y.dtype))
    if not isinstance(value, jax.ShapeDtypeStruct) or value.shape != ():
        raise TypeError(f"prior must return one number for one latent, got {value}")
    return dataclasses.replace(problem, prior=0.0, penalty=penalty)


@jax.jit
def _evaluate(fn: Function, z: Any) -> Any:
    return fn(z)


def _check(prior: GaussianPrior, size: int) -> None:
    checks.finite("prior.mean", prior.mean)
    checks.finite("prior.precision", prior.precision)
    checks.non_negative("prior.weight", prior.weight)
    shape = np.shape(prior.precision)
    if shape not in ((), (size,), (size, size)):
        raise ValueError(
            f"prior.precision must be a scalar, ({size},) or ({size}, {size}), got shape {shape}"
        )
    if np.size(prior.mean) not in (1, size):
        raise ValueError(
            f"prior.mean must be a scalar or hold {size} entries, got {np.size(prior.mean)}"
        )
    if len(shape) == 2 and checks.is_concrete(prior.precision):
        matrix = np.asarray(prior.precision, np.float64)
        least = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])
        if least < -1e-6 * np.abs(matrix).max():
            raise ValueError(
                "prior.precision must be positive semidefinite, got the least "
                f"eigenvalue {least:.3g}"
            )
