"""Certified lines of given slopes: what an optimiser of slopes needs.

Any slope is sound, since the certificate is the intercept min over [l, u] of f(x) - s x. Which
slopes can be best is not certified either: those of the supporting lines of f's envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.relax_cells import cells_between
from jaxact.bounds.relax_lines import Lines, quotient
from jaxact.bounds.relax_pieces import certificate, slots_of
from jaxact.tracing.analysis import analyse, analyse_linear
from jaxact.tracing.program import Program, plain, program_of
from jaxact.tracing.ranges import carry, is_traced, table, unit_range

_SAMPLES = np.linspace(0.0, 1.0, 17)
_NEAR_ZERO = np.array([-8.0, -4, -2, -1.25, -0.75, -0.35, 0, 0.35, 0.75, 1.25, 2, 4, 8])


def lines_with_slopes(
    fn: Callable[..., Any],
    lower: Any,
    upper: Any,
    lower_slope: Any,
    upper_slope: Any,
    theta: tuple[Any, ...] = (),
) -> Lines:
    r"""Lines of given slopes around fn(x, *theta) for every x in [lower, upper].

    t_low = min f(x) - s_low x and t_up = max f(x) - s_up x over [lower, upper], bounded piece by
    piece and rounded outward, so every slope gives a certified line. Where f is not analysed (an
    interval out of its domain, or across very many pieces) the lines are the range, of slope 0.

    Differentiable in the slopes (dt/ds = -x*, the touch point), lower, upper and a traced theta.

    Args:
        fn: elementwise function fn(x, *theta).
        lower: lower ends, any shape, float32 or float64.
        upper: upper ends, the same shape.
        lower_slope: shape (*rows, *lower.shape): `rows` may be several lines an interval.
        upper_slope: the same shape.
        theta: the function's parameters; if traced, the interval is cut into cells at run time.

    Returns:
        `Lines` of the slopes' shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> ends = jnp.array(-1.0), jnp.array(3.0)
        >>> lines = lines_with_slopes(jax.nn.relu, *ends, jnp.array(0.25), jnp.array(0.75))
        >>> [round(float(t), 4) for t in (lines.lower_intercept, lines.upper_intercept)]
        [-0.0, 0.75]

    Source: Xu et al. 2021 (alpha-CROWN), section 3, for any activation.
    """
    lower, upper = jnp.asarray(lower), jnp.asarray(upper)
    size = jnp.shape(lower_slope)
    wanted = jnp.stack([jnp.asarray(lower_slope), -jnp.asarray(upper_slope)])
    wanted = wanted.reshape(2, -1, lower.size)
    low, high = (v.reshape(-1) for v in unit_range(fn, lower, upper, theta))
    ends = lower.reshape(-1), upper.reshape(-1)
    if is_traced(theta):
        program, good, ends, certify = _by_cells(fn, theta, ends)
    else:
        program, good, ends, certify = _by_pieces(fn, theta, ends)
    l, u = jax.lax.stop_gradient(ends)  # noqa: E741
    leaves = tuple(jax.tree.leaves(theta)) if is_traced(theta) else ()
    sign = jnp.asarray(np.array([1.0, -1.0])[:, None], l.dtype)
    level = jnp.stack([low, -high])

    def row(slope: Any) -> tuple[Any, Any]:
        held = jax.lax.stop_gradient(slope)
        t, at = certify(held)
        keep = good[None] & jnp.isfinite(held) & jnp.isfinite(t)
        at = jax.lax.stop_gradient(at)
        moving = jnp.where(at == l[None], ends[0][None], at)
        moving = jnp.where(at == u[None], ends[1][None], moving)
        s = jnp.where(keep, slope, 0)
        smooth = sign * plain(program, moving, leaves) - s * at
        smooth = smooth - held * (moving - jax.lax.stop_gradient(moving))
        return s, jnp.where(keep, carry(t, smooth), level)

    slopes, intercepts = jax.vmap(row, in_axes=1, out_axes=1)(wanted)
    return Lines(
        slopes[0].reshape(size),
        intercepts[0].reshape(size),
        -slopes[1].reshape(size),
        -intercepts[1].reshape(size),
    )


def slope_ranges(
    fn: Callable[..., Any], lower: Any, upper: Any, theta: tuple[Any, ...] = ()
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(least, greatest) slopes worth trying of the lower line, and of the upper.

    A line that is not beaten everywhere supports f's convex envelope, so its slope lies between
    the envelope's at both ends: the least chord from the lower end and the greatest from the
    upper end, over samples. Where the envelope is one chord the range is a point. Estimates, not
    certificates.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> low, high = slope_ranges(jax.nn.relu, jnp.array(-1.0), jnp.array(3.0))
        >>> [round(float(s), 4) for s in (*low, *high)]
        [0.0, 1.0, 0.75, 0.75]
    """
    program = _program(fn, theta)
    leaves = tuple(jax.tree.leaves(theta)) if is_traced(theta) else ()
    finite = jnp.isfinite(lower) & jnp.isfinite(upper)
    l, u = jnp.where(finite, lower, 0), jnp.where(finite, upper, 0)  # noqa: E741
    x = _samples(l, u, _breaks(fn, theta))
    f = plain(program, x, leaves)
    start, end = f[0], f[16]
    slope = jax.jvp(lambda v: plain(program, v, leaves), (x,), (jnp.ones_like(x),))[1]
    from_l = quotient(f - start[None], x - l[None], slope[0][None])
    from_u = quotient(end[None] - f, u[None] - x, slope[16][None])

    def usable(s: Any) -> Any:
        return jnp.where(jnp.isfinite(s) & finite, s, 0)

    return (
        (usable(from_l.min(0)), usable(from_u.max(0))),
        (usable(from_u.min(0)), usable(from_l.max(0))),
    )


def _by_pieces(fn: Any, theta: Any, ends: Any) -> tuple[Program, Any, Any, Any]:
    """The program, where its analysis holds, ends moved to where it does, and the certificate."""
    shape = analyse_linear(fn, theta) or analyse(fn, theta)
    pieces = table(shape, str(ends[0].dtype))
    if not len(pieces.left):
        return shape.program, jnp.zeros(ends[0].shape, bool), ends, lambda s: (s * 0, s * 0)
    raw_l, raw_u = jax.lax.stop_gradient(ends)
    inside = (raw_l >= pieces.domain[0]) & (raw_u <= pieces.domain[1])
    home = jnp.clip(jnp.zeros_like(raw_l), pieces.domain[0], pieces.domain[1])
    ends = jnp.where(inside, ends[0], home), jnp.where(inside, ends[1], home)
    l, u = jax.lax.stop_gradient(ends)  # noqa: E741
    slots = slots_of(pieces, l, u)
    sign = jnp.asarray(np.array([1.0, -1.0])[:, None, None], l.dtype)
    x = _samples(l, u, ()) if shape.label.any() else jnp.stack([l, u])
    f = sign * plain(shape.program, x)[None]

    def certify(slope: Any) -> tuple[Any, Any]:
        near = jnp.argmin(f - slope[:, None] * x[None], 1)
        near = jnp.take_along_axis(jnp.broadcast_to(x[None], f.shape), near[:, None], 1)
        return certificate(shape, slots, l, u, slope, near)

    return shape.program, inside & slots.few, ends, certify


def _by_cells(fn: Any, theta: Any, ends: Any) -> tuple[Program, Any, Any, Any]:
    program = program_of(fn, theta, traced=True)
    finite = jnp.isfinite(ends[0]) & jnp.isfinite(ends[1])
    ends = jnp.where(finite, ends[0], 0), jnp.where(finite, ends[1], 0)
    l, u = jax.lax.stop_gradient(ends)  # noqa: E741
    _, _, sides = cells_between(program, l, u, jax.lax.stop_gradient(tuple(jax.tree.leaves(theta))))

    def certify(slope: Any) -> tuple[Any, Any]:
        found = [bound(s) for bound, s in zip(sides, slope, strict=True)]
        return jnp.stack([t for t, _ in found]), jnp.stack([at for _, at in found])

    return program, finite, ends, certify


def _program(fn: Any, theta: Any) -> Program:
    return program_of(fn, theta, traced=True) if is_traced(theta) else analyse(fn, theta).program


def _breaks(fn: Any, theta: Any) -> Any:
    """Kinks and inflections, if they are few."""
    if is_traced(theta):
        return ()
    left = analyse(fn, theta).left
    return left[1:] if len(left) <= 16 else ()


def _samples(l: Any, u: Any, more: Any) -> Any:  # noqa: E741
    """Points of each interval: evenly spaced (the ends are entries 0 and 16) and near 0."""
    even = l[None] + (u - l)[None] * jnp.asarray(_SAMPLES, l.dtype).reshape(-1, *(1,) * l.ndim)
    even = even.at[16].set(u)
    near = jnp.asarray(np.concatenate([_NEAR_ZERO, np.asarray(more, float)]), l.dtype)
    near = jnp.broadcast_to(near.reshape(-1, *(1,) * l.ndim), (near.size, *l.shape))
    return jnp.clip(jnp.concatenate([even, near]), l[None], u[None])
