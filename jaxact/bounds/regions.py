"""Sets of inputs: balls of the norms 1, 2 and infinity, and boxes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

NORMS = (1, 2, jnp.inf)


@pytree(static=("norm",))
class Ball:
    """The inputs within `eps` of `center`: { x : ||x - center||_norm <= eps }.

    Attributes:
        center: one sample, of the network's input shape.
        eps: the radius, a scalar >= 0, in the units of the input; may be traced.
        norm: 1, 2 or `jnp.inf`.
        clip: None, or (low, high): for the infinity norm, only inputs of the ball with entries
            in [low, high] (the range of an image); scalars or arrays of the input shape.

    Example:
        >>> import jax.numpy as jnp
        >>> lower, upper = Ball(jnp.array([0.0, 0.5]), 0.25, clip=(0.0, 1.0)).box()
        >>> lower.tolist(), upper.tolist()
        ([0.0, 0.25], [0.25, 0.75])
    """

    center: Leaf
    eps: Leaf
    norm: Any = jnp.inf
    clip: Leaf = None

    @property
    def sample(self) -> Array:
        """An input in the region, in a floating dtype."""
        return _floating(self.center)

    @property
    def is_box(self) -> bool:
        """Whether the region is a product of intervals."""
        return self.norm == jnp.inf

    def box(self) -> tuple[Float[Array, ...], Float[Array, ...]]:
        """The smallest box around the region: entrywise bounds of the input."""
        center = self.sample
        eps = jnp.asarray(self.eps, center.dtype)
        lower, upper = center - eps, center + eps
        if self.clip is None:
            return lower, upper
        low, high = (jnp.asarray(c, center.dtype) for c in self.clip)
        return jnp.maximum(lower, low), jnp.minimum(upper, high)

    def linear(self, rows: Float[Array, "rows ..."]) -> tuple[Array, Array]:
        """Middle and half-width of the range of `rows . x` over the region, each of shape (rows,).

        The half-width is eps times the dual norm of the row, so the range is exact.
        """
        if self.clip is not None:
            return _over_box(rows, *self.box())
        middle = inner(rows, self.sample)
        flat = jnp.abs(rows.reshape(rows.shape[0], -1))
        if self.norm == jnp.inf:
            dual = flat.sum(axis=1)
        elif self.norm == 1:
            dual = flat.max(axis=1)
        else:
            # scaled, so that the square of a small entry does not underflow
            scale = lax.stop_gradient(flat.max(axis=1, keepdims=True))
            scale = jnp.where(scale > 0, scale, 1)
            square = ((flat / scale) ** 2).sum(axis=1)
            root = jnp.sqrt(jnp.where(square > 0, square, 1))
            dual = jnp.where(square > 0, scale[:, 0] * root, 0)
        return middle, jnp.asarray(self.eps, rows.dtype) * dual

    def check(self) -> None:
        """Raise `ValueError` for a ball that makes no sense; traced values pass."""
        checks.choice("norm", self.norm, NORMS)
        checks.finite("center", self.center)
        checks.non_negative("eps", self.eps)
        if np.ndim(self.eps) != 0:
            raise ValueError(f"eps must be a scalar, got shape {np.shape(self.eps)}")
        if self.clip is None:
            return
        if self.norm != jnp.inf:
            raise ValueError(f"clip needs norm=jnp.inf, got norm={self.norm!r}")
        if len(checks.sequence("clip", self.clip)) != 2:
            raise ValueError(f"clip must be (low, high), got {self.clip!r}")
        for end in self.clip:
            if checks.is_concrete(end) and np.isnan(checks.numbers("clip", end)).any():
                raise ValueError(f"clip must be numbers, got {self.clip!r}")
        if checks.is_concrete(self.clip, self.center, self.eps):
            ends = "the lower end of the ball within clip", "its upper end"
            checks.ordered(*ends, *self.box())


@pytree()
class Box:
    """The inputs between `lower` and `upper`, entrywise.

    Attributes:
        lower: one array of the network's input shape.
        upper: the same, nowhere below `lower`.

    Example:
        >>> import jax.numpy as jnp
        >>> middle, half = Box(jnp.zeros(2), jnp.ones(2)).linear(jnp.array([[1.0, -3.0]]))
        >>> middle.tolist(), half.tolist()
        ([-1.0], [2.0])
    """

    lower: Leaf
    upper: Leaf

    @property
    def sample(self) -> Array:
        """An input in the region, in a floating dtype."""
        return _floating(self.lower)

    @property
    def is_box(self) -> bool:
        """Whether the region is a product of intervals."""
        return True

    def box(self) -> tuple[Float[Array, ...], Float[Array, ...]]:
        """Entrywise bounds of the input."""
        lower = self.sample
        return lower, jnp.asarray(self.upper, lower.dtype)

    def linear(self, rows: Float[Array, "rows ..."]) -> tuple[Array, Array]:
        """Middle and half-width of the range of `rows . x` over the box, each of shape (rows,)."""
        return _over_box(rows, *self.box())

    def check(self) -> None:
        """Raise `ValueError` for a box that makes no sense; traced values pass."""
        checks.interval(self.lower, self.upper)


def inner(rows: Array, x: Array) -> Array:
    """Rows . x, of shape (rows,), at the highest precision of the backend."""
    flat = rows.reshape(rows.shape[0], -1)
    return jnp.matmul(flat, x.reshape(-1), precision=lax.Precision.HIGHEST)


def _over_box(rows: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    return inner(rows, (lower + upper) / 2), inner(jnp.abs(rows), (upper - lower) / 2)


def _floating(value: Any) -> Array:
    return jnp.asarray(value, jnp.result_type(value, float))
