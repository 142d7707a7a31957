"""The iteration that every solver shares: one start, run until it converges."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxact.inversion.fallback import Fallback
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
        stage: which solver of a `Fallback` made the last step, 0 or 1.
    """

    z: Leaf
    loss: Leaf
    state: Leaf
    iterations: Leaf
    converged: Leaf
    stage: Leaf


def descend(problem: Problem, solver: Any, z: Float[Array, " k"], *, sign_flip: bool) -> Run:
    """Run a solver, or the two of a `Fallback`, from one start.

    Under `jax.vmap` the loop runs until the slowest lane is done, and a finished lane keeps its
    values. With `sign_flip`, every step ends at the better of z and -z (Huang et al. 2018, and
    the second run from -z of Ma et al. 2018), from where the solver starts afresh.
    """
    loss = problem.objective(z)
    count = jnp.zeros_like(loss, int)
    run = Run(z, loss, (), count, jnp.zeros_like(loss, bool), count)
    stages = (solver.first, solver.then) if isinstance(solver, Fallback) else (solver,)
    for number, stage in enumerate(stages):
        last = number == len(stages) - 1
        run = _go_on(problem, stage, run, number, sign_flip=sign_flip, may_stall=not last)
    return run


def _go_on(
    problem: Problem, solver: Any, run: Run, number: int, *, sign_flip: bool, may_stall: bool
) -> Run:
    """Let one solver go on from where a run is."""
    budget = run.iterations + solver.steps
    floor = misfit_floor(problem, solver, run.z)
    stalled = getattr(solver, "stalled", None) if may_stall else None

    def unfinished(run: Run) -> Bool[Array, ""]:
        busy = ~run.converged & (run.iterations < budget)
        return busy if stalled is None else busy & ~stalled(run.state)

    def advance(run: Run) -> Run:
        z, loss, state, converged = solver.step(problem, run.z, run.loss, run.state)
        if sign_flip:
            mirrored = problem.objective(-z)
            flip = mirrored < loss
            fresh = solver.init(problem, -z)
            z, loss = jnp.where(flip, -z, z), jnp.where(flip, mirrored, loss)
            state = jax.tree.map(lambda a, b: jnp.where(flip, a, b), fresh, state)
            converged &= ~flip
        return Run(z, loss, state, run.iterations + 1, converged | (loss <= floor), run.stage)

    converged = run.converged | (run.loss <= floor)
    stage = jnp.where(converged, run.stage, number)
    state = solver.init(problem, run.z)
    start = Run(run.z, run.loss, state, run.iterations, converged, stage)
    return jax.lax.while_loop(unfinished, advance, start)


def misfit_floor(problem: Problem, solver: Any, z: Array) -> Array:
    """The loss at which the measurements count as reproduced: 1/2 (tol ||y||)^2."""
    return tolerance(solver, z) ** 2 * problem.target() / 2


def tolerance(solver: Any, z: Array) -> Any:
    """The solver's tolerance; by default 16 units of rounding of the latent's dtype."""
    return 16 * float(jnp.finfo(z.dtype).eps) if solver.tol is None else solver.tol
