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


def bracketed_root(
    fn: Callable[..., Any],
    low: Float[Array, "..."],
    high: Float[Array, "..."],
    *,
    values: tuple[Any, Any] | None = None,
) -> Float[Array, "..."]:
    """A root of fn between low and high, elementwise, by Chandrupatla's method.

    Inverse quadratic interpolation where the three last points allow it, bisection where they do
    not and at every third step: so a flat or noisy fn costs at most three bisections. Where fn
    has one sign at both ends the answer is the end at which it is smaller.

    Args:
        fn: elementwise function of one array.
        low: lower ends, a floating array of any shape.
        high: upper ends, of the same shape.
        values: fn(low) and fn(high) where they are known.

    Returns:
        x of that shape. Not to be differentiated: give its caller an implicit derivative.

    Source: Chandrupatla, Adv. Eng. Software 28 (1997).

    Example:
        >>> low, high = jnp.zeros(2), jnp.full(2, 4.0)
        >>> [round(float(v), 4) for v in bracketed_root(lambda x: x**2 - 3, low, high)]
        [1.7321, 1.7321]
    """
    low, high = jnp.asarray(low), jnp.asarray(high)
    eps = float(jnp.finfo(low.dtype).eps)

    def tolerance(a: Array, b: Array) -> Array:
        """The least useful step, as a share of the bracket."""
        least = 2 * eps * jnp.maximum(jnp.maximum(jnp.abs(a), jnp.abs(b)), eps)
        return least / jnp.maximum(jnp.abs(b - a), least)

    def unfinished(state: tuple[Array, ...]) -> Array:
        return jnp.any(state[1])

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        # fn(x) comes from the step before: computed twice by XLA, in two ways of rounding, it
        # could be of two signs here.
        count, open_, x, fx, a, fa, b, fb = state
        same = (fx < 0) == (fa < 0)
        # The bracket becomes (x, b or a); c is the point that it loses.
        c, fc = jnp.where(same, a, b), jnp.where(same, fa, fb)
        b2, fb2 = jnp.where(same, b, a), jnp.where(same, fb, fa)
        xi, phi = _ratio(x - b2, c - b2), _ratio(fx - fb2, fc - fb2)
        quadratic = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        guess = _ratio(fx, fb2 - fx) * _ratio(fc, fb2 - fc)
        guess += _ratio(c - x, b2 - x) * _ratio(fx, fc - fx) * _ratio(fb2, fc - fb2)
        least = tolerance(x, b2)
        share = jnp.where(quadratic & (count % 3 != 2), guess, 0.5)
        share = jnp.clip(share, least, 1 - least)
        more = (fx != 0) & (least < 0.5)
        after = x + share * (b2 - x)
        new = (after, fn(after), x, fx, b2, fb2)
        kept = [jnp.where(open_, v, old) for v, old in zip(new, state[2:], strict=True)]
        return count + 1, open_ & more, *kept

    fa, fb = (fn(low), fn(high)) if values is None else values
    crosses = ((fa < 0) != (fb < 0)) & (fa != 0) & (fb != 0)
    start = (jnp.zeros((), jnp.int32), crosses, high, fb, low, fa, high, fb)
    *_, a, fa, b, fb = jax.lax.while_loop(unfinished, step, start)
    return jnp.where(jnp.abs(fa) <= jnp.abs(fb), a, b)


def _ratio(a: Array, b: Array) -> Array:
    return a / jnp.where(b == 0, 1, b)
