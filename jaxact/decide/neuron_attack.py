"""From the minimisers of the bounds down the network's own slope: counterexamples."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxact.decide.layers import Layers
from jaxact.decide.neuron_dual import Question


@functools.partial(jax.jit, static_argnames="steps")
def descend(layers: Layers, x: Array, question: Question, *, steps: int) -> tuple[Array, Array]:
    """The best points on the way of signed gradient steps, and their margins.

    Args:
        layers: the network.
        x: where to start, shape (A, inputs).
        question: the boxes and half-spaces, shapes (A, ...).
        steps: how many; the first is a quarter of the box.

    Returns:
        Points of the box and the largest slack there, shape (A,).
    """
    lower, upper = question.middle - question.half, question.middle + question.half

    def margin(x: Array, rows: Array, thresholds: Array) -> Array:
        return (jnp.matmul(rows, layers(x), precision=lax.Precision.HIGHEST) - thresholds).max()

    slope = jax.vmap(jax.value_and_grad(margin))

    def step(state: Any, length: Array) -> tuple[Any, None]:
        x, best, least = state
        value, way = slope(x, question.rows, question.thresholds)
        better = value < least
        best, least = jnp.where(better[:, None], x, best), jnp.where(better, value, least)
        x = jnp.clip(x - length * question.half * jnp.sign(way), lower, upper)
        return (x, best, least), None

    lengths = 0.5 * (1 - jnp.arange(steps + 1, dtype=x.dtype) / (steps + 1))
    start = x, x, jnp.full(x.shape[0], jnp.inf, x.dtype)
    (_, best, least), _ = lax.scan(step, start, lengths)
    return best, least
