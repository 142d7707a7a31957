"""float64 where it is needed, without touching JAX's global configuration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks

P = ParamSpec("P")
R = TypeVar("R")


def double(fn: Callable[P, R]) -> Callable[P, R]:
    """Run `fn` in float64: floating leaves of its arguments are widened and x64 is on inside.

    The setting is a context, entered when the wrapped function is called and left when it
    returns: nothing global changes. The result keeps its float64 arrays, which stay usable
    outside. Call it on the host, not inside `jax.jit`.

    Args:
        fn: any function of pytrees.

    Returns:
        The same function, computing in float64.

    Raises:
        ValueError: when called inside a transformation whose arguments are float32 tracers.

    Example:
        >>> import jax.numpy as jnp
        >>> double(lambda x: jnp.exp(x))(1.0).dtype
        dtype('float64')
    """
    checks.function("fn", fn, "pytrees")

    @functools.wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            wide_args, wide_kwargs = jax.tree.map(_widen, (args, kwargs))
            return fn(*wide_args, **wide_kwargs)  # pyright: ignore[reportCallIssue]

    return wrapped


def _widen(leaf: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer):
        if leaf.dtype in (jnp.float32, jnp.float16, jnp.bfloat16):
            raise ValueError("double() widens on the host: call it outside jit, grad and vmap")
        return leaf
    if isinstance(leaf, np.ndarray | np.floating | jax.Array) and jnp.issubdtype(
        leaf.dtype, jnp.floating
    ):
        return jnp.asarray(leaf, jnp.float64)
    return leaf
