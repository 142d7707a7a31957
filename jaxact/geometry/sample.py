"""Samples of a deformed family by its inverse distribution function."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxact.geometry.deformed import exp_kernel
from jaxact.geometry.family import DeformedFamily, check_theta, cumulant
from jaxact.geometry.member import member_edges, natural
from jaxact.numerics import checks
from jaxact.numerics.quadrature import legendre, panel_rule
from jaxact.numerics.roots import bracketed_root


def sample(
    family: DeformedFamily, theta: Float[Array, "..."] | float, key: PRNGKeyArray, count: int
) -> Float[Array, "..."]:
    """Independent draws from p(x | theta) by the inverse distribution function.

        x_i = F^{-1}(u_i | theta),  u = uniform(key, (count,))

    F is the integral of the density's interpolant at the base's nodes, in panels split at the
    support, so it has the rule's accuracy. In a box the first coordinate is drawn from its
    marginal and the second from its conditional; a finite set is drawn by its probabilities.

    Args:
        family: the family.
        theta: the natural parameter.
        key: a typed key. One uniform a coordinate: the same key gives common random numbers.
        count: draws, >= 1.

    Returns:
        (count,) numbers, or (count, d) in a box or a set of vectors. On an interval, the line
        or a box differentiable in theta and the signature's parameters (implicitly, up to third
        derivatives); on a finite set the derivative is 0.

    Raises:
        ValueError: as `cumulant`, or for a count below 1.
        TypeError: for a raw key.

    Example:
        >>> import jax
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(0.5), lambda x: -x * x, interval(-3.0, 3.0))
        >>> x = sample(family, 4.0, jax.random.key(0), 500)
        >>> x.shape, bool(abs(x).max() < 1.0)  # its support ends at 0.91
        ((500,), True)

    Source: Olver & Townsend 2013, Fast inverse transform sampling in one and two dimensions.
    """
    checks.key("key", key)
    checks.integer("count", count, minimum=1)
    theta = check_theta(family, theta)
    return _sample(family, theta, cumulant(family, theta), key, count)


@functools.partial(jax.jit, static_argnames="count")
def _sample(family: DeformedFamily, theta: Any, c: Any, key: Any, count: int) -> Any:
    base = family.base

    def density(x: Any) -> Any:
        return exp_kernel(family.chi, natural(family, theta, x) - c)

    if not base.edges:
        u = jax.random.uniform(key, (count,), c.dtype)
        total = jnp.cumsum(base.weights * density(base.points))
        return base.points[jnp.searchsorted(total, u * total[-1], side="right")]
    if len(base.edges) == 1:
        edges = member_edges(family, [(theta, c)])
        t, _ = panel_rule(edges, base.nodes)
        values = density(base.at(t).reshape(-1)).reshape(t.shape) * base.stretch(t)
        u = jax.random.uniform(key, (count,), c.dtype)
        return base.at(_inverse(values, edges, u))
    (first, second), nodes = base.edges, base.nodes
    y, weights = panel_rule(second, nodes)
    rows = density(base.points).reshape(-1, weights.size) @ weights.reshape(-1)
    keys = jax.random.split(key)
    x = _inverse(rows.reshape(-1, nodes), first, jax.random.uniform(keys[0], (count,), c.dtype))

    def conditional(one: Any, u: Any) -> Any:
        points = jnp.stack([jnp.full(y.size, one), y.reshape(-1)], axis=1)
        return _inverse(density(points).reshape(y.shape), second, u[None])[0]

    below = jax.random.uniform(keys[1], (count,), c.dtype)
    return jnp.stack([x, jax.vmap(conditional)(x, below)], axis=1)


def _inverse(values: Any, edges: Any, u: Any) -> Any:
    """F^{-1}(u) of the density with these values at the panels' nodes, (panels, nodes)."""
    primitive, density = (jnp.asarray(a, u.dtype) for a in _to_legendre(values.shape[1]))
    length = edges[1:] - edges[:-1]
    scaled = values * length[:, None]
    mass = jnp.matmul(
        scaled, jnp.asarray(legendre(values.shape[1])[1], u.dtype), precision="highest"
    )
    table = jnp.concatenate([jnp.zeros((1,), u.dtype), jnp.cumsum(mass)])
    target = u * table[-1]
    # The last panel that begins at or below the target: never one without mass.
    panel = jnp.clip(jnp.searchsorted(table, target, side="right") - 1, 0, len(mass) - 1)
    highest = jax.lax.Precision.HIGHEST
    series = [jnp.matmul(scaled, m.T, precision=highest)[panel] for m in (primitive, density)]

    def excess(share: Any, fixed: Any) -> tuple[Any, Any]:
        coefficients, rest = fixed
        below, slope = _legendre_sums(coefficients, share)
        return below - rest, slope

    fixed = (series, target - table[panel])
    still = jax.lax.stop_gradient(fixed)
    zero, one = jnp.zeros_like(u), jnp.ones_like(u)
    share = bracketed_root(lambda s: excess(s, still)[0], zero, one)
    # Two Newton steps that add 0 and carry the implicit derivatives up to the third.
    for _ in range(2):
        error, slope = excess(share, fixed)
        step = (error - jax.lax.stop_gradient(error)) / jnp.where(slope > 0, slope, 1)
        share = share - jnp.where(slope > 0, step, 0)
    return edges[panel] + share * length[panel]


def _legendre_sums(series: Any, share: Any) -> tuple[Any, Any]:
    """Two Legendre series on [0, 1], coefficients (n, terms), at shares (n,)."""
    s = 2 * share - 1

    def term(state: tuple[Any, ...], row: tuple[Any, ...]) -> tuple[Any, None]:
        k, before, now, first, second = state
        a, b = row
        after = ((2 * k + 1) * s * now - k * before) / (k + 1)
        return (k + 1, now, after, first + a * now, second + b * now), None

    zero = jnp.zeros_like(share)
    start = (jnp.zeros((), share.dtype), zero, jnp.ones_like(share), zero, zero)
    state, _ = jax.lax.scan(term, start, tuple(a.T for a in series))
    return state[3], state[4]


@functools.cache
def _to_legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Values at Gauss-Legendre nodes to the series, on [0, 1], of the integral and the values."""
    u, weights = legendre(nodes)
    polynomials = np.polynomial.legendre.legvander(2 * u - 1, nodes - 1)
    degree = 2 * np.arange(nodes) + 1
    density = degree[:, None] * polynomials.T * weights
    primitive = np.polynomial.legendre.legint(density, lbnd=-1, axis=0) / 2
    return primitive, np.concatenate([density, np.zeros((1, nodes))])
