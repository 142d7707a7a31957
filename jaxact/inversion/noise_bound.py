"""How far noise in the measurements can move the latent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.certificate import pose
from jaxact.inversion.problem import Problem
from jaxact.inversion.unique import uniqueness
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class NoiseBound:
    """Bounds of the latent's shift ||dz||; J = U S V^T is d(A G)/dz.

    Attributes:
        worst: ||e|| / sigma_min, to first order.
        projected: ||U^T e|| / sigma_min, to first order, never above `worst`: noise off the
            range of J does not move the latent.
        first_order: ||J^+ e||, the shift itself to first order; for a level, its root mean
            square s sqrt(tr (J^T J)^-1), the Cramer-Rao bound.
        rigorous: ||P e|| / (1 - q) for two latents of the certified box whose measurements differ
            by e: no first-order argument. inf where no box was certified or asked for.
        radius: half the side of that box.
    """

    worst: Leaf
    projected: Leaf
    first_order: Leaf
    rigorous: Leaf
    radius: Leaf


def noise_bound(
    generator: Callable[..., Any],
    z: Float[Array, "*shape"],
    *,
    operator: Callable[..., Any] | None = None,
    error: Any = None,
    level: Any = None,
    confidence: float = 0.95,
    radius: Any = 0.0,
) -> NoiseBound:
    """Bound how far an error of the measurements moves the latent.

    For a given error e the bounds hold for it; for Gaussian noise of a level s they hold with
    probability at least `confidence`, by ||B e||^2 <= s^2 (tr + 2 sqrt(t) ||B B^T||_F + 2 t
    ||B||^2), t = -log(1 - confidence), for the matrix B of each bound.

    Args:
        generator: G, latent -> output.
        z: the latent around which J is taken.
        operator: A, output -> measurements. None: identity.
        error: e, of the measurements' shape. Give this or `level`.
        level: s, standard deviation of each measurement's Gaussian noise, >= 0.
        confidence: probability for a level, in [0, 1).
        radius: half the side of a box around z on which `uniqueness` is to be proved for the
            rigorous bound; None: the largest one. 0: no rigorous bound, nothing is traced.

    Returns:
        A `NoiseBound`. inf where J is singular.

    Raises:
        ValueError: unless exactly one of error and level is given, or for one that does not fit.
        NotImplementedError: with a radius, for a generator that cannot be traced.

    Differentiation: through the singular values, where they are distinct; not the rigorous bound.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> found = noise_bound(lambda z: w @ z, jnp.ones(2), error=jnp.array([3.0, 0.0, 4.0]))
        >>> float(found.worst), float(found.projected), float(found.first_order)
        (5.0, 3.0, 1.5)

    Source: Laurent & Massart 2000, lemma 1 (the tail); Rao 1945 (the mean square).
    """
    if (error is None) == (level is None):
        raise ValueError("error or level must be given, and only one of them")
    z = checks.floating("z", z)
    if error is not None:
        checks.finite("error", error, kinds="biufcV")
    checks.between("confidence", confidence, 0.0, 1.0 - 1e-12)
    problem = pose(generator, operator, z.dtype, z.shape)
    left = q = None
    if radius is not None:
        checks.non_negative("radius", radius)
        checks.shape("radius", radius, ())
    if radius is None or not checks.is_concrete(radius) or radius > 0:
        found = uniqueness(generator, z, operator=operator, radius=radius)
        left, q, radius = found.inverse, found.contraction, found.radius
    side = jnp.asarray(radius, z.dtype)
    if level is not None:
        checks.non_negative("level", level)
        tail = -math.log1p(-confidence)
        return _for_level(problem, z.ravel(), jnp.asarray(level, z.dtype), tail, left, q, side)
    checks.finite("error", error, kinds="biufcV")
    checks.shape("error", error, problem.y.shape)
    posed = problem.replace(jnp.asarray(error, problem.y.dtype))
    return _for_error(posed, z.ravel(), left, q, side)


@jax.jit
def _for_error(problem: Problem, z: Array, left: Any, q: Any, side: Array) -> NoiseBound:
    e = problem.data(z.dtype)
    u, values = _singular(problem, z)
    inside = jnp.matmul(u.T, e, precision="highest")
    shift = jnp.sqrt(jnp.sum(_divide(inside, values) ** 2))
    rigorous = jnp.full((), jnp.inf, z.dtype)
    if left is not None:
        moved = jnp.linalg.norm(jnp.matmul(left, e, precision="highest"))
        rigorous = jnp.where(q < 1, moved / jnp.where(q < 1, 1 - q, 1), jnp.inf)
    worst, projected = jnp.linalg.norm(e), jnp.linalg.norm(inside)
    return NoiseBound(
        _divide(worst, values[-1]), _divide(projected, values[-1]), shift, rigorous, side
    )


@jax.jit
def _for_level(
    problem: Problem, z: Array, level: Array, tail: Any, left: Any, q: Any, side: Array
) -> NoiseBound:
    u, values = _singular(problem, z)
    m, k = u.shape
    one = jnp.ones((), z.dtype)
    worst = level * _tail(one * m, one * m, one, tail)
    projected = level * _tail(one * k, one * k, one, tail)
    rms = level * jnp.sqrt(jnp.sum(_divide(jnp.ones_like(values), values) ** 2))
    rigorous = jnp.full((), jnp.inf, z.dtype)
    if left is not None:
        gram = jnp.matmul(left, left.T, precision="highest")
        moved = level * _tail(jnp.trace(gram), jnp.sum(gram**2), jnp.linalg.norm(gram, ord=2), tail)
        rigorous = jnp.where(q < 1, moved / jnp.where(q < 1, 1 - q, 1), jnp.inf)
    return NoiseBound(
        _divide(worst, values[-1]), _divide(projected, values[-1]), rms, rigorous, side
    )


def _tail(trace: Array, square: Array, largest: Array, t: Any) -> Array:
    """What sqrt(sum_i a_i g_i^2) does not exceed but with probability exp(-t), g_i ~ N(0, 1)."""
    t = jnp.asarray(t, trace.dtype)
    return jnp.sqrt(trace + 2 * jnp.sqrt(t * square) + 2 * t * largest)


def _singular(problem: Problem, z: Array) -> tuple[Array, Array]:
    """Left singular vectors and singular values of J, zeros where there are fewer than k."""
    jacobian = problem.jacobian(z)[1]
    u, values, _ = jnp.linalg.svd(jacobian, full_matrices=False)
    missing = max(0, z.size - values.size)
    u = jnp.concatenate([u, jnp.zeros((u.shape[0], missing), u.dtype)], axis=1)
    return u, jnp.concatenate([values, jnp.zeros(missing, values.dtype)])


def _divide(x: Array, y: Array) -> Array:
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), jnp.inf)
