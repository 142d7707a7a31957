"""Masks: which entries of a generator's output are observed, and makers of the usual ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, PRNGKeyArray

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree(static=("shape",))
class Mask:
    """The observed entries of an array, as a flat vector; made by `mask`.

    Attributes:
        indices: (m,) positions in the flattened array, a leaf: other indices of the same
            number compile nothing new.
        shape: the array's shape where a boolean mask gave it, else None.
    """

    indices: Leaf
    shape: tuple[int, ...] | None = None

    def __call__(self, x: Any) -> Any:
        """Gather the observed entries of x, shape (m,)."""
        return jnp.reshape(x, (-1,))[self.indices]


def mask(where: Any) -> Mask:
    """Observe some entries of the generator's output: y = x[observed], flat.

    Args:
        where: a boolean array of the output's shape, True where it is observed; or distinct
            non-negative integer positions in the flattened output, shape (m,), in any order.

    Returns:
        A `Mask`: an operator for `invert` and `certificate`, and a function x -> (m,). Apply it
        to a full image to make measurements.

    Raises:
        ValueError: if nothing is observed, or a position is negative or repeated. (A position
            beyond the output is refused by `invert`, which knows the output.)
        TypeError: if `where` is neither boolean nor integer, or is being traced.

    Differentiation: linear in x; the positions are not differentiable.

    Example:
        >>> import jax.numpy as jnp
        >>> see = mask([[True, False], [False, True]])
        >>> see(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [1.0, 4.0]
        >>> mask([3, 0])(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [4.0, 1.0]

    Source: Ma, Ayaz & Karaman 2018, sub-sampled measurements y = A G(z).
    """
    if not checks.is_concrete(where):
        raise TypeError("where must be a concrete mask: make it outside jit, vmap and grad")
    array = checks.numbers("where", where)
    if array.size == 0 or (array.dtype == bool and not array.any()):
        raise ValueError(f"where must observe at least one entry, got none of shape {array.shape}")
    if array.dtype == bool:
        return Mask(jnp.asarray(np.flatnonzero(array), jnp.int32), array.shape)
    if array.dtype.kind not in "iu":
        raise TypeError(f"where must be boolean or integer, got dtype {array.dtype}")
    checks.shape("where", array, ("m",))
    checks.non_negative("where", array)
    if np.unique(array).size != array.size:
        raise ValueError("where must hold distinct positions, got a repeated one")
    return Mask(jnp.asarray(array, jnp.int32))


def block_mask(
    shape: Sequence[int], size: tuple[int, int], *, corner: tuple[int, int] | None = None
) -> Bool[np.ndarray, "*shape"]:
    """Everything but a rectangle is observed; a pixel is observed with all its channels.

    Args:
        shape: of the image, (h, w) or (h, w, c).
        size: (height, width) of the hidden rectangle, within the image.
        corner: its first row and column; None centres it.

    Returns:
        A boolean array, True where observed: for `mask`, alone or combined by & and |.

    Raises:
        ValueError: if the rectangle does not lie within the image, or covers it.

    Differentiation: none; it is made on the host.

    Example:
        >>> block_mask((3, 4), (1, 2)).astype(int).tolist()
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]

    Source: Ma, Ayaz & Karaman 2018, the experiments' masks; Bora et al. 2017, inpainting.
    """
    h, w = _sides(shape)
    sides = checks.sizes("size", size)
    if len(sides) != 2:
        raise ValueError(f"size must be (height, width), got {sides}")
    corner = ((h - sides[0]) // 2, (w - sides[1]) // 2) if corner is None else corner
    top, left = (*checks.sizes("corner", corner, -h - w, least=2), 0)[:2]
    rows, columns = np.arange(h) - top, np.arange(w) - left
    if top < 0 or left < 0 or top + size[0] > h or left + size[1] > w:
        raise ValueError(f"size {size} at corner {(top, left)} must lie within {(h, w)}")
    hidden_rows, hidden_columns = (
        (v >= 0) & (v < n) for v, n in zip((rows, columns), size, strict=True)
    )
    return _channels(~(hidden_rows[:, None] & hidden_columns[None, :]), shape)


def half_mask(shape: Sequence[int], *, hidden: str = "bottom") -> Bool[np.ndarray, "*shape"]:
    """One half of the image is hidden; the middle line of an odd side is observed.

    Args:
        shape: of the image, (h, w) or (h, w, c).
        hidden: "bottom", "top", "left" or "right".

    Returns:
        A boolean array, True where observed.

    Raises:
        ValueError: for another side.

    Differentiation: none; it is made on the host.

    Example:
        >>> half_mask((2, 3), hidden="left").astype(int).tolist()
        [[0, 1, 1], [0, 1, 1]]

    Source: Ma, Ayaz & Karaman 2018, the experiments' masks.
    """
    checks.choice("hidden", hidden, ("bottom", "top", "left", "right"))
    h, w = _sides(shape)
    lines = np.arange(h if hidden in ("bottom", "top") else w)
    seen = lines < lines.size - lines.size // 2
    seen = seen[::-1] if hidden in ("top", "left") else seen
    seen = seen[:, None] if hidden in ("bottom", "top") else seen[None, :]
    return _channels(np.broadcast_to(seen, (h, w)), shape)


def checkerboard_mask(shape: Sequence[int], *, cell: int = 1) -> Bool[np.ndarray, "*shape"]:
    """Squares of `cell` pixels are observed and hidden in turn, the first one observed.

    Args:
        shape: of the image, (h, w) or (h, w, c).
        cell: side of a square, >= 1.

    Returns:
        A boolean array, True where observed.

    Raises:
        ValueError: if cell is below 1.

    Differentiation: none; it is made on the host.

    Example:
        >>> checkerboard_mask((2, 3)).astype(int).tolist()
        [[1, 0, 1], [0, 1, 0]]

    Source: Ma, Ayaz & Karaman 2018: sampling must be spread over the hidden layer's positions.
    """
    checks.integer("cell", cell, 1)
    h, w = _sides(shape)
    seen = (np.arange(h)[:, None] // cell + np.arange(w)[None, :] // cell) % 2 == 0
    return _channels(seen, shape)


def random_mask(
    key: PRNGKeyArray, shape: Sequence[int], *, share: float
) -> Bool[np.ndarray, "*shape"]:
    """A random share of the pixels is observed: round(share h w) of them, at least one.

    Args:
        key: a typed key from `jax.random.key`.
        shape: of the image, (h, w) or (h, w, c).
        share: of the pixels, in (0, 1].

    Returns:
        A boolean array, True where observed.

    Raises:
        ValueError: if share is not in (0, 1].
        TypeError: for an untyped key.

    Differentiation: none; it is made on the host.

    Example:
        >>> import jax
        >>> int(random_mask(jax.random.key(0), (28, 28), share=0.25).sum())
        196

    Source: Ma, Ayaz & Karaman 2018, random sub-sampling.
    """
    checks.key("key", key)
    checks.positive("share", share)
    checks.between("share", share, 0.0, 1.0)
    h, w = _sides(shape)
    order = np.asarray(jax.random.permutation(key, h * w)).reshape(h, w)
    return _channels(order < max(1, round(share * h * w)), shape)


def check_mask(operator: Mask, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` if a mask does not fit an output of this shape."""
    if operator.shape is not None and operator.shape != shape:
        raise ValueError(
            f"operator must be a mask of the generator's output shape {shape}, "
            f"got a mask of shape {operator.shape}"
        )
    size = int(np.prod(shape))
    if not checks.is_concrete(operator.indices):
        return
    largest = int(np.asarray(operator.indices).max())
    if largest >= size:
        raise ValueError(
            f"operator must observe positions below {size} (the generator's output has shape "
            f"{shape}), got {largest}"
        )


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    shape = checks.sizes("shape", shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"shape must be (h, w) or (h, w, c), got {shape}")
    return shape[0], shape[1]


def _channels(seen: Any, shape: Sequence[int]) -> Any:
    """The same for every channel, as a fresh array."""
    return np.array(np.broadcast_to(seen.reshape(seen.shape + (1,) * (len(shape) - 2)), shape))
