"""Is a generator expansive enough to be inverted? What the theorems ask of its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_POINTS = 4096


@pytree()
class Expansion:
    """One entry for each layer of a generator.

    Attributes:
        rows: outputs of the layer's matrix: of one block, for a transposed convolution with
            stride = kernel.
        columns: its inputs: channels, for such a convolution.
        expansion: rows / columns.
        active: share of a Gaussian pre-activation's outputs that respond to it, P(f' != 0).
        threshold: 1 / active: a wide Gaussian layer is locally injective above it. 2 for relu, 1
            for a strictly monotone activation.
        expansive: whether expansion > threshold.
        wdc: the largest ||W_{+,x}^T W_{+,y} - Q_{x,y}|| over the sampled pairs x, y, with rows of
            W scaled to variance 1 / rows: the weight distribution condition, estimated from
            below. The recovery theorems for ReLU ask for a small value.
    """

    rows: Leaf
    columns: Leaf
    expansion: Leaf
    active: Leaf
    threshold: Leaf
    expansive: Leaf
    wdc: Leaf


def expansion_report(
    weights: Sequence[Any],
    activation: Callable[..., Any],
    *,
    pairs: int = 64,
    key: PRNGKeyArray,
) -> Expansion:
    """Rows per block, expansion, active share and weight distribution of every layer.

    Q_{x,y} = (pi - t) / (2 pi) I + sin t / (2 pi) M, t the angle between x and y, M the map that
    exchanges their directions and is 0 on what is orthogonal to both; W_{+,x} = diag(W x > 0) W.
    A transposed convolution with stride = kernel is a block-diagonal matrix up to the order of
    rows, so one block stands for all of them.

    Args:
        weights: for each layer a matrix (rows, columns), or a block kernel of shape (channels in,
            height, width, channels out) as in `jaxact.nets.ConvGenerator.kernels`.
        activation: any elementwise function.
        pairs: number of sampled pairs, >= 1; the estimate grows with it.
        key: a typed key from `jax.random.key`.

    Returns:
        An `Expansion`, arrays with one entry for each layer.

    Raises:
        ValueError: for weights that are none of these or not finite.

    Differentiation: `wdc` in the weights, almost everywhere.

    Example:
        >>> import jax
        >>> w = jax.random.normal(jax.random.key(0), (400, 4))
        >>> found = expansion_report([w], jax.nn.relu, key=jax.random.key(1))
        >>> found.expansion.tolist(), found.threshold.tolist(), bool(found.wdc[0] < 0.3)
        ([100.0], [2.0], True)

    Source: Hand & Voroninski 2017, definition of the WDC; Ma, Ayaz & Karaman 2018, blocks.
    """
    checks.integer("pairs", pairs, 1)
    checks.key("key", key)
    checks.function("activation", activation)
    blocks = [_block(i, w) for i, w in enumerate(checks.sequence("weights", weights, 1))]
    keys = jax.random.split(key, len(blocks))
    wdc = jnp.stack([_distribution(b, k, pairs) for b, k in zip(blocks, keys, strict=True)])
    rows, columns = (np.array([b.shape[i] for b in blocks]) for i in (0, 1))
    expansion = jnp.asarray(rows / columns, wdc.dtype)
    active = jnp.full(len(blocks), active_share(activation), wdc.dtype)
    threshold = jnp.where(active > 0, 1 / jnp.where(active > 0, active, 1), jnp.inf)
    return Expansion(
        jnp.asarray(rows), jnp.asarray(columns), expansion, active, threshold,
        expansion > threshold, wdc,
    )  # fmt: skip


def active_share(activation: Callable[..., Any]) -> float:
    """P(f'(a) != 0) for a ~ N(0, 1): the share of neurons through which a latent is seen.

    Example:
        >>> import jax
        >>> active_share(jax.nn.relu), active_share(jax.nn.tanh)
        (0.5, 1.0)
    """
    points = jax.scipy.special.ndtri((jnp.arange(_POINTS, dtype=float) + 0.5) / _POINTS)
    slopes = jax.jvp(activation, (points,), (jnp.ones_like(points),))[1]
    return float(jnp.mean(slopes != 0))


def _block(index: int, weight: Any) -> Array:
    checks.finite(f"weights[{index}]", weight)
    array = jnp.asarray(weight)
    if array.ndim == 4:
        array = array.reshape(array.shape[0], -1).T
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"weights[{index}] must be a matrix (rows, columns) or a kernel (in, height, width, "
            f"out), got shape {np.shape(weight)}"
        )
    return array.astype(jnp.result_type(array, float))


def _distribution(weight: Array, key: Array, pairs: int) -> Float[Array, ""]:
    scale = jnp.sqrt(weight.shape[0] * jnp.mean(weight**2))
    weight = weight / jnp.where(scale > 0, scale, 1)
    x, y = jax.random.normal(key, (2, pairs, weight.shape[1]), weight.dtype)
    return jnp.max(_gaps(weight, x, y))


@jax.jit
def _gaps(weight: Array, xs: Array, ys: Array) -> Float[Array, " pairs"]:
    return jax.vmap(lambda x, y: wdc_gap(weight, x, y))(xs, ys)


def wdc_gap(
    weight: Float[Array, "n k"], x: Float[Array, " k"], y: Float[Array, " k"]
) -> Float[Array, ""]:
    """||W_{+,x}^T W_{+,y} - Q_{x,y}|| for one pair; entries of W of variance 1/n.

    Args:
        weight: W, (n, k).
        x: not 0.
        y: not 0.

    Returns:
        The spectral norm; 0 in the limit of many Gaussian rows.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(wdc_gap(jnp.eye(2), jnp.array([1.0, 0.0]), jnp.array([1.0, 0.0]))), 6)
        0.5

    Source: Hand & Voroninski 2017, eq. for Q.
    """
    both = (weight @ x > 0) & (weight @ y > 0)
    gram = jnp.matmul(weight.T, jnp.where(both[:, None], weight, 0), precision="highest")
    return jnp.linalg.norm(gram - wdc_limit(x, y), ord=2)


def wdc_limit(x: Float[Array, " k"], y: Float[Array, " k"]) -> Float[Array, "k k"]:
    """Q_{x,y} = E W_{+,x}^T W_{+,y} for rows N(0, I/n), the mean over many rows.

    Example:
        >>> import jax.numpy as jnp
        >>> wdc_limit(jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0])).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    x, y = checks.floating("x", x), checks.floating("y", y)
    checks.shape("x", x, ("k",))
    checks.shape("y", y, x.shape)
    x, y = x / jnp.linalg.norm(x), y / jnp.linalg.norm(y)
    cosine = jnp.clip(x @ y, -1, 1)
    across = y - cosine * x
    sine = jnp.linalg.norm(across)
    angle = jnp.arctan2(sine, cosine)
    u = across / jnp.where(sine > 0, sine, 1)
    # x -> y, y -> x: in the basis x, u the reflection ((cos, sin), (sin, -cos))
    swap = cosine * (jnp.outer(x, x) - jnp.outer(u, u)) + sine * (jnp.outer(x, u) + jnp.outer(u, x))
    eye = jnp.eye(x.size, dtype=x.dtype)
    return (jnp.pi - angle) / (2 * jnp.pi) * eye + sine / (2 * jnp.pi) * swap
