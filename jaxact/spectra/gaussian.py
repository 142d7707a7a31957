"""What a layer's spectrum needs to know of an activation: its Gaussian moments."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxact.activation import Activation, Moments, activation
from jaxact.numerics import checks
from jaxact.numerics.quadrature import GAUSSIAN_RANGE, gaussian_rule


def moments(act: Activation | Callable[..., Any], scale: ArrayLike = 1.0) -> Moments:
    """Mean, eta and zeta of an activation under Gaussian pre-activations.

    mean = E f(s xi), eta = E (f(s xi) - mean)^2, zeta = (E xi f(s xi))^2 = (s E f'(s xi))^2,
    xi ~ N(0, 1). The limiting spectrum of a random layer depends on f through (eta, zeta) only;
    0 <= zeta <= eta, zeta = eta for linear f and zeta = 0 for f without a linear Hermite part.

    Args:
        act: an activation or a plain scalar function.
        scale: s > 0, the standard deviation of the pre-activations (sigma_w sigma_x).

    Returns:
        `Moments` of scalars; from the closed form where there is one, else by quadrature split
        at the kinks.

    Raises:
        ValueError: if scale is not positive, or E f(s xi)^2 is infinite (exp(x^2)) or lies where
            the quadrature, on |xi| <= 13, does not reach (exp(10 x)).

    Differentiable in theta and scale, any number of times.

    Source: Pennington & Worah, NIPS 2017, eqs. 5-7.

    Example:
        >>> import jaxact
        >>> m = moments(jaxact.get("relu"))
        >>> [round(float(v), 4) for v in (m.mean, m.eta, m.zeta)]
        [0.3989, 0.3408, 0.25]
    """
    act = activation(act)
    checks.positive("scale", scale)
    checks.shape("scale", scale, ())
    found, tail = _moments(act, scale)
    if checks.is_concrete(found, tail):
        _check_finite(act, found, float(tail))
    return found


def hermite_coefficients(
    act: Activation | Callable[..., Any], order: int, scale: ArrayLike = 1.0
) -> Float[Array, "order+1"]:
    """The expansion of x -> f(s x) in the orthonormal Hermite polynomials h_k = He_k / sqrt(k!).

    c_k = E f(s xi) h_k(xi), so f(s x) = sum_k c_k h_k(x), mean = c_0, zeta = c_1^2 and
    eta = sum over k >= 1 of c_k^2.

    Args:
        act: an activation or a plain scalar function.
        order: the highest k, an integer >= 0. Past about 40 the quadrature loses digits.
        scale: s > 0.

    Returns:
        (c_0, ..., c_order).

    Raises:
        ValueError: if order is negative or scale not positive, or where `moments` fails.
        TypeError: if order is not an integer.

    Differentiable in theta and scale.

    Example:
        >>> [round(float(c), 4) + 0.0 for c in hermite_coefficients(lambda x: x**3, 3)]
        [0.0, 3.0, 0.0, 2.4495]
    """
    act = activation(act)
    checks.integer("order", order, 0)
    moments(act, scale)  # checks scale, and that there are moments
    return _hermite_coefficients(act, scale, order)


@jax.jit
def _moments(act: Activation, scale: ArrayLike) -> tuple[Moments, Array]:
    """The moments, and the largest log of f(s xi)^2 exp(-xi^2 / 2) where the quadrature ends."""
    found = jax.tree.map(jnp.asarray, act.moments(scale))
    if act.closed.moments is not None:
        return found, jnp.full_like(found.eta, -jnp.inf)
    xi = GAUSSIAN_RANGE - jnp.linspace(0, 0.2, 8, dtype=jnp.result_type(float))
    xi = jnp.concatenate([-xi, xi])
    return found, jnp.max(2 * jnp.log(jnp.abs(act(scale * xi))) - xi**2 / 2)


def _check_finite(act: Activation, found: Moments, tail: float) -> None:
    second = float(found.eta) + float(found.mean) ** 2
    share = math.sqrt(float(jnp.finfo(found.eta.dtype).eps))
    if second == 0 or math.isfinite(second) and tail <= math.log(share * second):
        return
    raise ValueError(
        f"act must have finite Gaussian moments: E {act.name}(s xi)^2 is infinite, or too large "
        f"for the quadrature on |xi| <= {GAUSSIAN_RANGE:g} (got {second:g})"
    )


@functools.partial(jax.jit, static_argnames="order")
def _hermite_coefficients(act: Activation, scale: ArrayLike, order: int) -> Array:
    xi, weight = gaussian_rule(act.kink_points(), scale)
    value = weight * act(scale * xi)
    before, now = jnp.zeros_like(xi), jnp.ones_like(xi)
    found = [jnp.sum(value)]
    for k in range(1, order + 1):
        before, now = now, (xi * now - math.sqrt(k - 1) * before) / math.sqrt(k)
        found.append(value @ now)
    return jnp.stack(found)
