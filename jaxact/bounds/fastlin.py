"""Fast-Lin: both lines of every unit share one slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.relax_lines import Lines, quotient
from jaxact.bounds.relax_slopes import lines_with_slopes
from jaxact.bounds.sound import Method, sound_bounds
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import answer, bound_rows, relax_units
from jaxact.tracing.graph import Network


def fastlin(f: Callable[..., Any], region: Any, spec: Any = None, *, sound: bool = False) -> Bounds:
    r"""Certified bounds of spec . f(x), by backward propagation with one slope a unit.

    Both lines around an activation over [l, u] have the slope of its chord,
    (f(u) - f(l)) / (u - l), which is u / (u - l) for an unstable relu; the certified intercepts
    are the least and the greatest of f(y) - slope y. Looser than `crown` on average; the two
    sides share their coefficients. Arguments, errors and differentiation are those of `crown`.

    Returns:
        `Bounds`, as from `crown`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.bounds import Ball, fastlin
        >>> f = lambda x: jax.nn.relu(x).sum()
        >>> b = fastlin(f, Ball(jnp.zeros(2), eps=0.5))
        >>> round(float(b.lower), 4), round(float(b.upper), 4)
        (0.0, 1.0)

    Source: Weng et al. 2018, "Towards fast computation of certified robustness for ReLU
    networks", section 3.3; Zhang et al. 2018, section 3.3.
    """
    network, region, spec = prepare(f, region, spec)
    if sound:
        return sound_bounds(network, region, spec, Method(relaxer=chord_lines))
    return _fastlin(network, region, spec)


def chord_lines(fn: Callable[..., Any], lower: Any, upper: Any, theta: tuple[Any, ...]) -> Lines:
    """Two parallel certified lines around fn(x, *theta), of the slope of its chord."""
    rise = fn(upper, *theta) - fn(lower, *theta)
    at_point = jax.jvp(lambda x: fn(x, *theta), (lower,), (jnp.ones_like(lower),))[1]
    slope = quotient(rise, upper - lower, at_point)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    return lines_with_slopes(fn, lower, upper, slope, slope, theta)


@jax.jit
def _fastlin(network: Network, region: Any, spec: Any) -> Bounds:
    known, boxes = relax_units(network, region, relaxer=chord_lines)
    target = network.graph.target
    bounds, sides = bound_rows(network, region, target, spec_rows(spec, target), known)
    return answer(network, spec, bounds, sides, boxes)
