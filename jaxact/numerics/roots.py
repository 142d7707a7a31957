"""Bracketed roots with implicit derivatives, usable any number of times."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_DOUBLINGS = 40


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def increasing_root(
    fn: Callable[..., Any], y: Any, args: tuple[Any, ...] = ()
) -> Float[Array, "..."]:
    """Solve fn(x, *args) = y for x, elementwise in y, where fn increases in x.

    The bracket grows from [-1, 1] by doubling up to 2^40, then bisection halves it to the
    resolution of the dtype. Where y lies below (above) every value in that range the answer
    is -inf (+inf), the limit of the inverse function.

    Args:
        fn: elementwise increasing function fn(x, *args).
        y: targets, a floating array of any shape.
        args: further arguments of fn, a tuple of pytrees.

    Returns:
        x of y's shape. Derivatives are implicit, dx = (dy - (df/dargs) dargs) / (df/dx), and
        the rule may be differentiated again.

    Example:
        >>> x = increasing_root(lambda x: x**3, jnp.array([-8.0, 27.0]))
        >>> [round(float(v), 4) for v in x]
        [-2.0, 3.0]
    """
    y = jnp.asarray(y)
    dtype = y.dtype
    one = jnp.ones_like(y)

    def widen(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        low = jnp.where(fn(low, *args) > y, 2 * low, low)
        high = jnp.where(fn(high, *args) < y, 2 * high, high)
        return low, high

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + (high - low) / 2
        below = fn(middle, *args) < y
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, _DOUBLINGS, widen, (-one, one))
    below, above = fn(low, *args) > y, fn(high, *args) < y
    steps = jnp.finfo(dtype).nmant + _DOUBLINGS
    low, high = jax.lax.fori_loop(0, steps, halve, (low, high))
    x = low + (high - low) / 2
    return jnp.where(below, -jnp.inf, jnp.where(above, jnp.inf, x)).astype(dtype)


@increasing_root.defjvp
def _increasing_root_jvp(fn: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    y, args = primals
    dy, dargs = tangents
    x = increasing_root(fn, y, args)
    inside = jnp.isfinite(x)
    at = jnp.where(inside, x, 0)
    slope = jax.jvp(lambda v: fn(v, *args), (at,), (jnp.ones_like(at),))[1]
    shift = jax.jvp(lambda a: fn(at, *a), (args,), (dargs,))[1] if jax.tree.leaves(args) else 0.0
    safe = jnp.where(inside & (slope != 0), slope, 1)
    return x, jnp.where(inside, (dy - shift) / safe, 0).astype(x.dtype)
