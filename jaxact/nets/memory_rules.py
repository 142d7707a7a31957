"""How a dense associative memory learns: the paper's recipe, and Adam with the cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxact.memory.classifier import class_fields, power_loss
from jaxact.memory.training_rule import memory_rule
from jaxact.nets.training import cross_entropy, default_optimizer
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Question:
    """What a rule's loss gets in place of a prediction, one sample.

    Attributes:
        memories: (K, N + classes).
        v: the visible units, (N,).
        index: the sample's number.
        F: the interaction.
        key: of the run's noise.
    """

    memories: Leaf
    v: Leaf
    index: Leaf
    F: Leaf
    key: Leaf


@dataclasses.dataclass(frozen=True)
class PaperRule:
    """Krotov & Hopfield's recipe: visible units 2 x - 1, power loss, `memory_rule`.

    The defaults are those of the authors' published notebook (n = 20). For n = 2 or 3 take
    m = 2, mean = 0, spread = 0.1 and a ramp from a high temperature to a low one: a low one from
    the start switches every class unit off for good.

    Attributes:
        rate: first step eps0 of the memories, whose entries stay in [-1, 1].
        decay: factor f of the step after each epoch.
        momentum: p.
        m: of the loss |c - t|^(2m).
        temperature: T, at the start and after the ramp.
        ramp: epochs of the linear ramp between the two.
        mean: of the initial memories.
        spread: their standard deviation.

    Source: Krotov & Hopfield 2016, appendix A.
    """

    rate: float = 0.04
    decay: float = 0.998
    momentum: float = 0.6
    m: int = 30
    temperature: tuple[float, float] = (540.0, 540.0)
    ramp: int = 200
    mean: float = -0.3
    spread: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        checks.between("decay", self.decay, 0.0, 1.0)
        checks.integer("m", self.m, 1)
        checks.positive("temperature", self.temperature)
        checks.shape("temperature", self.temperature, (2,))
        checks.integer("ramp", self.ramp, 1)

    @property
    def final_temperature(self) -> float:
        """The temperature of the trained memory."""
        return self.temperature[1]

    def encoding(self, x: np.ndarray) -> tuple[Any, Any]:
        """(scale, shift) of the visible units v = scale x + shift."""
        return 2.0, np.full(x.shape[1:], -1.0, x.dtype)

    def optimizer(self, epochs: int, per_epoch: int) -> optax.GradientTransformation:
        """`memory_rule` with the step of each epoch."""
        steps = optax.exponential_decay(self.rate, per_epoch, self.decay, staircase=True)
        return memory_rule(steps, momentum=self.momentum)

    def schedule(self, epochs: int, per_epoch: int) -> optax.Schedule:
        """The temperature at a step."""
        return optax.linear_schedule(*self.temperature, self.ramp * per_epoch)

    def loss(self, question: Question, label: Any, temperature: Any) -> Any:
        """The power loss at this temperature."""
        fields = class_fields(question.memories, question.v, question.F, temperature=temperature)
        return power_loss(fields, label, m=self.m)


@dataclasses.dataclass(frozen=True)
class CrossEntropyRule:
    """The modern recipe: centred visible units, softmax cross-entropy of the fields, Adam.

    The memories are not boxed: for a power F only their ratio to the temperature matters, so
    any box is a unit of measurement.

    Attributes:
        rate: of Adam at the start of its cosine decay.
        temperature: T.
        dropout: share of the visible units set to 0 (their mean) in every sample of every step.
        forgetting: share of the memories left out of every sample of every step.
        spread: standard deviation of the initial memories.
    """

    rate: float = 1e-3
    temperature: float = 3.0
    dropout: float = 0.2
    forgetting: float = 0.0
    spread: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        checks.positive("rate", self.rate)
        checks.positive("temperature", self.temperature)
        checks.between("dropout", self.dropout, 0.0, 0.99)
        checks.between("forgetting", self.forgetting, 0.0, 0.99)

    mean = 0.0

    @property
    def final_temperature(self) -> float:
        """The temperature of the trained memory."""
        return self.temperature

    def encoding(self, x: np.ndarray) -> tuple[Any, Any]:
        """(scale, shift) of the visible units v = scale x + shift."""
        return 1.0, -x.mean(axis=0)

    def optimizer(self, epochs: int, per_epoch: int) -> optax.GradientTransformation:
        """Adam with a cosine decay and the gradient's norm clipped at 1."""
        return default_optimizer(self.rate, epochs * per_epoch)

    def schedule(self, epochs: int, per_epoch: int) -> optax.Schedule:
        """The step itself: the loss draws its noise from it."""
        return _step

    def loss(self, question: Question, label: Any, step: Any) -> Any:
        """Cross-entropy with parts of the input and of the memories missing."""
        v = question.v
        key = jax.random.fold_in(jax.random.fold_in(question.key, step), question.index)
        see, know = jax.random.split(key)
        v = v * _kept(see, v, self.dropout)
        weights = _kept(know, question.memories[:, 0], self.forgetting)
        fields = class_fields(
            question.memories, v, question.F, temperature=self.temperature, weights=weights
        )
        return cross_entropy(fields, label)


def _step(step: Any) -> Any:
    return step


def _kept(key: Any, like: Any, missing: float) -> Any:
    """1 / (1 - missing) where a unit is kept, 0 where it is missing: 1 on average."""
    if missing == 0:
        return jnp.ones_like(like)
    kept = jax.random.bernoulli(key, 1 - missing, like.shape)
    return kept.astype(like.dtype) / (1 - missing)
