"""The iteration that every solver shares: one start, run until it converges."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxact.inversion.problem import Problem
from jaxact.numerics.pytrees import Leaf, pytree


class Solver(Protocol):
    """What a solver must offer: a frozen pytree with these fields and methods."""

    @property
    def steps(self) -> Any:
        """The most iterations."""

    @property
    def tol(self) -> Any:
        """The tolerance; None takes the dtype's."""

    def init(self, problem: Problem, z: Array) -> Any:
        """The state at a starting point."""

    def step(
        self, problem: Problem, z: Array, loss: Array, state: Any
    ) -> tuple[Array, Array, Any, Array]:
        """One iteration: the new point, its loss, the new state, whether it has converged."""
        ...


@pytree()
class Run:
    """Where one start has got to.

    Attributes:
        z: (k,) the best latent so far.
        loss: its objective.
        state: the solver's own.
        iterations: steps taken.
        converged: whether the solver's tolerance is met.
    """

    z: Leaf
    loss: Leaf
    state: Leaf
    iterations: Leaf
    converged: Leaf


def descend(problem: Problem, solver: Any, z: Float[Array, " k"], *, sign_flip: bool) -> Run:
    """Run a solver from one start.

    Under `jax.vmap` the loop runs until the slowest lane is done, and a finished lane keeps its
    values. With `sign_flip`, every step ends at the better of z and -z (Huang et al. 2018, and
    the second run from -z of Ma et al. 2018), from where the solver starts afresh.
    """

    def unfinished(run: Run) -> Bool[Array, ""]:
        return ~run.converged & (run.iterations < solver.steps)

    def advance(run: Run) -> Run:
        z, loss, state, converged = solver.step(problem, run.z, run.loss, run.state)
        if sign_flip:
            mirrored = problem.objective(-z)
            flip = mirrored < loss
            fresh = solver.init(problem, -z)
            z, loss = jnp.where(flip, -z, z), jnp.where(flip, mirrored, loss)
            state = jax.tree.map(lambda a, b: jnp.where(flip, a, b), fresh, state)
            converged &= ~flip
        return Run(z, loss, state, run.iterations + 1, converged | (loss <= floor))

    loss = problem.objective(z)
    floor = misfit_floor(problem, solver, z)
    count = jnp.zeros_like(loss, int)
    start = Run(z, loss, solver.init(problem, z), count, loss <= floor)
    return jax.lax.while_loop(unfinished, advance, start)


def misfit_floor(problem: Problem, solver: Any, z: Array) -> Array:
    """The loss at which the measurements count as reproduced: 1/2 (tol ||y||)^2."""
    return tolerance(solver, z) ** 2 * problem.target() / 2


def tolerance(solver: Any, z: Array) -> Any:
    """The solver's tolerance; by default 16 units of rounding of the latent's dtype."""
    return 16 * float(jnp.finfo(z.dtype).eps) if solver.tol is None else solver.tol
