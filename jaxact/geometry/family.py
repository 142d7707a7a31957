"""Deformed exponential families: density, cumulant, escort and chi-Fisher metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.geometry.base import Base
from jaxact.geometry.deformed import exp_kernel
from jaxact.geometry.member import (
    cumulant_kernel,
    escort_mean_kernel,
    escort_rule,
    finer_mass,
    metric_kernel,
    natural,
)
from jaxact.geometry.signature import Signature
from jaxact.numerics import checks
from jaxact.numerics.pytrees import pytree

_RESOLVED = 1e-6


@pytree(static=("statistic",))
class DeformedFamily:
    """The chi-exponential family p(x | theta) = exp_chi(theta . phi(x) - C(theta)) on a base.

    Attributes:
        chi: the `Signature`.
        statistic: phi, a JAX function of one point, a scalar or a vector of shape (k,).
        base: the base measure: `interval`, `line`, `box` or `finite_set`.

    theta has phi's shape. Everything is differentiable in theta, in the signature's parameters
    and in the base's weights, any number of times (the cumulant implicitly); the ends of the
    support are held fixed, which is exact where the density vanishes there.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.0), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(cumulant(family, 0.0)), 4)  # log 2
        0.6931

    Source: Naudts 2011; Nock et al. 2017, section 3.
    """

    chi: Signature
    statistic: Callable[..., Any]
    base: Base


def cumulant(family: DeformedFamily, theta: Float[Array, "..."] | float) -> Float[Array, ""]:
    """C(theta), the number with which the density has mass 1 on the base.

    Args:
        family: the family.
        theta: the natural parameter, of the statistic's shape.

    Returns:
        C, a scalar. Convex; its gradient is the escort mean and its Hessian the metric.

    Raises:
        ValueError: if theta is of another shape or not finite, or has no normaliser.

    Example:
        >>> import jax
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> g = jax.grad(lambda t: cumulant(family, t))(0.3)
        >>> bool(abs(g - escort_mean(family, 0.3)) < 1e-5)
        True

    Source: Nock et al. 2017, section 3.
    """
    theta = check_theta(family, theta)
    value = cumulant_kernel(family, theta)
    if checks.is_concrete(family, value) and family.base.edges:
        _check_resolved(family, theta, value)
    return value


def density(
    family: DeformedFamily, theta: Float[Array, "..."] | float, x: Float[Array, "..."] | float
) -> Float[Array, "..."]:
    """p(x | theta) = exp_chi(theta . phi(x) - C(theta)); 0 beyond the support.

    Args:
        family: the family.
        theta: the natural parameter.
        x: one point or many along the first axis, inside the base's domain.

    Raises:
        ValueError: as `cumulant`, or for a point outside the base's domain.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(0.5), lambda x: -x * x, interval(-3.0, 3.0))
        >>> [round(float(v), 3) for v in density(family, 4.0, jnp.array([0.0, 2.9]))]
        [1.253, 0.0]
    """
    check_family(family)
    check_domain(family.base, x)
    value = cumulant(family, theta)
    at = jnp.asarray(x, value.dtype)
    return exp_kernel(family.chi, natural(family, check_theta(family, theta), at) - value)


def escort_mean(family: DeformedFamily, theta: Float[Array, "..."] | float) -> Float[Array, "..."]:
    """The mean of the statistic under the escort chi(p) / Z: the gradient of C.

    Args:
        family: the family.
        theta: the natural parameter.

    Returns:
        eta, of theta's shape.

    Raises:
        ValueError: as `cumulant`.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(escort_mean(family, 0.0)), 4)
        0.0
    """
    theta = check_theta(family, theta)
    return escort_mean_kernel(family, theta, cumulant(family, theta))


def escort_expectation(
    family: DeformedFamily, theta: Float[Array, "..."] | float, fn: Callable[..., Any]
) -> Float[Array, "..."]:
    """E_{p~}[fn(x)] under the escort p~ = chi(p) / Z; `escort_mean` is that of the statistic.

    Args:
        family: the family.
        theta: the natural parameter.
        fn: a JAX function of one point; it is compiled at each call.

    Returns:
        The expectation, of fn's shape. Differentiable as the family, and in what fn closes over.

    Raises:
        ValueError: as `cumulant`.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(escort_expectation(family, 0.0, lambda x: x**2)), 4)  # uniform
        0.3333

    Source: Nock et al. 2017, section 3.
    """
    checks.function("fn", fn, "one point")
    theta = check_theta(family, theta)
    points, share, _ = escort_rule(family, theta, cumulant(family, theta))
    return jnp.tensordot(share, jax.vmap(fn)(points), 1)


def metric(family: DeformedFamily, theta: Float[Array, "..."] | float) -> Float[Array, "..."]:
    """The chi-Fisher metric (1/Z) int chi'(p) chi(p) (phi - eta)(phi - eta)^T: the Hessian of C.

    Args:
        family: the family.
        theta: the natural parameter.

    Returns:
        A positive semi-definite matrix (k, k); a scalar for a scalar statistic.

    Raises:
        ValueError: as `cumulant`.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.0), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(metric(family, 0.0)), 4)  # the variance, 1/3
        0.3333
    """
    theta = check_theta(family, theta)
    return metric_kernel(family, theta, cumulant(family, theta))


def bregman(family: DeformedFamily, theta: Any, other: Any) -> Float[Array, ""]:
    """D_C(theta || other) = C(theta) - C(other) - (theta - other) . grad C(other).

    Args:
        family: the family.
        theta: a natural parameter.
        other: another.

    Raises:
        ValueError: as `cumulant`.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.0), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(bregman(family, 0.3, -0.2)), 4)
        0.0415
    """
    theta, other = check_theta(family, theta), check_theta(family, other, "other")
    c = cumulant(family, other)
    eta = escort_mean_kernel(family, other, c)
    return cumulant(family, theta) - c - jnp.sum((theta - other) * eta)


def check_theta(family: DeformedFamily, theta: Any, name: str = "theta") -> Any:
    """Theta as an array in the base's dtype; an error unless it is finite and fits phi."""
    check_family(family)
    theta = checks.floating(name, theta).astype(family.base.weights.dtype)
    one = jax.eval_shape(family.statistic, family.base.points[0])
    checks.shape(name, theta, one.shape)
    return theta


def check_family(family: Any) -> None:
    """Raise unless it is a family of finite numbers."""
    checks.instance("family", family, DeformedFamily)
    checks.finite("family.chi.theta", family.chi.theta)
    checks.finite("family.base", family.base)


def check_domain(base: Base, x: Any) -> None:
    """Raise `ValueError` for a point outside an interval or a box."""
    checks.finite("x", x)
    if base.line or not base.edges or not checks.is_concrete(x, base):
        return
    columns = np.asarray(x).reshape(-1, len(base.edges))
    for axis, edges in enumerate(base.edges):
        low, high = float(edges[0]), float(edges[-1])
        checks.between("x" if len(base.edges) == 1 else f"x[{axis}]", columns[:, axis], low, high)


def _check_resolved(family: DeformedFamily, theta: Any, c: Any) -> None:
    """Refuse a density whose mass is an artefact of the rule."""
    mass, tail = (float(v) for v in finer_mass(family, theta, c))
    limit = max(_RESOLVED, float(jnp.finfo(c.dtype).eps) ** 0.5)
    if not abs(mass - 1) < limit:
        raise ValueError(
            f"theta = {np.asarray(theta)} has no normaliser that the base's rule resolves: the "
            f"mass is 1 by the rule and {mass:.6g} by one twice as fine (theta outside the "
            "natural parameters, or too few panels)"
        )
    if not tail < limit:
        raise ValueError(
            f"theta = {np.asarray(theta)} has no normaliser: its density does not vanish at "
            f"infinity, {tail:.3g} of the mass lies in the outermost panels"
        )
