"""First-order solvers: gradient descent of F by any optax transformation, the paper's way."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxact.inversion.loop import tolerance
from jaxact.inversion.problem import Problem
from jaxact.numerics.pytrees import Leaf, pytree


@pytree(static=("transform",))
class Optax:
    """Any optax gradient transformation; the best point that was visited is returned.

    Attributes:
        transform: an `optax.GradientTransformation`. It is part of the compiled code: make it
            once and pass the same object.
        steps: the most iterations, >= 1.
        tol: converged when ||A G(z) - y|| <= tol ||y|| or ||grad F|| ||z|| <= tol F.

    Example:
        >>> import optax
        >>> Optax(optax.sgd(0.1, momentum=0.9), steps=200).steps
        200
    """

    transform: Any
    steps: Leaf = 1000
    tol: Leaf = 1e-5

    def init(self, problem: Problem, z: Array) -> Any:
        """The current point (the best one is kept by the loop) and the optimiser's state."""
        return z, self.transform.init(z)

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One update; see `jaxact.inversion.loop.Solver`."""
        return _descend(self.transform, self, problem, z, loss, state)


@pytree()
class Adam:
    """Adam: the solver of the paper's published demonstration.

    Attributes:
        learning_rate: > 0; a leaf, another value compiles nothing new.
        steps: the most iterations, >= 1.
        tol: as in `Optax`.

    Example:
        >>> Adam(learning_rate=0.01).steps
        1000
    """

    learning_rate: Leaf = 0.05
    steps: Leaf = 1000
    tol: Leaf = 1e-5

    def init(self, problem: Problem, z: Array) -> Any:
        """The current point and Adam's moments."""
        return z, self._transform(z).init(z)

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One update; see `jaxact.inversion.loop.Solver`."""
        return _descend(self._transform(z), self, problem, z, loss, state)

    def _transform(self, z: Array) -> optax.GradientTransformation:
        return optax.adam(jnp.asarray(self.learning_rate, z.dtype))


def _descend(
    transform: Any, solver: Any, problem: Problem, z: Array, loss: Array, state: Any
) -> Any:
    current, inner = state
    value, gradient = jax.value_and_grad(problem.objective)(current)
    better = value < loss
    z, loss = jnp.where(better, current, z), jnp.where(better, value, loss)
    with jax.numpy_dtype_promotion("standard"):  # optax itself promotes, in Adam for one
        update, inner = optax.with_extra_args_support(transform).update(
            gradient, inner, current, value=value, grad=gradient, value_fn=problem.objective
        )
        fresh = optax.apply_updates(current, update)
    slope = jnp.linalg.norm(gradient) * jnp.linalg.norm(current)
    converged = slope <= tolerance(solver, z) * value
    return z, loss, (fresh, inner), converged
