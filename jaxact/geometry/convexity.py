"""Whether a discriminator's loss is convex in its output, and how steep: will training blow up."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.geometry.composite import ProperComposite
from jaxact.numerics import checks

_POINTS = 1201
_TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Convexity:
    """The curvature and the growth in v of the two partial losses of a composite on a range.

    Attributes:
        name: divergence and link.
        low: the range's lower end.
        high: the range's upper end.
        curvature_p: the least second derivative of l(+1, v) = -T(v).
        curvature_q: the least second derivative of l(-1, v) = f*(T(v)).
        steepest_p: the largest |d l(+1, v) / dv|: the largest gradient one sample of P gives.
        steepest_q: the same for l(-1, v) and samples of Q.
        rate: l'' / l' of l(-1, v) at the upper end: its exponential rate of growth there (2 for
            Pearson's e^2v; near 0 for a loss that grows like a power of v).
    """

    name: str
    low: float
    high: float
    curvature_p: float
    curvature_q: float
    steepest_p: float
    steepest_q: float
    rate: float

    @property
    def convex(self) -> bool:
        """Whether both partial losses are convex on the range, to 1e-9."""
        return min(self.curvature_p, self.curvature_q) >= -_TOLERANCE


def convexity(composite: ProperComposite, low: float = -6.0, high: float = 6.0) -> Convexity:
    """The convexity report of a loss, in float64 on the host, on 1,201 points of [low, high].

    A partial loss that is not convex, or that is steep where a discriminator may go, foretells
    an unstable game: Pearson with the logistic link has curvature -807 and slope 3e5 on [-6, 6],
    where Nowozin's T = v has 0 and 4.

    Args:
        composite: a `ProperComposite` with concrete parameters.
        low: lower end in v.
        high: upper end, above `low`.

    Returns:
        A `Convexity` report.

    Raises:
        ValueError: unless low < high, both finite; or if parameters are being traced by JAX.

    Example:
        >>> report = convexity(ProperComposite("pearson", "logistic"))
        >>> report.convex, round(report.curvature_p), round(report.rate, 2)
        (False, -807, 2.0)
        >>> convexity(ProperComposite("pearson")).convex
        True

    Source: the canonical link's convexity, Reid & Williamson 2010, theorem 10; the measure is ours.
    """
    checks.finite("low", low)
    checks.finite("high", high)
    if low >= high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    checks.instance("composite", composite, ProperComposite)
    if not checks.is_concrete(composite):
        raise ValueError("convexity needs concrete parameters: call it outside jit, grad and vmap")
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), composite)
        slopes, bends = _derivatives(wide, jnp.linspace(low, high, _POINTS))
    (slope_p, slope_q), (bend_p, bend_q) = jax.tree.map(np.asarray, (slopes, bends))
    rate = bend_q[-1] / slope_q[-1] if slope_q[-1] else 0.0
    return Convexity(
        composite.name,
        float(low),
        float(high),
        float(bend_p.min()),
        float(bend_q.min()),
        float(np.abs(slope_p).max()),
        float(np.abs(slope_q).max()),
        float(rate),
    )


@jax.jit
def _derivatives(composite: ProperComposite, v: Any) -> tuple[Any, Any]:
    def push(fn: Any, at: Any) -> Any:
        return jax.jvp(fn, (at,), (jnp.ones_like(at),))[1]

    slope = functools.partial(push, composite.partial_losses)
    return slope(v), push(slope, v)
