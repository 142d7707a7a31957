"""The loss landscape of a generator, measured: along rays, at the origin and on a plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.certificate import pose
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks

_BLOCK = 64


def ray_profile(
    generator: Callable[..., Any],
    z: Float[Array, " k"],
    t: Float[Array, " points"],
    *,
    operator: Callable[..., Any] | None = None,
) -> Float[Array, " points"]:
    """The loss at -t z*, relative to the loss at 0: what `ray` predicts for wide ReLU nets.

    J(-t z*) / J(0), J(z) = 1/2 ||A G(z) - A G(z*)||^2.

    Args:
        generator: G, latent -> output: any JAX function or callable pytree.
        z: z*, shape (k,).
        t: distances along the negative ray in units of ||z*||, shape (points,); negative ones
            lie on the side of z*, and t = -1 is z* itself.
        operator: A, output -> measurements; None: everything is measured.

    Returns:
        (points,) ratios.

    Raises:
        ValueError: for z or t of another shape or not finite, or a generator that gives the
            same measurements at 0 and z*.
        TypeError: if generator or operator is not callable.

    Differentiation: ordinary, in z and t and the generator's arrays.

    Example:
        >>> w = jax.random.normal(jax.random.key(0), (400, 3))
        >>> z = jnp.array([1.0, -2.0, 0.5])
        >>> [round(float(v), 4) for v in ray_profile(lambda z: w @ z, z, jnp.array([0.0, 0.5]))]
        [1.0, 2.25]

    Source: Hand & Voroninski 2017, the objective along -z*.
    """
    problem, z = _posed(generator, operator, z)
    t = checks.floating("t", t).astype(z.dtype)
    checks.shape("t", t, ("points",))
    return _relative(problem, z, -t[:, None] * z[None])


def zero_slopes(
    generator: Callable[..., Any],
    z: Float[Array, " k"],
    directions: Float[Array, "count k"],
    *,
    operator: Callable[..., Any] | None = None,
) -> Float[Array, " count"]:
    """The one-sided slopes of the loss at the origin, D_w J(0) / J(0), for directions w.

    Zero is a local maximum where all are negative. The generator's derivative is taken a little
    way along w (sqrt(eps) w), since a ReLU net has a kink at 0: exact for nets without biases.

    Args:
        generator: G, latent -> output: any JAX function or callable pytree.
        z: z*, shape (k,).
        directions: w, shape (count, k).
        operator: A, output -> measurements; None: everything is measured.

    Returns:
        (count,) slopes relative to J(0); `slope_at_zero` is their closed form.

    Raises:
        ValueError, TypeError: as in `ray_profile`.

    Example:
        >>> w = jax.random.normal(jax.random.key(0), (4000, 3))
        >>> z = jnp.array([1.0, -2.0, 0.5])
        >>> slopes = zero_slopes(lambda z: jax.nn.relu(w @ z), z, jnp.stack([z, -z]))
        >>> [round(float(v), 3) for v in slopes]
        [-2.0, 0.0]

    Source: Ma, Ayaz & Karaman 2018, Theorem 1: D_w J(0) < 0 for every w.
    """
    problem, z = _posed(generator, operator, z)
    w = checks.floating("directions", directions).astype(z.dtype)
    checks.shape("directions", w, ("count", z.size))
    return _slopes(problem, z, w)


def loss_surface(
    generator: Callable[..., Any],
    z: Float[Array, " k"],
    first: Float[Array, " columns"],
    second: Float[Array, " rows"],
    *,
    operator: Callable[..., Any] | None = None,
    plane: Float[Array, "two k"] | None = None,
) -> Float[Array, "rows columns"]:
    """J(z) = 1/2 ||A G(z) - A G(z*)||^2 on a grid of a plane of latents, for a picture.

    Entry (i, j) is J(first[j] u + second[i] v), (u, v) the plane. Compiled; blocks of 64 points
    are evaluated at once, so the memory does not grow with the grid.

    Args:
        generator: G, latent -> output: any JAX function or callable pytree.
        z: z*, shape (k,).
        first: coordinates along u, shape (columns,).
        second: coordinates along v, shape (rows,).
        operator: A, output -> measurements; None: everything is measured.
        plane: u and v, shape (2, k). None: the latent's own two axes, for k = 2.

    Returns:
        (rows, columns) losses.

    Raises:
        ValueError: if z has not two entries and no plane is given, for other shapes, or values
            that are not finite.
        TypeError: if generator or operator is not callable.

    Example:
        >>> w = jax.random.normal(jax.random.key(0), (50, 2))
        >>> grid = jnp.linspace(-2, 2, 9)
        >>> found = loss_surface(lambda z: jnp.tanh(w @ z), jnp.array([1.0, -0.5]), grid, grid)
        >>> found.shape, [int(i) for i in jnp.unravel_index(jnp.argmin(found), found.shape)]
        ((9, 9), [3, 6])

    Source: Ma, Ayaz & Karaman 2018, the landscape figure (k = 2).
    """
    problem, z = _posed(generator, operator, z)
    if plane is None and z.size != 2:
        raise ValueError(f"plane must be given for a latent of length {z.size}: u and v, (2, k)")
    axes = jnp.eye(2) if plane is None else checks.floating("plane", plane)
    axes = axes.astype(z.dtype)
    checks.shape("plane", axes, (2, z.size))
    sides = {"first": first, "second": second}
    a, b = (checks.floating(name, value).astype(z.dtype) for name, value in sides.items())
    for name, value in (("first", a), ("second", b)):
        checks.shape(name, value, ("points",))
    return _surface(problem, a, b, axes)


def _posed(generator: Any, operator: Any, z: Any) -> tuple[Problem, Array]:
    z = checks.floating("z", z)
    checks.shape("z", z, ("k",))
    problem = pose(generator, operator, z.dtype, z.shape)
    return problem.replace(_measured(problem, z)), z


@jax.jit
def _measured(problem: Problem, z: Array) -> Array:
    return problem.operator(problem.output(z))


@jax.jit
def _relative(problem: Problem, z: Array, points: Float[Array, "points k"]) -> Array:
    origin = problem.objective(jnp.zeros_like(z))
    return _losses(problem, points) / origin


@jax.jit
def _slopes(problem: Problem, z: Array, directions: Float[Array, "count k"]) -> Array:
    origin = problem.residual(jnp.zeros_like(z))

    def slope(w: Array) -> Array:
        near = float(jnp.finfo(z.dtype).eps) ** 0.5 * w
        return origin @ jax.jvp(problem.residual, (near,), (w,))[1]

    return jax.lax.map(slope, directions, batch_size=_BLOCK) / (origin @ origin / 2)


@jax.jit
def _surface(problem: Problem, first: Array, second: Array, plane: Array) -> Array:
    points = first[None, :, None] * plane[:1, None] + second[:, None, None] * plane[1:, None]
    return _losses(problem, points.reshape(-1, plane.shape[1])).reshape(second.size, first.size)


def _losses(problem: Problem, points: Float[Array, "points k"]) -> Array:
    return jax.lax.map(problem.objective, points, batch_size=_BLOCK)
