"""Fitting a dense associative memory to labelled samples."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Integer, PRNGKeyArray

from jaxact.activation import Activation
from jaxact.memory.classifier import class_fields, init_memories
from jaxact.memory.interaction import Interaction, anonymous, as_interaction
from jaxact.nets.fits import Fit, accuracy
from jaxact.nets.memory_rules import CrossEntropyRule, PaperRule, Question
from jaxact.nets.resumable import TrainingState, train_resumable
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

MODERN = CrossEntropyRule()


@pytree()
class MemoryClassifier:
    """A trained memory: calling it on a raw sample gives the fields of the classes.

    Attributes:
        memories: (K, N + classes), the class units last.
        F: the interaction.
        temperature: T.
        scale: of the visible units v = scale x + shift.
        shift: (N,).
    """

    memories: Leaf
    F: Leaf
    temperature: Leaf
    scale: Leaf
    shift: Leaf

    def __call__(self, x: Float[ArrayLike, "*shape"]) -> Float[Array, " classes"]:
        """The fields of the class units for one sample of any shape with N entries."""
        return class_fields(self.memories, self.encode(x), self.F, temperature=self.temperature)

    def encode(self, x: Float[ArrayLike, "*shape"]) -> Float[Array, " N"]:
        """The visible units of one sample."""
        return jnp.asarray(x).reshape(-1) * self.scale + self.shift


def train_memory(
    x: Float[ArrayLike, " samples *shape"],
    y: Integer[ArrayLike, " samples"],
    F: Interaction | Activation,
    *,
    memories: int = 300,
    rule: PaperRule | CrossEntropyRule = MODERN,
    test: tuple[Any, Any] | None = None,
    epochs: int = 25,
    batch: int = 100,
    every: int | None = None,
    restore: Callable[[TrainingState], TrainingState] | None = None,
    save: Callable[[TrainingState], Any] | None = None,
    key: PRNGKeyArray,
) -> tuple[MemoryClassifier, Fit]:
    """Fit a dense associative memory to labelled samples with values in [0, 1].

    Args:
        x: samples, flattened; values in [0, 1].
        y: labels 0, 1, ...
        F: an `Interaction`, or an activation (then F is its primitive).
        memories: number K of memories.
        rule: `PaperRule` or `CrossEntropyRule`.
        test: held-out (x, y), scored at the end.
        epochs: passes over the data.
        batch: samples a step.
        every: epochs between two calls of save; all of them by default.
        restore: as in `train_resumable`.
        save: as in `train_resumable`.
        key: random key of the memories, of the order of the samples and of the noise.

    Returns:
        (f, fit): f(sample) gives the fields, a callable pytree. `measure_regime(f.memories,
        jax.vmap(f.encode)(x), f.F, temperature=f.temperature)` looks into it.

    Raises:
        ValueError: for samples outside [0, 1], or labels that do not match or are negative.
        TypeError: if F is not an interaction or an activation, or key is not a typed key.

    Example:
        >>> from jaxact import memory
        >>> x = np.random.default_rng(0).uniform(size=(200, 4)).astype(np.float32)
        >>> y = (x[:, 0] > x[:, 1]).astype(np.int32)
        >>> f, fit = train_memory(x, y, memory.rectified(2), memories=20, batch=20,
        ...     rule=CrossEntropyRule(temperature=1.0, rate=1e-2), key=jax.random.key(0))
        >>> f(x[0]).shape, bool(fit.accuracy > 0.9)
        ((2,), True)

    Source: Krotov & Hopfield 2016, section 4 and appendix A.
    """
    checks.key("key", key)
    F = anonymous(as_interaction(F))
    checks.integer("memories", memories, 1)
    checks.integer("epochs", epochs, 1)
    checks.integer("batch", batch, 1)
    checks.between("x", x, 0.0, 1.0)
    checks.non_negative("y", y)
    x, y = np.asarray(x), np.asarray(y)
    checks.shape("y", y, (x.shape[0],))
    flat = x.reshape(x.shape[0], -1).astype(jnp.result_type(float))
    scale, shift = rule.encoding(flat)
    drawn, order, noise = jax.random.split(key, 3)
    start = init_memories(
        drawn, memories, inputs=flat.shape[1], classes=int(y.max()) + 1,
        mean=rule.mean, spread=rule.spread,
    )  # fmt: skip
    seen = flat * np.asarray(scale, flat.dtype) + shift
    numbered = (seen, np.arange(len(seen), dtype=np.int32))
    optimizer, schedule = _prepared(rule, epochs, len(seen) // min(batch, len(seen)))
    fitted, losses = train_resumable(
        Partial(_ask, F, noise), start, (numbered, y.astype(np.int32)),
        loss=rule.loss, optimizer=optimizer, schedule=schedule, epochs=epochs, batch=batch,
        every=every, restore=restore, save=save, key=order,
    )  # fmt: skip
    dtype = fitted.dtype
    f = MemoryClassifier(
        fitted, F, jnp.asarray(rule.final_temperature, dtype),
        jnp.asarray(scale, dtype), jnp.asarray(shift, dtype),
    )  # fmt: skip
    held_out = None if test is None else accuracy(f, jnp.asarray(test[0]), jnp.asarray(test[1]))
    return f, Fit(losses, accuracy(f, jnp.asarray(x), jnp.asarray(y)), held_out)


@functools.lru_cache(maxsize=32)
def _prepared(
    rule: Any, epochs: int, per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The same objects for the same call, so no retrace."""
    return rule.optimizer(epochs, per_epoch), rule.schedule(epochs, per_epoch)


def _ask(F: Any, key: Any, memories: Any, sample: tuple[Any, Any]) -> Question:
    """What the rule's loss needs in place of a prediction."""
    return Question(memories, sample[0], sample[1], F, key)
