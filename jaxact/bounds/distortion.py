"""The protocol of the paper's tables: certified and attacked distortion of the first images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.attack import AttackRadius, sample_attack_radius
from jaxact.bounds.labelled import Labelled, prepare_labels
from jaxact.bounds.methods import find_method
from jaxact.bounds.radius import Radius, check_search, sample_radius
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_SETTINGS = ("method", "norm", "evaluations", "steps", "restarts", "generator")


@pytree()
class Distortion:
    """Minimum distortion of n samples, from both sides.

    Attributes:
        index: which of the given samples these are, shape (n,).
        certified: `Radius` of each.
        attacked: `AttackRadius` of each.
        rival: the target class of each; None if untargeted.
    """

    index: Leaf
    certified: Leaf
    attacked: Leaf
    rival: Leaf

    @property
    def mean_certified(self) -> float:
        """The score of the paper: the mean certified radius."""
        return float(np.mean(self.certified.radius))

    @property
    def mean_attacked(self) -> float:
        """The mean distance of the adversarial inputs found; inf if one search found none."""
        return float(np.mean(self.attacked.radius))

    @property
    def gap(self) -> float:
        """What is undecided: mean attacked minus mean certified."""
        return self.mean_attacked - self.mean_certified

    @property
    def ratio(self) -> float:
        """Mean certified over mean attacked, in [0, 1]; 1 is a tight certificate."""
        return self.mean_certified / self.mean_attacked


def distortion(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    *,
    norm: Any = jnp.inf,
    target: Any = "untargeted",
    method: Any = "crown",
    samples: int = 100,
    clip: Any = None,
    start: Any = 0.01,
    tolerance: Any = 1e-2,
    evaluations: int = 40,
    steps: int = 40,
    restarts: int = 4,
    key: Any = None,
    over: Callable[[Callable[..., Any], Any], Any] | None = None,
) -> Distortion:
    """Certified and attacked radius of the first correctly classified samples.

    certified <= true minimum distortion <= attacked, for each sample and in the mean; the mean
    certified radius is the score of the paper's tables. As there, misclassified samples are
    skipped and the ball is not clipped to the image's range unless asked.

    Args:
        f: a function of one sample with `classes` outputs, or a traced `Network`.
        x: samples along a leading axis.
        label: their classes.
        norm: as in `certified_radius`.
        target: as in `certified_radius`.
        method: as in `certified_radius`.
        samples: the largest number of samples measured.
        clip: as in `certified_radius`.
        start: the first radius tried by both searches, > 0.
        tolerance: of both searches, relative.
        evaluations: the largest number of radii tried by each search.
        steps: gradient steps of every attack.
        restarts: starts of every attack.
        key: a typed key of the targets and the attacks; `jax.random.key(0)` by default.
        over: how a function of one sample is applied to all: over(fn, inputs). All at once by
            default; a long run takes `functools.partial(jaxact.sweep.sweep, chunk=8,
            folder="run", progress=print)`, which shows progress and goes on after a kill, and
            `mesh=` in it, which takes all devices.

    Returns:
        `Distortion` of NumPy arrays. Not meant to be differentiated.

    Raises:
        ValueError: for arguments that do not fit, or if no sample is classified correctly.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> x = jnp.array([[1.0, 1.0], [-1.0, -1.0], [2.0, 2.0]])
        >>> found = distortion(lambda x: x @ w, x, jnp.zeros(3, int), steps=10)
        >>> found.index.tolist(), bool(0.98 < found.ratio <= 1.0)
        ([0, 2], True)
        >>> [round(float(r), 1) for r in found.certified.radius]
        [1.0, 2.0]

    Source: Zhang et al. 2018, section 4 and tables 2 to 5.
    """
    checks.integer("samples", samples, 1)
    checks.finite("label", label)
    if np.ndim(label) != 1:
        raise ValueError(f"label must have one axis of samples, got shape {np.shape(label)}")
    checks.integer("steps", steps, 1)
    checks.integer("restarts", restarts, 1)
    method = find_method(method)
    question, key = prepare_labels(f, x, label, norm=norm, clip=clip, target=target, key=key)
    question.ball(0.0).check()
    dtype = question.network.dtype
    start, tolerance = check_search(start, tolerance, evaluations, dtype)
    index = np.flatnonzero(_right(question))[:samples]
    if not index.size:
        raise ValueError("x must hold a sample that f classifies as label says, got none")
    measure = _Measure(
        question.network, question.clip, start, tolerance,
        method, norm, evaluations, steps, restarts, jax.random.key_impl(key),
    )  # fmt: skip
    seeds = jax.random.key_data(question.keys(key))  # plain arrays go through files and chunks
    chosen = (question.x, question.label, question.rival, seeds)
    inputs = jax.tree.map(lambda leaf: leaf[index], chosen)
    certified, attacked = jax.tree.map(np.asarray, (over or _all_at_once)(measure, inputs))
    rival = None if question.rival is None else np.asarray(question.rival)[index]
    return Distortion(index, certified, attacked, rival)


@pytree(static=_SETTINGS)
class _Measure:
    """Both radii of one sample, as a function whose leaves are the weights."""

    network: Leaf
    clip: Leaf
    start: Leaf
    tolerance: Leaf
    method: Any
    norm: Any
    evaluations: int
    steps: int
    restarts: int
    generator: Any

    def __call__(self, inputs: tuple[Any, ...]) -> tuple[Radius, AttackRadius]:
        x, label, rival, seed = inputs
        key = jax.random.wrap_key_data(seed, impl=self.generator)
        sample = Labelled(self.network, x, label, rival, self.clip, self.norm)
        search = (self.start, self.tolerance)
        return (
            sample_radius(sample, *search, method=self.method, limit=self.evaluations),
            sample_attack_radius(
                sample, key, *search,
                steps=self.steps, restarts=self.restarts, limit=self.evaluations,
            ),
        )  # fmt: skip


@jax.jit
def _all_at_once(measure: _Measure, inputs: Any) -> Any:
    return jax.vmap(measure)(inputs)


@jax.jit
def _right(question: Labelled) -> Any:
    untargeted = dataclasses.replace(question, rival=None)
    return untargeted.each(lambda sample: sample.margin(sample.x) > 0)
