"""log_chi by quadrature and exp_chi as its root, for a signature without closed forms.

With t = e^s the integral of dt / chi(t) has the integrand e^s / chi(e^s), a slowly varying
function of s for every power law. One table of the integral at panel edges serves all points:
each costs one more panel.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.numerics.quadrature import legendre, panel_rule

_NODES = 24
_HALVINGS = 16
_NEWTON = 3


@functools.cache
def _grid(largest: float) -> np.ndarray:
    """Panel edges in s = log t: of length 1 where t is of ordinary size, longer beyond."""
    inner, outer = np.arange(0.0, 40.0), np.arange(40.0, largest, 8.0)
    half = np.concatenate([inner, outer, [largest]])
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


def _table(
    fn: Any, jumps: Any, dtype: Any, theta: Any, integrand: Any = _integrand
) -> tuple[Any, Any]:
    """Ascending edges in s, and log_chi at each."""
    info = jnp.finfo(dtype)
    largest = min(np.log(float(info.max)), -np.log(float(info.tiny))) * 0.999
    edges = jnp.asarray(_grid(float(largest)), dtype)
    points = jnp.asarray(jumps(*theta) if callable(jumps) else jumps, dtype).reshape(-1)
    if points.size:
        inside = points > 0
        breaks = jnp.where(inside, jnp.log(jnp.where(inside, points, 1)), -largest)
        edges = jnp.sort(jnp.concatenate([edges, jnp.clip(breaks, -largest, largest)]))
    s, weight = panel_rule(edges, _NODES)
    mass = jnp.sum(weight * integrand(fn, s, theta), axis=1)
    # Away from s = 0 on either side, so that small sums are not differences of large ones.
    right = edges[1:] > 0
    up = jnp.cumsum(jnp.where(right, mass, 0))
    down = jnp.cumsum(jnp.where(right, 0, mass)[::-1])[::-1]
    zero = jnp.zeros((1,), dtype)
    return edges, jnp.concatenate([zero, up]) - jnp.concatenate([down, zero])


def _from_edge(fn: Any, start: Any, s: Any, theta: Any, integrand: Any = _integrand) -> Any:
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
    return table[nearer] + _from_edge(fn, edges[nearer], s, theta, integrand)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def log_by_table(fn: Any, jumps: Any, z: Any, theta: Any) -> Any:
    """log_chi(z), elementwise; -inf below 0, the limit at 0."""
    edges, table = _table(fn, jumps, z.dtype, theta)
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
    edges, table = _table(fn, jumps, z.dtype, theta, _guarded)
    log = jnp.log(jnp.where(z > 0, z, 1))
    s = jnp.clip(jnp.where(z > 0, log, edges[0]), edges[0], edges[-1])
    return _log_at(fn, edges, table, s, theta, _guarded)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def exp_by_table(fn: Any, jumps: Any, y: Any, theta: Any) -> Any:
    """exp_chi(y), elementwise; 0 below and inf above the range of log_chi."""
    edges, table = _table(fn, jumps, y.dtype, theta)
    left = jnp.clip(jnp.searchsorted(table, y, side="right") - 1, 0, len(edges) - 2)
    low, high = edges[left], edges[left + 1]
    # The edge nearer to s = 0, as in _log_at.
    nearer = jnp.where(y < 0, left + 1, left)
    start, base = edges[nearer], table[nearer]

    def residual(s: Any) -> Any:
        return base + _from_edge(fn, start, s, theta) - y

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        a, b = ends
        middle = a + (b - a) / 2
        below = residual(middle) < 0
        return jnp.where(below, middle, a), jnp.where(below, b, middle)

    a, b = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    s = a + (b - a) / 2
    for _ in range(_NEWTON):
        moved = jnp.clip(s - residual(s) / _integrand(fn, s, theta), a, b)
        s = jnp.where(jnp.isnan(moved), s, moved)  # inf / inf, where the integrand overflows
    return jnp.where(y <= table[0], 0, jnp.where(y >= table[-1], jnp.inf, jnp.exp(s)))


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
