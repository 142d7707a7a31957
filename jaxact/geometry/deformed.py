"""The deformed logarithm and exponential of a signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.geometry.quadrature import exp_by_table, log_by_table
from jaxact.geometry.signature import Signature, conform
from jaxact.numerics import checks


def log_chi(
    chi: Signature | Callable[..., Any],
    z: Float[Array, "..."] | float,
    *,
    jumps: tuple[float, ...] = (),
) -> Float[Array, "..."]:
    """The deformed logarithm of a signature: the integral of dt / chi(t) from 1 to z.

    Concave, zero at 1. By the closed form where the signature has one (Tsallis, GAN, every
    activation), else by Gauss-Legendre quadrature in log t on panels split at the jumps:
    errors <= 1e-10 in float64.

    Args:
        chi: a `Signature`, or any positive non-decreasing JAX function of t > 0, elementwise.
        z: any shape, >= 0. At 0 the limit, which may be -inf.
        jumps: where a plain function chi, or a derivative of it, jumps.

    Returns:
        log_chi(z), of z's shape and dtype. Differentiable in z and in the signature's
        parameters (also those that a plain function closes over) any number of times; at
        z = 0, an end of the domain, the derivative in z is set to 0. By quadrature,
        derivatives in the parameters hold for z in [1e-100, 1e100] (float32: [1e-12, 1e12]),
        less where chi grows faster than t; nodes beyond count as constant. The inverse of an
        activation without a closed one reaches z of about 1e12. A plain function that closes
        over traced parameters is compiled at each call: make it a `Signature` to avoid that.

    Raises:
        ValueError: for a negative or non-finite z, or a chi that is not positive and
            non-decreasing at sample points.

    Example:
        >>> from jaxact.geometry import log_chi, tsallis
        >>> round(float(log_chi(tsallis(1.5), 2.0)), 4)
        0.5858
        >>> round(float(log_chi(lambda t: t**1.5, 2.0)), 4)
        0.5858

    Source: Naudts 2011, Generalised Thermostatistics; Nock et al. 2017, section 3.
    """
    checks.non_negative("z", z)
    return log_kernel(as_signature(chi, jumps), conform(z, ())[0])


def exp_chi(
    chi: Signature | Callable[..., Any],
    y: Float[Array, "..."] | float,
    *,
    jumps: tuple[float, ...] = (),
) -> Float[Array, "..."]:
    """The deformed exponential, the inverse of `log_chi`: exp_chi' = chi(exp_chi).

    0 below the range of log_chi, +inf above it. For the signature of an activation f it is
    f(y + t0) + k, with the absolute rounding error of f in its tail (about 1e-11 for mu_relu and
    matsushita, so values below that have no correct digit). By the closed form where the
    signature has one, else by a table of the quadrature, inverted by one polynomial a panel, and
    by Newton steps with exp_chi' = chi where a polynomial would not do: errors <= 1e-10 in
    float64, relative where z is well-conditioned (an error of y counts times chi(z) / z) and for
    z beyond 1e-17 and 1e17 where chi lies between a constant and t^3.
    For small values of an activation's exp_chi, ask for the latter:
    `dataclasses.replace(chi, log=None, exp=None)`.

    Args:
        chi: a `Signature`, or any positive non-decreasing JAX function of t > 0, elementwise.
        y: any shape, finite.
        jumps: where a plain function chi, or a derivative of it, jumps.

    Returns:
        exp_chi(y), of y's shape and dtype. Differentiable in y and in the signature's
        parameters any number of times (implicitly where there is no closed form).

    Raises:
        ValueError: for a non-finite y, or a chi that is not positive and non-decreasing.

    Example:
        >>> from jaxact.geometry import exp_chi, tsallis
        >>> [round(float(exp_chi(tsallis(1.5), y)), 4) for y in (0.5, 3.0)]
        [1.7778, inf]

    Source: Naudts 2011, Generalised Thermostatistics; Nock et al. 2017, section 3.
    """
    checks.finite("y", y)
    return exp_kernel(as_signature(chi, jumps), conform(y, ())[0])


@jax.jit
def log_kernel(chi: Signature, z: Any) -> Any:
    """What `log_chi` does after its checks."""
    z, theta = conform(z, chi.theta)
    if chi.log is not None:
        return jnp.asarray(chi.log(z, *theta), z.dtype)
    return log_by_table(chi.fn, chi.jumps, z, theta)


@jax.jit
def exp_kernel(chi: Signature, y: Any) -> Any:
    """What `exp_chi` does after its checks."""
    y, theta = conform(y, chi.theta)
    if chi.exp is not None:
        return jnp.asarray(chi.exp(y, *theta), y.dtype)
    return exp_by_table(chi.fn, chi.jumps, y, theta)


def as_signature(chi: Signature | Callable[..., Any], jumps: tuple[float, ...]) -> Signature:
    """A plain function as a signature; parameters it closes over become theta."""
    if isinstance(chi, Signature):
        if jumps:
            raise ValueError("jumps belong to a plain function; a Signature carries its own")
        checks.finite("chi.theta", chi.theta)
        return chi
    if not callable(chi):
        raise TypeError(f"chi must be a Signature or a function of t, got {chi!r}")
    checks.positive("jumps", jumps)
    name = getattr(chi, "__name__", "chi")
    _check_sampled(chi, name)
    converted, closed_over = jax.closure_convert(chi, jnp.ones(()))
    if not closed_over:
        return Signature(chi, (), name, jumps)
    return Signature(_Elementwise(converted), tuple(closed_over), name, jumps)


class _Elementwise:
    """A function of one scalar, on arrays of any shape."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, t: Any, *theta: Any) -> Any:
        flat = jax.vmap(lambda one: self.fn(one, *theta))(t.reshape(-1))
        return flat.reshape(t.shape)


def _check_sampled(chi: Callable[..., Any], name: str) -> None:
    t = np.geomspace(1e-3, 1e3, 25)
    values = chi(jnp.asarray(t))
    if not checks.is_concrete(values):
        return
    values = np.asarray(values, np.float64)
    if values.shape != t.shape:
        raise ValueError(f"{name} must be elementwise: {t.shape} in gave {values.shape} out")
    rising = np.diff(values) >= -1e-6 * np.abs(values[1:])
    if not (np.isfinite(values).all() and (values > 0).all() and rising.all()):
        raise ValueError(
            f"{name} must be positive and non-decreasing on (0, inf), got values "
            f"{values.min():.4g} to {values.max():.4g} on [1e-3, 1e3]"
        )
