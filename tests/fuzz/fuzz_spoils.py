"""Ways to spoil one argument, by what kind of thing it is."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation


class Broken(Exception):
    """What a user's function raises: it is theirs, and passes through."""


class Nothing:
    """Of no type that anything takes."""


@dataclasses.dataclass(frozen=True)
class Spoil:
    """One spoiled argument.

    Attributes:
        name: which.
        how: what was done to it.
        value: what it became.
        refused: whether there must be an error; otherwise a right answer will do.
    """

    name: str
    how: str
    value: Any
    refused: bool

    def __repr__(self) -> str:
        return f"{self.name}: {self.how}"


def raising(*args: Any, **kwargs: Any) -> Any:
    raise Broken("the user's own")


def vector(x: Any, *theta: Any) -> Any:
    return jnp.stack([jnp.asarray(x, jnp.result_type(float))] * 3)


def nowhere(x: Any, *theta: Any) -> Any:
    return jnp.asarray(x, jnp.result_type(float)) * jnp.nan


Rows = Iterator[tuple[str, Any, bool]]


def spoils(arguments: dict[str, Any]) -> list[Spoil]:
    """Every way to spoil one of the arguments."""
    return [
        Spoil(name, how, value, refused)
        for name, valid in arguments.items()
        for how, value, refused in _of(valid)
    ]


def _of(valid: Any) -> Rows:
    if isinstance(valid, bool) or valid is None:
        return  # a flag: truth is all that is asked of it
    if _is_key(valid):
        yield "a seed", 0, True
        yield "a raw key", np.zeros(2, np.uint32), True
    elif isinstance(valid, int | np.integer):
        yield from _count()
    elif isinstance(valid, float):
        yield from _number()
    elif isinstance(valid, np.ndarray | jax.Array):
        yield from _array(np.asarray(valid))
    elif isinstance(valid, str):
        yield "an unknown option", "no such option", True
        yield "a number", 3, True
        yield "an array", np.ones(2), True
    elif isinstance(valid, pathlib.Path):
        yield "a missing file", valid / "missing", True
        yield "a number", 3.5, True
        yield "nothing", Nothing(), True
    elif isinstance(valid, Activation):
        yield from _activation()
        yield from _leaves(valid)
    elif dataclasses.is_dataclass(valid) and not isinstance(valid, type):
        yield from _foreign()
        yield from _leaves(valid)
    elif isinstance(valid, tuple | list):
        yield from _foreign()
        if type(valid) in (tuple, list):
            yield "empty", type(valid)(), False
        yield from _leaves(valid)
    elif callable(valid):
        yield from _foreign()
        yield "raises", raising, False
        yield "a vector", vector, False
        yield "nan", nowhere, False
    else:
        yield from _foreign()


def _foreign() -> Rows:
    yield "a number", 3, True
    yield "a string", "no such thing", True
    yield "nothing", Nothing(), True


def _activation() -> Rows:
    yield from _foreign()
    yield "raises", raising, False
    yield "a vector", vector, True
    yield "nan", nowhere, True


def _count() -> Rows:
    yield "negative", -1, True
    yield "zero", 0, False
    yield "half", 2.5, True
    yield "nan", float("nan"), True
    yield "a string", "two", True
    yield "nothing", Nothing(), True


def _number() -> Rows:
    yield "nan", float("nan"), True
    yield "inf", float("inf"), False
    yield "negative", -1.0, False
    yield "zero", 0.0, False
    yield "huge", 1e30, False
    yield "complex", 1j, True
    yield "a string", "half", True
    yield "nothing", Nothing(), True
    yield "many axes", np.ones((2, 3, 1, 2), np.float32), False


def _array(valid: np.ndarray) -> Rows:
    if valid.dtype.kind == "f":
        yield "nan", _first(valid, np.nan), True
        yield "inf", _first(valid, np.inf), False
        yield "huge", np.full_like(valid, 1e30), False
        yield "negative", -np.abs(valid) - 1, False
        yield "int", np.ones(valid.shape, np.int32), False
    if valid.dtype.kind in "iu":
        yield "negative", np.full_like(valid, -1), False
        yield "large", np.full_like(valid, 1000), False
        yield "float", np.full(valid.shape, 0.5, np.float32), False
    if valid.dtype.kind != "c":
        yield "complex", valid * 1j, True
    yield "bool", np.ones(valid.shape, bool), False
    yield "strings", np.full(valid.shape, "half"), True
    yield "objects", np.full(valid.shape, None), True
    yield "nothing", Nothing(), True
    yield "ragged", [[1.0], [1.0, 2.0]], True
    yield "empty", valid[:0] if valid.ndim else np.zeros(0, valid.dtype), False
    yield "more axes", valid[None, None], False
    if valid.ndim:
        yield "longer", np.concatenate([valid, valid, valid], axis=-1), False
        yield "a scalar", valid.reshape(-1)[0], False


def _first(valid: np.ndarray, value: float) -> np.ndarray:
    spoiled = np.array(valid)
    spoiled.reshape(-1)[0] = value
    return spoiled


def _leaves(valid: Any) -> Rows:
    """One floating leaf after the other with a NaN in it."""
    leaves, structure = jax.tree.flatten(valid)
    for index, leaf in enumerate(leaves):
        if _is_floating(leaf):
            kind = type(leaf) if isinstance(leaf, float) else np.asarray(leaf).dtype.type
            bad: Any = _first(np.asarray(leaf), np.nan)
            bad = bad if np.ndim(leaf) else kind(np.nan)
            changed = [*leaves[:index], bad, *leaves[index + 1 :]]
            yield f"nan in leaf {index}", structure.unflatten(changed), True


def _is_floating(leaf: Any) -> bool:
    if _is_key(leaf):
        return False
    if isinstance(leaf, float):
        return True
    return isinstance(leaf, np.ndarray | jax.Array) and np.issubdtype(leaf.dtype, np.floating)


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
