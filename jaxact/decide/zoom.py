"""Counterexamples in thin sets: sample a box, keep the nearest misses, sample around them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

_ELITE = 64
_WIDEST, _SHRINK = 0.25, 0.6


@functools.partial(jax.jit, static_argnames=("samples", "generations"))
def zoom(
    net: Any,
    lower: Array,
    upper: Array,
    rows: Array,
    thresholds: Array,
    starts: Array,
    key: Any,
    *,
    samples: int = 4096,
    generations: int = 12,
) -> tuple[Array, Array]:
    """Points of a box with a small largest slack, by an evolution strategy.

    Gradients stall where a network of few inputs folds, and the sets looked for are thinner than
    steps of a fixed length; evaluating a small network is cheap. Every generation draws normal
    steps around the best points so far, in a neighbourhood that shrinks.

    Args:
        net: a function of one flat sample.
        lower: of the box, shape (inputs,).
        upper: the same.
        rows: shape (half-spaces, outputs).
        thresholds: shape (half-spaces,).
        starts: points to begin with beside random ones, shape (points, inputs).
        key: a typed key.
        samples: points of a generation.
        generations: how many.

    Returns:
        The best points, shape (64, inputs), the best first, and their largest slacks.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> box, row = (jnp.zeros(2), jnp.ones(2)), (jnp.ones((1, 1)), jnp.full(1, 1e-3))
        >>> f = jax.tree_util.Partial(lambda x: jnp.abs(x - 0.3).sum()[None])
        >>> points, slacks = zoom(f, *box, *row, jnp.zeros((1, 2)), jax.random.key(0))
        >>> bool(slacks[0] < 0), [round(float(v), 2) for v in points[0]]
        (True, [0.3, 0.3])

    Source: Beyer and Schwefel 2002, "Evolution strategies: a comprehensive introduction".
    """
    lower, upper, levels = lower[None], upper[None], thresholds[None]
    width = upper - lower

    def slack(points: Array) -> Array:
        outputs = jax.vmap(net)(points)
        return (jnp.matmul(outputs, rows.T, precision=lax.Precision.HIGHEST) - levels).max(1)

    def best(points: Array, slacks: Array) -> tuple[Array, Array]:
        least, at = lax.top_k(-slacks, _ELITE)
        return points[at], -least

    def generation(k: Any, state: Any) -> tuple[Array, Array]:
        points, slacks = state
        parent, step, size = jax.random.split(jax.random.fold_in(key, k), 3)
        middle = points[jax.random.randint(parent, (samples,), 0, _ELITE)]
        moves = jax.random.normal(step, middle.shape, middle.dtype)
        moves = moves * jax.random.uniform(size, (samples, 1), middle.dtype)
        reach = _WIDEST * _SHRINK ** jnp.asarray(k, width.dtype) * width
        fresh = jnp.clip(middle + moves * reach, lower, upper)
        return best(jnp.concatenate([points, fresh]), jnp.concatenate([slacks, slack(fresh)]))

    first = lower + width * jax.random.uniform(key, (samples, lower.shape[1]), lower.dtype)
    first = jnp.concatenate([jnp.clip(starts, lower, upper), first])
    return lax.fori_loop(0, generations, generation, best(first, slack(first)))
