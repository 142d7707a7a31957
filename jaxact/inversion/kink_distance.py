"""How far a latent is from the nearest kink of its generator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.problem import Problem
from jaxact.numerics.kinks import find_kinks
from jaxact.tracing.graph import Network, Unit, trace
from jaxact.tracing.joint import Maximum

Kinks = tuple[tuple[float, ...], ...]


def flat_network(problem: Problem, z: Float[Array, " k"]) -> Network:
    """A G as a traced network from a flat latent to flat measurements.

    Raises:
        NotImplementedError: for a primitive that tracing does not know, by name.
    """
    return trace(problem.residual, z)


def kinks_of(problem: Problem, z: Float[Array, " k"]) -> Kinks | None:
    """The kinks of every unit and maximum of A G, in order; None where they cannot be known."""
    try:
        network = flat_network(problem, z)
        return tuple(
            _smooth_but_at(node.fn) if isinstance(node, Unit) else _maximum(node)
            for node in _bent(network)
        )
    except NotImplementedError:
        return None


def kink_distance(
    problem: Problem, z: Float[Array, " k"], kinks: tuple[Any, ...] | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The smallest |a - kink|, and the smallest |a - kink| / ||da/dz||, over all neurons a.

    A neuron that does not respond to z stays where it is and does not count.
    """
    network = None if kinks is None else flat_network(problem, z)
    nodes = [] if network is None else _bent(network)
    if network is None or len(nodes) != len(kinks or ()):
        unknown = jnp.full((), jnp.nan, z.dtype)
        return unknown, unknown
    margin = distance = jnp.full((), jnp.inf, z.dtype)
    pairs = [(n.variables[-1], c) for n, c in zip(nodes, kinks or (), strict=True) if c.size]
    if not pairs:
        return margin, distance

    def operands(z: Array) -> list[Array]:
        values = network.values(z)
        return [values[variable].ravel() for variable, _ in pairs]

    at, push = jax.linearize(operands, z)
    tangents = jax.vmap(push)(jnp.eye(z.size, dtype=z.dtype))
    for a, t, (_, corners) in zip(at, tangents, pairs, strict=True):
        gaps = jnp.abs(a[:, None] - corners.astype(z.dtype)[None, :]).min(1)
        square = jnp.sum(t**2, axis=0)
        moves = square > 0
        speed = jnp.sqrt(jnp.where(moves, square, 1))
        margin = jnp.minimum(margin, jnp.min(jnp.where(moves, gaps, jnp.inf), initial=jnp.inf))
        reach = jnp.where(moves, gaps / speed, jnp.inf)
        distance = jnp.minimum(distance, jnp.min(reach, initial=jnp.inf))
    return margin, distance


def _bent(network: Network) -> list[Any]:
    return [node for node in network.graph.nodes if isinstance(node, Unit | Maximum)]


def _maximum(node: Maximum) -> tuple[float, ...]:
    """Of the difference of its operands, its last variable."""
    return () if node.smooth else (0.0,)


@functools.lru_cache(maxsize=512)
def _smooth_but_at(fn: Callable[..., Any]) -> tuple[float, ...]:
    if fn.arguments > 1:  # pyright: ignore[reportFunctionMemberAccess]
        raise NotImplementedError("the kinks of an activation whose parameters are traced")
    return find_kinks(fn)
