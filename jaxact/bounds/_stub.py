"""Stand-in until certified lines are merged: relu and tanh only."""

from __future__ import annotations
from typing import Any
import jax.numpy as jnp
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Lines:
    """Lines."""

    lower_slope: Leaf
    lower_intercept: Leaf
    upper_slope: Leaf
    upper_intercept: Leaf


def unit_range(fn: Any, lower: Any, upper: Any, theta: Any = ()) -> Any:
    """Range."""
    return fn(lower), fn(upper)


def relax_unit(fn: Any, l: Any, u: Any, theta: Any = ()) -> Lines:
    """Lines."""
    name = fn.ops[-1].primitive.name
    w = jnp.where(u > l, u - l, 1)
    if name == "max":
        s = jnp.where(l >= 0, 1.0, jnp.where(u <= 0, 0.0, u / w))
        a = jnp.where(u > -l, 1.0, 0.0)
        a = jnp.where(l >= 0, 1.0, jnp.where(u <= 0, 0.0, a))
        return Lines(a, 0 * a, s, jnp.where((l < 0) & (u > 0), -s * l, 0.0))

    def low(l, u):
        d = -jnp.minimum(u / 2, 1.1)
        up = jnp.maximum(u, 0)
        d = -jnp.minimum(up / 2, 1.1)
        for _ in range(7):
            t = jnp.tanh(d)
            f1 = 1 - t * t
            f2 = -2 * t * f1
            g = f1 * (up - d) + t - jnp.tanh(up)
            d = d - g / jnp.where(f2 * (up - d) > 1e-9, f2 * (up - d), 1)
        d = jnp.where(u <= 0, u, jnp.minimum(d, 0))
        chord = jnp.where(u > l, (jnp.tanh(u) - jnp.tanh(l)) / w, 1 - jnp.tanh(l) ** 2)
        m = jnp.minimum((l + u) / 2, d)
        t = jnp.tanh(m)
        use = (l >= 0) | (d < l)
        return jnp.where(use, chord, 1 - t * t), jnp.where(
            use, jnp.tanh(l) - chord * l, t - (1 - t * t) * m
        )

    ls, li = low(l, u)
    us, ui = low(-u, -l)
    return Lines(ls, li, us, -ui)
