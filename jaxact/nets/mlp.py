"""A multilayer perceptron with any activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from jaxact.nets.units import Gaussian, Unit, gain
from jaxact.numerics import checks


class MLP(nnx.Module):
    """x -> W_L f(... f(W_1 x + b_1) ...) + b_L, the last layer linear.

    Weights are N(0, g^2 / fan_in) with g = 1 for the first layer and g = `gain(act)` after an
    activation, so that a standardised input keeps unit variance through any depth.

    Args:
        widths: (inputs, hidden ..., outputs), at least two positive integers.
        act: an `Activation`, or any elementwise function.
        output: applied to the last layer; None for logits.
        trainable: whether the activation's theta is trained with the weights.
        rngs: Flax random keys, as `nnx.Rngs(0)`.

    Raises:
        ValueError: for fewer than two widths.

    Example:
        >>> import jaxact
        >>> MLP((8, 16, 3), jaxact.get("gelu"), rngs=nnx.Rngs(0))(jnp.ones(8)).shape
        (3,)
    """

    def __init__(
        self,
        widths: Sequence[int],
        act: Callable[..., Any],
        *,
        output: Callable[..., Any] | None = None,
        trainable: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights."""
        scales = layer_scales(widths, act)
        checks.instance("rngs", rngs, nnx.Rngs)
        dtype = jnp.result_type(float)
        self.act = Unit(act, trainable=trainable)
        self.layers = nnx.List(
            [
                nnx.Linear(n, m, kernel_init=Gaussian(s), param_dtype=dtype, rngs=rngs)
                for n, m, s in zip(widths[:-1], widths[1:], scales, strict=True)
            ]
        )
        self.output = None if output is None else Unit(output)

    def __call__(self, x: Float[ArrayLike, "*batch n"]) -> Float[Array, "*batch m"]:
        """Apply to one input of shape (n,), or to any batch of them."""
        x = jnp.asarray(x)
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        x = self.layers[-1](x)
        return x if self.output is None else self.output(x)


def layer_scales(widths: Sequence[int], act: Callable[..., Any]) -> list[float]:
    """Standard deviations of the weights of each layer of an MLP of these widths."""
    widths = checks.sizes("widths", widths, least=2)
    after = gain(act)
    return [(after if i else 1.0) / math.sqrt(n) for i, n in enumerate(widths[:-1])]
