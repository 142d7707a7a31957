"""The loss landscape of wide random ReLU generators: its constants in closed form."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.numerics import checks


@jax.jit
def angle_map(angle: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """How a wide random ReLU layer maps the angle between two inputs.

    g(t) = arccos(((pi - t) cos t + sin t) / pi): from g(0) = 0 to g(pi) = pi/2.

    Args:
        angle: t in radians, in [0, pi], any shape.

    Returns:
        g(t), of angle's shape; relative error about eps^(3/4), from cancellation at small t.

    Differentiation: smooth, g'(0) = 1.

    Example:
        >>> round(float(angle_map(jnp.pi)), 6)
        1.570796

    Source: Hand & Voroninski 2017, eq. for g; Cho & Saul 2009, the arc-cosine kernel.
    """
    t = jnp.asarray(angle, jnp.result_type(angle, float))
    switch = float(jnp.finfo(t.dtype).eps) ** 0.25
    near = t < switch
    far = jnp.where(near, 1.0, t)
    # 1 - cos g without cancellation: arccos loses half the digits as its argument nears 1.
    gap = 2 * jnp.sin(far / 2) ** 2 - (jnp.sin(far) - far * jnp.cos(far)) / math.pi
    series = jnp.where(near, t, 0.0)
    series *= jnp.sqrt(1 - 2 * series / (3 * math.pi))
    return jnp.where(near, series, 2 * jnp.arcsin(jnp.sqrt(gap / 2)))


def rho(depth: int) -> float:
    """Where the second flat region lies: at -rho z*, for a wide random ReLU net of this depth.

    rho = cos(theta_d), theta_0 = pi, theta_{i+1} = g(theta_i) with the `angle_map` g; the same
    number as Hand & Voroninski's sum_i (sin theta_i / pi) prod_{j>i} (pi - theta_j) / pi.

    Args:
        depth: number of layers d, >= 1.

    Returns:
        A float in [0, 1): 0 for one layer, 1/pi for two (the case of Ma et al. 2018).

    Raises:
        TypeError, ValueError: unless depth is an integer >= 1.

    Example:
        >>> round(rho(2) * math.pi, 12)
        1.0

    Source: Hand & Voroninski 2017, Theorem 1; Ma, Ayaz & Karaman 2018.
    """
    checks.integer("depth", depth, 1)
    angle = math.pi
    cosine = -1.0
    for _ in range(depth):
        cosine = ((math.pi - angle) * math.cos(angle) + math.sin(angle)) / math.pi
        angle = math.acos(min(1.0, cosine))
    return max(0.0, cosine)


def ray(t: Float[Array, "*shape"], depth: int) -> Float[Array, "*shape"]:
    """The expected loss at -t z*, relative to the loss at 0: 1 + t^2 - 2 t rho.

    Args:
        t: distance along the negative ray in units of ||z*||, >= 0, any shape.
        depth: number of layers, >= 1.

    Returns:
        J(-t z*) / J(0), of t's shape: least at t = rho, where it is 1 - rho^2.

    Raises:
        TypeError, ValueError: unless depth is an integer >= 1.

    Example:
        >>> round(float(ray(rho(2), 2)), 6)
        0.898679

    Source: follows from Hand & Voroninski 2017 in the limit of wide layers.
    """
    t = jnp.asarray(t, jnp.result_type(t, float))
    return 1 + t**2 - 2 * t * rho(depth)
