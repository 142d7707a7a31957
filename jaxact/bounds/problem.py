"""The problem (network, region, spec) brought into one form, and what answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.regions import Ball, Box
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.graph import Network, trace


@pytree()
class Bounds:
    """Certified bounds, and the evidence for them.

    Attributes:
        lower: lower bounds, shape (rows,) or the output's shape.
        upper: upper bounds, the same shape.
        lines: affine functions of the input that enclose the answer over the whole region, with
            slopes of shape (*lower.shape, *input shape) and intercepts of lower's shape: the
            certificate that `crown` evaluates. None for `ibp`.
        intermediate: for every elementwise unit, the (lower, upper) pre-activations on which it
            was relaxed.
    """

    lower: Leaf
    upper: Leaf
    lines: Leaf = None
    intermediate: Leaf = ()


def prepare(f: Callable[..., Any], region: Any, spec: Any) -> tuple[Network, Any, Any]:
    """Check, trace and bring to one dtype, so that equal problems compile once."""
    if not isinstance(region, Ball | Box):
        raise TypeError(f"region must be a Ball or a Box, got {region!r}")
    region.check()
    sample = region.sample
    network = trace_in_its_dtype(f, sample.shape, sample.dtype)
    dtype = network.dtype
    region = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), region)
    if spec is None:
        return network, region, None
    checks.finite("spec", spec)
    outputs = int(np.prod(network.output_shape))
    checks.shape("spec", spec, ("rows", outputs))
    if not np.shape(spec)[0]:
        raise ValueError(f"spec must have at least one row of {outputs} outputs of f, got none")
    return network, region, jnp.asarray(spec, dtype)


def trace_in_its_dtype(f: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> Network:
    """Trace in the dtype that f computes in: float64 weights make a float32 input float64."""
    network = trace(f, jax.ShapeDtypeStruct(shape, dtype))
    found = jnp.dtype(network.graph.target.dtype)
    wide = max(network.dtype, found, key=lambda d: jnp.finfo(d).bits)
    return network if wide == network.dtype else trace(f, jax.ShapeDtypeStruct(shape, wide))
