"""A small convolutional classifier with any activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from jaxact.nets.units import Gaussian, Unit, gain
from jaxact.numerics import checks


class ConvNet(nnx.Module):
    """Strided convolutions, each followed by the activation, then a linear readout.

    Strides instead of max-pooling keep every step affine or elementwise, which is what the
    `bounds` lens certifies most tightly.

    Args:
        shape: (height, width, channels) of the images.
        classes: number of logits.
        act: an `Activation`, or any elementwise function.
        features: channels of each convolution.
        kernel: side of the square kernels.
        stride: of every convolution; 'SAME' padding.
        trainable: whether the activation's theta is trained with the weights.
        rngs: Flax random keys.

    Example:
        >>> import jaxact
        >>> net = ConvNet((8, 8, 1), 10, jaxact.get("relu"), features=(4,), rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 8, 8, 1))).shape
        (5, 10)
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        act: Callable[..., Any],
        *,
        features: Sequence[int] = (8, 16),
        kernel: int = 3,
        stride: int = 2,
        trainable: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights."""
        scales, flat = conv_plan(shape, classes, act, features, kernel, stride)
        checks.instance("rngs", rngs, nnx.Rngs)
        dtype = jnp.result_type(float)
        self.act = Unit(act, trainable=trainable)
        self.layers = nnx.List(
            [
                nnx.Conv(
                    n,
                    m,
                    (kernel, kernel),
                    strides=(stride, stride),
                    kernel_init=Gaussian(s),
                    param_dtype=dtype,
                    rngs=rngs,
                )
                for n, m, s in zip((shape[2], *features[:-1]), features, scales, strict=False)
            ]
        )
        self.readout = nnx.Linear(
            flat, classes, kernel_init=Gaussian(scales[-1]), param_dtype=dtype, rngs=rngs
        )

    def __call__(self, x: Float[ArrayLike, "*batch h w c"]) -> Float[Array, "*batch classes"]:
        """Apply to one image (h, w, c), or to a batch of them."""
        x = jnp.asarray(x)
        for layer in self.layers:
            x = self.act(layer(x))
        return self.readout(x.reshape(*x.shape[:-3], -1))


def conv_plan(
    shape: tuple[int, int, int],
    classes: int,
    act: Callable[..., Any],
    features: Sequence[int],
    kernel: int,
    stride: int,
) -> tuple[list[float], int]:
    """The weight scales of every layer, and the length of the flattened last feature map."""
    if len(checks.sizes("shape", shape)) != 3:
        raise ValueError(f"shape must be (height, width, channels), got {shape}")
    features = checks.sizes("features", features)
    for name, value in (("classes", classes), ("kernel", kernel), ("stride", stride)):
        checks.integer(name, value, 1)
    after = gain(act)
    fan_in = [kernel**2 * n for n in (shape[2], *features[:-1])]
    height, width = shape[:2]
    for _ in features:
        height, width = -(-height // stride), -(-width // stride)
    flat = height * width * features[-1]
    gains = [1.0] + [after] * len(features)
    return [g / math.sqrt(n) for g, n in zip(gains, (*fan_in, flat), strict=True)], flat
