"""A callable as a pytree: its arrays are leaves, the rest is part of the structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxact.numerics.pytrees import Leaf, pytree


@pytree(static=("treedef", "fixed"))
class Function:
    """Any callable, split into the arrays it holds and everything else.

    A plain function is structure: compiled code is shared between calls with the same function
    object. A callable pytree (`jax.tree_util.Partial(apply, params)`, an `Activation`, a Flax
    nnx module) brings its arrays as leaves: other weights of the same shapes compile nothing
    new, and derivatives with respect to them are ordinary.

    Attributes:
        arrays: the array leaves, None where a leaf is not an array.
        treedef: the callable's tree structure.
        fixed: the other leaves, None where a leaf is an array.
    """

    arrays: Leaf
    treedef: Any
    fixed: tuple[Any, ...]

    def __call__(self, *args: Any) -> Any:
        """Call the original callable."""
        return self.original()(*args)

    def original(self) -> Callable[..., Any]:
        """The callable that was split."""
        leaves = [f if a is None else a for a, f in zip(self.arrays, self.fixed, strict=True)]
        return jax.tree.unflatten(self.treedef, leaves)


def as_function(name: str, fn: Callable[..., Any]) -> Function:
    """Split a callable; `name` is the argument's name for the error.

    Raises:
        TypeError: if fn is not callable, or cannot be hashed and holds no arrays.
    """
    if isinstance(fn, Function):
        return fn
    if not callable(fn):
        raise TypeError(f"{name} must be a function of one array, got {fn!r}")
    leaves, treedef = jax.tree.flatten(fn)
    arrays = tuple(leaf if _is_array(leaf) else None for leaf in leaves)
    fixed = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
    try:
        hash((treedef, fixed))
    except TypeError as error:
        raise TypeError(
            f"{name} must be hashable, or a pytree of arrays such as "
            f"jax.tree_util.Partial(apply, params): {error}"
        ) from error
    return Function(arrays, treedef, fixed)


def hoist(fn: Function, *args: Any) -> Function:
    """The same function of args, with traced values that it closes over made into leaves.

    Without this a derivative with respect to them would be lost without a word, since only
    leaves pass through an implicit derivative. It traces fn once: call it under `jax.jit`.
    """
    closed, extra = jax.closure_convert(lambda f, *v: f(*v), fn, *args)
    if not extra:
        return fn
    return as_function("function", jax.tree_util.Partial(_with_extra(closed), fn, tuple(extra)))


def _with_extra(closed: Callable[..., Any]) -> Callable[..., Any]:
    return lambda fn, extra, *args: closed(fn, *args, *extra)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.inexact | float)
