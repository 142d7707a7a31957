"""Input checks on the host: refuse before any compute, in the user's terms.

Every check names the argument, the value it got and what was expected. Values that are being
traced by JAX have no value yet, so a check on them passes; shapes and dtypes are always checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def is_concrete(*values: Any) -> bool:
    """Whether none of the leaves of `values` is being traced by JAX."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def finite(name: str, value: Any) -> None:
    """Raise `ValueError` if a leaf of `value` holds a NaN or an infinity."""
    for leaf in jax.tree.leaves(value):
        if not is_concrete(leaf):
            continue
        array = np.asarray(leaf)
        if array.dtype.kind == "V":  # bfloat16 and its like, which NumPy cannot ask
            array = array.astype(np.float64)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0]
            where = f" at index {tuple(int(i) for i in bad)}" if array.ndim else ""
            raise ValueError(f"{name} must be finite, got {array[tuple(bad)]}{where}")


def positive(name: str, value: Any) -> None:
    """Raise `ValueError` unless every entry of `value` is finite and > 0."""
    _compare(name, value, lambda a: a > 0, "positive")


def non_negative(name: str, value: Any) -> None:
    """Raise `ValueError` unless every entry of `value` is finite and >= 0."""
    _compare(name, value, lambda a: a >= 0, "non-negative")


def between(name: str, value: Any, low: float | int, high: float | int) -> None:
    """Raise `ValueError` unless every entry of `value` lies in the closed range [low, high]."""
    _compare(name, value, lambda a: (a >= low) & (a <= high), f"in [{low}, {high}]")


def integer(name: str, value: Any, minimum: int) -> None:
    """Raise unless `value` is a Python or NumPy integer >= `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


def choice(name: str, value: Any, options: Sequence[Any]) -> None:
    """Raise `ValueError` unless `value` is one of `options`."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")


def spins(name: str, value: Any) -> None:
    """Raise `ValueError` unless every entry of `value` is -1 or +1."""
    if is_concrete(value):
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and (np.abs(array) == 1).all():
            return  # the usual case, without a wide copy of a large array
    _compare(name, value, lambda a: np.abs(a) == 1, "-1 or +1")


def shape(name: str, value: Any, expected: tuple[int | str, ...]) -> None:
    """Raise `ValueError` unless `value` has the `expected` shape; a string matches any size."""
    got = np.shape(value)
    fits = len(got) == len(expected) and all(
        isinstance(e, str) or g == e for g, e in zip(got, expected, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "") + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {got}")


def key(name: str, value: Any) -> None:
    """Raise `TypeError` unless `value` is a typed JAX random key."""
    if not (hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"{name} must be a typed key from jax.random.key(seed), got {value!r}")


def _compare(name: str, value: Any, holds: Any, expectation: str) -> None:
    if not is_concrete(value):
        return
    array = np.asarray(value)
    if array.dtype.kind not in "biufV":
        raise TypeError(f"{name} must be a real number or array, got {value!r}")
    array = array.astype(np.float64)
    good = np.isfinite(array) & holds(array)
    if not good.all():
        bad = tuple(np.argwhere(~good)[0])
        where = f" at index {tuple(int(i) for i in bad)}" if array.ndim else ""
        raise ValueError(f"{name} must be {expectation}, got {array[bad]:g}{where}")
