"""What a monotone activation's output says about its input: a value, or an interval."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.numerics.kinks import SCAN_RANGE
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.roots import increasing_root

_FAR = 2.0**40


@pytree()
class Preimage:
    """The set {u : |f(u) - x| <= error} of a monotone activation f, entry by entry.

    Attributes:
        low: its lower end; -inf where f is flat below, as relu at x = 0.
        high: its upper end.
        target: the u with f(u) = x where f is strictly monotone there; else inside [low, high].
        slope: |f'(target)| where f determines u, 0 where it only bounds u.
    """

    low: Leaf
    high: Leaf
    target: Leaf
    slope: Leaf


def direction(name: str, act: Activation) -> int:
    """+1 where act never falls on [-16, 16], -1 where it never rises.

    Raises:
        ValueError: where it does both, or is constant; `name` is the argument's for the error.
    """
    grid = np.linspace(-SCAN_RANGE, SCAN_RANGE, 1025) + 1e-3
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        theta = jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), act.theta)
        values = np.asarray(jax.jit(act.fn)(jnp.asarray(grid), *theta), np.float64)
    steps = np.diff(values)
    for sign in (1, -1):
        if (sign * steps >= 0).all() and (steps != 0).any():
            return sign
    raise ValueError(
        f"{name} must be monotone to be inverted layer by layer, got {act.name}: use `invert`"
    )


def preimage(act: Activation, x: Float[Array, "*n"], error: Any, sign: int) -> Preimage:
    """The preimage of x within an error, by bracketed roots; sign is `direction(act)`.

    x outside the image of f is moved to its nearest value first.
    """
    rising = _Rising(act.fn, sign)
    x = sign * jnp.asarray(x)
    least, most = (rising(jnp.asarray(end, x.dtype), *act.theta) for end in (-_FAR, _FAR))
    x = jnp.clip(x, _or(least, -jnp.inf), _or(most, jnp.inf))
    error = jnp.broadcast_to(jnp.asarray(error, x.dtype), x.shape)
    ends = increasing_root(rising, jnp.stack([x - error, x, x + error]), act.theta)
    low, middle, high = jax.lax.stop_gradient(ends)
    bounded = jnp.isfinite(low) & jnp.isfinite(high)
    centre = jnp.where(bounded, (low + high) / 2, 0)
    slope = jax.jvp(lambda u: rising(u, *act.theta), (centre,), (jnp.ones_like(centre),))[1]
    fixed = bounded & (slope > 0)
    target = jnp.where(fixed, jnp.clip(middle, low, high), jnp.clip(0, low, high))
    return Preimage(low, high, target, jnp.where(fixed, slope, 0))


def image(act: Activation, dtype: Any) -> tuple[Array, Array]:
    """The least and the largest value of a monotone activation, infinite where unbounded."""
    with jax.numpy_dtype_promotion("standard"):
        ends = jnp.stack([act(jnp.asarray(end, dtype)) for end in (-_FAR, _FAR)])
    low, high = jnp.min(ends), jnp.max(ends)
    wide = float(np.sqrt(_FAR))
    return (
        jnp.where(low < -wide, -jnp.inf, _or(low, -jnp.inf)).astype(dtype),
        jnp.where(high > wide, jnp.inf, _or(high, jnp.inf)).astype(dtype),
    )


class _Rising:
    """sign * fn: it increases; equal for equal parts, so compiled code is shared."""

    def __init__(self, fn: Any, sign: int) -> None:
        self.parts = (fn, sign)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rising) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __call__(self, x: Any, *theta: Any) -> Any:
        return self.parts[1] * self.parts[0](x, *theta)


def _or(value: Any, default: float) -> Any:
    return jnp.where(jnp.isnan(value), default, value)
