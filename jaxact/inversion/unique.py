"""Is there exactly one latent in a box? A proof by interval arithmetic, rounding included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.inversion.certificate import pose
from jaxact.inversion.interval_jacobian import centred_jacobian, deviation
from jaxact.inversion.kink_distance import flat_network
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.graph import Network
from jaxact.tracing.rounding import gamma

_OCTAVES = 16
_HALVINGS = 11
_POWERS = 8


@pytree()
class Uniqueness:
    """What was proved about A G on the box |z' - z|_inf <= radius.

    Attributes:
        radius: half the side of the box.
        contraction: q: ||P (A G(a) - A G(b))|| >= (1 - q) ||a - b|| for all a, b of the box.
            inf where nothing is known.
        injective: whether q < 1: no two latents of the box have the same measurements.
        exists: with y, whether one latent of the box, and only one, has P (A G - y) = 0
            (Krawczyk). A latent of the box that explains y exactly is this one; with as many
            measurements as latents it does explain y. Without y: `injective`.
        inverse: (k, m) P, a left inverse of the Jacobian with centre slopes.
    """

    radius: Leaf
    contraction: Leaf
    injective: Leaf
    exists: Leaf
    inverse: Leaf


def uniqueness(
    generator: Callable[..., Any],
    z: Float[Array, "*shape"],
    *,
    operator: Callable[..., Any] | None = None,
    y: Any = None,
    radius: Any = None,
    largest: float = 1.0,
) -> Uniqueness:
    """Prove that A G is injective on a box around z.

    For a, b in the box A G(a) - A G(b) = J (a - b), J = Jc +- R an interval matrix (interval
    slopes of every unit over its certified pre-activations). If |P J - I| <= Q entrywise and
    q = ||Q||_2 < 1, A G is injective there. Q is bounded unit by unit, so what cancels behind a
    unit is seen; P weighs down measurements whose derivative is uncertain. It is a proof, not a
    first-order statement, and rounding is accounted for. It is tight for about 16 latents or
    fewer; for more the certified radius is small.

    Args:
        generator: G, latent -> output: any JAX function that `jaxact.tracing.trace` can read.
        z: the centre, of the shape that the generator takes.
        operator: A, output -> measurements. None: identity.
        y: the measurements, for `exists`. None: those of z itself.
        radius: half the side of the box, >= 0. None: the largest that is certified, found by
            bisection to 1 % between `largest` / 65536 and `largest`; 0 if none is.
        largest: where the bisection starts, > 0.

    Returns:
        A `Uniqueness`.

    Raises:
        NotImplementedError: for a primitive that has no interval rule, by name.
        ValueError: for arguments that are not finite or do not fit.

    Differentiation: not meant to be differentiated; use `certificate`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> w = jax.random.normal(jax.random.key(0), (40, 2))
        >>> found = uniqueness(lambda z: jax.nn.leaky_relu(w @ z), jnp.array([1.0, -0.5]))
        >>> bool(found.injective), bool(found.radius > 0.1)
        (True, True)

    Source: mean value form and Krawczyk's operator: Neumaier 1990, "Interval methods for systems
    of equations", sections 5.1-5.2; interval slopes over a network: Zhang et al. 2019 (RecurJac).
    """
    z = checks.floating("z", z)
    checks.positive("largest", largest)
    network = flat_network(pose(generator, operator, z.dtype, z.shape), z.ravel())
    checks.finite("generator(z)", network(z.ravel()))
    if y is not None:
        y = checks.floating("y", y).astype(network.dtype)
        if y.size != network.graph.target.size:
            raise ValueError(f"y must hold {network.graph.target.size} numbers, got {y.size}")
        y = y.ravel()
    if radius is not None:
        checks.non_negative("radius", radius)
        return _prove(network, z.ravel(), y, jnp.asarray(radius, z.dtype))
    return _largest(network, z.ravel(), y, jnp.asarray(largest, z.dtype))


@jax.jit
def _prove(network: Network, z: Array, y: Array | None, eps: Array) -> Uniqueness:
    centred = centred_jacobian(network, z, eps)
    left = _left_inverse(centred.jacobian, centred.radius)
    middle, radius = deviation(network, centred, left)
    k, dtype = z.size, z.dtype
    missing = jnp.abs(middle - jnp.eye(k, dtype=dtype))
    spread = (1 + gamma(4, dtype)) * (missing + radius)
    spread = jnp.where(jnp.isnan(spread), jnp.inf, spread)
    q = spectral_bound(spread)
    if y is None:
        return Uniqueness(eps, q, q < 1, q < 1, left)
    # Krawczyk: x -> x - P (A G(x) - y) maps the box into itself
    moved = _moved(left, centred.value, y) + (1 + gamma(k + 4, dtype)) * eps * spread.sum(1)
    return Uniqueness(eps, q, q < 1, (q < 1) & (moved <= eps).all(), left)


def _moved(left: Array, value: tuple[Array, Array], y: Array) -> Array:
    """|P (value - y)|, rounded up, for every value of an enclosure."""
    low, high = value[0] - y, value[1] - y
    middle = low / 2 + high / 2
    scale = gamma(y.size + 8, y.dtype)
    slack = (high - low) / 2 + scale * (jnp.abs(y) + jnp.maximum(jnp.abs(low), jnp.abs(high)))
    at = jnp.abs(jnp.matmul(left, middle, precision="highest"))
    return at + (1 + scale) * jnp.matmul(jnp.abs(left), slack, precision="highest")


@jax.jit
def _largest(network: Network, z: Array, y: Array | None, largest: Array) -> Uniqueness:
    """Bisect the logarithm: the whole box first, and the best once more at the end."""
    none = jnp.full_like(largest, -_OCTAVES)
    zero = jnp.zeros_like(largest)

    def step(state: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], Uniqueness]:
        good, bad = state
        middle = jnp.where(index == 0, zero, (good + bad) / 2)
        middle = jnp.where(index == _HALVINGS, good, middle)
        found = _prove(network, z, y, jnp.where(middle > none, largest * jnp.exp2(middle), 0))
        fine = found.injective
        return (jnp.where(fine, middle, good), jnp.where(fine, bad, middle)), found

    _, tried = jax.lax.scan(step, (none, zero), jnp.arange(_HALVINGS + 1))
    return jax.tree.map(lambda leaf: leaf[-1], tried)


def _left_inverse(jacobian: Array, radius: Array) -> Array:
    """P with P Jc = I: least squares, measurements weighted by how well Jc is known there."""
    if jacobian.shape[0] < jacobian.shape[1]:
        return jnp.zeros_like(jacobian.T)
    size = jnp.sqrt(jnp.sum(jacobian**2))
    rows = jnp.sqrt(jnp.sum(radius**2, axis=1))
    floor = 0.1 * jnp.mean(rows) + float(jnp.finfo(size.dtype).eps) * size
    weight = 1 / jnp.where(rows + floor > 0, rows + floor, 1)
    weight = weight / jnp.max(weight)
    scaled = jnp.where(jnp.isfinite(weight), weight, 0)[:, None] * jacobian
    orthogonal, upper = jnp.linalg.qr(scaled)
    left = jax.scipy.linalg.solve_triangular(upper, orthogonal.T, lower=False)
    return jnp.where(jnp.isfinite(left), left, 0) * weight[None, :]


def spectral_bound(spread: Float[Array, "k k"]) -> Float[Array, ""]:
    """An upper bound of ||Q||_2, Q >= 0: max_i (Q^T Q x)_i / x_i, x > 0 (Collatz-Wielandt)."""
    k, dtype = spread.shape[0], spread.dtype

    def apply(x: Array) -> Array:
        return jnp.matmul(spread.T, jnp.matmul(spread, x, precision="highest"), precision="highest")

    def power(_: Any, x: Array) -> Array:
        x = apply(x)
        x = x / jnp.max(x)
        return jnp.where(jnp.isfinite(x), x, 1) + 1e-3  # positive, whatever Q is

    ones = jnp.ones(k, dtype)
    x = jax.lax.fori_loop(0, _POWERS, power, ones)
    bounds = jnp.stack([jnp.max(apply(x) / x), jnp.max(apply(ones))])
    bounds = jnp.where(jnp.isnan(bounds), jnp.inf, bounds)
    return (1 + gamma(2 * k + 8, dtype)) * jnp.sqrt(jnp.min(bounds))
