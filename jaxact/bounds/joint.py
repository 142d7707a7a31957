"""Certified planes around the product of two perturbed numbers over a box (McCormick).

a b is bilinear, so a b - s a - t b is least at a corner of the box: for any slopes the intercept
from the four corners is a certificate. Every slope pair (c_b, c_a) with (c_a, c_b) on the diagonal
from the least to the largest corner gives the least volume.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.regions import inner
from jaxact.bounds.relax import relax_unit
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.intervals import Arithmetic, Interval
from jaxact.tracing.joint import Maximum


@pytree()
class Planes:
    """Two planes around a function of two numbers; every array has the shape of the operands.

    Attributes:
        lower_slopes: one array for each operand.
        lower_intercept: lower_slopes . (a, b) + lower_intercept <= f(a, b).
        upper_slopes: one array for each operand.
        upper_intercept: f(a, b) <= upper_slopes . (a, b) + upper_intercept.
    """

    lower_slopes: Leaf
    lower_intercept: Leaf
    upper_slopes: Leaf
    upper_intercept: Leaf


def product_planes(left: Interval, right: Interval) -> Planes:
    """Planes of least volume around a b for a in `left` and b in `right`.

    Of the planes of least volume the one with the best worst value over the box is taken: the
    middle one unless an end of the diagonal is better. They hold in real arithmetic for the
    rounded numbers returned; where the box is not finite they are the range of the product.

    Args:
        left: (lower, upper) of a, any shape, float32 or float64.
        right: (lower, upper) of b, the same shape.

    Returns:
        `Planes` of that shape, differentiable in all four ends.

    Example:
        >>> import jax.numpy as jnp
        >>> a, b = (jnp.array(1.0), jnp.array(2.0)), (jnp.array(1.0), jnp.array(3.0))
        >>> planes = product_planes(a, b)
        >>> [round(float(s), 4) for s in (*planes.lower_slopes, planes.lower_intercept)]
        [1.0, 1.0, -1.0]

    Source: McCormick 1976, "Computability of global solutions to factorable nonconvex programs".
    """
    ar = Arithmetic(jnp, left[0].dtype)
    lower, floor = _lower_plane(ar, left, right)
    # the upper plane of a b is the lower plane of a (-b), negated
    upper, ceiling = _lower_plane(ar, left, ar.neg(right))
    return Planes(lower, floor, (-upper[0], upper[1]), -ceiling)


def maximum_planes(node: Maximum, difference: Interval) -> Planes:
    """Planes around a maximum (or log(e^a + e^b)): b and lines around relu (softplus) of a - b.

    Args:
        node: the maximum.
        difference: (lower, upper) of a - b, narrow where a and b share something.

    Returns:
        `Planes` over a, b and a - b.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.tracing import trace
        >>> node = trace(lambda x: jnp.maximum(x[0], x[1]), jnp.zeros(2)).graph.nodes[-1]
        >>> planes = maximum_planes(node, (jnp.array(-3.0), jnp.array(-1.0)))
        >>> [float(s) for s in planes.upper_slopes], float(planes.upper_intercept)
        ([0.0, 1.0, 0.0], 0.0)
    """
    lines = relax_unit(node.fn, *difference)
    none, whole = jnp.zeros_like(lines.lower_slope), jnp.ones_like(lines.lower_slope)
    return Planes(
        (none, whole, lines.lower_slope),
        lines.lower_intercept,
        (none, whole, lines.upper_slope),
        lines.upper_intercept,
    )


def through_planes(rows: Array, planes: Planes) -> tuple[list[Array], Array]:
    """Rows of linear forms of the output as rows of each operand, and what is added to each."""
    positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
    parts = [
        positive * low[None] + negative * high[None]
        for low, high in zip(planes.lower_slopes, planes.upper_slopes, strict=True)
    ]
    return parts, inner(positive, planes.lower_intercept) + inner(negative, planes.upper_intercept)


def _lower_plane(ar: Arithmetic, left: Interval, right: Interval) -> tuple[tuple[Any, Any], Any]:
    finite = functools.reduce(jnp.logical_and, [jnp.isfinite(v) for v in (*left, *right)])
    l, u = (jnp.where(finite, v, 0) for v in left)  # noqa: E741
    m, v = (jnp.where(finite, v, 0) for v in right)
    best = jax.lax.stop_gradient(_diagonal(ar, l, u, m, v))
    slopes = m * best + v * (1 - best), l * best + u * (1 - best)
    level = functools.reduce(
        jnp.minimum, [_above(ar, slopes, (a, b)) for a in (l, u) for b in (m, v)]
    )
    (range_low, _) = ar.undefined(ar.mul(left, right))
    return slopes, jnp.where(finite, level, range_low)


def _diagonal(ar: Arithmetic, l: Any, u: Any, m: Any, v: Any) -> Any:  # noqa: E741
    """The weight of the least corner whose plane has the largest minimum over the box.

    Ties are common (a factor of both signs) and must not be decided by rounding, or the bound
    would jump: an end of the diagonal has to be better by a part of the gap.
    """

    def worst(weight: float) -> Any:
        across, along = m * weight + v * (1 - weight), l * weight + u * (1 - weight)
        least = jnp.minimum(across * l, across * u) + jnp.minimum(along * m, along * v)
        return least - (l * m * weight + u * v * (1 - weight))

    rounding = 32 * ar.eps * jnp.maximum(abs(l), abs(u)) * jnp.maximum(abs(m), abs(v))
    least, largest = worst(1.0), worst(0.0)
    better = jnp.maximum(least, largest) > worst(0.5) + (u - l) * (v - m) / 16 + rounding
    return jnp.where(better, jnp.where(least >= largest, 1.0, 0.0), 0.5).astype(l.dtype)


def _above(ar: Arithmetic, slopes: tuple[Any, Any], corner: tuple[Any, Any]) -> Any:
    """A lower bound of a b - slopes . (a, b) at a corner."""
    (s, t), (a, b) = [tuple((x, x) for x in pair) for pair in (slopes, corner)]
    plane = ar.add(ar.mul(s, a), ar.mul(t, b))
    return ar.sub(ar.mul(a, b), plane)[0]
