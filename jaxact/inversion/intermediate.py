"""Intermediate-layer optimisation: let the answer leave the generator's range a little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array

from jaxact.inversion.certificate import pose
from jaxact.inversion.invert import Inversion, invert
from jaxact.inversion.loop import descend
from jaxact.inversion.problem import Problem
from jaxact.inversion.projections import Ball, ProjectedGradient
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree


@pytree()
class IntermediateInversion:
    """What was found; tuples have one entry a stage that was optimised.

    Attributes:
        first: the `Inversion` of the whole generator, where it starts.
        hidden: h_1, h_2 ...: what the later stages take, each near the image of the one before.
        output: the last stages' output of the last h: outside the generator's range.
        losses: (1 + stages,) 1/2 ||A output - y||^2 after the latent and after each stage; never
            rising.
        converged: (1 + stages,) whether each of them met its tolerance.
        moved: (stages,) how far each h went, in the norm of its ball; at the radius, the ball
            holds it back.
    """

    first: Inversion
    hidden: Leaf
    output: Leaf
    losses: Leaf
    converged: Leaf
    moved: Leaf


def invert_intermediate(
    stages: Sequence[Callable[..., Any]],
    y: Any,
    *,
    latent: Any,
    radius: Any,
    norm: Literal["l1", "l2"] = "l1",
    operator: Callable[..., Any] | None = None,
    steps: int = 400,
    key: Any = None,
    **options: Any,
) -> IntermediateInversion:
    """Invert through the layers: first the latent, then each hidden layer within a ball.

    z = argmin ||A G(z) - y||; then h_1 near stage_1(z): min over ||h - stage_1(z)|| <= r_1 of
    ||A stage_d(... stage_2(h)) - y||; then h_2 near stage_2(h_1); and so on. Real data lie near
    the generator's range, not in it: this lowers the error of representation.

    Args:
        stages: the generator in parts, first to last, each any JAX function or callable pytree:
            `G(z) = stages[-1](... stages[0](z))`.
        y: the measurements.
        latent: the latent's length or shape, or starts, as in `invert`.
        radius: r_1, r_2 ...: the balls' radii, > 0, at most len(stages) - 1 of them. The radius
            is the prior: too large, and unmeasured pixels become arbitrary.
        norm: of the balls: "l1" (few units move) or "l2".
        operator: A, output -> measurements; None: everything is measured.
        steps: the most projected gradient steps a stage, >= 1.
        key: a typed key, for random starts.
        **options: further ones of `invert`, for the first stage: solver, restarts, prior ...

    Returns:
        An `IntermediateInversion`.

    Raises:
        ValueError: for fewer than two stages, too many radii or one that is not positive, and
            as `invert`.
        TypeError: for a stage that is no function.

    Differentiation: none that is meant in the hidden layers; `first` is implicit, as `invert`.

    Example:
        >>> w1 = jax.random.normal(jax.random.key(0), (12, 2))
        >>> w2 = jax.random.normal(jax.random.key(1), (30, 12))
        >>> stages = (lambda z: jnp.tanh(w1 @ z), lambda h: w2 @ h)
        >>> y = w2 @ (jnp.tanh(w1 @ jnp.array([0.5, -1.0])) + 0.1)
        >>> key = jax.random.key(2)
        >>> found = invert_intermediate(stages, y, latent=2, radius=(2.0,), key=key)
        >>> bool(found.losses[1] < 0.01 * found.losses[0]), bool(found.moved[0] <= 2.0)
        (True, True)

    Source: Daras, Dean, Jalal & Dimakis, ICML 2021, Algorithm 1.
    """
    checks.choice("norm", norm, ("l1", "l2"))
    checks.integer("steps", steps, 1)
    checks.positive("radius", radius)
    radii = tuple(radius) if isinstance(radius, tuple | list) else (radius,)
    stages = tuple(checks.sequence("stages", stages))
    for i, stage in enumerate(stages):
        checks.function(f"stages[{i}]", stage)
    if len(stages) < 2:
        raise ValueError(f"stages must hold at least two functions, got {len(stages)}")
    if len(radii) > len(stages) - 1:
        raise ValueError(
            f"radius must have at most {len(stages) - 1} entries for {len(stages)} stages, "
            f"got {len(radii)}"
        )
    whole = _chain(stages)
    first = invert(whole, y, latent=latent, operator=operator, key=key, **options)
    output, hidden, moved = first.output, [], []
    h = first.latent
    y = jnp.asarray(y, jnp.result_type(y, float))
    losses, converged = [], [first.converged]
    for i, r in enumerate(radii):
        start = _apply(callable_pytree(stages[i]), h)
        problem = pose(_chain(stages[i + 1 :]), operator, start.dtype, start.shape)
        problem = problem.replace(y)
        run, output, loss, distance = _stage(problem, start, r, steps, norm)
        h = run.z.reshape(start.shape)
        losses += [loss, run.loss] if i == 0 else [run.loss]
        hidden.append(h)
        moved.append(distance)
        converged.append(run.converged)
    return IntermediateInversion(
        first=first,
        hidden=tuple(hidden),
        output=output,
        losses=jnp.stack(losses),
        converged=jnp.stack(converged),
        moved=jnp.stack(moved),
    )


def _stage(problem: Problem, start: Array, radius: Any, steps: int, norm: str) -> Any:
    center = start.ravel()
    ball = Ball(center, jnp.asarray(radius, center.dtype), norm)
    return _descend(problem, ProjectedGradient(ball, steps=steps), center)


@jax.jit
def _descend(problem: Problem, solver: ProjectedGradient, center: Array) -> Any:
    problem = problem.hoisted(center)
    run = descend(problem, solver, center, sign_flip=False)
    shift = run.z - center
    order = 1 if solver.region.norm == "l1" else 2
    distance = jnp.linalg.norm(shift, order)
    return run, problem.output(run.z), problem.objective(center), distance


def _chain(stages: tuple[Callable[..., Any], ...]) -> Partial:
    """The stages one after the other, a callable pytree; equal for equal functions."""
    return Partial(_run, tuple(map(callable_pytree, stages)))


def _run(stages: Any, x: Any) -> Any:
    for stage in stages:
        x = stage(x)
    return x


@jax.jit
def _apply(stage: Any, x: Any) -> Any:
    return stage(x)
