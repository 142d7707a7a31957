"""Adversarial inputs by projected gradient descent: the other side of a certificate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.problem import clean_margin, prepare_labels
from jaxact.bounds.regions import Ball
from jaxact.bounds.search import bracket
from jaxact.bounds.spec import margin_spec
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.graph import Network


@pytree()
class Attack:
    """The worst input that was found.

    Attributes:
        point: the input, within the ball.
        margin: its smallest margin f_label - f_j.
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
    clip: Any = None,
    steps: int = 40,
    restarts: int = 4,
    key: Any = None,
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
        clip: None, or (low, high): the range of the input's entries (any norm).
        steps: gradient steps.
        restarts: number of starts.
        key: a typed key; `jax.random.key(0)` by default.

    Returns:
        `Attack`, with a leading batch axis if x has one.

    Raises:
        ValueError: for shapes, labels or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> found = attack(lambda x: x @ w, jnp.array([1.0, 1.0]), 0, eps=1.25)
        >>> bool(found.success), round(float(found.margin), 4)
        (True, -1.0)

    Source: Madry et al. 2018, section 2.1.
    """
    network, x, label = prepare_labels(f, x, label)
    clip, keys = _prepare(network, x, label, norm, clip, steps, restarts, key)
    checks.non_negative("eps", eps)
    eps = jnp.asarray(eps, network.dtype)
    return _attack(network, x, label, eps, clip, keys, norm=norm, steps=steps, restarts=restarts)


def attack_radius(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    *,
    norm: Any = jnp.inf,
    clip: Any = None,
    steps: int = 40,
    restarts: int = 4,
    key: Any = None,
    start: Any = 0.01,
    tolerance: Any = 1e-2,
    evaluations: int = 40,
) -> AttackRadius:
    """The smallest radius at which `attack` succeeds, by bracketing and bisection.

    An upper bound of the true robustness, beside `certified_radius`, a lower one.

    Args:
        f: as in `attack`.
        x: as in `attack`.
        label: as in `attack`.
        norm: 1, 2 or `jnp.inf`.
        clip: None, or (low, high): the range of the input's entries.
        steps: gradient steps of every attack.
        restarts: starts of every attack.
        key: a typed key; `jax.random.key(0)` by default.
        start: the first radius tried, > 0.
        tolerance: stop when the bracket is this narrow, relative to its upper end.
        evaluations: the largest number of attacks.

    Returns:
        `AttackRadius`, with a leading batch axis if x has one.

    Raises:
        ValueError: for shapes, labels or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> found = attack_radius(lambda x: x @ w, jnp.array([1.0, 1.0]), 0)
        >>> 1.0 <= float(found.radius) < 1.01
        True
    """
    network, x, label = prepare_labels(f, x, label)
    clip, keys = _prepare(network, x, label, norm, clip, steps, restarts, key)
    checks.positive("start", start)
    checks.positive("tolerance", tolerance)
    checks.integer("evaluations", evaluations, 1)
    start, tolerance = (jnp.asarray(v, network.dtype) for v in (start, tolerance))
    return _attack_radius(
        network, x, label, clip, keys, start, tolerance,
        norm=norm, steps=steps, restarts=restarts, limit=evaluations,
    )  # fmt: skip


def _prepare(
    network: Network,
    x: Array,
    label: Array,
    norm: Any,
    clip: Any,
    steps: int,
    restarts: int,
    key: Any,
) -> tuple[Any, Array]:
    checks.choice("norm", norm, (1, 2, jnp.inf))
    checks.integer("steps", steps, 1)
    checks.integer("restarts", restarts, 1)
    if clip is not None:
        Ball(x, 0.0, jnp.inf, clip).check()
        clip = tuple(jnp.asarray(c, network.dtype) for c in clip)
    if key is None:
        key = jax.random.key(0)
    checks.key("key", key)
    return clip, key if label.ndim == 0 else jax.random.split(key, label.shape[0])


@functools.partial(jax.jit, static_argnames=("norm", "steps", "restarts"))
def _attack(
    network: Network,
    x: Array,
    label: Array,
    eps: Array,
    clip: Any,
    keys: Array,
    *,
    norm: Any,
    steps: int,
    restarts: int,
) -> Attack:
    def one(x: Array, label: Array, key: Array) -> Attack:
        return _pgd(network, x, label, eps, clip, _noise(key, x, restarts), norm, steps)

    return one(x, label, keys) if label.ndim == 0 else jax.vmap(one)(x, label, keys)


@functools.partial(jax.jit, static_argnames=("norm", "steps", "restarts", "limit"))
def _attack_radius(
    network: Network,
    x: Array,
    label: Array,
    clip: Any,
    keys: Array,
    start: Array,
    tolerance: Array,
    *,
    norm: Any,
    steps: int,
    restarts: int,
    limit: int,
) -> AttackRadius:
    def one(x: Array, label: Array, key: Array) -> AttackRadius:
        noise = _noise(key, x, restarts)

        def withstands(eps: Array) -> tuple[Array, Array]:
            found = _pgd(network, x, label, eps, clip, noise, norm, steps)
            return ~found.success, found.point

        spec = margin_spec(label, network.output_shape[0]).astype(x.dtype)
        correct = clean_margin(network, x, spec) > 0
        _, high, converged, count, point = bracket(
            withstands, start, tolerance, limit=limit, run=correct, evidence=x
        )
        distance = jnp.where(jnp.isinf(high), high, _length(point - x, norm))
        return AttackRadius(jnp.where(correct, distance, 0), point, converged, count)

    return one(x, label, keys) if label.ndim == 0 else jax.vmap(one)(x, label, keys)


def _pgd(
    network: Network,
    x: Array,
    label: Array,
    eps: Array,
    clip: Any,
    noise: Array,
    norm: Any,
    steps: int,
) -> Attack:
    spec = margin_spec(label, network.output_shape[0]).astype(x.dtype)
    slope = jax.value_and_grad(lambda v: clean_margin(network, v, spec))

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
        margin = clean_margin(network, last, spec)
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
