"""The dense associative memory as a Flax module, and the feed-forward net it is dual to."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from jaxact.activation import Activation
from jaxact.memory.classifier import class_fields, init_memories
from jaxact.memory.duality import feed_forward
from jaxact.memory.interaction import Interaction, as_interaction
from jaxact.nets.units import Fixed
from jaxact.numerics import checks


class DenseAssociativeMemory(nnx.Module):
    """v -> the fields of the class units, `jaxact.memory.class_fields` with stored memories.

    Args:
        inputs: visible units N.
        classes: class units.
        F: an `Interaction`, or an activation (then F is its primitive).
        memories: number K of memories.
        temperature: T > 0, not trained.
        mean: of the initial memories.
        spread: their standard deviation.
        trainable: whether F's theta are `nnx.Param`, trained with the memories.
        rngs: Flax random keys, as `nnx.Rngs(0)`.

    Raises:
        ValueError: as `jaxact.memory.init_memories`, and if temperature is not positive.

    Example:
        >>> from jaxact import memory
        >>> model = DenseAssociativeMemory(64, 10, memory.rectified(3), memories=50,
        ...     temperature=8.0, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 64))).shape
        (2, 10)
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        F: Interaction | Activation,
        *,
        memories: int,
        temperature: Any = 1.0,
        mean: float = 0.0,
        spread: float = 0.3,
        trainable: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the memories."""
        checks.instance("rngs", rngs, nnx.Rngs)
        checks.integer("memories", memories, 1)
        checks.positive("temperature", temperature)
        start = init_memories(
            rngs.params(), memories, inputs=inputs, classes=classes, mean=mean, spread=spread
        )
        self.memories = nnx.Param(start)
        self.inputs = inputs
        self.interaction = HeldInteraction(as_interaction(F), trainable=trainable)
        self.temperature = Fixed(jnp.asarray(temperature, start.dtype))

    def __call__(self, v: Float[ArrayLike, "*batch N"]) -> Float[Array, "*batch classes"]:
        """The fields; their argmax is the answer, their tanh the paper's outputs."""
        return class_fields(
            self.memories[...], v, self.interaction(), temperature=self.temperature[...]
        )

    def dual(self) -> FeedForwardDual:
        """The feed-forward net that holds the very same variables."""
        return FeedForwardDual(self)


class FeedForwardDual(nnx.Module):
    """v -> xi_class^T f(xi_vis v / T) / T, f = F': `jaxact.memory.feed_forward`.

    Its variables are those of the memory it was made from: training one trains the other.

    Args:
        model: the associative memory.

    Example:
        >>> import jaxact
        >>> relu = jaxact.get("relu")
        >>> model = DenseAssociativeMemory(64, 10, relu, memories=50, rngs=nnx.Rngs(0))
        >>> twin = model.dual()
        >>> twin(jnp.ones(64)).shape, twin.memories is model.memories
        ((10,), True)
    """

    def __init__(self, model: DenseAssociativeMemory) -> None:
        """Share the variables."""
        self.memories = model.memories
        self.interaction = model.interaction
        self.temperature = model.temperature

    def __call__(self, v: Float[ArrayLike, "*batch N"]) -> Float[Array, "*batch classes"]:
        """The fields of the output units."""
        return feed_forward(
            self.memories[...], v, self.interaction(), temperature=self.temperature[...]
        )


class HeldInteraction(nnx.Module):
    """An interaction whose leaves are variables of the model; calling it gives it back.

    Args:
        F: the interaction.
        trainable: whether theta are `nnx.Param`; gain and origin never are.

    Example:
        >>> from jaxact import memory
        >>> HeldInteraction(memory.exponential(2.0)).theta[0][...]
        Array(2., dtype=float32)
    """

    def __init__(self, F: Interaction, *, trainable: bool = False) -> None:
        """Hold the leaves."""
        dtype = jnp.result_type(float)
        kind = nnx.Param if trainable else Fixed
        theta, self.treedef = jax.tree.flatten(F.theta)
        rest, self.structure = jax.tree.flatten(_without_theta(F))
        self.theta = nnx.List([kind(jnp.asarray(leaf, dtype)) for leaf in theta])
        self.rest = nnx.List([Fixed(jnp.asarray(leaf, dtype)) for leaf in rest])

    def __call__(self) -> Interaction:
        """The interaction with the present values."""
        theta = jax.tree.unflatten(self.treedef, [leaf[...] for leaf in self.theta])
        bare = jax.tree.unflatten(self.structure, [leaf[...] for leaf in self.rest])
        return dataclasses.replace(bare, theta=theta)


def _without_theta(F: Interaction) -> Interaction:
    return dataclasses.replace(F, theta=())
