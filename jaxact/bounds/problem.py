"""The problem (network, region, spec) brought into one form, and what answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.regions import Ball, Box, inner
from jaxact.bounds.spec import check_labels
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
    network = _traced(f, sample.shape, sample.dtype)
    dtype = network.dtype
    region = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), region)
    if spec is None:
        return network, region, None
    checks.finite("spec", spec)
    checks.shape("spec", spec, ("rows", int(np.prod(network.output_shape))))
    return network, region, jnp.asarray(spec, dtype)


def _traced(f: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> Network:
    """Trace in the dtype that f computes in: float64 weights make a float32 input float64."""
    network = trace(f, jax.ShapeDtypeStruct(shape, dtype))
    found = jnp.dtype(network.graph.target.dtype)
    wide = max(network.dtype, found, key=lambda d: jnp.finfo(d).bits)
    return network if wide == network.dtype else trace(f, jax.ShapeDtypeStruct(shape, wide))


@pytree()
class Radius:
    """A radius found by bracketing and bisection.

    Attributes:
        radius: the certified radius, in the units of the input.
        converged: whether the bracket is as narrow as was asked.
        evaluations: how many radii were tried.
    """

    radius: Leaf
    converged: Leaf
    evaluations: Leaf


def prepare_labels(f: Callable[..., Any], x: Any, label: Any) -> tuple[Network, Any, Any]:
    """Check and trace a classifier on one labelled sample, or on a batch of them."""
    x, label = jnp.asarray(x, jnp.result_type(x, float)), jnp.asarray(label)
    checks.finite("x", x)
    if label.ndim > 1:
        raise ValueError(f"label must be one integer or one axis of them, got shape {label.shape}")
    if label.ndim == 1 and (x.ndim == 0 or x.shape[0] != label.shape[0]):
        raise ValueError(
            f"x must be a batch of {label.shape[0]} samples like label, got shape {x.shape}"
        )
    network = _traced(f, x.shape[label.ndim :], x.dtype)
    if len(network.output_shape) != 1 or network.output_shape[0] < 2:
        raise ValueError(f"f must return one score a class, got shape {network.output_shape}")
    check_labels(label, network.output_shape[0])
    return network, jnp.asarray(x, network.dtype), label.astype(jnp.int32)


def clean_margin(network: Network, x: Any, spec: Any) -> Any:
    """The smallest margin at x itself."""
    return inner(spec, network(x)).min()
