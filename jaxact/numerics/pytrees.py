"""Frozen dataclasses that are pytrees: the shape of every noun and every result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, dataclass_transform

import jax

T = TypeVar("T")

Leaf: TypeAlias = Any
"""A field that holds an array, and whatever stands in its place inside a transformation."""


@dataclass_transform(frozen_default=True, kw_only_default=False)
def pytree(*, static: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass and a pytree.

    Fields named in `static` are compared and hashed as part of the tree's structure (a change
    of one retraces a jitted function); all others are leaves or subtrees.

    Example:
        >>> import jax
        >>> @pytree(static=("name",))
        ... class Point:
        ...     x: float
        ...     name: str = "p"
        >>> jax.tree.map(lambda leaf: 2 * leaf, Point(3.0))
        Point(x=6.0, name='p')
    """

    def wrap(cls: type[T]) -> type[T]:
        made = dataclasses.dataclass(frozen=True)(cls)
        names = [f.name for f in dataclasses.fields(made)]  # pyright: ignore[reportArgumentType]
        leaves = [n for n in names if n not in static]
        _register(made, tuple(leaves), static)
        return made

    return wrap


def _register(cls: type[Any], leaves: tuple[str, ...], static: tuple[str, ...]) -> None:
    # Not `jax.tree_util.register_dataclass`: trees of two classes registered so compare equal
    # when their number of leaves and static fields do (jax 0.10.1), and compiled functions of
    # one class have been seen to serve the other.
    keys = [jax.tree_util.GetAttrKey(name) for name in leaves]

    def flatten(x: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple([getattr(x, n) for n in leaves]), tuple([getattr(x, n) for n in static])

    def flatten_with_keys(x: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        data, meta = flatten(x)
        return list(zip(keys, data, strict=True)), meta

    def unflatten(meta: tuple[Any, ...], data: Any) -> Any:
        return cls(**dict(zip(static, meta, strict=True)), **dict(zip(leaves, data, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def callable_pytree(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` in a form that `jax.jit` takes as an argument.

    A callable that is a pytree (a `Partial`, an `Activation`) keeps its leaves, so that one
    compiled kernel serves every value of them; a plain function becomes static.

    Example:
        >>> jax.jit(lambda f, x: f(x))(callable_pytree(abs), -2.0)
        Array(2., dtype=float32, weak_type=True)
    """
    leaves = jax.tree.leaves(fn)
    return jax.tree_util.Partial(fn) if len(leaves) == 1 and leaves[0] is fn else fn
