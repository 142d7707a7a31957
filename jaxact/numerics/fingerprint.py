"""A name for a computation: equal for equal ones, also in another process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxact.numerics import checks


def fingerprint(fn: Callable[..., Any], example: Any, data: Any) -> str:
    """A digest of a function, as JAX traces it, and of the data that it is asked about.

    Args:
        fn: a callable pytree; its leaves are digested.
        example: a sample, or its `jax.ShapeDtypeStruct`; only shape and dtype matter.
        data: a pytree of arrays, numbers and typed keys; its structure is not digested.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import jax.numpy as jnp
        >>> sine, cosine = jax.tree_util.Partial(jnp.sin), jax.tree_util.Partial(jnp.cos)
        >>> one = fingerprint(sine, 1.0, np.arange(3))
        >>> one == fingerprint(sine, 2.0, np.arange(3)), one == fingerprint(sine, 1.0, np.arange(4))
        (True, False)
        >>> one == fingerprint(cosine, 1.0, np.arange(3))
        False
    """
    jaxpr = jax.make_jaxpr(lambda f, x: f(x))(fn, example)
    digest = hashlib.sha256()
    # Addresses of Python objects differ from process to process.
    digest.update(re.sub(r"0x[0-9a-f]+", "", str(jaxpr)).encode())
    for leaf in jax.tree.leaves((jaxpr.consts, fn, data)):
        if checks.is_key(leaf):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
