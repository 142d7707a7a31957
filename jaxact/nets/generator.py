"""A convolutional decoder whose transposed layers have stride = kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from jaxact.nets.units import Gaussian, Unit, gain
from jaxact.numerics import checks


class ConvGenerator(nnx.Module):
    """G(z) = f(W_d f(W_{d-1} ... f(W_1 z))), W_i a transposed convolution with stride = kernel.

    Such a layer maps every pixel to its own block of pixels, so it is a plain matrix product
    over channels: an einsum, several times faster on a CPU than a strided transposed
    convolution. Weights are zero-mean Gaussian, N(0, g^2 / channels), the assumption of the
    paper's theorem, with g = `gain(act)` so that the variance is kept.

    Args:
        latent: length k of the latent vector.
        features: channels of each layer's output; the last one is the image's.
        act: an `Activation`, or any elementwise function.
        kernels: (height, width) of each layer's kernel; the image's sides are their products.
        output: applied after the last layer; None for the activation, as in the theorem, and
            `jaxact.get("identity")` for a linear last layer.
        bias: whether the layers have biases, zero at first; the theorem has none.
        trainable: whether the activation's theta is trained with the weights.
        rngs: Flax random keys.

    Raises:
        ValueError: if kernels and features do not pair up.

    Example:
        >>> import jaxact
        >>> act = jaxact.get("relu")
        >>> g = ConvGenerator(8, (16, 3), act, kernels=((7, 7), (4, 4)), rngs=nnx.Rngs(0))
        >>> g(jnp.ones(8)).shape
        (28, 28, 3)
    """

    def __init__(
        self,
        latent: int,
        features: Sequence[int],
        act: Callable[..., Any],
        *,
        kernels: Sequence[tuple[int, int]],
        output: Callable[..., Any] | None = None,
        bias: bool = False,
        trainable: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights."""
        shapes, scales = kernel_plan(latent, features, act, kernels)
        self.act = Unit(act, trainable=trainable)
        dtype = jnp.result_type(float)
        self.kernels = nnx.List(
            [
                nnx.Param(Gaussian(scale)(rngs.params(), shape, dtype))
                for scale, shape in zip(scales, shapes, strict=True)
            ]
        )
        self.biases = nnx.List([nnx.Param(jnp.zeros(s[-1], dtype)) for s in shapes] if bias else [])
        self.output = None if output is None else Unit(output)

    def __call__(self, z: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch h w c"]:
        """Decode one latent vector of shape (k,), or any batch of them."""
        x = jnp.asarray(z)[..., None, None, :]
        last = len(self.kernels) - 1
        for i, kernel in enumerate(self.kernels):
            x = block_layer(x, kernel[...])
            if len(self.biases):
                x = x + self.biases[i][...].reshape((1,) * (x.ndim - 1) + (-1,))
            x = self.act(x) if i < last or self.output is None else self.output(x)
        return x


def block_layer(
    x: Float[Array, "*batch h w i"], kernel: Float[Array, "i a b o"]
) -> Float[Array, "*batch ha wb o"]:
    """A transposed convolution with stride = kernel and no overlap: y[ha, wb] = x[h, w] K[a, b]."""
    y = jnp.einsum("...hwi,iabo->...hawbo", x, kernel)
    *batch, h, a, w, b, o = y.shape
    return y.reshape(*batch, h * a, w * b, o)


def kernel_plan(
    latent: int,
    features: Sequence[int],
    act: Callable[..., Any],
    kernels: Sequence[tuple[int, int]],
) -> tuple[list[tuple[int, int, int, int]], list[float]]:
    """(channels in, height, width, channels out) of each layer, and its weights' scale."""
    checks.integer("latent", latent, 1)
    if not features or len(features) != len(kernels):
        raise ValueError(
            "features and kernels must have one entry a layer, got "
            f"{len(features)} features and {len(kernels)} kernels"
        )
    shapes = []
    for n, (a, b), m in zip((latent, *features[:-1]), kernels, features, strict=True):
        for name, value in (("features", m), ("kernels", a), ("kernels", b)):
            checks.integer(name, value, 1)
        shapes.append((n, a, b, m))
    after = gain(act)
    return shapes, [(after if i else 1.0) / math.sqrt(s[0]) for i, s in enumerate(shapes)]
