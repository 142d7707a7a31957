"""The Gaussian posterior around a latent: what the measurements leave uncertain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxact.inversion.certificate import pose
from jaxact.inversion.noise import GaussianNoise, Noise
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Laplace:
    """A Gaussian around a latent, and what it implies for the output.

    Attributes:
        mean: the latent, of the shape that the generator takes.
        covariance: (k, k) of the flat latent: (J^T W J + prior I)^-1.
        root: (k, k) L with L L^T = covariance.
        output: G(mean).
        variance: of every entry of the output, diag(J_G covariance J_G^T), of its shape.
        log_evidence: log p(y) to second order; NaN without y or for noise that is not Gaussian,
            -inf for prior 0.
    """

    mean: Leaf
    covariance: Leaf
    root: Leaf
    output: Leaf
    variance: Leaf
    log_evidence: Leaf

    def sample(self, key: PRNGKeyArray, count: int) -> Float[Array, "count *shape"]:
        """Independent latents of the Gaussian."""
        checks.key("key", key)
        checks.integer("count", count, 1)
        noise = jax.random.normal(key, (count, self.root.shape[0]), self.root.dtype)
        flat = self.mean.ravel()[None] + jnp.matmul(noise, self.root.T, precision="highest")
        return flat.reshape(count, *self.mean.shape)


def laplace(
    generator: Callable[..., Any],
    z: Float[Array, "*shape"],
    *,
    noise: Any,
    operator: Callable[..., Any] | None = None,
    prior: Any = 1.0,
    y: Any = None,
) -> Laplace:
    """The Laplace approximation of p(z | y) at a latent, in latent and in output space.

    p(z | y) ~ exp(-F(z)), F(z) = sum_i rho(a_i, y_i) + prior/2 ||z||^2, a = A G(z). Near the
    minimiser it is N(z, (J^T W J + prior I)^-1), J = d(A G)/dz and W the curvatures of rho:
    1 / s^2 for Gaussian noise of deviation s. (Gauss-Newton: what the residual's curvature adds
    is left out; that is nothing for a linear generator.)

    Args:
        generator: G, latent -> output.
        z: the latent: `invert(...).latent` with the same noise and prior. (With the default noise
            of `invert`, least squares, its `prior` is s^2 times the one here.)
        noise: s, the deviation of Gaussian noise, > 0: one, or one for each measurement, of their
            shape; or a noise model such as `PoissonNoise()`.
        operator: A, output -> measurements. None: identity.
        prior: precision of the latent's N(0, I / prior), >= 0.
        y: the measurements. None: those of z, A G(z).

    Returns:
        A `Laplace`. The output's variance is made from k products, never an m x m matrix.

    Raises:
        ValueError: for arguments that do not fit, noise <= 0 or prior < 0.

    Differentiation: ordinary, in z, noise, prior, y and the generator's arrays. With prior 0 the
    covariance is infinite or NaN where J has not full rank: see `certificate`.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> found = laplace(lambda z: w @ z, jnp.ones(2), noise=0.1, prior=0.0)
        >>> [round(float(v), 6) for v in jnp.diag(found.covariance)]
        [0.0025, 0.01]
        >>> [round(float(v), 6) for v in found.variance]
        [0.01, 0.01, 0.0]

    Source: MacKay 1992, "Bayesian interpolation", sections 2-4.
    """
    z = checks.floating("z", z)
    problem = posterior_problem(generator, operator, z, noise, prior, y)
    found = _laplace(problem, z)
    known = y is not None and isinstance(problem.noise, GaussianNoise)
    return found if known else dataclasses.replace(found, log_evidence=math.nan)


def posterior_problem(
    generator: Any, operator: Any, z: Float[Array, "*shape"], noise: Any, prior: Any, y: Any
) -> Problem:
    """The problem whose F is -log p(z | y), after the host's checks; without y that of A G(z)."""
    model = noise if isinstance(noise, Noise) else GaussianNoise(_deviation(noise, z.dtype))
    problem = pose(generator, operator, z.dtype, z.shape, model)
    checks.non_negative("prior", prior)
    if y is None:
        y = problem.operator(problem.output(z.ravel()))
    checks.finite("y", y, kinds="biufcV")
    checks.shape("y", y, problem.y.shape)
    if jnp.iscomplexobj(y) and not jnp.iscomplexobj(problem.y):
        raise TypeError(f"y must be real, as operator(generator(z)) is, got {jnp.result_type(y)}")
    problem = problem.replace(jnp.asarray(y))
    problem.noise.check(problem.y)
    return dataclasses.replace(problem, prior=jnp.asarray(prior, z.dtype))


def _deviation(noise: Any, dtype: Any) -> Array:
    checks.positive("noise", noise)
    return jnp.asarray(noise, dtype)


@jax.jit
def _laplace(problem: Problem, z: Array) -> Laplace:
    flat = z.ravel()
    root, half_log_det = posterior_root(problem, flat)
    output, push = jax.linearize(problem.output, flat)
    columns = jax.vmap(push, in_axes=1)(root)
    variance = jnp.sum(jnp.abs(columns) ** 2, axis=0)
    covariance = jnp.matmul(root, root.T, precision="highest")
    evidence = flat.size / 2 * jnp.log(problem.prior) - half_log_det - problem.objective(flat)
    measured = problem.measured(flat)
    weights = problem.noise.weights(measured, problem.data(measured.dtype))
    if weights is not None:  # the Gaussian's normaliser
        evidence = evidence + jnp.sum(jnp.log(weights)) / 2
    evidence = evidence - measured.size / 2 * math.log(2 * math.pi)
    return Laplace(z, covariance, root, output, variance, evidence)


def posterior_root(
    problem: Problem, z: Float[Array, " k"]
) -> tuple[Float[Array, "k k"], Float[Array, ""]]:
    """L with L L^T = (J^T W J + prior I)^-1, and log det L^-1.

    By QR of the stacked (sqrt(W) J, sqrt(prior) I), whose condition number is not squared.
    """
    measured, jacobian = problem.jacobian(z)
    weights = problem.noise.weights(measured, problem.data(measured.dtype))
    if weights is not None:
        jacobian = _root(weights)[:, None] * jacobian
    eye = jnp.eye(z.size, dtype=z.dtype)
    upper = jnp.linalg.qr(jnp.concatenate([jacobian, _root(problem.prior) * eye]), mode="r")
    root = jax.scipy.linalg.solve_triangular(upper, eye, lower=False)
    return root, jnp.sum(jnp.log(jnp.abs(jnp.diagonal(upper))))


def _root(x: Array) -> Array:
    """The square root, with derivative 0 at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)
