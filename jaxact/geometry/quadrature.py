"""log_chi by quadrature and exp_chi as its root, for a signature without closed forms.

With t = e^s the integral of dt / chi(t) has the integrand e^s / chi(e^s), a slowly varying
function of s for every power law. One table of the integral at panel edges serves all points:
log_chi costs each one more panel, exp_chi a polynomial.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.geometry.inverse_table import inverse, inverse_table, reach
from jaxact.numerics.quadrature import legendre, panel_rule

_NODES = 6
_MOST_STEPS = 60


@functools.cache
def _grid(largest: float) -> np.ndarray:
    """Panel edges in s = log t: close where chi has its features, wider where it is a power.

    Short panels with few nodes: a point then costs one panel of few nodes, and a singularity of
    chi near the real axis costs fewer digits than in a long panel with as many nodes a length.
    """
    inner, middle = np.arange(0.0, 8.0, 0.125), np.arange(8.0, 40.0, 0.5)
    half = np.concatenate([inner, middle, np.arange(40.0, largest), [largest]])
    return np.concatenate([-half[:0:-1], half])


def _integrand(fn: Any, s: Any, theta: Any) -> Any:
    t = jnp.exp(s)
    return t / fn(t, *theta)


def _guarded(fn: Any, s: Any, theta: Any) -> Any:
    """The integrand, constant in theta where its first or second derivative could overflow.

    Such nodes are far from any point of use; reverse mode would still send 0 * inf through them.
    """
    value = jax.lax.stop_gradient(_integrand(fn, s, theta))
    chi = jnp.exp(s) / value
    info = jnp.finfo(s.dtype)
    small, large = float(info.tiny) ** (1 / 3), float(info.max) ** (1 / 3)
    good = (chi > small) & (chi < large) & (value < large)
    return jnp.where(good, _integrand(fn, jnp.where(good, s, 0), theta), value)


def _edges(grid: np.ndarray, jumps: Any, dtype: Any, theta: Any) -> Any:
    """Ascending panel edges in s: those of the grid, and the jumps."""
    if not (callable(jumps) and jax.tree.leaves(theta)):
        # Sorted here: a sort of constants is slow to compile.
        with jax.ensure_compile_time_eval():
            points = np.asarray(jumps(*theta) if callable(jumps) else jumps, float).reshape(-1)
        breaks = np.clip(np.log(points[points > 0]), grid[0], grid[-1])
        return jnp.asarray(np.sort(np.concatenate([grid, breaks])), dtype)
    points = jnp.asarray(jumps(*theta), dtype).reshape(-1)
    inside = points > 0
    breaks = jnp.where(inside, jnp.log(jnp.where(inside, points, 1)), grid[0])
    breaks = jnp.clip(breaks, grid[0], grid[-1])
    return jnp.sort(jnp.concatenate([jnp.asarray(grid, dtype), breaks]))


def _table(
    fn: Any, jumps: Any, dtype: Any, theta: Any, integrand: Any = _integrand
) -> tuple[Any, Any, Any]:
    """Ascending edges in s, log_chi at each, and the integrand at each panel's nodes."""
    info = jnp.finfo(dtype)
    largest = min(np.log(float(info.max)), -np.log(float(info.tiny))) * 0.999
    edges = _edges(_grid(float(largest)), jumps, dtype, theta)
    s, weight = panel_rule(edges, _NODES)
    values = integrand(fn, s, theta)
    mass = jnp.sum(weight * values, axis=1)
    # Away from s = 0 on either side, so that small sums are not differences of large ones.
    right = edges[1:] > 0
    up = jnp.cumsum(jnp.where(right, mass, 0))
    down = jnp.cumsum(jnp.where(right, 0, mass)[::-1])[::-1]
    zero = jnp.zeros((1,), dtype)
    return edges, jnp.concatenate([zero, up]) - jnp.concatenate([down, zero]), values


def _between(fn: Any, start: Any, s: Any, theta: Any, integrand: Any = _integrand) -> Any:
    """The integral from `start` to s, elementwise: one panel."""
    u, weight = (jnp.asarray(a, s.dtype) for a in legendre(_NODES))
    length = (s - start)[..., None]
    u = u.reshape((1,) * s.ndim + (-1,))
    return (length * integrand(fn, start[..., None] + length * u, theta)) @ weight


def _log_at(
    fn: Any, edges: Any, table: Any, s: Any, theta: Any, integrand: Any = _integrand
) -> Any:
    left = jnp.clip(jnp.searchsorted(edges, s, side="right") - 1, 0, len(edges) - 2)
    nearer = jnp.where(s < 0, left + 1, left)
    return table[nearer] + _between(fn, edges[nearer], s, theta, integrand)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def log_by_table(fn: Any, jumps: Any, z: Any, theta: Any) -> Any:
    """log_chi(z), elementwise; -inf below 0, the limit at 0."""
    edges, table, _ = _table(fn, jumps, z.dtype, theta)
    inside = z > 0
    s = jnp.clip(jnp.log(jnp.where(inside, z, 1)), edges[0], edges[-1])
    value = _log_at(fn, edges, table, s, theta)
    return jnp.where(inside, value, jnp.where(z < 0, -jnp.inf, _limit(fn, edges, table, theta)))


def _limit(fn: Any, edges: Any, table: Any, theta: Any) -> Any:
    """log_chi(0): the tail of the integrand is taken for the power law it ends in."""
    ends = jnp.stack([edges[0], edges[0] / 2])
    low, high = _integrand(fn, ends, theta)
    rate = (jnp.log(high) - jnp.log(low)) / (ends[1] - ends[0])
    finite = rate > 1e-6
    return jnp.where(finite, table[0] - low / jnp.where(finite, rate, 1), -jnp.inf)


@log_by_table.defjvp
def _log_jvp(fn: Any, jumps: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (z, theta), (dz, dtheta) = primals, tangents
    value = log_by_table(fn, jumps, z, theta)
    inside = z > 0
    tangent = jnp.where(inside, dz / fn(jnp.where(inside, z, 1), *theta), 0)
    if jax.tree.leaves(theta):
        tangent += jax.jvp(lambda p: _log_of_theta(fn, jumps, z, p), (theta,), (dtheta,))[1]
    return value, jnp.where(jnp.isfinite(value), tangent, 0).astype(z.dtype)


def _log_of_theta(fn: Any, jumps: Any, z: Any, theta: Any) -> Any:
    """log_chi at a fixed z as a function of theta, moving jumps included."""
    edges, table, _ = _table(fn, jumps, z.dtype, theta, _guarded)
    log = jnp.log(jnp.where(z > 0, z, 1))
    s = jnp.clip(jnp.where(z > 0, log, edges[0]), edges[0], edges[-1])
    return _log_at(fn, edges, table, s, theta, _guarded)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def exp_by_table(fn: Any, jumps: Any, y: Any, theta: Any) -> Any:
    """exp_chi(y), elementwise; 0 below and inf above the range of log_chi."""
    edges = _edges(reach(), jumps, y.dtype, theta)
    table, rows = inverse_table(lambda s: _integrand(fn, s, theta), edges)
    s, known = inverse(table, rows, y)
    s = jax.lax.cond(
        jnp.all(known),
        lambda s: s,
        lambda s: jnp.where(known, s, _root(fn, jumps, y, theta, known)),
        s,
    )
    return jnp.exp(s)


def _root(fn: Any, jumps: Any, y: Any, theta: Any, known: Any) -> Any:
    """The log of exp_chi(y), from -inf to inf, where it is not known.

    The panel of y, in it the root for the power law through the integrand's nodes, then Newton
    steps in s = log z, ds = -residual chi(z) / z, kept in a shrinking bracket.
    """
    edges, table, values = _table(fn, jumps, y.dtype, theta)
    left = jnp.clip(jnp.searchsorted(table, y, side="right") - 1, 0, len(edges) - 2)
    low, high = edges[left], edges[left + 1]
    # The edge nearer to s = 0, as in _log_at.
    nearer = jnp.where(y < 0, left + 1, left)
    start, base = edges[nearer], table[nearer]
    below, above = y <= table[0], y >= table[-1]
    guess = _power_law_root(edges, table, values, left, y)
    state = (jnp.zeros((), jnp.int32), ~(known | below | above), guess, low, high)

    def unfinished(state: tuple[Any, ...]) -> Any:
        return (state[0] < _MOST_STEPS) & jnp.any(state[1])

    def newton(state: tuple[Any, ...]) -> tuple[Any, ...]:
        count, open_, s, a, b = state
        residual = base + _between(fn, start, s, theta) - y
        a, b = jnp.where(residual < 0, s, a), jnp.where(residual > 0, s, b)
        moved = s - residual / _integrand(fn, s, theta)
        # Also where moved is NaN: inf / inf, where the integrand overflows.
        moved = jnp.where((moved >= a) & (moved <= b), moved, a + (b - a) / 2)
        more = open_ & (jnp.abs(moved - s) > _last_step(y.dtype))
        return count + 1, more, jnp.where(open_, moved, s), a, b

    s = jax.lax.while_loop(unfinished, newton, state)[2]
    return jnp.where(below, -jnp.inf, jnp.where(above, jnp.inf, s))


def _last_step(dtype: Any) -> float:
    """Newton squares the error: a step below the square root of eps is the last one."""
    return float(jnp.finfo(dtype).eps) ** 0.45


def _power_law_root(edges: Any, table: Any, values: Any, left: Any, y: Any) -> Any:
    """Where log_chi would be y if in y's panel its integrand were proportional to e^(c s)."""
    u, _ = legendre(_NODES)
    slope = np.linalg.pinv(np.stack([np.ones_like(u), u], axis=1))[1]
    info = jnp.finfo(y.dtype)
    # By a dot, which XLA computes once for each panel: anything elementwise it would fuse into
    # the gather, and compute again for each point.
    exponents = jnp.log(jnp.clip(values, info.tiny, info.max))
    c = jnp.clip(exponents @ jnp.asarray(slope, y.dtype), -30, 30)[left]
    c = jnp.where(jnp.abs(c) > 1e-6, c, 1e-6)  # at c = 0 the limit
    share = (y - table[left]) / (table[left + 1] - table[left])
    share = jnp.log1p(share * jnp.expm1(c)) / c
    share = jnp.where(jnp.isfinite(share), jnp.clip(share, 0, 1), 0.5)
    return edges[left] + share * (edges[left + 1] - edges[left])


@exp_by_table.defjvp
def _exp_jvp(fn: Any, jumps: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (y, theta), (dy, dtheta) = primals, tangents
    z = exp_by_table(fn, jumps, y, theta)
    inside = (z > 0) & (z < jnp.inf)
    at = jnp.where(inside, z, 1)
    shift = jnp.zeros_like(y)
    if jax.tree.leaves(theta):
        shift = jax.jvp(lambda p: log_by_table(fn, jumps, at, p), (theta,), (dtheta,))[1]
    tangent = fn(at, *theta) * (dy - shift)
    return z, jnp.where(inside, tangent, 0).astype(y.dtype)
