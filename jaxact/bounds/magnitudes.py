"""|W| of a network's weights, kept between calls: an interval bound reads it in every product.

Computing it inside the kernel costs more than the product itself, since a fresh array of the
size of the weights is written. Only concrete JAX arrays, which never change, are kept, and only
as long as the weight itself lives; where weights are traced the kernel computes |W|, so
derivatives are untouched.
"""

from __future__ import annotations

import weakref
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from jaxact.tracing.graph import Network

_SMALLEST = 4096  # entries from which keeping is worth it
_kept: dict[int, jax.Array] = {}


def magnitudes(network: Network) -> tuple[Any, ...]:
    """|W| of each weight in order, or None where it is small or being traced."""
    return tuple(_magnitude(weight) for weight in network.weights)


def _magnitude(weight: Any) -> jax.Array | None:
    if isinstance(weight, jax.core.Tracer) or not isinstance(weight, jax.Array):
        return None
    if weight.size < _SMALLEST or not jnp.issubdtype(weight.dtype, jnp.floating):
        return None
    key = id(weight)
    if key not in _kept:
        _kept[key] = jnp.abs(weight)
        weakref.finalize(weight, _kept.pop, key, None)
    return _kept[key]
