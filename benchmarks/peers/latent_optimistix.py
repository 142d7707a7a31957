"""optimistix's Levenberg-Marquardt under jit(vmap); runs where it is, without jaxact."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optimistix  # pyright: ignore[reportMissingImports]


def levenberg_marquardt(
    w1: np.ndarray, w2: np.ndarray, y: np.ndarray, starts: np.ndarray
) -> Callable[[], np.ndarray]:
    """Latents where it converges."""
    first, second, target, begin = map(jnp.asarray, (w1, w2, y, starts))
    solver = optimistix.LevenbergMarquardt(rtol=1e-6, atol=1e-6)

    def residual(z: jax.Array, y: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(jnp.einsum("c,cijd->ijd", z, first))
        out = jax.nn.relu(jnp.einsum("hwc,cijd->hiwjd", hidden, second))
        return (out.reshape(28, 28, 3) - y).ravel()

    def one(y: jax.Array, z: jax.Array) -> jax.Array:
        return optimistix.least_squares(residual, solver, z, y, max_steps=40, throw=False).value

    kernel = jax.jit(jax.vmap(one))
    return lambda: np.asarray(kernel(target, begin))
