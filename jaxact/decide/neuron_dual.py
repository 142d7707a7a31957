"""The dual bound of many subdomains at once, its primal point and its derivatives.

For a subdomain the pre-activations z_k lie in [lo_k, hi_k]. For lines around each activation,
any multipliers mu of those intervals and any weights w >= 0 of the half-spaces,

    min over the box of  w . (rows z_m - t) + sum_k mu_k z_k - max(mu_k, 0) hi_k + min(..) lo_k

is a lower bound of w . (rows z_m - t) on the subdomain: pulled back layer by layer it is linear in
the input, and its minimum over a box is known. A split of an unstable neuron is such an interval,
so that the multipliers of splits (beta-CROWN) need nothing of their own.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Question:
    """What B rows ask, about the first layers of a network.

    Attributes:
        middle: of the input box, shape (B or 1, inputs).
        half: half its width, the same shape.
        rows: half-spaces of the last of these pre-activations, shape (B, H, n).
        thresholds: shape (B, H).
        extra: None, or for every layer None or rows (B, n) of its pre-activations, added.
    """

    middle: Leaf
    half: Leaf
    rows: Leaf
    thresholds: Leaf
    extra: Leaf = None


@pytree()
class Multipliers:
    """What a bound is maximised over.

    Attributes:
        places: of the lines of every layer, shapes (1 or 2, B, n), in [0, 1].
        mu: of the intervals of every layer, shapes (B, n).
        weights: of the half-spaces, shape (B, H), >= 0.
    """

    places: Leaf
    mu: Leaf
    weights: Leaf


@pytree()
class Pass:
    """What one pass back leaves.

    Attributes:
        bound: shape (B,).
        slopes: the rows of the input, shape (B, inputs).
        after: the coefficients of each layer's activations, shapes (B, n).
        before: the coefficients of each layer's pre-activations, with mu, shapes (B, n).
        lines: of each layer.
        size: the sum of the absolute terms, shape (B,): what rounding is relative to.
    """

    bound: Leaf
    slopes: Leaf
    after: Leaf
    before: Leaf
    lines: Leaf
    size: Leaf


def product(a: Array, b: Array) -> Array:
    """A b, at the highest precision of the backend."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def total(a: Array) -> Array:
    """Sums of rows: a product, which a CPU does faster than a reduction."""
    return product(a, jnp.ones((a.shape[1], 1), a.dtype))[:, 0]


def pull_back(layers: Any, lines: Any, boxes: Any, question: Question, free: Multipliers) -> Pass:
    """The bound of every row, from its lines' values.

    Args:
        layers: the first layers, as many as `question` is about.
        lines: per activation (slope below, intercept below, slope above, intercept above).
        boxes: per activation (lower, upper) pre-activations, shapes (B or 1, n).
        question: the rows.
        free: the multipliers; its places are not looked at.

    Returns:
        `Pass`.
    """
    top = len(lines)
    before: list[Any] = [None] * (top + 1)
    after: list[Any] = [None] * top
    coefficient = (free.weights[:, :, None] * question.rows).sum(1)
    constant = -(free.weights * question.thresholds).sum(1)
    size = jnp.abs(free.weights * question.thresholds).sum(1)
    for k in range(top, -1, -1):
        if k < top:
            (low, low_shift, high, high_shift), (lower, upper) = lines[k], boxes[k]
            after[k], mu = coefficient, free.mu[k]
            positive, negative = jnp.maximum(coefficient, 0), jnp.minimum(coefficient, 0)
            shift = positive * low_shift + negative * high_shift
            gain = -jnp.maximum(mu, 0) * upper - jnp.minimum(mu, 0) * lower
            constant = constant + total(shift + gain)
            size = size + total(jnp.abs(shift) + jnp.abs(gain))
            coefficient = positive * low + negative * high + mu
        if question.extra is not None and question.extra[k] is not None:
            coefficient = coefficient + question.extra[k]
        before[k] = coefficient
        offset = layers.offsets[k][None] * coefficient
        constant = constant + total(offset)
        size = size + total(jnp.abs(offset))
        coefficient = product(coefficient, layers.matrices[k])
    reach = jnp.abs(coefficient) * question.half
    bound = constant + total(coefficient * question.middle - reach)
    size = size + total(reach + jnp.abs(coefficient * question.middle))
    return Pass(bound, coefficient, tuple(after), tuple(before), lines, size)


def push_forward(layers: Any, question: Question, found: Pass) -> tuple[Array, tuple[Array, ...]]:
    """The minimiser of the bound over the box, and the pre-activations that the lines give it."""
    x = question.middle - question.half * jnp.sign(found.slopes)
    z = [product(x, layers.matrices[0].T) + layers.offsets[0][None]]
    for k, (low, low_shift, high, high_shift) in enumerate(found.lines):
        y = jnp.where(found.after[k] > 0, low * z[k] + low_shift, high * z[k] + high_shift)
        z.append(product(y, layers.matrices[k + 1].T) + layers.offsets[k + 1][None])
    return x, tuple(z)


def gradient(
    families: Any, boxes: Any, question: Question, free: Multipliers, found: Pass, z: Any
) -> Multipliers:
    """Of the bound: at the minimiser the derivatives are those of the Lagrangian."""
    places, mus = [], []
    for k, (family, (lower, upper)) in enumerate(zip(families, boxes, strict=True)):
        positive, negative = jnp.maximum(found.after[k], 0), jnp.minimum(found.after[k], 0)
        places.append(family.pull(free.places[k], positive, negative, z[k]))
        above, below, mu = z[k] - upper, z[k] - lower, free.mu[k]
        outside = jnp.maximum(above, 0) + jnp.minimum(below, 0)
        mus.append(jnp.where(mu > 0, above, jnp.where(mu < 0, below, outside)))
    slack = (question.rows * z[-1][:, None]).sum(2) - question.thresholds
    return Multipliers(tuple(places), tuple(mus), slack)
