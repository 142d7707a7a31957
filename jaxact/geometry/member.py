"""A member of a deformed family on its base: normaliser, escort and metric, without checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxact.geometry.deformed import exp_kernel, log_kernel
from jaxact.geometry.escort import escort_kernel
from jaxact.numerics.roots import bracketed_root

_HALVINGS = 60


def natural(family: Any, theta: Any, x: Any) -> Any:
    """Theta . phi(x) at one point, or at many along the first axis."""
    if x.ndim == family.base.points.ndim - 1:
        return jnp.sum(theta * family.statistic(x))
    return jnp.sum(theta[None] * statistics(family, x), axis=tuple(range(1, theta.ndim + 1)))


def member_rule(family: Any, members: Any) -> tuple[Any, Any]:
    """The base's points and weights, split at the supports of members (theta, C)."""
    base = family.base
    if len(base.edges) != 1:
        return base.points, base.weights
    return base.rule(member_edges(family, members))


def member_edges(family: Any, members: Any) -> Any:
    """The edges of the base's one axis and the ends of the supports, ascending."""
    edges = family.base.edges[0]
    inner = [_support_ends(family, theta, c, edges) for theta, c in members]
    return jnp.sort(jnp.concatenate([edges, *inner]))


def _support_ends(family: Any, theta: Any, c: Any, edges: Any) -> Any:
    """In each panel the point where the density reaches 0, or the panel's right end."""
    family, theta, c, edges = jax.lax.stop_gradient((family, theta, c, edges))
    low = log_kernel(family.chi, jnp.zeros((), edges.dtype))

    def above(t: Any) -> Any:
        return natural(family, theta, family.base.at(t)) - c > low

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        a, b = ends
        middle = a + (b - a) / 2
        same = above(middle) == at_left
        return jnp.where(same, middle, a), jnp.where(same, b, middle)

    at_left = above(edges[:-1])
    crosses = at_left != above(edges[1:])
    a, b = jax.lax.fori_loop(0, _HALVINGS, halve, (edges[:-1], edges[1:]))
    return jnp.where(crosses, (a + b) / 2, edges[1:])


def statistics(family: Any, x: Any) -> Any:
    """Phi at points along the first axis."""
    return jax.vmap(family.statistic)(x)


def _mass(family: Any, theta: Any, c: Any) -> Any:
    points, weights = member_rule(family, [(theta, c)])
    return weights @ exp_kernel(family.chi, natural(family, theta, points) - c)


@jax.jit
def cumulant_kernel(family: Any, theta: Any) -> Any:
    """What `cumulant` does after its checks."""
    return _normaliser(family, theta)


@jax.custom_jvp
def _normaliser(family: Any, theta: Any) -> Any:
    # One point alone has mass below 1 at C, and the largest density everywhere has it above.
    u = natural(family, theta, family.base.points)
    low = jnp.max(u - log_kernel(family.chi, 1 / family.base.weights))
    high = jnp.max(u) - log_kernel(family.chi, 1 / jnp.sum(family.base.weights))
    margin = 1e-3 * (1 + jnp.abs(low))  # the split rule's weights are others

    def excess(c: Any) -> Any:
        return jnp.clip(1 - 1 / jnp.maximum(_mass(family, theta, c), 1e-30), -1e10, 1e10)

    ends = jnp.stack([low - margin, high + margin])
    values = jax.vmap(excess)(ends)
    return bracketed_root(excess, ends[0], ends[1], values=(values[0], values[1]))


@_normaliser.defjvp
def _normaliser_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    family, theta = primals
    c = _normaliser(family, theta)
    shift = jax.jvp(lambda f, t: _mass(f, t, c), primals, tangents)[1]
    slope = jax.jvp(lambda v: _mass(family, theta, v), (c,), (jnp.ones_like(c),))[1]
    return c, -shift / slope


@jax.jit
def escort_mean_kernel(family: Any, theta: Any, c: Any) -> Any:
    """What `escort_mean` does after its checks, at C(theta)."""
    points, share, _ = escort_rule(family, theta, c)
    return jnp.tensordot(share, statistics(family, points), 1)


@jax.jit
def metric_kernel(family: Any, theta: Any, c: Any) -> Any:
    """What `metric` does after its checks, at C(theta)."""
    points, share, p = escort_rule(family, theta, c)
    slope = jax.jvp(family.chi, (jnp.where(p > 0, p, 1),), (jnp.ones_like(p),))[1]
    return _scatter(family, theta, points, share, jnp.where(p > 0, share * slope, 0))


@jax.jit
def information_kernel(family: Any, theta: Any, c: Any) -> Any:
    """The Fisher information of log p, whose score is (chi(p) / p) (phi - eta)."""
    points, weights = member_rule(family, [(theta, c)])
    p = exp_kernel(family.chi, natural(family, theta, points) - c)
    at = jnp.where(p > 0, p, 1)
    squared = jnp.where(p > 0, weights * family.chi(at) ** 2 / at, 0)
    share = weights * escort_kernel(family.chi, p, weights)
    return _scatter(family, theta, points, share, squared)


def _scatter(family: Any, theta: Any, points: Any, share: Any, weights: Any) -> Any:
    """The sum of weights * (phi - eta)(phi - eta)^T, eta being the mean by the shares."""
    phi = statistics(family, points)
    centred = (phi - jnp.tensordot(share, phi, 1)[None]).reshape(len(share), -1)
    scaled = centred * weights[:, None]
    matrix = jnp.matmul(scaled.T, centred, precision=jax.lax.Precision.HIGHEST)
    return matrix.reshape(theta.shape + theta.shape)


def escort_rule(family: Any, theta: Any, c: Any) -> tuple[Any, Any, Any]:
    """Points, the escort's weights there (they sum to 1) and the densities p."""
    points, weights = member_rule(family, [(theta, c)])
    p = exp_kernel(family.chi, natural(family, theta, points) - c)
    return points, weights * escort_kernel(family.chi, p, weights), p


@jax.jit
def finer_mass(family: Any, theta: Any, c: Any) -> tuple[Any, Any]:
    """The mass at C by a rule with other nodes, and the share of the line's last panels."""
    base = family.base
    if len(base.edges) > 1:
        return jnp.ones_like(c), jnp.zeros_like(c)
    edges = base.edges[0]
    finer = jnp.sort(jnp.concatenate([edges, (edges[1:] + edges[:-1]) / 2]))
    split = dataclasses.replace(base, edges=(finer,))
    points, weights = member_rule(dataclasses.replace(family, base=split), [(theta, c)])
    mass = weights * exp_kernel(family.chi, natural(family, theta, points) - c)
    far = jnp.abs(points) > base.at(edges[-2]) if base.line else jnp.zeros_like(points, bool)
    return jnp.sum(mass), jnp.sum(jnp.where(far, mass, 0))
