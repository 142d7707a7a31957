"""What is asked of the outputs: rows of linear forms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.numerics import checks
from jaxact.tracing.affine import Variable


def margin_spec(label: Any, classes: int) -> Float[Array, "rows classes"]:
    """The margins of a class over all others: rows e_label - e_j, j != label ascending.

    All of them positive means that the network answers `label`.

    Args:
        label: the class, an integer in [0, classes); may be traced.
        classes: the number of outputs.

    Returns:
        An array of shape (classes - 1, classes).

    Raises:
        ValueError: if the label is out of range.

    Example:
        >>> margin_spec(1, 3).tolist()
        [[-1.0, 1.0, 0.0], [0.0, 1.0, -1.0]]

    Source: Zhang et al. 2018, section 3.1 (last layer replaced by W_c - W_j).
    """
    checks.integer("classes", classes, 2)
    check_labels(label, classes)
    label = jnp.asarray(label, jnp.int32)
    others = jnp.arange(classes - 1, dtype=jnp.int32)
    others = others + (others >= label).astype(jnp.int32)
    dtype = jnp.result_type(float)
    own = jax.nn.one_hot(label, classes, dtype=dtype)
    return own[None, :] - jax.nn.one_hot(others, classes, dtype=dtype)


def spec_rows(spec: Any, target: Variable) -> Any:
    """A spec as rows over the output variable; None stays None."""
    return None if spec is None else spec.reshape(spec.shape[0], *target.shape)


def check_labels(label: Any, classes: int, *, name: str = "label") -> None:
    """Raise unless every label is an integer in [0, classes); traced values pass."""
    checks.finite(name, label)
    if not jnp.issubdtype(jnp.result_type(label), jnp.integer):
        raise TypeError(f"{name} must be an integer, got {label!r}")
    if checks.is_concrete(label):
        values = np.asarray(label)
        wrong = values[(values < 0) | (values >= classes)]
        if wrong.size:
            raise ValueError(f"{name} must be in [0, {classes}), got {wrong.reshape(-1)[0]}")
