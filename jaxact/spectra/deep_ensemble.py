"""The finite deep network: the simulation that the deep law describes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.spectra.deep import Activations, activations, layer_scales


def simulate_deep(
    key: Key[Array, ""],
    acts: Activations,
    *,
    n0: int,
    widths: tuple[int, ...],
    m: int,
    scale: ArrayLike = 1.0,
) -> Float[Array, " n"]:
    """The eigenvalues of one draw of M = Y_L Y_L^T / m, Y_l = f_l(W_l Y_{l-1}) - mean_l.

    The mean of layer l is that of f_l under Gaussian pre-activations of the limiting variance,
    so the law to compare with is `deep_law(acts, phi=n0 / m, psi=n0 / widths, scale=scale)`.

    Args:
        key: a typed random key; a batch of draws is `jax.vmap` over keys.
        acts: one activation for all layers, or one a layer.
        n0: inputs, at least 1.
        widths: neurons (n_1, ..., n_L), each at least 1.
        m: samples, at least 1.
        scale: sigma_w > 0 of the layers' weights, scalar or (L,), as in `deep_law`.

    Returns:
        The n_L eigenvalues, ascending; for n_L > m the n_L - m that vanish are exactly 0.

    Raises:
        ValueError: if a size is below 1, scale is not positive, or there is not one activation
            a layer.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate_deep(
        ...     jax.random.key(0), jaxact.get("tanh"), n0=20, widths=(30, 10), m=40)
        >>> found.shape
        (10,)
    """
    checks.key("key", key)
    for name, size in (("n0", n0), ("m", m)):
        checks.integer(name, size, 1)
    widths = checks.sizes("widths", widths)
    each = activations(acts, len(widths))
    scales = layer_scales(scale, len(widths))
    return _eigenvalues(key, each, scales, n0, widths, m)


@functools.partial(jax.jit, static_argnames=("n0", "widths", "m"))
def _eigenvalues(
    key: Array,
    acts: tuple[Activation, ...],
    scales: tuple[Array, ...],
    n0: int,
    widths: tuple[int, ...],
    m: int,
) -> Array:
    for_data, *for_weights = jax.random.split(key, 1 + len(widths))
    dtype = jnp.result_type(float)
    exact = jax.lax.Precision.HIGHEST
    y = jax.random.normal(for_data, (n0, m), dtype)
    spread = jnp.ones((), dtype)
    for n, act, scale, draw in zip(widths, acts, scales, for_weights, strict=True):
        scale = scale.astype(dtype)
        weights = jax.random.normal(draw, (n, y.shape[0]), dtype) * (scale / np.sqrt(y.shape[0]))
        found = act.moments(scale * spread)
        y = act(jnp.matmul(weights, y, precision=exact)) - found.mean
        spread = jnp.sqrt(found.eta)
    n = widths[-1]
    gram = jnp.matmul(y, y.T, precision=exact) if n <= m else jnp.matmul(y.T, y, precision=exact)
    found = jnp.maximum(jnp.linalg.eigvalsh(gram / m), 0)
    return jnp.concatenate([jnp.zeros(max(n - m, 0), found.dtype), found])
