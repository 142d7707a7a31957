"""Labelled samples and the question that is asked about them: which margins must stay positive."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.bounds.problem import trace_in_its_dtype
from jaxact.bounds.regions import NORMS, Ball, inner
from jaxact.bounds.spec import check_labels, margin_spec
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.shards import sharded
from jaxact.tracing.graph import Network

TARGETS = ("untargeted", "top2", "least", "random")

T = TypeVar("T")


@pytree(static=("norm",))
class Labelled:
    """One labelled sample of a classifier, or a batch of them.

    Attributes:
        network: the traced classifier.
        x: the sample, or samples along a leading axis.
        label: its class, or theirs.
        rival: the class it must not become, or None for any other.
        clip: None, or (low, high): the range of the input's entries.
        norm: 1, 2 or `jnp.inf`: how the input may move.
    """

    network: Network
    x: Leaf
    label: Leaf
    rival: Leaf
    clip: Leaf
    norm: Any

    def each(self, one: Callable[..., T], *keys: Any) -> T:
        """`one(sample, *keys)` of every sample; keys have a leading axis where x has one."""
        if self.label.ndim == 0:
            return one(self, *keys)

        def of(x: Any, label: Any, rival: Any, *keys: Any) -> T:
            return one(dataclasses.replace(self, x=x, label=label, rival=rival), *keys)

        return jax.vmap(of)(self.x, self.label, self.rival, *keys)

    def run(
        self, kernel: Callable[..., T], *args: Any, mesh: Any, split: Any = (), **static: Any
    ) -> T:
        """`kernel(self, *args, **static)`, over the devices of a mesh if there is one.

        `split` says which of the arguments hold samples, as in `sharded`.
        """
        if mesh is None:
            return kernel(self, *args, **static)
        if self.label.ndim == 0:
            raise ValueError("label must have one axis of samples with a mesh, got one integer")
        mine = dataclasses.replace(self, network=False, x=True, label=True, rival=True, clip=False)
        out = sharded(kernel, (self, *args), (mine, *split), mesh=mesh, **static)
        return jax.tree.map(jnp.asarray, out)

    @property
    def spec(self) -> Array:
        """The margins that must stay positive, as rows over the outputs."""
        classes = self.network.output_shape[0]
        if self.rival is None:
            return margin_spec(self.label, classes).astype(self.x.dtype)
        ends = jnp.stack([self.label, self.rival])
        own, other = jax.nn.one_hot(ends, classes, dtype=self.x.dtype)
        return (own - other)[None]

    def margin(self, point: Any) -> Array:
        """The smallest margin at a point."""
        return inner(self.spec, self.network(point)).min()

    def ball(self, eps: Any) -> Ball:
        """The inputs within eps of x."""
        return Ball(self.x, eps, self.norm, self.clip)

    def keys(self, key: Any) -> Any:
        """A key, or one for each sample."""
        return key if self.label.ndim == 0 else jax.random.split(key, self.label.shape[0])


def prepare_labels(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    *,
    norm: Any,
    clip: Any,
    target: Any = "untargeted",
    key: Any = None,
) -> tuple[Labelled, Any]:
    """Check and trace a classifier on one labelled sample or a batch of them.

    Returns:
        The question, and a key for what else is random; of one key, every function that asks
        about a "random" target picks the same one.
    """
    checks.finite("x", x)
    checks.finite("label", label)
    x, label = jnp.asarray(x, jnp.result_type(x, float)), jnp.asarray(label)
    checks.choice("norm", norm, NORMS)
    if label.ndim > 1:
        raise ValueError(f"label must be one integer or one axis of them, got shape {label.shape}")
    if label.ndim == 1 and (x.ndim == 0 or x.shape[0] != label.shape[0]):
        raise ValueError(
            f"x must be a batch of {label.shape[0]} samples like label, got shape {x.shape}"
        )
    network = trace_in_its_dtype(f, x.shape[label.ndim :], x.dtype)
    if len(network.output_shape) != 1 or network.output_shape[0] < 2:
        raise ValueError(f"f must return one score a class, got shape {network.output_shape}")
    check_labels(label, network.output_shape[0])
    if clip is not None:
        Ball(x, 0.0, jnp.inf, clip).check()
        clip = tuple(jnp.asarray(c, network.dtype) for c in clip)
    key = jax.random.key(0) if key is None else key
    checks.key("key", key)
    choosing, rest = jax.random.split(key)
    x, label = jnp.asarray(x, network.dtype), label.astype(jnp.int32)
    question = Labelled(network, x, label, None, clip, norm)
    return dataclasses.replace(question, rival=_rival(question, target, choosing)), rest


def _rival(question: Labelled, target: Any, key: Any) -> Any:
    label, classes = question.label, question.network.output_shape[0]
    if isinstance(target, str):
        if target not in TARGETS:
            raise ValueError(
                f"target must be one of {', '.join(map(repr, TARGETS))} or an array of classes, "
                f"got {target!r}"
            )
        if target == "untargeted":
            return None
        if target == "random" and classes < 4:
            raise ValueError(f"target 'random' needs at least 4 classes, got {classes}")
        return _named_rival(question, key, target=target)
    rival = jnp.asarray(target)
    checks.shape("target", rival, label.shape)
    check_labels(rival, classes, name="target")
    if checks.is_concrete(rival, label):
        same = np.atleast_1d(np.asarray(rival == label))
        if same.any():
            raise ValueError(f"target must differ from label, got {label} at index {same.argmax()}")
    return rival.astype(jnp.int32)


@functools.partial(jax.jit, static_argnames="target")
def _named_rival(question: Labelled, key: Any, *, target: str) -> Array:
    def one(sample: Labelled, key: Any) -> Array:
        scores = sample.network(sample.x)
        classes = jnp.arange(scores.size, dtype=jnp.int32)
        other = classes != sample.label
        top = jnp.argmax(jnp.where(other, scores, -jnp.inf)).astype(jnp.int32)
        least = jnp.argmin(jnp.where(other, scores, jnp.inf)).astype(jnp.int32)
        if target != "random":
            return top if target == "top2" else least
        free = other & (classes != top) & (classes != least)
        draw = jax.random.uniform(key, scores.shape, scores.dtype)
        return jnp.argmax(jnp.where(free, draw, -1)).astype(jnp.int32)

    return question.each(one, question.keys(key))
