"""A convolutional decoder of transposed convolutions, stride = kernel or below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from jaxact.nets.units import Gaussian, Unit, gain
from jaxact.numerics import checks


class ConvGenerator(nnx.Module):
    """G(z) = f(W_d f(W_{d-1} ... f(W_1 z))), W_i a transposed convolution.

    With stride = kernel, the default and the paper's theorem, a layer maps every pixel to its
    own block of pixels, so it is a plain matrix product over channels: an einsum, several times
    faster on a CPU than a strided transposed convolution. With a smaller stride it is an
    ordinary convolution onto the stride's phases (sub-pixel form). Weights are zero-mean
    Gaussian, N(0, g^2 / (channels * overlap)), with g = `gain(act)` of the layer before and
    overlap = kernel area / stride area, so that the variance is kept.

    Args:
        latent: length k of the latent vector.
        features: channels of each layer's output; the last one is the image's.
        act: an `Activation`, or any elementwise function; or a sequence of them, one a layer.
        kernels: (height, width) of each layer's kernel.
        strides: (height, width) of each layer's stride, at most the kernel's; the image's sides
            are their products. None: the kernels. Where the kernel is larger, (kernel - stride)
            must be even, and half of it is cropped on each side (kernel 4, stride 2, padding 1).
        output: applied after the last layer; None for the activation, as in the theorem, and
            `jaxact.get("identity")` for a linear last layer.
        bias: whether the layers have biases, zero at first; the theorem has none.
        trainable: whether the activation's theta is trained with the weights.
        rngs: Flax random keys.

    Raises:
        ValueError: if features, kernels, strides and a sequence of activations do not pair up.

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
        act: Callable[..., Any] | Sequence[Callable[..., Any]],
        *,
        kernels: Sequence[tuple[int, int]],
        strides: Sequence[tuple[int, int]] | None = None,
        output: Callable[..., Any] | None = None,
        bias: bool = False,
        trainable: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights."""
        shapes, scales = kernel_plan(latent, features, act, kernels, strides)
        checks.instance("rngs", rngs, nnx.Rngs)
        check_output(act, output)
        self.strides = tuple(map(tuple, kernels if strides is None else strides))
        self.act: Any = (
            Unit(act, trainable=trainable)
            if callable(act)
            else nnx.List([Unit(f, trainable=trainable) for f in act])
        )
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
            x = transposed_layer(x, kernel[...], self.strides[i])
            if len(self.biases):
                x = x + self.biases[i][...].reshape((1,) * (x.ndim - 1) + (-1,))
            unit = self.act[i] if isinstance(self.act, nnx.List) else self.act
            x = unit(x) if i < last or self.output is None else self.output(x)
        return x


def transposed_layer(
    x: Float[Array, "*batch h w i"], kernel: Float[Array, "i a b o"], stride: tuple[int, ...]
) -> Float[Array, "*batch H W o"]:
    """A transposed convolution to H = h stride[0], W = w stride[1], cropped evenly.

    Row s i + p of the output sums x[i - j] K[s j + p] over j: an ordinary convolution whose
    channels are the s phases p, then a pixel shuffle.
    """
    channels, *sides, o = kernel.shape
    if tuple(sides) == tuple(stride):
        return block_layer(x, kernel)
    *batch, h, w, _ = x.shape
    (s, t), (q, r) = stride, (-(-a // n) for a, n in zip(sides, stride, strict=True))
    grown = [(0, 0), (0, q * s - sides[0]), (0, r * t - sides[1]), (0, 0)]
    phases = jnp.pad(kernel, grown).reshape(channels, q, s, r, t, o)
    phases = jnp.flip(phases, (1, 3)).transpose(1, 3, 0, 2, 4, 5).reshape(q, r, channels, -1)
    y = jax.lax.conv_general_dilated(
        x.reshape(-1, h, w, channels), phases, (1, 1), [(q - 1, q - 1), (r - 1, r - 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    y = y.reshape(-1, h + q - 1, w + r - 1, s, t, o).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(*batch, (h + q - 1) * s, (w + r - 1) * t, o)
    top, left = (sides[0] - s) // 2, (sides[1] - t) // 2
    return y[..., top : top + h * s, left : left + w * t, :]


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
    act: Callable[..., Any] | Sequence[Callable[..., Any]],
    kernels: Sequence[tuple[int, int]],
    strides: Sequence[tuple[int, int]] | None = None,
) -> tuple[list[tuple[int, int, int, int]], list[float]]:
    """(channels in, height, width, channels out) of each layer, and its weights' scale."""
    checks.integer("latent", latent, 1)
    features = checks.sizes("features", features)
    for sides in checks.sequence("kernels", kernels):
        if len(checks.sizes("kernels", sides)) != 2:
            raise ValueError(f"kernels must be pairs (height, width), got {sides}")
    if len(features) != len(kernels):
        raise ValueError(
            "features and kernels must have one entry a layer, got "
            f"{len(features)} features and {len(kernels)} kernels"
        )
    strides = kernels if strides is None else strides
    acts = [act] * len(features) if callable(act) else checks.sequence("act", act)
    for name, value in (("strides", strides), ("act", acts)):
        if len(value) != len(features):
            raise ValueError(
                f"{name} must have one entry a layer, {len(features)}, got {len(value)}"
            )
    shapes, scales = [], []
    inputs = zip((latent, *features[:-1]), kernels, strides, features, strict=True)
    for i, (n, (a, b), stride, m) in enumerate(inputs):
        for name, value in (("features", m), ("kernels", a), ("kernels", b)):
            checks.integer(name, value, 1)
        for side, step in zip((a, b), stride, strict=True):
            checks.integer("strides", step, 1)
            if step > side or (side - step) % 2:
                raise ValueError(
                    "strides must be at most the kernel's side and differ from it by an even "
                    f"number, got stride {step} for kernel {side}"
                )
        shapes.append((n, a, b, m))
        overlap = a * b / (stride[0] * stride[1])
        scales.append((gain(acts[i - 1]) if i else 1.0) / math.sqrt(n * overlap))
    return shapes, scales


def check_output(act: Any, output: Any) -> None:
    """Raise `ValueError` where the last layer would have two activations."""
    if output is not None and not callable(act):
        raise ValueError("output must be None where act has one entry a layer: make it the last")
