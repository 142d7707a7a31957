"""Choose an activation in a family: descend an objective in its parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree

_DEFAULT = optax.lbfgs()


@pytree()
class Design:
    """An activation that was found, and how well.

    Attributes:
        act: the activation, of the family that was given.
        value: the objective there, the least of `values`.
        values: the objective along the way, (steps,); the last value repeats after convergence.
        gradient: the Euclidean norm of the gradient in theta at `act`.
        steps: the steps taken.
        converged: whether gradient <= tolerance (1 + |value|), a stationary point.
    """

    act: Leaf
    value: Leaf
    values: Leaf
    gradient: Leaf
    steps: Leaf
    converged: Leaf


def design(
    act: Activation,
    objective: Callable[[Activation], Any],
    *,
    steps: int = 100,
    tolerance: float | None = None,
    optimiser: optax.GradientTransformation | None = None,
) -> Design:
    """Find the parameters of an activation that minimise an objective.

    The family is the activation itself with its theta free: `jaxact.get("f_alpha", 0.3)`,
    `jaxact.get("hermite", coefficients)`, `spline(knots, values)` or one of your own. Descent
    is local, from the theta it comes with; the best point visited is returned. A start where
    the gradient vanishes, such as zeta = 0 for an objective of zeta, goes nowhere.

    Args:
        act: an activation with parameters.
        objective: `MinimiseTestError`, `MinimiseTrainingError`, `TargetMoments`, or any
            function of an activation with a real scalar value. Keep one object if it is a plain
            function, as a new one compiles again; numbers in a pytree do not.
        steps: at most so many, >= 1.
        tolerance: of the gradient; None for the square root of the dtype's rounding.
        optimiser: an optax transformation; None for L-BFGS with a line search. Keep one object.

    Returns:
        A `Design`.

    Raises:
        TypeError: if act is not an `Activation` or the objective not a function.
        ValueError: if act has no parameters, or the objective's value is not a scalar or not
            finite at the start.

    Example:
        >>> import jaxact
        >>> from jaxact.spectra import TargetMoments, design, moments
        >>> found = design(jaxact.get("f_alpha", 0.3), TargetMoments(zeta=0.0))
        >>> round(float(found.act.theta[0]), 3), bool(found.converged)
        (1.0, True)
    """
    checks.integer("steps", steps, 1)
    if not isinstance(act, Activation):
        raise TypeError(f"act must be a jaxact.Activation with parameters, got {act!r}")
    checks.function("objective", objective, "an activation")
    if not jax.tree.leaves(act.theta):
        raise ValueError(f"act must have parameters to design, got {act.name} without theta")
    checks.finite("theta", act.theta)
    dtype = jnp.result_type(*jax.tree.leaves(act.theta), float)
    act = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), act)
    start = objective(act)
    checks.finite("objective(act)", start)
    checks.shape("objective(act)", start, ())
    if tolerance is None:
        tolerance = float(jnp.finfo(dtype).eps) ** 0.5
    checks.positive("tolerance", tolerance)
    checks.shape("tolerance", tolerance, ())
    return _descend(
        act, callable_pytree(objective), jnp.asarray(tolerance, dtype), steps, optimiser or _DEFAULT
    )


@functools.partial(jax.jit, static_argnames=("steps", "optimiser"))
def _descend(act: Activation, objective: Any, tolerance: Array, steps: int, optimiser: Any) -> Any:
    dtype = tolerance.dtype

    def value_of(theta: Any) -> Array:
        return jnp.asarray(objective(act.replace(*theta)), dtype)

    transform = optax.with_extra_args_support(optimiser)
    gradient_of = jax.value_and_grad(value_of)

    def more(state: Any) -> Array:
        count, *_, settled = state
        return (count < steps) & ~settled

    def step(state: Any) -> Any:
        count, theta, inner, best, values, _ = state
        value, gradient = gradient_of(theta)
        size = _norm(gradient)
        best = _better(best, (value, size, theta))
        values = jnp.where(jnp.arange(steps, dtype=jnp.int32) >= count, value, values)
        with jax.numpy_dtype_promotion("standard"):  # optax itself promotes
            update, inner = transform.update(
                gradient, inner, theta, value=value, grad=gradient, value_fn=value_of
            )
            theta = optax.apply_updates(theta, update)
        settled = size <= tolerance * (1 + jnp.abs(value))
        return count + 1, theta, inner, best, values, settled

    worst = jnp.full((), jnp.inf, dtype)
    start = (
        jnp.zeros((), jnp.int32),
        act.theta,
        transform.init(act.theta),
        (worst, worst, act.theta),
        jnp.zeros(steps, dtype),
        jnp.zeros((), bool),
    )
    count, _, _, (value, size, theta), values, settled = lax.while_loop(more, step, start)
    return Design(act.replace(*theta), value, values, size, count, settled)


def _better(best: Any, fresh: Any) -> Any:
    """The one of less value, of (value, gradient's norm, theta)."""
    wins = fresh[0] <= best[0]
    return jax.tree.map(lambda new, old: jnp.where(wins, new, old), fresh, best)


def _norm(gradient: Any) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
