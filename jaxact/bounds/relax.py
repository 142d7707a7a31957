"""Certified lines around any scalar function over an interval.

The best lower line over [l, u] (least area) is the supporting line of f's convex envelope at the
midpoint. Any slope s is sound; the certificate is the intercept min over [l, u] of f(x) - s x,
bounded piece by piece: a concave or linear piece by its ends, a convex piece by any tangent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation
from jaxact.bounds.relax_cells import cell_lines
from jaxact.bounds.relax_lines import Lines as Lines
from jaxact.bounds.relax_pieces import piece_lines
from jaxact.numerics import checks
from jaxact.tracing.analysis import analyse
from jaxact.tracing.ranges import is_traced


def relax(act: Activation | Callable[..., Any], lower: Any, upper: Any) -> Lines:
    """Two lines with s_low x + t_low <= f(x) <= s_up x + t_up for every x in [lower, upper].

    Args:
        act: an activation, or any elementwise scalar function.
        lower: lower ends, any shape, float32 or float64.
        upper: upper ends, the same shape.

    Returns:
        `Lines` of that shape. They differentiate in lower, upper and (a traced) theta, and
        hold in real arithmetic for the rounded numbers returned.

    Raises:
        ValueError: if the ends are not finite, differ in shape, or lower > upper.
        NotImplementedError: if the function uses a primitive without an interval rule.

    Example:
        >>> import jax.numpy as jnp
        >>> lines = relax(lambda x: jnp.maximum(x, 0), jnp.array(-1.0), jnp.array(3.0))
        >>> [round(float(v), 4) for v in (lines.lower_slope, lines.upper_slope)]
        [1.0, 0.75]

    Source: Zhang et al. 2018 (CROWN), section 3, with the adaptive choice for every activation.
    """
    checks.interval(lower, upper)
    lower, upper = _floating(lower), _floating(upper)
    checks.function("act", act)
    fn, theta = (act.fn, act.theta) if isinstance(act, Activation) else (act, ())
    if is_traced(theta) or any(np.ndim(t) for t in jax.tree.leaves(theta)):
        return relax_unit(fn, lower, upper, theta)
    return _piece_lines(analyse(fn, theta), lower, upper)


_piece_lines = jax.jit(piece_lines, static_argnums=0)


def relax_unit(
    fn: Callable[..., Any], lower: Any, upper: Any, theta: tuple[Any, ...] = ()
) -> Lines:
    """`relax` for a plain function fn(x, *theta), without checks; for use inside kernels.

    A concrete theta is analysed once on the host and baked in; with a traced theta, or one
    of a shape that makes fn of a scalar an array (a value per neuron), the interval is cut
    into cells at run time.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> lines = jax.jit(lambda l, u: relax_unit(jnp.tanh, l, u))(-1.0, 2.0)
        >>> bool(lines.lower_slope * 2.0 + lines.lower_intercept <= jnp.tanh(2.0))
        True
    """
    checks.finite("lower", lower, infinite=True)
    checks.finite("upper", upper, infinite=True)
    lower, upper = _floating(lower), _floating(upper)
    checks.shape("upper", upper, lower.shape)
    if theta and jax.eval_shape(fn, jax.ShapeDtypeStruct((), lower.dtype), *theta).shape:
        return _each_neuron(fn, lower, upper, theta)
    if is_traced(theta):
        return cell_lines(fn, lower, upper, theta)
    return piece_lines(analyse(fn, theta), lower, upper)


def _each_neuron(fn: Any, lower: Any, upper: Any, theta: tuple[Any, ...]) -> Lines:
    """Lines where every neuron has a theta of its own."""
    size = lower.shape
    flat = jax.tree.map(lambda t: jnp.broadcast_to(t, size).reshape(-1), (lower, upper, theta))

    def one(low: Any, high: Any, own: Any) -> Lines:
        return cell_lines(fn, low, high, own)

    return jax.tree.map(lambda v: v.reshape(size), jax.vmap(one)(*flat))


def _floating(value: Any) -> Any:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
