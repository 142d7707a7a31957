"""A family to design in: piecewise linear functions on fixed knots; and any f made standard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.spectra.gaussian import moments


def spline(knots: Sequence[float], values: ArrayLike) -> Activation:
    """The piecewise linear function through (knots, values), continued linearly on both sides.

    f(x) = v_0 + a_0 (x - k_0) + sum_i (a_i - a_(i-1)) max(x - k_i, 0), a_i the slopes between
    knots. The knots are fixed and declared as kinks, so its Gaussian moments are exact; the
    values are theta.

    Args:
        knots: ascending numbers, at least 2.
        values: f at the knots, of the same length.

    Returns:
        An `Activation` with theta = (values,).

    Raises:
        ValueError: if the knots do not ascend, or the lengths differ.

    Example:
        >>> tent = spline([-1.0, 0.0, 1.0], [0.0, 1.0, 0.0])
        >>> [float(v) for v in tent(jnp.array([-2.0, 0.5, 3.0]))]
        [-1.0, 0.5, -2.0]
    """
    checks.sequence("knots", knots)
    checks.finite("knots", knots)
    checks.shape("knots", knots, ("knots",))
    at = tuple(float(k) for k in knots)
    if len(at) < 2 or not (np.diff(at) > 0).all():
        raise ValueError(f"knots must ascend and be at least 2, got {at}")
    checks.finite("values", values)
    checks.shape("values", values, (len(at),))
    heights = values if isinstance(values, jax.Array) else np.asarray(values, np.float64)
    return Activation(_Spline(at), (heights,), "spline", at)


def standard(act: Activation | Callable[..., Any], scale: ArrayLike = 1.0) -> Activation:
    """The activation (f - mean) / sqrt(eta): mean 0 and variance 1 on N(0, scale^2).

    Args:
        act: an activation or a plain scalar function.
        scale: standard deviation of the pre-activations, > 0.

    Returns:
        An `Activation` with theta = (mean, sqrt(eta), *theta); the first two are numbers that
        were computed here, so they do not follow a later change of the others.

    Raises:
        ValueError: if scale is not positive, or f is constant on Gaussian input.

    Differentiable in theta and scale, through the two numbers as well.

    Example:
        >>> import jaxact
        >>> found = moments(standard(jaxact.get("relu")))
        >>> abs(round(float(found.mean), 4)), round(float(found.eta), 4)
        (0.0, 1.0)
    """
    act = activation(act)
    found = moments(act, scale)
    if checks.is_concrete(found):
        checks.positive("eta of act", found.eta)
    theta = (found.mean, jnp.sqrt(found.eta), *act.theta)
    return Activation(_Standard(act.fn), theta, f"standard {act.name}", _kinks(act))


class _Spline:
    """Equal knots, equal function: compiled code is shared."""

    def __init__(self, knots: tuple[float, ...]) -> None:
        self.knots = knots

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Spline) and self.knots == other.knots

    def __hash__(self) -> int:
        return hash(self.knots)

    def __call__(self, x: Any, values: Any) -> Any:
        x = jnp.asarray(x, jnp.result_type(x, float))
        heights = jnp.asarray(values).astype(x.dtype)
        knots = np.asarray(self.knots)
        slopes = (heights[1:] - heights[:-1]) / np.diff(knots).astype(x.dtype)
        total = heights[0] + slopes[0] * (x - self.knots[0])
        for i in range(1, len(self.knots) - 1):
            bend = slopes[i] - slopes[i - 1]
            total = total + bend * jnp.maximum(x - self.knots[i], 0)
        return total


class _Standard:
    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Standard) and self.fn == other.fn

    def __hash__(self) -> int:
        return hash((_Standard, self.fn))

    def __call__(self, x: Any, mean: Any, deviation: Any, *theta: Any) -> Any:
        return (self.fn(x, *theta) - mean) / deviation


def _kinks(act: Activation) -> Any:
    return _Shifted(act.kinks) if callable(act.kinks) else act.kinks


class _Shifted:
    """Kinks as a function of the theta behind the two numbers of `standard`."""

    def __init__(self, kinks: Callable[..., Any]) -> None:
        self.kinks = kinks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shifted) and self.kinks == other.kinks

    def __hash__(self) -> int:
        return hash((_Shifted, self.kinks))

    def __call__(self, mean: Any, deviation: Any, *theta: Any) -> Any:
        return self.kinks(*theta)
