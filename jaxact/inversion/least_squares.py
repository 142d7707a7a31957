"""Linear least squares with intervals as targets: equalities and inequalities in one problem."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_HALVINGS = 12
_REWEIGHTINGS = 60


@pytree()
class Fitted:
    """A point and how well it meets its rows.

    Attributes:
        h: (n,) the point.
        misfit: (m,) signed distance of each row from its interval, 0 inside.
        converged: whether no direction lowers the objective any more, to rounding.
    """

    h: Leaf
    misfit: Leaf
    converged: Leaf


def interval_least_squares(
    a: Float[Array, "m n"],
    low: Float[Array, " m"],
    high: Float[Array, " m"],
    weight: Float[Array, " m"],
    *,
    power: int = 2,
    steps: int = 50,
) -> Fitted:
    """Minimise sum_i (w_i dist(a_i h, [low_i, high_i]))^power over h.

    A row with low = high is an equation, one with an infinite end an inequality; where all can
    be met the minimum is 0, so this is also a feasibility solver for linear programs.

    power 2: Newton on the piecewise quadratic, the rows outside their intervals being the active
    set, with a halving line search: it ends after finitely many sets. power 1: the same,
    reweighted by 1 / sqrt(d^2 + delta^2), delta falling to rounding.

    Args:
        a: the rows, shape (m, n).
        low: lower ends, -inf where there is none.
        high: upper ends, inf where there is none; low <= high.
        weight: >= 0, one a row.
        power: 2 or 1.
        steps: the most Newton steps.

    Returns:
        `Fitted`. Where the minimiser is not unique, one near the start 0.

    Example:
        >>> a = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> low, high = jnp.array([1.0, -jnp.inf, 1.0]), jnp.array([1.0, 0.0, jnp.inf])
        >>> found = interval_least_squares(a, low, high, jnp.ones(3))
        >>> [abs(round(float(v), 4)) for v in found.h], bool(found.converged)
        ([1.0, 0.0], True)

    Source: Lei, Jalal, Dhillon & Dimakis 2019, the linear program of one layer; Chen & Pinar's
    and Mangasarian's Newton methods for such penalties.
    """
    for name, value in (("a", a), ("weight", weight)):
        checks.finite(name, value)
    checks.shape("a", a, ("m", "n"))
    for name, value in (("low", low), ("high", high)):
        if not checks.is_concrete(value):
            continue
        if np.isnan(checks.numbers(name, value)).any():
            raise ValueError(f"{name} must be numbers or infinite, got a NaN")
    for name, value in (("low", low), ("high", high), ("weight", weight)):
        checks.shape(name, value, np.shape(a)[:1])
    checks.choice("power", power, (1, 2))
    checks.integer("steps", steps, 1)
    start = _newton(a, low, high, weight, jnp.zeros(a.shape[1], a.dtype), steps)
    if power == 2:
        return start
    eps = float(jnp.finfo(a.dtype).eps)
    widest = jnp.max(weight * jnp.abs(start.misfit))
    least = eps * _scale(low, high, weight)

    def reweight(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        h, _ = state
        d = weight * _distance(a @ h, low, high)
        delta = jnp.maximum(widest * jnp.asarray(0.6, a.dtype) ** k, least)
        delta = jnp.where(delta > 0, delta, 1)
        fresh = weight / (d**2 + delta**2) ** 0.25
        after = _newton(a, low, high, fresh, h, 1).h
        return after, jnp.linalg.norm(after - h)

    h, move = jax.lax.fori_loop(0, _REWEIGHTINGS, reweight, (start.h, jnp.zeros((), a.dtype)))
    settled = move <= eps**0.5 * jnp.linalg.norm(h) + eps
    return Fitted(h, _distance(a @ h, low, high), settled)


def _newton(a: Array, low: Array, high: Array, weight: Array, start: Array, steps: int) -> Fitted:
    square = weight**2
    eps = float(jnp.finfo(a.dtype).eps)
    floor = (eps * _scale(low, high, weight)) ** 2 / 2
    fractions = 0.5 ** jnp.arange(_HALVINGS, dtype=a.dtype)

    def value(u: Array) -> Array:
        return square @ _distance(u, low, high) ** 2 / 2

    def unfinished(state: Any) -> Bool[Array, ""]:
        _, _, stopped, count = state
        return ~stopped & (count < steps)

    def advance(state: Any) -> Any:
        h, loss, _, count = state
        u = a @ h
        d = _distance(u, low, high)
        active = jnp.where((d != 0) | (low == high), square, 0)
        normal = (a * active[:, None]).T @ a
        trace = jnp.trace(normal)
        shift = 10 * eps * jnp.where(trace > 0, trace, 1)
        factor = jax.scipy.linalg.cho_factor(normal + shift * jnp.eye(h.size, dtype=a.dtype))
        move = -jax.scipy.linalg.cho_solve(factor, a.T @ (square * d))
        along = a @ move
        trials = jax.vmap(lambda t: value(u + t * along))(fractions)
        best = jnp.argmin(trials)
        better = trials[best] < loss
        after = jnp.where(better, h + fractions[best] * move, h)
        small = trials[best] >= (1 - 1e-4) * loss
        return after, jnp.where(better, trials[best], loss), small | (loss <= floor), count + 1

    first = value(a @ start)
    state = (start, first, first < 0, jnp.zeros_like(first, int))
    h, _, stopped, _ = jax.lax.while_loop(unfinished, advance, state)
    return Fitted(h, _distance(a @ h, low, high), stopped)


def _distance(u: Array, low: Array, high: Array) -> Array:
    return u - jnp.clip(u, low, high)


def _scale(low: Array, high: Array, weight: Array) -> Array:
    """The size of what the rows ask for, for tolerances of rounding."""
    finite = jnp.where(jnp.isfinite(low), low, jnp.where(jnp.isfinite(high), high, 0))
    return jnp.linalg.norm(weight * finite)
