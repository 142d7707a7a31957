"""Sets of latents and the nearest point in them; projected gradient descent onto such a set."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.loop import tolerance
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_GROW, _SHRINK = 1.5, 0.5


def project_l1(v: Float[Array, " n"], radius: Any) -> Float[Array, " n"]:
    """The nearest point of {x : ||x||_1 <= radius}: soft-thresholding at a level found by sorting.

    Args:
        v: a vector, shape (n,).
        radius: >= 0.

    Returns:
        sign(v) max(|v| - t, 0) with the least t >= 0 that fits; v itself inside the ball.

    Differentiation: ordinary, almost everywhere.

    Example:
        >>> project_l1(jnp.array([3.0, -1.0, 0.5]), 2.0).tolist()
        [2.0, -0.0, 0.0]

    Source: Duchi, Shalev-Shwartz, Singer & Chandra 2008, Fig. 1.
    """
    v = _vector(v, radius)
    radius = jnp.asarray(radius, v.dtype)
    falling = jnp.sort(jnp.abs(v), descending=True)
    count = jnp.arange(1, v.size + 1, dtype=v.dtype)
    levels = (jnp.cumsum(falling) - radius) / count
    # The last index with falling > level carries the threshold; levels rise to it, then fall.
    level = jnp.maximum(jnp.max(levels), 0)
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - level, 0)


def _vector(v: Any, radius: Any) -> Array:
    """A checked vector; a radius of any sign passes under a trace."""
    checks.non_negative("radius", radius)
    checks.shape("radius", radius, ())
    checks.shape("v", v, ("n",))
    return checks.floating("v", v)


def project_l2(v: Float[Array, " n"], radius: Any) -> Float[Array, " n"]:
    """The nearest point of {x : ||x||_2 <= radius}: v, shortened to radius where it is longer.

    Example:
        >>> project_l2(jnp.array([3.0, 4.0]), 1.0).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    v = _vector(v, radius)
    radius = jnp.asarray(radius, v.dtype)
    square = v @ v
    length = jnp.sqrt(jnp.where(square > 0, square, 1))
    return jnp.where(square > radius**2, v * (radius / length), v)


@pytree(static=("norm",))
class Ball:
    """{h : ||h - center|| <= radius}.

    Attributes:
        center: (n,).
        radius: >= 0; a leaf, another value compiles nothing new.
        norm: "l1" or "l2".

    Example:
        >>> ball = Ball(jnp.zeros(2), 1.0, "l1")
        >>> ball.project(jnp.array([2.0, 0.0])).tolist()
        [1.0, 0.0]
    """

    center: Leaf
    radius: Leaf
    norm: str = "l1"

    def project(self, h: Float[Array, " n"]) -> Float[Array, " n"]:
        """The nearest point of the ball."""
        project = project_l1 if self.norm == "l1" else project_l2
        return self.center + project(h - self.center, self.radius)


@pytree()
class Box:
    """{h : low <= h <= high}, the support of a uniform latent.

    Attributes:
        low: scalar or (n,).
        high: likewise, >= low.

    Example:
        >>> Box(-1.0, 1.0).project(jnp.array([2.0, 0.5])).tolist()
        [1.0, 0.5]
    """

    low: Leaf
    high: Leaf

    def project(self, h: Float[Array, " n"]) -> Float[Array, " n"]:
        """The nearest point of the box."""
        return jnp.clip(h, jnp.asarray(self.low, h.dtype), jnp.asarray(self.high, h.dtype))


@pytree()
class Sphere:
    """{h : ||h||_2 = radius}: generators with normalised latents; sqrt(k) is where N(0, I) is.

    Attributes:
        radius: > 0.

    Example:
        >>> Sphere(2.0).project(jnp.array([0.0, 4.0])).tolist()
        [0.0, 2.0]
    """

    radius: Leaf

    def project(self, h: Float[Array, " n"]) -> Float[Array, " n"]:
        """The nearest point of the sphere; 0, which has none, stays."""
        length = jnp.linalg.norm(h)
        return h * jnp.where(length > 0, self.radius / jnp.where(length > 0, length, 1), 1)


@pytree()
class ProjectedGradient:
    """Accelerated projected gradient descent that never raises F: a solver for `invert`.

    h <- P(v - t grad F(v)) from the extrapolated point v; where F does not fall, the momentum
    restarts and t is halved; else t grows. A start outside is moved inside first. It converges
    when a step along a just restarted gradient moves h by less than tol ||h||.

    Attributes:
        region: where the answer may lie: `Ball`, `Box`, `Sphere` or any frozen pytree with
            project(h).
        steps: the most iterations.
        tol: see above.

    Example:
        >>> from jaxact.inversion import invert
        >>> inside = Ball(jnp.zeros(2), 1.0, "l2")
        >>> solver = ProjectedGradient(inside)
        >>> start = jnp.zeros(2)
        >>> found = invert(lambda h: h, jnp.array([3.0, 4.0]), latent=start, solver=solver)
        >>> [round(float(v), 4) for v in found.latent]
        [0.6, 0.8]

    Source: Nesterov 1983; O'Donoghue & Candes 2015 for the restart.
    """

    region: Any
    steps: Leaf = 400
    tol: Leaf = 1e-5

    def init(self, problem: Problem, z: Array) -> Any:
        """The step length, the point before, the momentum's counter, whether z may be outside."""
        start = jnp.zeros((), z.dtype)
        g = jax.grad(problem.objective)(z)
        size = g @ g
        bend = jax.jvp(problem.residual, (z,), (g,))[1]
        curvature = bend @ bend
        safe = jnp.where(curvature > 0, curvature, 1)
        return jnp.where(curvature > 0, size / safe, 1), z, start, jnp.ones((), bool)

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One projected step; see `jaxact.inversion.loop.Solver`."""
        length, before, count, outside = state
        home = self.region.project(z)
        z = jnp.where(outside, home, z)
        loss = jnp.where(outside, problem.objective(home), loss)
        before = jnp.where(outside, home, before)
        v = z + count / (count + 3) * (z - before)
        gradient = jax.grad(problem.objective)(v)
        trial = self.region.project(v - length * gradient)
        value = problem.objective(trial)
        better = value < loss
        still = jnp.linalg.norm(trial - z) <= tolerance(self, z) * jnp.linalg.norm(z)
        # A rejected step from v says nothing while there is momentum.
        converged = still & (better | (count == 0))
        return (
            jnp.where(better, trial, z),
            jnp.where(better, value, loss),
            (
                length * jnp.where(better, _GROW, jnp.where(count == 0, _SHRINK, 1.0)),
                z,
                jnp.where(better, count + 1, 0),
                jnp.zeros_like(outside),
            ),
            converged,
        )
