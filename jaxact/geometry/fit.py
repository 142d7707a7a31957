"""Fitting a deformed family: natural-gradient steps on the chi-likelihood."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.geometry.family import DeformedFamily, check_domain, check_theta, cumulant
from jaxact.geometry.member import (
    cumulant_kernel,
    escort_mean_kernel,
    metric_kernel,
    statistics,
)
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_HALVINGS = 30


@pytree()
class Fit:
    """What `fit` found.

    Attributes:
        theta: the parameter of the largest chi-likelihood.
        value: mean log_chi p(x_i | theta).
        gradient: mean phi(x_i) - escort mean, 0 at the maximum.
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
    cumulant(family, at)
    return _direction(family, at, jnp.asarray(gradient, at.dtype))


def fit(
    family: DeformedFamily,
    x: Float[Array, "..."],
    *,
    start: Float[Array, "..."] | float,
    steps: int = 50,
) -> Fit:
    """The theta of the largest chi-likelihood, mean log_chi p(x_i | theta).

        mean_i log_chi p(x_i | theta) = theta . mean_i phi(x_i) - C(theta)

    It is concave, and at its maximum the escort mean equals the data's mean of phi. With
    chi(t) = t it is the ordinary likelihood. Natural-gradient steps, halved until they rise.

    Args:
        family: the family.
        x: data along the first axis, inside the base's domain.
        start: where to start, of the statistic's shape.
        steps: the most steps, >= 1.

    Returns:
        A `Fit`; look at `converged` (False where the data's mean of phi belongs to no member).

    Raises:
        ValueError: as `cumulant`, or for data outside the base's domain.

    Example:
        >>> from jaxact.geometry import escort_mean, interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> found = fit(family, jnp.array([-0.2, 0.1, 0.7]), start=0.0)
        >>> bool(found.converged), round(float(escort_mean(family, found.theta)), 3)
        (True, 0.2)

    Source: Naudts 2011, chapter 8 (the deformed likelihood).
    """
    checks.integer("steps", steps, minimum=1)
    begin = check_theta(family, start)
    check_domain(family.base, x)
    cumulant(family, begin)
    return _fit(family, jnp.asarray(x, begin.dtype), begin, steps)


@functools.partial(jax.jit, static_argnames="steps")
def _fit(family: DeformedFamily, x: Any, start: Any, steps: int) -> Fit:
    mean = jnp.mean(statistics(family, x), axis=0)
    tolerance = float(jnp.finfo(start.dtype).eps) ** 0.75 * (1 + jnp.max(jnp.abs(mean)))

    def likelihood(theta: Any) -> Any:
        return jnp.sum(theta * mean) - cumulant_kernel(family, theta)

    def unfinished(state: tuple[Any, ...]) -> Any:
        count, _, value, gradient = state
        return (count < steps) & ~(jnp.max(jnp.abs(gradient)) <= tolerance) & jnp.isfinite(value)

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        count, theta, value, gradient = state
        direction = _direction(family, theta, gradient)
        slack = 8 * float(jnp.finfo(theta.dtype).eps) * (1 + jnp.abs(value))

        def worse(trial: tuple[Any, Any, Any]) -> Any:
            return (trial[0] < _HALVINGS) & ~(trial[2] >= value - slack)

        def halve(trial: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            there = theta + direction * 0.5 ** (trial[0] + 1).astype(theta.dtype)
            return trial[0] + 1, there, likelihood(there)

        there = theta + direction
        first = (jnp.zeros((), jnp.int32), there, likelihood(there))
        _, theta, value = jax.lax.while_loop(worse, halve, first)
        return count + 1, theta, value, mean - escort_mean_kernel(family, theta)

    begin = (
        jnp.zeros((), jnp.int32), start, likelihood(start),
        mean - escort_mean_kernel(family, start),
    )  # fmt: skip
    count, theta, value, gradient = jax.lax.while_loop(unfinished, step, begin)
    return Fit(theta, value, gradient, count, jnp.max(jnp.abs(gradient)) <= tolerance)


@jax.jit
def _direction(family: DeformedFamily, theta: Any, gradient: Any) -> Any:
    matrix = metric_kernel(family, theta).reshape(theta.size, theta.size)
    return jnp.linalg.solve(matrix, gradient.reshape(-1)).reshape(theta.shape)
