"""Adversarial inputs by projected gradient descent: the other side of a certificate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.labelled import Labelled, prepare_labels
from jaxact.bounds.radius import check_search
from jaxact.bounds.search import bracket
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Attack:
    """The worst input that was found.

    Attributes:
        point: the input, within the ball.
        margin: its smallest margin f_label - f_j, or that of the target.
        success: whether the margin is negative: the answer has changed.
    """

    point: Leaf
    margin: Leaf
    success: Leaf


@pytree()
class AttackRadius:
    """The nearest adversarial input that was found.

    Attributes:
        radius: its distance, an upper bound of the true robustness; inf if none was found, 0
            where x is misclassified.
        point: the input.
        converged: whether the bracket is as narrow as was asked.
        evaluations: how many radii were attacked.
    """

    radius: Leaf
    point: Leaf
    converged: Leaf
    evaluations: Leaf


def attack(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    eps: Any,
    *,
    norm: Any = jnp.inf,
    target: Any = "untargeted",
    clip: Any = None,
    steps: int = 40,
    restarts: int = 4,
    key: Any = None,
    mesh: Any = None,
) -> Attack:
    """Search the ball for the input with the smallest margin, by projected gradient descent.

    The first start is x, the others are random in the ball; every step moves by the steepest
    direction of the norm (2.5 eps / steps long) and projects back. A found input is a fact; not
    finding one proves nothing.

    Args:
        f: a function of one sample with `classes` outputs, or a traced `Network`.
        x: one sample, or a batch along a leading axis.
        label: its class, or one for each sample.
        eps: the ball's radius, >= 0; one for all samples.
        norm: 1, 2 or `jnp.inf`.
        target: as in `certified_radius`; with the same key the same "random" one.
        clip: None, or (low, high): the range of the input's entries (any norm).
        steps: gradient steps.
        restarts: number of starts.
        key: a typed key; `jax.random.key(0)` by default.
        mesh: as in `certified_radius`.

    Returns:
        `Attack`, with a leading batch axis if x has one.

    Raises:
        ValueError: for shapes, labels, targets or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> found = attack(lambda x: x @ w, jnp.array([1.0, 1.0]), 0, eps=1.25)
        >>> bool(found.success), round(float(found.margin), 4)
        (True, -1.0)

    Source: Madry et al. 2018, section 2.1.
    """
    question, key = prepare_labels(f, x, label, norm=norm, clip=clip, target=target, key=key)
    _check_search(steps, restarts)
    checks.non_negative("eps", eps)
    checks.shape("eps", eps, ())
    eps = jnp.asarray(eps, question.network.dtype)
    return question.run(
        _attack, question.keys(key), eps,
        mesh=mesh, split=(True, False), steps=steps, restarts=restarts,
    )  # fmt: skip


def attack_radius(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    *,
    norm: Any = jnp.inf,
    target: Any = "untargeted",
    clip: Any = None,
    steps: int = 40,
    restarts: int = 4,
    key: Any = None,
    start: Any = 0.01,
    tolerance: Any = 1e-2,
    evaluations: int = 40,
    mesh: Any = None,
) -> AttackRadius:
    """The smallest radius at which `attack` succeeds, by bracketing and bisection.

    An upper bound of the true robustness, beside `certified_radius`, a lower one.

    Args:
        f: as in `attack`.
        x: as in `attack`.
        label: as in `attack`.
        norm: 1, 2 or `jnp.inf`.
        target: as in `certified_radius`; with the same key the same "random" one.
        clip: None, or (low, high): the range of the input's entries.
        steps: gradient steps of every attack.
        restarts: starts of every attack.
        key: a typed key; `jax.random.key(0)` by default.
        start: the first radius tried, > 0.
        tolerance: stop when the bracket is this narrow, relative to its upper end.
        evaluations: the largest number of attacks.
        mesh: as in `certified_radius`.

    Returns:
        `AttackRadius`, with a leading batch axis if x has one.

    Raises:
        ValueError: for shapes, labels, targets or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> found = attack_radius(lambda x: x @ w, jnp.array([1.0, 1.0]), 0)
        >>> 1.0 <= float(found.radius) < 1.01
        True
    """
    question, key = prepare_labels(f, x, label, norm=norm, clip=clip, target=target, key=key)
    _check_search(steps, restarts)
    dtype = question.network.dtype
    start, tolerance = check_search(start, tolerance, evaluations, dtype)
    return question.run(
        _attack_radius, question.keys(key), start, tolerance,
        mesh=mesh, split=(True, False, False),
        steps=steps, restarts=restarts, limit=evaluations,
    )  # fmt: skip


def sample_attack_radius(
    sample: Labelled,
    key: Array,
    start: Array,
    tolerance: Array,
    *,
    steps: int,
    restarts: int,
    limit: int,
) -> AttackRadius:
    """The kernel of `attack_radius`, of one sample."""
    noise = _noise(key, sample.x, restarts)

    def withstands(eps: Array) -> tuple[Array, Array]:
        found = _pgd(sample, eps, noise, steps)
        return ~found.success, found.point

    correct = sample.margin(sample.x) > 0
    _, high, converged, count, point = bracket(
        withstands, start, tolerance, limit=limit, run=correct, evidence=sample.x
    )
    distance = jnp.where(jnp.isinf(high), high, _length(point - sample.x, sample.norm))
    return AttackRadius(jnp.where(correct, distance, 0), point, converged, count)


def _check_search(steps: int, restarts: int) -> None:
    checks.integer("steps", steps, 1)
    checks.integer("restarts", restarts, 1)


@functools.partial(jax.jit, static_argnames=("steps", "restarts"))
def _attack(question: Labelled, keys: Array, eps: Array, *, steps: int, restarts: int) -> Attack:
    def one(sample: Labelled, key: Array) -> Attack:
        return _pgd(sample, eps, _noise(key, sample.x, restarts), steps)

    return question.each(one, keys)


@functools.partial(jax.jit, static_argnames=("steps", "restarts", "limit"))
def _attack_radius(
    question: Labelled, keys: Array, start: Array, tolerance: Array, **options: Any
) -> AttackRadius:
    def one(sample: Labelled, key: Array) -> AttackRadius:
        return sample_attack_radius(sample, key, start, tolerance, **options)

    return question.each(one, keys)


def _pgd(sample: Labelled, eps: Array, noise: Array, steps: int) -> Attack:
    x, norm, clip = sample.x, sample.norm, sample.clip
    slope = jax.value_and_grad(sample.margin)

    def inside(delta: Array) -> Array:
        point = x + _project(delta, eps, norm)
        return point if clip is None else jnp.clip(point, clip[0], clip[1])

    def step(state: tuple[Array, Array, Array], _: None) -> tuple[Any, None]:
        point, best, least = state
        margin, gradient = slope(point)
        better = margin < least
        best, least = jnp.where(better, point, best), jnp.where(better, margin, least)
        move = _steepest(gradient, norm) * (2.5 / steps)
        return (inside(point - x - eps * move), best, least), None

    def descend(start: Array) -> tuple[Array, Array]:
        first = (start, start, jnp.full((), jnp.inf, x.dtype))
        (last, best, least), _ = jax.lax.scan(step, first, None, length=steps)
        margin = sample.margin(last)
        return jnp.where(margin < least, last, best), jnp.minimum(margin, least)

    starts = jax.vmap(lambda n: inside(eps * _spread(n, norm)))(noise)
    points, margins = jax.vmap(descend)(starts)
    worst = jnp.argmin(margins)
    return Attack(points[worst], margins[worst], margins[worst] < 0)


def _noise(key: Array, x: Array, restarts: int) -> Array:
    return jax.random.normal(key, (restarts, *x.shape), x.dtype).at[0].set(0)


def _spread(noise: Array, norm: Any) -> Array:
    if norm == jnp.inf:
        return jnp.clip(noise, -1, 1)
    length = _length(noise, norm)
    return noise / jnp.where(length > 0, length, 1)


def _length(delta: Array, norm: Any) -> Array:
    flat = jnp.abs(delta.reshape(-1))
    if norm == jnp.inf:
        return flat.max()
    return flat.sum() if norm == 1 else jnp.sqrt((flat**2).sum())


def _steepest(gradient: Array, norm: Any) -> Array:
    size = jnp.abs(gradient)
    if norm == jnp.inf:
        return jnp.sign(gradient)
    if norm == 1:  # nearly the largest coordinates share the step, so that ties move together
        chosen = jnp.where(size >= 0.9 * size.max(), jnp.sign(gradient), 0)
        return chosen / jnp.maximum(jnp.abs(chosen).sum(), 1)
    length = _length(gradient, 2)
    return gradient / jnp.where(length > 0, length, 1)


def _project(delta: Array, eps: Array, norm: Any) -> Array:
    if norm == jnp.inf:
        return jnp.clip(delta, -eps, eps)
    length = _length(delta, norm)
    if norm == 2:
        return delta * jnp.minimum(1, eps / jnp.where(length > 0, length, 1))
    # the l1 ball: soft thresholding at the level that makes the length eps (Duchi et al. 2008)
    size = jnp.abs(delta.reshape(-1))
    ordered = -jnp.sort(-size)
    level = (jnp.cumsum(ordered) - eps) / jnp.arange(1, size.size + 1, dtype=size.dtype)
    threshold = jnp.max(jnp.where(ordered > level, level, -jnp.inf))
    shrunk = jnp.sign(delta) * jnp.maximum(jnp.abs(delta) - jnp.maximum(threshold, 0), 0)
    return jnp.where(length > eps, shrunk, delta)
