"""Base measures of deformed families: quadrature on an interval, the line or a box, or points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.quadrature import panel_rule

_REACH = 40.0  # x = scale sinh(t): up to 1e17 scales


@pytree(static=("nodes", "line"))
class Base:
    """A base measure as a rule: the integral of g is the sum of weights * g(points).

    Attributes:
        points: (n,) on an interval, the line or a finite set of numbers; else (n, d).
        weights: (n,), positive.
        edges: the ends of the panels, one array for each axis; none for a finite set. On the
            line they are those of t with x = scale sinh(t).
        scale: of the line; 1 elsewhere.
        nodes: Gauss-Legendre nodes in each panel; 0 for a finite set.
        line: whether the base is the whole line.

    Example:
        >>> round(float(interval(-1.0, 1.0).weights.sum()), 4)
        2.0
    """

    points: Leaf
    weights: Leaf
    edges: Leaf = ()
    scale: Leaf = 1.0
    nodes: int = 0
    line: bool = False

    def at(self, t: Any) -> Any:
        """The point x at the coordinate t of the panels' edges."""
        return self.scale * jnp.sinh(t) if self.line else t

    def stretch(self, t: Any) -> Any:
        """The measure dx / dt at the coordinate t."""
        return self.scale * jnp.cosh(t) if self.line else jnp.ones_like(t)

    def rule(self, edges: Float[Array, " edges"]) -> tuple[Any, Any]:
        """Points and weights, each flat, of the panels with these edges (one axis)."""
        t, weights = panel_rule(edges, self.nodes)
        return self.at(t).reshape(-1), (weights * self.stretch(t)).reshape(-1)


def interval(low: float, high: float, *, panels: int = 8, nodes: int = 32) -> Base:
    """Lebesgue measure on [low, high].

    Args:
        low: the left end, finite.
        high: the right end, > low.
        panels: of equal length. A family splits them again at the ends of its support, once in
            each panel.
        nodes: Gauss-Legendre nodes in each panel.

    Raises:
        ValueError: for ends that are not finite or not ascending, or counts below 1.

    Example:
        >>> base = interval(0.0, 3.0)
        >>> round(float(base.weights @ base.points**2), 4)
        9.0
    """
    return box((low, high), panels=panels, nodes=nodes)


def line(*, scale: float = 1.0, panels: int = 40, nodes: int = 16) -> Base:
    """Lebesgue measure on the real line, by x = scale sinh(t) with |t| <= 40.

    It holds densities with tails of |x|^-p, p >= 2, to 1e-15 of their mass beyond 1e17 scales.

    Args:
        scale: the length on which densities vary, > 0.
        panels: of equal length in t.
        nodes: Gauss-Legendre nodes in each panel.

    Raises:
        ValueError: for a scale that is not positive, or counts below 1.

    Example:
        >>> base = line()
        >>> round(float(base.weights @ (1 / (1 + base.points**2))), 4)  # pi
        3.1416
    """
    checks.positive("scale", scale)
    _check_counts(panels, nodes)
    edges = jnp.asarray(np.linspace(-_REACH, _REACH, panels + 1))
    empty = Base((), (), (edges,), jnp.asarray(scale, edges.dtype), nodes, line=True)
    points, weights = empty.rule(edges)
    return Base(points, weights, (edges,), empty.scale, nodes, line=True)


def box(*sides: Sequence[float], panels: int = 8, nodes: int = 32) -> Base:
    """Lebesgue measure on a product of intervals.

    Args:
        *sides: one or two pairs (low, high).
        panels: on each side.
        nodes: Gauss-Legendre nodes in each panel and on each side.

    Raises:
        ValueError: for sides that are not one or two ascending finite pairs.

    Example:
        >>> base = box((0.0, 1.0), (0.0, 2.0), panels=1, nodes=4)
        >>> base.points.shape, round(float(base.weights.sum()), 4)
        ((16, 2), 2.0)
    """
    _check_counts(panels, nodes)
    for side in sides:
        checks.finite("every one of sides", side)
    if len(sides) not in (1, 2) or any(len(side) != 2 for side in sides):
        raise ValueError(f"sides must be one or two pairs (low, high), got {sides}")
    for low, high in sides:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"sides must be finite pairs low < high, got ({low}, {high})")
    edges = tuple(jnp.asarray(np.linspace(low, high, panels + 1)) for low, high in sides)
    each = [panel_rule(e, nodes) for e in edges]
    if len(sides) == 1:
        points, weights = (part.reshape(-1) for part in each[0])
    else:
        grids = [jnp.meshgrid(*pair, indexing="ij") for pair in zip(*_flat(each), strict=True)]
        points = jnp.stack([grid.reshape(-1) for grid in grids[0]], axis=1)
        weights = (grids[1][0] * grids[1][1]).reshape(-1)
    return Base(points, weights, edges, jnp.ones((), edges[0].dtype), nodes)


def finite_set(points: Any, weights: Any = None) -> Base:
    """A weighted finite set of points.

    Args:
        points: (n,) numbers or (n, d) vectors.
        weights: (n,), > 0; one each by default (counting measure).

    Raises:
        ValueError: for weights that are not positive or not one for each point.

    Example:
        >>> finite_set([0.0, 1.0, 2.0]).weights.tolist()
        [1.0, 1.0, 1.0]
    """
    points = checks.floating("points", points).astype(jnp.result_type(float))
    if points.ndim not in (1, 2) or points.size == 0:
        raise ValueError(f"points must have shape (n,) or (n, d), got {points.shape}")
    weights = jnp.ones(len(points), points.dtype) if weights is None else weights
    weights = checks.floating("weights", weights).astype(points.dtype)
    checks.shape("weights", weights, (len(points),))
    checks.positive("weights", weights)
    return Base(points, weights, (), jnp.ones((), points.dtype))


def _flat(each: Any) -> Any:
    return [[part.reshape(-1) for part in rule] for rule in each]


def _check_counts(panels: int, nodes: int) -> None:
    checks.integer("panels", panels, minimum=1)
    checks.integer("nodes", nodes, minimum=1)
