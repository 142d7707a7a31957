"""A network as the list of its layers, for what works layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxact.activation import Activation
from jaxact.nets.generator import ConvGenerator
from jaxact.nets.mlp import MLP
from jaxact.nets.units import Unit


def layers(model: nnx.Module) -> list[tuple[Any, Any, Activation]]:
    """The (weights, bias, activation) of each layer of an MLP or a ConvGenerator, first to last.

    Weights are (out, in) for dense layers, (in, a, b, out) for block layers; a missing bias is
    None. It is what `jaxact.inversion.invert_layerwise` takes.

    Args:
        model: an `MLP` or a `ConvGenerator`.

    Returns:
        A list of tuples; a linear last layer has the identity as its activation.

    Raises:
        TypeError: for another module.
        ValueError: for a ConvGenerator whose strides are below its kernels.

    Example:
        >>> import jax.numpy as jnp, jaxact
        >>> net = jaxact.nets.MLP((2, 8, 3), jnp.tanh, rngs=nnx.Rngs(0))
        >>> [(w.shape, b.shape, act.name) for w, b, act in layers(net)]
        [((8, 2), (8,), 'tanh'), ((3, 8), (3,), 'identity')]
    """
    if isinstance(model, MLP):
        weights = [layer.kernel[...].T for layer in model.layers]
        biases: list[Any] = [None if b.bias is None else b.bias[...] for b in model.layers]
        last = (
            Activation(_linear, name="identity")
            if model.output is None
            else _activation(model.output)
        )
    elif isinstance(model, ConvGenerator):
        weights = [kernel[...] for kernel in model.kernels]
        for kernel, stride in zip(weights, model.strides, strict=True):
            if kernel.shape[1:3] != tuple(stride):
                raise ValueError(
                    "model must have stride = kernel in every layer, got kernel "
                    f"{kernel.shape[1:3]} with stride {tuple(stride)}"
                )
        biases = [bias[...] for bias in model.biases] or [None] * len(weights)
        last = None if model.output is None else _activation(model.output)
    else:
        raise TypeError(f"model must be an MLP or a ConvGenerator, got {type(model).__name__}")
    units = list(model.act) if isinstance(model.act, nnx.List) else [model.act] * len(weights)
    acts = [_activation(unit) for unit in units]
    if last is not None:
        acts[-1] = last
    return list(zip(weights, biases, acts, strict=True))


def _linear(x: Any) -> Any:
    return x * 1


def _activation(unit: Unit) -> Activation:
    theta = jax.tree.unflatten(unit.treedef, [leaf[...] for leaf in unit.theta])
    fn: Callable[..., Any] = unit.fn
    return Activation(fn, theta, getattr(fn, "__name__", "activation"))
