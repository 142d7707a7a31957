"""Input checks on the host: refuse before any compute, in the user's terms.

Every check names the argument, the value it got and what was expected. Values that are being
traced by JAX have no value yet, so a check on them passes; shapes and dtypes are always checked.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def is_concrete(*values: Any) -> bool:
    """Whether none of the leaves of `values` is being traced by JAX."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def numbers(name: str, value: Any, *, kinds: str = "biufV") -> np.ndarray:
    """The concrete array-like `value` as a NumPy array, or `TypeError` if it holds no numbers.

    `kinds` are NumPy's kind letters; "V" are bfloat16 and its like, and "c" admits complex ones.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{name} must be numbers of one shape, got {_shown(value)}") from error
    if array.dtype.kind not in kinds:
        wanted = "numbers" if "c" in kinds else "a real number or array"
        raise TypeError(f"{name} must be {wanted}, got {_shown(value)}")
    return array


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def finite(
    name: str, value: Any, *, kinds: str = "biufV", infinite: bool = False
) -> None:  # fmt: skip
    """Raise unless every leaf of `value` is an array of finite numbers; see `numbers`.

    With `infinite` only NaN is refused.
    """
    held, wanted = (_no_nan, "not be NaN") if infinite else (np.isfinite, "be finite")
    leaves: list[Any] = jax.tree.leaves(value)
    if isinstance(value, list) and all(isinstance(leaf, int | float) for leaf in leaves):
        leaves = [value]  # an array written as lists
    for leaf in leaves:
        if isinstance(leaf, jax.ShapeDtypeStruct) or is_key(leaf):
            continue
        if not is_concrete(leaf):
            if "c" not in kinds and jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                raise TypeError(f"{name} must be a real number or array, got {leaf.dtype}")
            continue
        array = numbers(name, leaf, kinds=kinds)
        if array.dtype.kind == "V":  # bfloat16 and its like, which NumPy cannot ask
            array = array.astype(np.float64)
        if array.dtype.kind in "fc" and not held(array).all():
            bad = np.argwhere(~held(array))[0]
            where = f" at index {tuple(int(i) for i in bad)}" if array.ndim else ""
            raise ValueError(f"{name} must {wanted}, got {array[tuple(bad)]}{where}")


def _no_nan(array: np.ndarray) -> Any:
    return ~np.isnan(array)


def is_key(value: Any) -> bool:
    """Whether `value` is an array of typed JAX random keys, concrete or traced."""
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def floating(name: str, value: Any, *, kinds: str = "biufV") -> jax.Array:
    """`value` as a JAX array of floating dtype, its own or JAX's default; `finite` is checked."""
    finite(name, value, kinds=kinds)
    array = jnp.asarray(value)
    is_floating = jnp.issubdtype(array.dtype, jnp.inexact)
    return array if is_floating else array.astype(jnp.result_type(float))


def positive(name: str, value: Any) -> None:
    """Raise `ValueError` unless every entry of `value` is finite and > 0."""
    _compare(name, value, lambda a: a > 0, "positive")


def non_negative(name: str, value: Any) -> None:
    """Raise `ValueError` unless every entry of `value` is finite and >= 0."""
    _compare(name, value, lambda a: a >= 0, "non-negative")


def between(name: str, value: Any, low: float | int, high: float | int) -> None:
    """Raise `ValueError` unless every entry of `value` lies in the closed range [low, high]."""
    _compare(name, value, lambda a: (a >= low) & (a <= high), f"in [{low}, {high}]")


def seconds(name: str, value: Any) -> None:
    """Raise unless `value` is a number of seconds >= 0; infinity is one."""
    if not isinstance(value, int | float | np.number) or isinstance(value, complex):
        raise TypeError(f"{name} must be a number of seconds, got {_shown(value)}")
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, got {value}")


def integer(name: str, value: Any, minimum: int) -> None:
    """Raise unless `value` is a Python or NumPy integer >= `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")


def sequence(name: str, value: Any, minimum: int = 0) -> list[Any]:
    """The items of a tuple, list or array, or a `TypeError`; raise if there are too few."""
    if not isinstance(value, Sequence | np.ndarray | jax.Array) or isinstance(value, str | bytes):
        raise TypeError(f"{name} must be a sequence, got {_shown(value)}")
    items = list(value)
    if len(items) < minimum:
        raise ValueError(f"{name} must have at least {minimum} entries, got {len(items)}")
    return items


def sizes(name: str, value: Any, minimum: int = 1, *, least: int = 1) -> tuple[int, ...]:
    """A tuple of integers >= `minimum`, `least` of them or more, or an error that names it."""
    items = sequence(name, value, least)
    for item in items:
        integer(f"every entry of {name}", item, minimum)
    return tuple(int(item) for item in items)


def function(name: str, value: Any, of: str = "one array") -> None:
    """Raise `TypeError` unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function of {of}, got {_shown(value)}")


def instance(name: str, value: Any, *types: type[Any]) -> None:
    """Raise `TypeError` unless `value` is of one of the types."""
    if not isinstance(value, types):
        wanted = " or ".join(t.__name__ for t in types)
        raise TypeError(f"{name} must be a {wanted}, got {_shown(value)}")


def choice(name: str, value: Any, options: Sequence[Any]) -> None:
    """Raise `ValueError` unless `value` is one of `options`."""
    if isinstance(value, np.ndarray | jax.Array) and value.ndim or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")


def interval(lower: Any, upper: Any, *, infinite: bool = False) -> None:
    """Raise unless `lower` and `upper` are finite, of one shape, and lower <= upper."""
    finite("lower", lower, infinite=infinite)
    finite("upper", upper, infinite=infinite)
    if np.shape(lower) != np.shape(upper):
        raise ValueError(
            f"lower and upper must have one shape, got {np.shape(lower)} and {np.shape(upper)}"
        )
    if is_concrete(lower, upper):
        ordered("lower", "upper", lower, upper)


def ordered(low: str, high: str, lower: Any, upper: Any) -> None:
    """Raise `ValueError` unless concrete arrays have lower <= upper, entry by entry."""
    lower, upper = np.asarray(lower), np.asarray(upper)
    wrong = np.argwhere(lower > upper)
    if wrong.size:
        at = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"{low} must not exceed {high}, got {lower[at]:g} > {upper[at]:g} at index {at}"
        )


def spins(name: str, value: Any) -> None:
    """Raise `ValueError` unless every entry of `value` is -1 or +1."""
    if is_concrete(value):
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and (np.abs(array) == 1).all():
            return  # the usual case, without a wide copy of a large array
    _compare(name, value, lambda a: np.abs(a) == 1, "-1 or +1")


def shape(name: str, value: Any, expected: tuple[int | str, ...]) -> None:
    """Raise `ValueError` unless `value` has the `expected` shape; a string matches any size."""
    if hasattr(value, "shape"):  # arrays, their specifications, and what is stored like one
        got = tuple(value.shape)
    else:
        got = numbers(name, value, kinds="biufcV").shape if is_concrete(value) else np.shape(value)
    fits = len(got) == len(expected) and all(
        isinstance(e, str) or g == e for g, e in zip(got, expected, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "") + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {got}")


def path(name: str, value: Any) -> pathlib.Path:
    """The path, or a `TypeError`."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {_shown(value)}")
    return pathlib.Path(value)


def floating_dtype(name: str, value: Any) -> Any:
    """The floating dtype that JAX makes of `value`, or a `TypeError`."""
    try:
        found = jax.dtypes.canonicalize_dtype(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a floating dtype, got {_shown(value)}") from error
    if not jnp.issubdtype(found, jnp.floating):
        raise TypeError(f"{name} must be a floating dtype, got {found}")
    return found


def key(name: str, value: Any) -> None:
    """Raise `TypeError` unless `value` is a typed JAX random key."""
    if not is_key(value):
        raise TypeError(f"{name} must be a typed key from jax.random.key(seed), got {value!r}")


def _compare(name: str, value: Any, holds: Any, expectation: str) -> None:
    if not is_concrete(value):
        return
    array = numbers(name, value).astype(np.float64)
    good = np.isfinite(array) & holds(array)
    if not good.all():
        bad = tuple(np.argwhere(~good)[0])
        where = f" at index {tuple(int(i) for i in bad)}" if array.ndim else ""
        raise ValueError(f"{name} must be {expectation}, got {array[bad]:g}{where}")
