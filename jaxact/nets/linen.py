"""The same networks as `flax.linen` modules, and parameters carried between the two.

The twins compute the same function from the same weights: nnx counts the layers of a list,
params["layers"][0], linen names them, params["layers_0"]; `to_linen` and `from_linen` convert.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxact.nets.convnet import conv_plan
from jaxact.nets.generator import check_output, kernel_plan, transposed_layer
from jaxact.nets.mlp import layer_scales
from jaxact.nets.units import Gaussian, split_activation


class Unit(nn.Module):
    """The twin of `jaxact.nets.Unit`: theta as parameters if trainable, else constants."""

    act: Callable[..., Any]
    trainable: bool = False

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """Apply elementwise."""
        fn, theta = split_activation(self.act)
        if self.trainable:
            leaves, treedef = jax.tree.flatten(theta)
            theta = treedef.unflatten(
                [self.param(f"theta_{i}", Constant(leaf)) for i, leaf in enumerate(leaves)]
            )
        return fn(x, *theta)


class MLP(nn.Module):
    """The twin of `jaxact.nets.MLP`.

    Example:
        >>> import jaxact
        >>> net = MLP((8, 16, 3), jaxact.get("gelu"))
        >>> variables = net.init(jax.random.key(0), jnp.ones(8))
        >>> net.apply(variables, jnp.ones(8)).shape
        (3,)
    """

    widths: Sequence[int]
    act: Callable[..., Any]
    output: Callable[..., Any] | None = None
    trainable: bool = False

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*batch n"]) -> Float[Array, "*batch m"]:
        """Apply to one input of shape (n,), or to any batch of them."""
        y = jnp.asarray(x)
        scales, dtype = layer_scales(self.widths, self.act), jnp.result_type(float)
        unit, last = Unit(self.act, self.trainable, name="act"), len(scales) - 1
        for i, (m, s) in enumerate(zip(self.widths[1:], scales, strict=True)):
            init, name = Gaussian(s), f"layers_{i}"
            y = nn.Dense(m, kernel_init=init, param_dtype=dtype, name=name)(y)
            y = unit(y) if i < last else y
        return y if self.output is None else Unit(self.output)(y)


class ConvNet(nn.Module):
    """The twin of `jaxact.nets.ConvNet`."""

    shape: tuple[int, int, int]
    classes: int
    act: Callable[..., Any]
    features: Sequence[int] = (8, 16)
    kernel: int = 3
    stride: int = 2
    trainable: bool = False

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*batch h w c"]) -> Float[Array, "*batch classes"]:
        """Apply to one image (h, w, c), or to a batch of them."""
        x = jnp.asarray(x)
        scales, _ = conv_plan(
            self.shape, self.classes, self.act, self.features, self.kernel, self.stride
        )
        dtype, unit = jnp.result_type(float), Unit(self.act, self.trainable, name="act")
        side, strides = (self.kernel,) * 2, (self.stride,) * 2
        for i, (m, s) in enumerate(zip(self.features, scales[:-1], strict=True)):
            init, name = Gaussian(s), f"layers_{i}"
            conv = nn.Conv(m, side, strides=strides, kernel_init=init, param_dtype=dtype, name=name)
            x = unit(conv(x))
        x = x.reshape(*x.shape[:-3], -1)
        init = Gaussian(scales[-1])
        return nn.Dense(self.classes, kernel_init=init, param_dtype=dtype, name="readout")(x)


class ConvGenerator(nn.Module):
    """The twin of `jaxact.nets.ConvGenerator`."""

    latent: int
    features: Sequence[int]
    act: Callable[..., Any] | Sequence[Callable[..., Any]]
    kernels: Sequence[tuple[int, int]]
    strides: Sequence[tuple[int, int]] | None = None
    output: Callable[..., Any] | None = None
    bias: bool = False
    trainable: bool = False

    @nn.compact
    def __call__(self, z: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch h w c"]:
        """Decode one latent vector of shape (k,), or any batch of them."""
        x = jnp.asarray(z)[..., None, None, :]
        shapes, scales = kernel_plan(
            self.latent, self.features, self.act, self.kernels, self.strides
        )
        check_output(self.act, self.output)
        dtype, strides = jnp.result_type(float), self.strides or self.kernels
        if callable(self.act):
            units = [Unit(self.act, self.trainable, name="act")] * len(shapes)
        else:
            acts = enumerate(self.act)
            units = [Unit(f, self.trainable, name=f"act_{i}") for i, f in acts]
        if self.output is not None:
            units[-1] = Unit(self.output)
        for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
            kernel = self.param(f"kernels_{i}", Gaussian(scale), shape, dtype)
            x = transposed_layer(x, kernel, strides[i])
            if self.bias:
                offset = self.param(f"biases_{i}", Constant(jnp.zeros(shape[-1], dtype)))
                x = x + offset.reshape((1,) * (x.ndim - 1) + (-1,))
            x = units[i](x)
        return x


def to_linen(params: Mapping[Any, Any]) -> dict[str, Any]:
    """Parameters of an nnx network (from `functional`) as the variables of its linen twin.

    Example:
        >>> to_linen({"layers": {0: {"kernel": 1.0}, 1: {"kernel": 2.0}}})
        {'params': {'layers_0': {'kernel': 1.0}, 'layers_1': {'kernel': 2.0}}}
    """
    return {"params": _number(params)}


def from_linen(variables: Mapping[str, Any]) -> dict[Any, Any]:
    """Variables of a linen network as the parameters of its nnx twin.

    Example:
        >>> from_linen({"params": {"layers_0": {"kernel": 1.0}}})
        {'layers': {0: {'kernel': 1.0}}}
    """
    made: dict[Any, Any] = {}
    for name, value in variables.get("params", variables).items():
        inner = from_linen({"params": value}) if isinstance(value, Mapping) else value
        numbered = re.fullmatch(r"(.+)_(\d+)", name)
        if numbered:
            made.setdefault(numbered[1], {})[int(numbered[2])] = inner
        else:
            made[name] = inner
    return made


def _number(params: Mapping[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in params.items():
        if not isinstance(value, Mapping):
            made[str(name)] = value
        elif value and all(isinstance(k, int) for k in value):
            for index, inner in value.items():
                made[f"{name}_{index}"] = _number(inner) if isinstance(inner, Mapping) else inner
        else:
            made[str(name)] = _number(value)
    return made


class Constant:
    """An initialiser that returns one array, whatever the key."""

    def __init__(self, value: Any) -> None:
        """Keep the array."""
        self.value = value

    def __call__(self, *_: Any) -> Any:
        """That array."""
        return self.value
