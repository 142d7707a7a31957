"""Gauss-Newton and Levenberg-Marquardt: second-order solvers with no learning rate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxact.inversion.loop import tolerance
from jaxact.inversion.problem import Problem
from jaxact.numerics.pytrees import Leaf, pytree

_SHRINK, _GROW = 0.2, 4.0
_SHRINKING = 0.7
_PATIENCE = 5


@pytree()
class GaussNewton:
    """Damped Gauss-Newton, matrix-free: (J^T W J + prior I + mu s I) d = -grad F by CG.

    W holds the noise model's curvatures, 1 for least squares. J is never formed: its products
    come from `jax.linearize` and its transpose. s is the curvature g^T J^T W J g / ||g||^2 along
    the gradient g. A step is taken only if F decreases;
    then mu shrinks by 0.2, else it grows by 4. The default for latents above 24, up to 64 with
    `LevenbergMarquardt` to fall back on.

    Attributes:
        damping: the first mu, >= 0, relative to s.
        cg_steps: the most CG iterations a step, >= 1.
        steps: the most iterations, >= 1.
        tol: converged when ||A G(z) - y|| <= tol ||y||, when a lightly damped step moves z by
            less than tol ||z||, or when no step can lower F or keep shrinking where F is flat to
            rounding. None: 16 units of rounding.
        cg_tol: CG stops when its residual has fallen by this factor.

    Example:
        >>> GaussNewton(cg_steps=40).steps
        40
    """

    damping: Leaf = 1e-3
    cg_steps: Leaf = 32
    steps: Leaf = 40
    tol: Leaf = None
    cg_tol: Leaf = 1e-3

    def init(self, problem: Problem, z: Array) -> Any:
        """The first damping, no step yet, and no trouble with one."""
        return *_start(self, z), jnp.zeros_like(z[0], int)

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One damped step; see `jaxact.inversion.loop.Solver`."""
        a, push = jax.linearize(problem.measured, z)
        pull = jax.linear_transpose(push, z)
        slope, weigh = problem.expand(a)
        prior = jnp.asarray(problem.prior, z.dtype)
        gradient = pull(slope)[0] + prior * z
        along = push(gradient)
        size = gradient @ gradient
        bend = along @ weigh(along)
        scale = prior + jnp.where(size > 0, bend / jnp.where(size > 0, size, 1), 1)
        shift = prior + state[0] * scale
        move, solved = conjugate_gradient(
            lambda v: pull(weigh(push(v)))[0] + shift * v, -gradient, self.cg_steps, self.cg_tol
        )
        z, fresh, damping, converged = _accept(self, problem, z, loss, state[:2], move, gradient)
        fine = solved & (damping[0] < state[0])
        return z, fresh, (*damping, jnp.where(fine, 0, state[2] + 1)), converged

    def stalled(self, state: Any) -> Array:
        """Whether a `Fallback` should go on with another solver."""
        return state[2] >= _PATIENCE


@pytree()
class LevenbergMarquardt:
    """Levenberg-Marquardt with the explicit Jacobian: a k x k Cholesky solve a step.

    (J^T W J + prior I + mu t I) d = -grad F with t = tr(J^T W J + prior I) / k; mu and W as in
    `GaussNewton`. It is exact on ill-conditioned problems, where truncated CG is not. The
    default for latents up to 24.

    Attributes:
        damping: the first mu, >= 0, relative to t.
        steps: the most iterations, >= 1.
        tol: as in `GaussNewton`.

    Example:
        >>> LevenbergMarquardt(damping=1e-2).damping
        0.01
    """

    damping: Leaf = 1e-3
    steps: Leaf = 40
    tol: Leaf = None

    def init(self, problem: Problem, z: Array) -> Any:
        """The first damping, and no step yet."""
        return _start(self, z)

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One damped step; see `jaxact.inversion.loop.Solver`."""
        a, jacobian = problem.jacobian(z)
        slope, weigh = problem.expand(a)
        prior = jnp.asarray(problem.prior, z.dtype)
        gradient = slope @ jacobian + prior * z
        normal = _cross(jacobian, weigh(jacobian))
        scale = prior + jnp.trace(normal) / z.size
        damped = normal + (prior + state[0] * scale) * jnp.eye(z.size, dtype=z.dtype)
        factor = jax.scipy.linalg.cho_factor(damped, lower=True)
        move = jax.scipy.linalg.cho_solve(factor, -gradient)
        return _accept(self, problem, z, loss, state, move, gradient)


@jax.custom_batching.custom_vmap
def _cross(a: Float[Array, "*batch m k"], b: Float[Array, "*batch m n"]) -> Array:
    """A^T B with one batch axis whatever was mapped: with more, XLA transposes A first."""
    left, right = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    product = jax.lax.dot_general(left, right, (((1,), (1,)), ((0,), (0,))))
    return product.reshape(*a.shape[:-2], *product.shape[1:])


@_cross.def_vmap
def _cross_vmap(size: int, batched: Any, a: Array, b: Array) -> tuple[Array, bool]:
    pair = [
        x if mapped else jnp.broadcast_to(x, (size, *x.shape))
        for x, mapped in zip((a, b), batched, strict=True)
    ]
    return _cross(*pair), True


def _start(solver: Any, z: Array) -> tuple[Array, Array]:
    """The damping mu and the length of the last step."""
    return jnp.asarray(solver.damping, z.dtype), jnp.asarray(jnp.inf, z.dtype)


def _accept(
    solver: Any, problem: Problem, z: Array, loss: Array, state: Any, move: Array, gradient: Array
) -> Any:
    mu, last = state
    eps = float(jnp.finfo(z.dtype).eps)
    trial = problem.objective(z + move)
    length = jnp.linalg.norm(move)
    short = length <= tolerance(solver, z) * jnp.linalg.norm(z)
    # Near a minimum with a residual, F is flat to rounding while z is still sqrt(eps) away:
    # there a step is judged by whether the steps keep shrinking, as they do near a minimum.
    noise = 16 * eps * loss
    flat = -(gradient @ move) <= noise
    shrinking = flat & (jnp.abs(trial - loss) <= noise) & (length <= _SHRINKING * last)
    better = (trial < loss) & ~flat | shrinking
    # A rejected step that is short or flat shows that no step lowers F any more; a short
    # accepted one shows it only if damping did not shorten it.
    light = mu <= jnp.asarray(solver.damping, z.dtype)
    converged = jnp.where(better, short & light, short | flat)
    grown = jnp.maximum(_GROW * mu, eps)
    return (
        jnp.where(better, z + move, z),
        jnp.where(better, trial, loss),
        (jnp.where(better, _SHRINK * mu, grown), jnp.where(better, length, last)),
        converged,
    )


def conjugate_gradient(
    product: Any, b: Float[Array, " k"], steps: Any, tol: Any
) -> tuple[Float[Array, " k"], Bool[Array, ""]]:
    """Approximately solve product(x) = b, product symmetric positive definite, from x = 0.

    Every iterate is a descent direction. It stops after `steps`, when the residual is below
    tol ||b||, or when rounding leaves no positive curvature; the second value is False in the
    first case.
    """
    small = jnp.maximum(jnp.asarray(tol, b.dtype), float(jnp.finfo(b.dtype).eps)) ** 2 * (b @ b)

    def unfinished(carry: Any) -> Array:
        _, _, _, size, index = carry
        return (index < steps) & (size > small)

    def iterate(carry: Any) -> Any:
        x, r, p, size, index = carry
        image = product(p)
        curvature = p @ image
        fine = curvature > 0
        alpha = jnp.where(fine, size / jnp.where(fine, curvature, 1), 0)
        x, r = x + alpha * p, r - alpha * image
        fresh = jnp.where(fine, r @ r, 0)
        return x, r, r + fresh / size * p, fresh, index + 1

    zero = jnp.zeros((), int)
    start = (jnp.zeros_like(b), b, b, b @ b, zero)
    x, _, _, size, _ = jax.lax.while_loop(unfinished, iterate, start)
    return x, size <= small
