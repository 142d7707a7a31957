"""The kernels of an invertible generator: one point forward and back, its layers in a scan."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxact.activation import Activation
from jaxact.numerics.pytrees import Leaf, pytree

_HIGHEST = jax.lax.Precision.HIGHEST


@pytree()
class Traceback:
    """A point of one generator traced back to its latent.

    Attributes:
        latent: (d,) z.
        features: (L, d) phi_l.
        log_slopes: sum over layers and coordinates of log |v'(u)|.
        log_output: sum over coordinates of log |v_out'|.
        log_volume: sum over layers of log |det W_l|, and log |det Gamma|.
        inside: whether the point is in the image; where not, the other values are finite and
            mean nothing.
    """

    latent: Leaf
    features: Leaf
    log_slopes: Leaf
    log_output: Leaf
    log_volume: Leaf
    inside: Leaf


@functools.partial(jax.jit, static_argnums=0)
def over_points(kernel: Callable[..., Any], g: Any, points: Float[Array, "*batch d"]) -> Any:
    """kernel(g, prepared, point) of one point of shape (d,), over all the points."""
    prepared = _prepare(g)
    flat = points.reshape(-1, points.shape[-1])
    found = jax.vmap(lambda point: kernel(g, prepared, point))(flat)
    return jax.tree.map(lambda leaf: leaf.reshape(points.shape[:-1] + leaf.shape[1:]), found)


def _prepare(g: Any) -> tuple[Any, Any, Any]:
    """The inverted matrices, once for all points, and the logarithm of their volumes."""
    matrices = jnp.concatenate([g.weights, g.gamma[None]])
    inverted = jnp.linalg.inv(matrices)
    return inverted[:-1], inverted[-1], jnp.sum(jnp.linalg.slogdet(matrices)[1])


def forward(g: Any, prepared: Any, z: Float[Array, " d"]) -> tuple[Array, Array]:
    """g(z) of one latent, and the features phi_l, (L, d)."""
    del prepared

    def layer(phi: Array, weights: tuple[Array, Array]) -> tuple[Array, Array]:
        w, b = weights
        phi = jnp.asarray(g.act(_product(w, phi) + b), phi.dtype)
        return phi, phi

    last, features = jax.lax.scan(layer, z, (g.weights, g.biases))
    return jnp.asarray(g.output(_product(g.gamma, last) + g.beta), z.dtype), features


def trace_back(g: Any, prepared: Any, x: Float[Array, " d"]) -> Traceback:
    """One point, back through the layers."""
    inverted, last, log_volume = prepared
    u, log_output, inside = _unit_inverse(g.output, x)
    phi = _product(last, u - g.beta)

    def layer(carry: tuple[Array, Array, Array], weights: tuple[Array, Array]) -> tuple[Any, Array]:
        phi, log_slopes, inside = carry
        w, b = weights
        u, log_slope, fits = _unit_inverse(g.act, phi)
        return (_product(w, u - b), log_slopes + log_slope, inside & fits), phi

    start = (phi, jnp.zeros_like(log_output), inside)
    carry, features = jax.lax.scan(layer, start, (inverted, g.biases), reverse=True)
    z, log_slopes, inside = carry
    return Traceback(z, features, log_slopes, log_output, log_volume, inside)


def log_density(g: Any, prepared: Any, x: Float[Array, " d"]) -> Float[Array, ""]:
    """Log q_g of one point."""
    t = trace_back(g, prepared, x)
    value = g.latent.log_density(t.latent) - t.log_slopes - t.log_output - t.log_volume
    return jnp.where(t.inside, value, -jnp.inf)


def _unit_inverse(act: Activation, y: Float[Array, " d"]) -> tuple[Any, Any, Bool[Array, ""]]:
    """v^{-1}(y), sum log |v'| there, and whether all of y is in the range of v."""
    x, slope = jax.jvp(act.inverse, (y,), (jnp.ones_like(y),))
    fits = jnp.isfinite(x) & jnp.isfinite(slope) & (slope != 0)
    # The next layer gets a number in any case: nothing that is masked may become a NaN.
    x = jnp.where(fits, x, 0).astype(y.dtype)
    slope = jnp.where(fits, jnp.abs(slope), 1).astype(y.dtype)
    return x, -jnp.sum(jnp.log(slope)), jnp.all(fits)


def _product(matrix: Array, vector: Array) -> Array:
    return jnp.matmul(matrix, vector, precision=_HIGHEST)
