"""The ring of Gaussians, a law whose modes and density are known, and how samples cover it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_COVERED = 0.01  # a mode with fewer good samples than this share of all has been missed


@pytree(static=("modes",))
class Ring:
    """A mixture of equal Gaussians, their centres equally spaced on a circle in the plane.

    Attributes:
        modes: how many.
        radius: of the circle.
        deviation: of each Gaussian in each coordinate.

    Example:
        >>> law = ring()
        >>> law(jax.random.key(0), 5).shape, law.centers.shape
        ((5, 2), (8, 2))
        >>> round(float(law.log_density(jnp.array([2.0, 0.0]))), 4)  # -log(8 * 2 pi * 0.01)
        0.6879
    """

    modes: int
    radius: Leaf
    deviation: Leaf

    @property
    def centers(self) -> Float[Array, "modes 2"]:
        """The means."""
        angle = 2 * math.pi / self.modes * jnp.arange(self.modes, dtype=jnp.result_type(float))
        return self.radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)

    def __call__(self, key: PRNGKeyArray, count: int) -> Float[Array, "count 2"]:
        """Draw `count` independent samples."""
        place, noise = jax.random.split(key)
        centers = self.centers
        chosen = centers[jax.random.randint(place, (count,), 0, self.modes)]
        return chosen + self.deviation * jax.random.normal(noise, (count, 2), centers.dtype)

    def log_density(self, x: Float[ArrayLike, " 2"]) -> Float[Array, ""]:
        """Exact log density of one point."""
        centers = self.centers
        square = jnp.sum((jnp.asarray(x, centers.dtype)[None] - centers) ** 2, axis=1)
        scaled = -square / (2 * self.deviation**2)
        return jax.nn.logsumexp(scaled) - jnp.log(self.modes * 2 * math.pi * self.deviation**2)


@pytree()
class Coverage:
    """How samples cover the modes of a ring.

    Attributes:
        modes: covered ones, those with at least a hundredth of all samples within reach; int32.
        quality: share of the samples that lie within reach of a mode.
        kl: KL(histogram over the modes of the samples within reach || uniform), nats; log(modes),
            its largest value, where none is.
        shares: of all samples, those within reach of each mode, (modes,).
    """

    modes: Leaf
    quality: Leaf
    kl: Leaf
    shares: Leaf


def ring(*, modes: int = 8, radius: Any = 2.0, deviation: Any = 0.1) -> Ring:
    """The usual test law of GANs: Gaussians on a ring.

    Args:
        modes: how many, >= 1.
        radius: > 0.
        deviation: > 0.

    Returns:
        A `Ring`, a sampler law(key, count) with an exact `log_density`.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> ring(modes=4).centers.shape
        (4, 2)
    """
    checks.integer("modes", modes, 1)
    checks.positive("radius", radius)
    checks.positive("deviation", deviation)
    dtype = jnp.result_type(float)
    return Ring(modes, jnp.asarray(radius, dtype), jnp.asarray(deviation, dtype))


def ring_coverage(
    x: Float[ArrayLike, "count 2"], law: Ring | None = None, *, reach: Any = 4.0
) -> Coverage:
    """Modes covered, high-quality share and mode balance of samples.

    Args:
        x: (count, 2) samples, finite.
        law: a `Ring`; the usual one, eight modes at radius 2, by default.
        reach: a sample is of high quality within this many deviations of its nearest centre.

    Returns:
        A `Coverage`.

    Raises:
        ValueError: for samples of another shape or that are not finite.

    Example:
        >>> law = ring()
        >>> seen = ring_coverage(law(jax.random.key(0), 4000), law)
        >>> int(seen.modes), bool(seen.quality > 0.99), bool(seen.kl < 0.01)
        (8, True, True)
    """
    checks.finite("x", x)
    checks.shape("x", x, ("count", 2))
    checks.positive("reach", reach)
    if law is not None:
        checks.instance("law", law, Ring)
        checks.positive("law.radius", law.radius)
        checks.positive("law.deviation", law.deviation)
    if jnp.shape(x)[0] == 0:
        raise ValueError("x must hold at least one sample, got none")
    return _coverage(jnp.asarray(x), ring() if law is None else law, jnp.asarray(reach))


@jax.jit
def _coverage(x: Any, law: Ring, reach: Any) -> Coverage:
    centers = law.centers.astype(x.dtype)
    square = jnp.sum((x[:, None, :] - centers[None]) ** 2, axis=2)
    near = jnp.argmin(square, axis=1)
    good = (
        jnp.min(square, axis=1)
        <= (reach.astype(x.dtype) * jnp.asarray(law.deviation, x.dtype)) ** 2
    )
    hits = jax.nn.one_hot(near, law.modes, dtype=x.dtype)
    shares = jnp.mean(jnp.where(good[:, None], hits, 0), axis=0)
    quality = jnp.sum(shares)
    balance = shares / jnp.where(quality > 0, quality, jnp.ones_like(quality))
    kl = jnp.sum(jax.scipy.special.xlogy(balance, balance)) + math.log(law.modes)
    return Coverage(jnp.sum(shares >= _COVERED).astype(jnp.int32), quality, kl, shares)
