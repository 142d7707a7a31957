"""The loss landscape of wide random ReLU generators: its constants in closed form."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


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
    t = checks.floating("angle", angle)
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
    t = checks.floating("t", t)
    return 1 + t**2 - 2 * t * rho(depth)


def slope_at_zero(
    angle: Float[Array, "*shape"], depth: int, *, length: Any = 1.0
) -> Float[Array, "*shape"]:
    """How steeply the expected loss falls from 0: D_w J(0) / J(0) = -2 |w| / |z*| cos(theta_d).

    theta_d is the angle between w and z* after d wide random ReLU layers, at most pi/2 and below
    it from the second layer on: the slope is negative in every direction, and 0 is a local
    maximum. `zero_slopes` measures the same on a generator.

    Args:
        angle: between the direction w and z*, in radians, in [0, pi], any shape.
        depth: number of layers, >= 1.
        length: |w| / |z*|, >= 0, a scalar.

    Returns:
        The slope relative to J(0), of angle's shape: from -2 along z* to -2 rho against it.

    Raises:
        TypeError, ValueError: unless depth is an integer >= 1 and length is non-negative.

    Differentiation: smooth, through `angle_map`.

    Example:
        >>> [round(float(slope_at_zero(t, 2)), 4) for t in (jnp.zeros(()), jnp.array(jnp.pi))]
        [-2.0, -0.6366]

    Source: Ma, Ayaz & Karaman 2018, Theorem 1 (zero is a local maximum); follows from
    J(t w) = ||t G(w) - G(z*)||^2 / 2 for small t > 0 and the angle map.
    """
    checks.integer("depth", depth, 1)
    checks.non_negative("length", length)
    checks.between("angle", angle, 0, 3.1415930)
    theta = checks.floating("angle", angle)
    for _ in range(depth):
        theta = angle_map(theta)
    return -2 * jnp.asarray(length, theta.dtype) * jnp.cos(theta)


@pytree()
class Neighbourhoods:
    """Where the theorem lets stationary points of J be: two balls and the origin.

    Attributes:
        near: centre z* of the first ball, the answer.
        mirrored: centre -rho z* of the second.
        radius: of both, C eps^(1/4) ||z*||.
    """

    near: Leaf
    mirrored: Leaf
    radius: Leaf

    def member(self, z: Float[Array, "*batch k"]) -> Integer[Array, "*batch"]:
        """Which region z is in: 1 around z*, 2 around -rho z*, 3 at the origin, 0 in none.

        Outside all of them the loss falls along some direction. Where the balls overlap, 1.
        """
        z = jnp.asarray(z, self.near.dtype)
        centre = (1,) * (z.ndim - 1) + self.near.shape
        first = jnp.linalg.norm(z - self.near.reshape(centre), axis=-1) <= self.radius
        second = jnp.linalg.norm(z - self.mirrored.reshape(centre), axis=-1) <= self.radius
        origin = jnp.all(z == 0, axis=-1)
        return jnp.where(first, 1, jnp.where(second, 2, jnp.where(origin, 3, 0)))


def neighbourhoods(
    z: Float[Array, " k"], depth: int, eps: Any, *, constant: Any = 1.0
) -> Neighbourhoods:
    """The two neighbourhoods and the origin, outside which a descent direction exists.

    B(z*, C eps^(1/4) ||z*||), B(-rho z*, C eps^(1/4) ||z*||) and {0}.

    Args:
        z: z*, the latent to be recovered, shape (k,).
        depth: number of layers, >= 1.
        eps: how far the weights are from their expectation (the weight distribution condition),
            > 0; it falls with the expansion of the layers.
        constant: C > 0. The theorem has an unspecified one, which grows with the depth.

    Returns:
        `Neighbourhoods`, with `member(z)`.

    Raises:
        TypeError, ValueError: for a depth that is no integer >= 1, eps or constant not positive,
            or z not a finite vector.

    Example:
        >>> regions = neighbourhoods(jnp.array([2.0, 0.0]), 2, 1e-4)
        >>> regions.member(jnp.array([[2.1, 0.0], [-0.6, 0.1], [0.0, 0.0], [1.0, 0.0]])).tolist()
        [1, 2, 3, 0]

    Source: Ma, Ayaz & Karaman 2018, Theorem 1; Hand & Voroninski 2017, Theorem 1, any depth.
    """
    z = checks.floating("z", z)
    checks.shape("z", z, ("k",))
    checks.positive("eps", eps)
    checks.positive("constant", constant)
    share = jnp.asarray(constant, z.dtype) * jnp.asarray(eps, z.dtype) ** 0.25
    return Neighbourhoods(z, -rho(depth) * z, share * jnp.linalg.norm(z))
