"""Inputs that reach an unsafe set, by projected gradient descent over a box."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.problem import prepare
from jaxact.bounds.regions import Box
from jaxact.bounds.unsafe import Unsafe
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.graph import Network


@pytree()
class Counterexample:
    """The input nearest to the unsafe set that was found.

    Attributes:
        point: the input, within the box.
        output: the network's value there.
        margin: `Unsafe.margin` of the output.
        success: whether the margin is <= 0: the unsafe set is reached.
    """

    point: Leaf
    output: Leaf
    margin: Leaf
    success: Leaf


def falsify(
    f: Callable[..., Any],
    region: Box,
    unsafe: Unsafe,
    *,
    steps: int = 50,
    restarts: int = 32,
    starts: Any = None,
    reach: Any = 0.5,
    key: Any = None,
) -> Counterexample:
    """Search a box for an input whose output is unsafe, by signed gradient descent.

    The first start is the middle, half of the others are uniform in the box and half are corners;
    start i aims at polyhedron i mod k. A step descends the largest slack plus the sum of the
    positive ones, so that all half-spaces of a polyhedron are met together, and its length
    shrinks from `reach` of the box's width to nothing. The search ends at the first success. Not
    finding one proves nothing, and a success is a fact of the dtype it was computed in: evaluate
    the network in a wider one before you believe it.

    Args:
        f: a function of one sample, or a traced `Network`.
        region: the box of inputs.
        unsafe: the outputs looked for.
        steps: gradient steps, at most.
        restarts: number of starts.
        starts: points of the box in the place of these starts, shape (restarts, *input shape),
            such as the corners at which a bound's linear functions are least: they see through
            flat parts of a network, where gradients vanish.
        reach: length of the first step, in (0, 1].
        key: a typed key; `jax.random.key(0)` by default.

    Returns:
        `Counterexample`; not differentiable.

    Raises:
        TypeError: for a region that is not a `Box`.
        ValueError: for shapes or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> unsafe = Unsafe.of([(np.array([[-1.0]]), np.array([-1.5]))])
        >>> found = falsify(lambda x: x.sum()[None], Box(-jnp.ones(2), jnp.ones(2)), unsafe)
        >>> bool(found.success), bool(found.output[0] >= 1.5)
        (True, True)

    Source: Madry et al. 2018, section 2.1, on the margin of VNN-LIB's output constraints.
    """
    if not isinstance(region, Box):
        raise TypeError(f"region must be a Box, got {region!r}")
    checks.instance("unsafe", unsafe, Unsafe)
    network, region, _ = prepare(f, region, None)
    size = 1
    for n in network.output_shape:
        size *= n
    unsafe.check(size)
    checks.integer("steps", steps, 1)
    checks.integer("restarts", restarts, 1)
    checks.positive("reach", reach)
    checks.between("reach", reach, 0, 1)
    key = jax.random.key(0) if key is None else key
    checks.key("key", key)
    if starts is not None:
        checks.finite("starts", starts)
        checks.shape("starts", starts, (restarts, *network.input_shape))
        starts = jnp.asarray(starts, network.dtype)
    reach = jnp.asarray(reach, network.dtype)
    unsafe = jax.tree.map(lambda leaf: jnp.asarray(leaf, network.dtype), unsafe)
    return _falsify(network, region, unsafe, starts, reach, key, steps=steps, restarts=restarts)


@functools.partial(jax.jit, static_argnames=("steps", "restarts"))
def _falsify(
    network: Network,
    region: Box,
    unsafe: Unsafe,
    starts: Any,
    reach: Array,
    key: Array,
    *,
    steps: int,
    restarts: int,
) -> Counterexample:
    lower, upper = region.box()
    width = upper - lower
    aims = jnp.arange(restarts, dtype=jnp.int32) % unsafe.rows.shape[0]

    def loss(point: Array, aim: Array) -> tuple[Array, Array]:
        slacks = unsafe.slacks(network(point))
        own = slacks[aim]
        return own.max() + jnp.maximum(own, 0).sum(), slacks.max(axis=1).min()

    def move(point: Array, gradient: Array, length: Array) -> Array:
        return jnp.clip(point - length * jnp.sign(gradient), lower, upper)

    slope = jax.vmap(jax.grad(loss, has_aux=True))

    def step(state: Any) -> Any:
        count, points, best, least = state
        gradient, margins = slope(points, aims)
        best, least = _keep(points, margins, best, least)
        length = width * (reach * (1 - count / steps))
        return count + 1, jax.vmap(move, (0, 0, None))(points, gradient, length), best, least

    def unfinished(state: Any) -> Array:
        return (state[0] < steps) & (state[3] > 0).all()

    if starts is None:
        starts = _starts(key, lower, upper, restarts)
    else:
        starts = jnp.clip(starts, lower[None], upper[None])
    first = (jnp.zeros((), lower.dtype), starts, starts, jnp.full(restarts, jnp.inf, lower.dtype))
    _, points, best, least = jax.lax.while_loop(unfinished, step, first)
    margins = jax.vmap(lambda point: unsafe.margin(network(point)))(points)
    best, least = _keep(points, margins, best, least)
    worst = jnp.argmin(least)
    return Counterexample(best[worst], network(best[worst]), least[worst], least[worst] <= 0)


def _keep(points: Array, margins: Array, best: Array, least: Array) -> tuple[Array, Array]:
    better = margins < least
    column = better.reshape((-1,) + (1,) * (points.ndim - 1))
    return jnp.where(column, points, best), jnp.where(better, margins, least)


def _starts(key: Array, lower: Array, upper: Array, restarts: int) -> Array:
    place = jax.random.uniform(key, (restarts, *lower.shape), lower.dtype)
    corners = jnp.arange(restarts, dtype=jnp.int32) % 4 >= 2
    corners = corners.reshape((-1,) + (1,) * lower.ndim)
    place = jnp.where(corners, jnp.round(place), place).at[0].set(0.5)
    return jnp.clip(lower[None] + place * (upper - lower)[None], lower[None], upper[None])
