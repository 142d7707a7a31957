"""Exact maximum likelihood of an invertible generator, its activation's parameters included."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from jaxact.geometry.generator import Generator, check_generator
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_FIELDS = ("weights", "biases", "gamma", "beta", "act", "output", "latent")
_HALVINGS = 30


@pytree()
class LikelihoodFit:
    """A fitted generator and how it was reached.

    Attributes:
        generator: the fitted `Generator`.
        nll: (steps,) the mean negative log likelihood before each step, in nats a sample.
        halvings: (steps,) how often each step was halved to keep the data in the image.
        gradient: the norm of the last gradient.
        converged: whether that is at most the tolerance.
    """

    generator: Generator
    nll: Leaf
    halvings: Leaf
    gradient: Leaf
    converged: Leaf


def fit_generator(
    g: Generator,
    x: Float[ArrayLike, "count d"],
    *,
    train: Sequence[str] = ("weights", "biases", "gamma", "beta", "act"),
    optimizer: optax.GradientTransformation | None = None,
    steps: int = 300,
    tol: float = 0.05,
) -> LikelihoodFit:
    """Maximise the mean exact log density of the data over a generator's parameters.

    Full-batch descent as one compiled scan. The density is 0 outside the generator's image, so
    the likelihood has a wall there: a step that takes a sample out of the image, or that costs
    more than one nat a sample, is halved until it does not. So the likelihood stays finite
    from a start that holds the data.

    Args:
        g: where to start; its image must hold every sample.
        x: (count, d), the data.
        train: the generator's fields to be fitted, of weights, biases, gamma, beta, act (its
            theta), output and latent.
        optimizer: an optax transformation; Adam at 0.02 with a cosine decay by default.
        steps: updates, >= 1.
        tol: of the gradient's norm, for `converged`, > 0.

    Returns:
        A `LikelihoodFit`.

    Raises:
        TypeError: for an optimizer that is no optax transformation.
        ValueError: if a sample is outside the image at the start, a field is unknown or has
            nothing to fit, or an argument is out of its range.

    Example:
        >>> import dataclasses, jax, jaxact
        >>> from jaxact.geometry import draw_generator
        >>> g = draw_generator(jax.random.key(0), 2, 1, jaxact.get("mu_relu", 0.3))
        >>> x = g.sample(jax.random.key(1), 1000)
        >>> start = dataclasses.replace(g, act=g.act.replace(0.0))
        >>> fit = fit_generator(start, x, train=("act",), steps=150)
        >>> abs(float(fit.generator.act.theta[0]) - 0.3) < 0.05
        True

    Source: Nock et al. 2017, section 5 (the density); its likelihood is maximised here.
    """
    train = tuple(checks.sequence("train", train))
    unknown = [name for name in train if name not in _FIELDS]
    if unknown or not train:
        raise ValueError(f"train must name fields of {', '.join(_FIELDS)}, got {tuple(train)}")
    checks.integer("steps", steps, 1)
    checks.positive("tol", tol)
    check_generator(g)
    data = g.points("x", x)
    checks.shape("x", data, ("count", data.shape[-1]))
    if data.shape[0] == 0:
        raise ValueError("x must hold at least one sample")
    free = {name: getattr(g, name) for name in _FIELDS if name in train}
    held = {name: getattr(g, name) for name in _FIELDS if name not in train}
    if not jax.tree.leaves(free):
        raise ValueError(f"there is nothing to fit in {tuple(train)}: no parameters")
    _require_support(g, data)
    chosen = _default_optimizer(steps) if optimizer is None else optimizer
    checks.instance("optimizer", chosen, optax.GradientTransformation)
    free, nll, halvings, norm = _run(free, held, data, optimizer=chosen, steps=steps)
    return LikelihoodFit(Generator(**free, **held), nll, halvings, norm, norm <= tol)


def negative_log_likelihood(g: Generator, x: Float[ArrayLike, "count d"]) -> Float[Array, ""]:
    """-mean log q_g(x) over samples, in nats: the loss that `fit_generator` descends.

    +inf if a sample is outside the image.

    Args:
        g: a `Generator`.
        x: (count, d).

    Returns:
        A scalar, differentiable in g and x (samples outside the image have no gradient).

    Example:
        >>> import jax, jax.numpy as jnp, jaxact
        >>> from jaxact.geometry import draw_generator
        >>> g = draw_generator(jax.random.key(0), 2, 1, jaxact.get("identity"))
        >>> round(float(negative_log_likelihood(g, jnp.zeros((3, 2)))), 4)  # log 2 pi
        1.8379
    """
    check_generator(g)
    return -jnp.mean(g.log_density(x))


@functools.partial(jax.jit, static_argnames=("optimizer", "steps"))
def _run(free: Any, held: Any, x: Any, *, optimizer: Any, steps: int) -> Any:
    objective = lambda p: negative_log_likelihood(Generator(**p, **held), x)  # noqa: E731
    free = jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), free)

    def step(state: Any, _: None) -> Any:
        (p, memory), (value, gradient) = state
        # optax mixes counters and rates of other dtypes, which strict promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimizer.update(gradient, memory, p)
        p, halvings = _backtrack(objective, p, updates, value)
        return ((p, memory), jax.value_and_grad(objective)(p)), (value, halvings)

    start = (free, optimizer.init(free)), jax.value_and_grad(objective)(free)
    ((free, _), (_, gradient)), (nll, halvings) = jax.lax.scan(step, start, None, length=steps)
    return free, nll, halvings, optax.tree.norm(gradient)


def _backtrack(objective: Any, p: Any, updates: Any, value: Any) -> tuple[Any, Any]:
    """The step, halved until the objective is finite and at most one nat worse."""

    def moved(halvings: Any) -> Any:
        share = jnp.where(halvings > _HALVINGS, 0, 0.5**halvings)
        return jax.tree.map(lambda a, u: a + (share * u).astype(a.dtype), p, updates)

    def refused(halvings: Any) -> Any:
        # A NaN compares false: it is refused.
        return ~(objective(moved(halvings)) <= value + 1) & (halvings <= _HALVINGS)

    halvings = jax.lax.while_loop(refused, lambda n: n + 1, jnp.zeros((), value.dtype))
    return moved(halvings), halvings


@functools.lru_cache(maxsize=16)
def _default_optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(0.02, steps, alpha=0.02))


def _require_support(g: Generator, x: Array) -> None:
    if not checks.is_concrete(g, x):
        return
    outside = np.flatnonzero(~np.isfinite(np.asarray(g.log_density(x))))
    if outside.size:
        raise ValueError(
            f"every sample must be in the image of the generator at the start: {outside.size} of "
            f"{len(x)} are not, the first at index {outside[0]}; start from a wider image (for "
            "mu_relu, a lower mu; an activation onto all of R, as leaky_relu, holds any data)"
        )
