"""Fitting a deformed family: natural-gradient steps on the chi- or the ordinary likelihood."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.geometry.deformed import exp_kernel
from jaxact.geometry.family import DeformedFamily, check_domain, check_theta, cumulant
from jaxact.geometry.member import (
    cumulant_kernel,
    escort_mean_kernel,
    information_kernel,
    metric_kernel,
    natural,
    statistics,
)
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_HALVINGS = 30


@pytree()
class Fit:
    """What `fit` found.

    Attributes:
        theta: the parameter of the largest likelihood.
        value: mean log_chi p(x_i | theta), or mean log p(x_i | theta).
        gradient: of that in theta, 0 at the maximum.
        iterations: natural-gradient steps taken.
        converged: whether the gradient vanished to rounding.

    Example:
        >>> Fit(0.3, -0.7, 0.0, 4, True).iterations
        4
    """

    theta: Leaf
    value: Leaf
    gradient: Leaf
    iterations: Leaf
    converged: Leaf


def natural_gradient(
    family: DeformedFamily, theta: Float[Array, "..."] | float, gradient: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The gradient in the chi-Fisher metric: (Hess C)^{-1} gradient.

    For the chi-likelihood, whose Hessian is -Hess C, theta + natural_gradient is Newton's step.

    Args:
        family: the family.
        theta: the natural parameter.
        gradient: the derivative of any objective in theta, of its shape.

    Returns:
        The direction, of theta's shape.

    Raises:
        ValueError: as `cumulant`, or for a gradient of another shape.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.0), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(natural_gradient(family, 0.0, jnp.array(0.1))), 4)  # 0.1 / (1/3)
        0.3

    Source: Amari 1998; the metric of Nock et al. 2017, section 3.
    """
    at = check_theta(family, theta)
    checks.shape("gradient", gradient, at.shape)
    matrix = metric_kernel(family, at, cumulant(family, at))
    return _solve(matrix, jnp.asarray(gradient, at.dtype))


def fit(
    family: DeformedFamily,
    x: Float[Array, "..."],
    *,
    start: Float[Array, "..."] | float,
    objective: str = "chi",
    steps: int = 50,
) -> Fit:
    """The theta of the largest likelihood of data, by natural-gradient steps.

        "chi":       mean_i log_chi p(x_i | theta) = theta . mean_i phi(x_i) - C(theta)
        "ordinary":  mean_i log p(x_i | theta), of gradient mean_i (chi(p) / p)(phi - eta)(x_i)

    The chi-likelihood is concave, and at its maximum the escort mean eta equals the data's mean
    of phi; its steps are Newton's. The ordinary one need not be concave (a local maximum is
    found); its steps are by its Fisher information. Steps are halved until they do not fall.
    With chi(t) = t the two are one.

    Args:
        family: the family.
        x: data along the first axis, inside the base's domain.
        start: where to start, of the statistic's shape. For the ordinary likelihood every point
            of the data must lie in its support.
        objective: what is maximised, "chi" or "ordinary".
        steps: the most steps, >= 1.

    Returns:
        A `Fit`; look at `converged` (False where the data's mean of phi belongs to no member).

    Raises:
        ValueError: as `cumulant`, for data outside the base's domain or an unknown objective.

    Example:
        >>> from jaxact.geometry import escort_mean, interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> found = fit(family, jnp.array([-0.2, 0.1, 0.7]), start=0.0)
        >>> bool(found.converged), round(float(escort_mean(family, found.theta)), 3)
        (True, 0.2)

    Source: Naudts 2011, chapter 8 (the deformed likelihood).
    """
    checks.integer("steps", steps, minimum=1)
    checks.choice("objective", objective, ("chi", "ordinary"))
    begin = check_theta(family, start, "start")
    check_domain(family.base, x)
    cumulant(family, begin)
    likelihood = _chi_likelihood if objective == "chi" else _ordinary_likelihood
    return _fit(family, jnp.asarray(x, begin.dtype), begin, likelihood, steps)


def _chi_likelihood(family: DeformedFamily, x: Any, theta: Any, c: Any) -> tuple[Any, Any, Any]:
    """The value, its gradient and its metric."""
    mean = jnp.mean(statistics(family, x), axis=0)
    gradient = mean - escort_mean_kernel(family, theta, c)
    return jnp.sum(theta * mean) - c, gradient, metric_kernel(family, theta, c)


def _ordinary_likelihood(
    family: DeformedFamily, x: Any, theta: Any, c: Any
) -> tuple[Any, Any, Any]:
    """The value, its gradient and its metric."""
    p = exp_kernel(family.chi, natural(family, theta, x) - c)
    at = jnp.where(p > 0, p, 1)
    centred = statistics(family, x) - escort_mean_kernel(family, theta, c)[None]
    gradient = jnp.tensordot(family.chi(at) / at, centred, 1) / len(p)
    value = jnp.mean(jnp.where(p > 0, jnp.log(at), -jnp.inf))
    return value, gradient, information_kernel(family, theta, c)


@functools.partial(jax.jit, static_argnames=("likelihood", "steps"))
def _fit(family: DeformedFamily, x: Any, start: Any, likelihood: Any, steps: int) -> Fit:
    scale = 1 + jnp.max(jnp.abs(jnp.mean(statistics(family, x), axis=0)))
    tolerance = float(jnp.finfo(start.dtype).eps) ** 0.75 * scale

    def at(theta: Any) -> tuple[Any, ...]:
        return theta, *likelihood(family, x, theta, cumulant_kernel(family, theta))

    def unfinished(state: tuple[Any, ...]) -> Any:
        count, (_, value, gradient, _) = state
        return (count < steps) & ~(jnp.max(jnp.abs(gradient)) <= tolerance) & jnp.isfinite(value)

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        count, (theta, value, gradient, metric) = state
        direction = _solve(metric, gradient)
        slack = 8 * float(jnp.finfo(theta.dtype).eps) * (1 + jnp.abs(value))

        def worse(trial: tuple[Any, Any]) -> Any:
            return (trial[0] < _HALVINGS) & ~(trial[1][1] >= value - slack)

        def halve(trial: tuple[Any, Any]) -> tuple[Any, Any]:
            return trial[0] + 1, at(theta + direction * 0.5 ** trial[0].astype(theta.dtype))

        nowhere = (theta, jnp.full_like(value, -jnp.inf), gradient, metric)
        _, there = jax.lax.while_loop(worse, halve, (jnp.zeros((), jnp.int32), nowhere))
        return count + 1, there

    state = (jnp.zeros((), jnp.int32), at(start))
    count, (theta, value, gradient, _) = jax.lax.while_loop(unfinished, step, state)
    converged = (jnp.max(jnp.abs(gradient)) <= tolerance) & jnp.isfinite(value)
    return Fit(theta, value, gradient, count, converged)


def _solve(metric: Any, gradient: Any) -> Any:
    matrix = metric.reshape(gradient.size, gradient.size)
    return jnp.linalg.solve(matrix, gradient.reshape(-1)).reshape(gradient.shape)
