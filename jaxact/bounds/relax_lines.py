"""The result of a relaxation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.program import Program, plain
from jaxact.tracing.ranges import carry


@pytree()
class Lines:
    """Two lines around a function over [l, u]; all four arrays have the shape of l.

    Attributes:
        lower_slope: s_low.
        lower_intercept: t_low, with s_low x + t_low <= f(x).
        upper_slope: s_up.
        upper_intercept: t_up, with f(x) <= s_up x + t_up.
    """

    lower_slope: Leaf
    lower_intercept: Leaf
    upper_slope: Leaf
    upper_intercept: Leaf


def quotient(rise: Any, run: Any, otherwise: Any) -> Any:
    """Rise / run where run > 0."""
    safe = jnp.where(run > 0, run, 1)
    return jnp.where(run > 0, rise / safe, otherwise)


def derivatives(program: Program, x: Any) -> tuple[Any, Any, Any]:
    """f, f' and f'' at points, as plain numbers: they steer, they certify nothing."""

    def first(v: Any) -> tuple[Any, Any]:
        return jax.jvp(lambda w: plain(program, w), (v,), (jnp.ones_like(v),))

    (value, slope), (_, curvature) = jax.jvp(first, (x,), (jnp.ones_like(x),))
    return value, slope, curvature


def attach(
    program: Program, theta: tuple[Any, ...], ends: Any, side: Any, slope: Any, t: Any,
    touch: tuple[Any, Any], tangent: Any, at: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Give a slope and intercept of side * f their derivatives, by the envelope theorem.

    Touch points inside the interval are stationary; those at its ends move with them, and a
    tangent at the midpoint moves with the midpoint.
    """
    l, u = ends  # noqa: E741
    m = l + (u - l) / 2
    fixed = jax.lax.stop_gradient((l, u))

    def moving(x: Any) -> Any:
        x = jnp.where(x == fixed[0], l, jax.lax.stop_gradient(x))
        return jnp.where(x == fixed[1], u, x)

    a, b, at = moving(touch[0]), moving(touch[1]), moving(at)
    f = plain(program, jnp.stack([a, b, at]), theta)
    at_m = jax.jvp(lambda w: plain(program, w, theta), (m,), (jnp.ones_like(m),))[1]
    chord = quotient(side * (f[1] - f[0]), b - a, side * at_m)
    s = carry(slope, jnp.where(tangent, side * at_m, chord))
    return s, carry(t, side * f[2] - s * at)
