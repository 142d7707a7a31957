"""Gauss-Legendre quadrature on panels split where the integrand is not smooth.

A Gauss rule converges geometrically on a smooth integrand and only algebraically across a kink,
so every integral here is a sum over panels whose ends are the kinks: 32 nodes a panel reach
3e-15 for every usual activation, where Gauss-Hermite with 256 nodes stops at 6e-4 for relu.
The panels are graded (they double in length away from zero) so that a steep integrand, such as
tanh(30 x), is resolved too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NODES = 32
GAUSSIAN_RANGE = 13.0
_GRADES = tuple(2.0**k for k in range(8))


@functools.cache
def legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1], in float64, as two arrays of shape (nodes,)."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return (x + 1) / 2, w / 2


def panel_rule(
    edges: Float[Array, " edges"], nodes: int = NODES
) -> tuple[Float[Array, "panels n"], Float[Array, "panels n"]]:
    """Nodes and weights of the composite rule on consecutive panels.

    Args:
        edges: ascending panel ends; a panel of length zero contributes nothing.
        nodes: Gauss-Legendre nodes in each panel.

    Returns:
        Nodes and weights, each (panels, nodes). Differentiable in `edges`.

    Example:
        >>> x, w = panel_rule(jnp.array([0.0, 1.0, 3.0]), nodes=8)
        >>> round(float((w * x**2).sum()), 4)
        9.0
    """
    u, weight = (jnp.asarray(a[None], edges.dtype) for a in legendre(nodes))
    left, length = edges[:-1, None], (edges[1:] - edges[:-1])[:, None]
    return left + length * u, length * weight


def gaussian_rule(
    kinks: Any = (), scale: Any = 1.0, nodes: int = NODES
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """The rule for E g(scale * xi), xi ~ N(0, 1), where g is smooth between `kinks`.

    Args:
        kinks: points where g (a function of the pre-activation) is not smooth, shape (k,).
        scale: positive scalar; the kinks lie at kinks / scale in xi.
        nodes: nodes a panel.

    Returns:
        Nodes xi and weights that include the Gaussian density, each (n,): the expectation is
        `weights @ g(scale * xi)`. Differentiable in `kinks` and `scale`. The range is
        |xi| <= 13, so integrands that grow like exp(6 |xi|) still reach 1e-10.

    Example:
        >>> xi, w = gaussian_rule(kinks=(0.0,))
        >>> bool(abs(w @ jnp.maximum(xi, 0) - (2 * jnp.pi) ** -0.5) < 1e-6)
        True
    """
    scale = jnp.asarray(scale, jnp.result_type(float))
    r = GAUSSIAN_RANGE
    fixed = jnp.asarray([-r, -r / 2, -r / 4, 0.0, r / 4, r / 2, r], scale.dtype)
    graded = jnp.asarray([-g for g in reversed(_GRADES)] + list(_GRADES), scale.dtype)
    moving = jnp.concatenate([graded, jnp.asarray(kinks, scale.dtype).reshape(-1)]) / scale
    edges = jnp.sort(jnp.concatenate([fixed, jnp.clip(moving, -r, r)]))
    x, w = panel_rule(edges, nodes)
    density = jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi).item()
    return x.reshape(-1), (w * density).reshape(-1)


def integral_from_zero(
    fn: Callable[..., Any], kinks: Any, x: Float[Array, "..."], theta: tuple[Any, ...] = ()
) -> Float[Array, "..."]:
    """The integral of fn(., *theta) from 0 to x, elementwise in x.

    Panels are split at the kinks and graded by powers of two up to 128, with 16 nodes each.
    Differentiable in theta (under the integral, moving kinks included) and in x.

    Example:
        >>> round(float(integral_from_zero(jnp.abs, (0.0,), jnp.array(-3.0))), 4)
        -4.5
    """
    x = jnp.asarray(x)
    inner = jnp.concatenate(
        [jnp.asarray((0.0, *_GRADES), x.dtype), jnp.asarray(kinks, x.dtype).reshape(-1)]
        + [-jnp.asarray(_GRADES, x.dtype)]
    )
    low, high = jnp.minimum(x, 0)[..., None], jnp.maximum(x, 0)[..., None]
    middle = jnp.sort(jnp.clip(inner.reshape((1,) * x.ndim + (-1,)), low, high), axis=-1)
    edges = jnp.concatenate([low, middle, high], axis=-1)
    u, weight = (jnp.asarray(a, x.dtype) for a in legendre(16))
    length = edges[..., 1:] - edges[..., :-1]
    u = u.reshape((1,) * length.ndim + (-1,))
    values = fn(edges[..., :-1, None] + length[..., None] * u, *theta)
    total = jnp.sum(length * (values @ weight), axis=-1)
    return jnp.where(x < 0, -total, total)
