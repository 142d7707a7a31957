"""Limited-memory BFGS whose lanes never wait for one another's line search."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxact.inversion.loop import tolerance
from jaxact.inversion.problem import Problem
from jaxact.numerics.pytrees import Leaf, pytree

_DECREASE = 1e-4
_SHORTEST, _LONGEST = 0.1, 0.5
_REACH = 0.5


@pytree(static=("memory",))
class LBFGS:
    """L-BFGS: a step is one evaluation of F and its gradient, taken or shortened.

    The direction is the two-loop recursion's (optax's). A trial z + t d is taken if it passes
    Armijo's condition or, where F is flat to rounding, the approximate Wolfe condition on the
    slopes; else t shrinks by quadratic interpolation, to between a tenth and a half. A line
    search has no loop of its own, so that under `vmap` no lane waits for another's. A first trial
    reaches no further than max(1, ||z|| / 2): activations that saturate are flat, and low, far
    away. The memory starts afresh where the curvature along a step is not positive.

    Attributes:
        memory: pairs of steps and gradient changes kept, >= 1; part of the compiled code.
        steps: the most evaluations, >= 1.
        tol: converged when ||A G(z) - y|| <= tol ||y||, when ||grad F|| ||z|| <= tol F, when a
            full step moves z by less than tol ||z||, or when no step along -grad F lowers F.
            None: 16 units of rounding.

    Example:
        >>> LBFGS(memory=5).steps
        200

    Source: Nocedal & Wright 2006, algorithm 7.4; Hager & Zhang 2005, the approximate condition.
    """

    memory: int = 10
    steps: Leaf = 200
    tol: Leaf = None

    def init(self, problem: Problem, z: Array) -> Any:
        """The gradient, the first direction, its length's factor and the memory."""
        gradient = jax.grad(problem.objective)(z)
        direction, pairs = self._direction(gradient, self._transform().init(z), z)
        return gradient, direction, jnp.ones((), z.dtype), pairs

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One evaluation; see `jaxact.inversion.loop.Solver`."""
        gradient, direction, t, pairs = state
        move = t * direction
        value, slopes = jax.value_and_grad(problem.objective)(z + move)
        slope, after = gradient @ move, slopes @ move
        noise = 16 * float(jnp.finfo(z.dtype).eps) * loss
        level = (value <= loss + noise) & (after <= (2 * _DECREASE - 1) * slope)
        taken = (value <= loss + _DECREASE * slope) & (slope < 0) | level

        length, size = jnp.linalg.norm(move), jnp.linalg.norm(z)
        short = length <= tolerance(self, z) * size
        first = pairs.count <= 1
        bent = (slopes - gradient) @ move > 0
        afresh = jnp.where(taken, ~bent, short & ~first)

        z, loss = jnp.where(taken, z + move, z), jnp.where(taken, value, loss)
        gradient = jnp.where(taken, slopes, gradient)
        base = _select(afresh, self._transform().init(z), pairs)
        turned, fresh = self._direction(gradient, base, z)
        turn = taken | afresh
        state = (
            gradient,
            jnp.where(turn, turned, direction),
            jnp.where(turn, 1, t * _shrink(slope, value - loss)),
            _select(turn, fresh, pairs),
        )
        still = jnp.linalg.norm(gradient) * jnp.linalg.norm(z) <= tolerance(self, z) * loss
        converged = still | jnp.where(taken, short & (t >= 1), short & first)
        return z, loss, state, converged

    def _transform(self) -> optax.GradientTransformation:
        return optax.scale_by_lbfgs(self.memory)

    def _direction(self, gradient: Array, pairs: Any, z: Array) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax keeps its weights in the default dtype
            scaled, after = self._transform().update(gradient, pairs, z)
        after = jax.tree.map(lambda new, old: new.astype(old.dtype), after, pairs)
        direction = -jnp.asarray(scaled, z.dtype)
        length = jnp.linalg.norm(direction)
        longest = jnp.maximum(_REACH * jnp.linalg.norm(z), 1)
        return direction * jnp.minimum(1, longest / jnp.where(length > 0, length, 1)), after


def _shrink(slope: Array, rise: Array) -> Array:
    """The factor of t at which the parabola through F, its slope and the trial is least."""
    curvature = rise - slope
    fine = jnp.isfinite(curvature) & (curvature > 0)
    factor = -slope / (2 * jnp.where(fine, curvature, 1))
    return jnp.clip(jnp.where(fine, factor, _SHORTEST), _SHORTEST, _LONGEST)


def _select(condition: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
