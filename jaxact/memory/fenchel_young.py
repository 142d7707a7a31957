"""The alpha-entmax family: sparse weights over memories, and the conjugate they derive from.

With exp_a(u) = (1 + a u)_+^(1/a), a = alpha - 1, the weights are p = exp_a(z - t), t such that
they sum to one. alpha = 1 is softmax, alpha = 2 sparsemax.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_STEPS = 64
_SERIES = 6


def entmax_weights(z: Float[Array, "*batch K"], alpha: Any) -> Float[Array, "*batch K"]:
    """argmax_p p.z - Omega(p) over the simplex, Omega(p) = sum(p^alpha - p) / (alpha (alpha - 1)).

    Source: Peters, Niculae & Martins 2019, eq. 10.
    """
    weights, _, _ = _solve(z, alpha)
    return weights


def entmax_conjugate(z: Float[Array, "*batch K"], alpha: Any) -> Float[Array, " *batch"]:
    """Omega*(z) = max_p p.z - Omega(p) = t + (a / alpha) sum p (z - t); its gradient is p."""
    weights, u, t = _solve(z, alpha)
    return t + (1 - 1 / alpha) * jnp.sum(weights * u, axis=-1)


def _solve(z: Array, alpha: Any) -> tuple[Array, Array, Array]:
    """The weights, u = z - t, and t."""
    a = jnp.asarray(alpha - 1, z.dtype)
    t = threshold(z, a)
    u = z - t[..., None]
    p = deformed_exp(u, a)
    # Summing to one exactly is rounding for alpha <= 2; beyond, exp_a is infinitely steep at 0.
    return p / jnp.sum(p, axis=-1, keepdims=True), u, t


def deformed_exp(u: Array, a: Array) -> Array:
    """(1 + a u)_+^(1/a), which is exp(u) at a = 0 in value and derivatives."""
    x = a * u
    inside = x > -1
    small = jnp.abs(x) < float(jnp.finfo(u.dtype).eps) ** (1 / _SERIES)
    near = jnp.where(small, x, 0)
    series = jnp.zeros_like(x)
    for k in range(_SERIES, 0, -1):
        series = 1 / k - near * series
    large = inside & ~small
    quotient = jnp.log1p(jnp.where(large, x, 1)) / jnp.where(large, x, 1)
    # At a = 0 a score far below the others has small = True and x = 0: u itself, no overflow.
    return jnp.where(
        inside, jnp.exp(jnp.where(inside, u, 0) * jnp.where(large, quotient, series)), 0
    )


@jax.custom_jvp
def threshold(z: Float[Array, "*batch K"], a: Float[Array, ""]) -> Float[Array, " *batch"]:
    """The t at which exp_a(z - t) sums to one.

    Newton's method on the a-logarithm of the sum, which is convex for a <= 1 (a norm of the
    scores): from the left it cannot overshoot, and it is exact in one step at a = 0. For a > 1
    bisection. The derivative is implicit and may be taken again.
    """
    top = jnp.max(z, axis=-1, keepdims=True)
    shifted = z - top
    eps = float(jnp.finfo(z.dtype).eps)
    count = jnp.asarray(z.shape[-1], z.dtype)
    low = jnp.zeros_like(top[..., 0])
    high = low - _deformed_log(1 / count, a)

    def body(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        steps, t, low, high, _ = carry
        u = shifted - t[..., None]
        p = deformed_exp(u, a)
        total = jnp.sum(p, axis=-1)
        slope = jnp.sum(_slope(u, p, a), axis=-1)
        low, high = jnp.where(total >= 1, t, low), jnp.where(total >= 1, high, t)
        move = _deformed_log(total, a) * total ** (1 - a) / slope
        tolerance = 2 * eps * jnp.maximum(1, t)
        newton = jnp.where(a <= 1, jnp.minimum(t + move, high), low + (high - low) / 2)
        newton = jnp.maximum(newton, low)
        done = jnp.abs(newton - t) <= tolerance
        return steps + 1, newton, low, high, jnp.all(done)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return (carry[0] < _STEPS) & ~carry[-1]

    start = jnp.where(a <= 1, low, low + (high - low) / 2)
    none = jnp.zeros((), jnp.int32)
    t = jax.lax.while_loop(unfinished, body, (none, start, low, high, jnp.zeros((), bool)))[1]
    return top[..., 0] + t


@threshold.defjvp
def _threshold_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    z, a = primals
    t = threshold(z, a)

    def total(z: Array, a: Array) -> Array:
        return jnp.sum(deformed_exp(z - t[..., None], a), axis=-1)

    shift = jax.jvp(total, primals, tangents)[1]
    u = z - t[..., None]
    return t, shift / jnp.sum(_slope(u, deformed_exp(u, a), a), axis=-1)


def _slope(u: Array, p: Array, a: Array) -> Array:
    """exp_a'(u) = p / (1 + a u) on the support."""
    base = 1 + a * u
    return jnp.where(base > 0, p / jnp.where(base > 0, base, 1), 0)


def _deformed_log(s: Array, a: Array) -> Array:
    """(s^a - 1) / a, which is log s at a = 0."""
    flat = a == 0
    return jnp.where(flat, jnp.log(s), jnp.expm1(a * jnp.log(s)) / jnp.where(flat, 1, a))
