"""Escort densities and the rescaling of a signature."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.geometry.deformed import exp_kernel, log_kernel
from jaxact.geometry.signature import Signature, conform
from jaxact.numerics import checks


def escort(
    chi: Signature, p: Float[Array, " n"], weights: Float[Array, " n"]
) -> Float[Array, " n"]:
    """The escort density chi(p) / Z with Z = sum of weights * chi(p); 0 where p is 0.

    Args:
        chi: the signature.
        p: densities at the points of a rule, (n,), >= 0.
        weights: the rule's weights, (n,), >= 0.

    Returns:
        The escort's densities, (n,). Differentiable in p and the signature's parameters.

    Raises:
        ValueError: for negative or non-finite entries.

    Example:
        >>> from jaxact.geometry import tsallis
        >>> [round(float(v), 4) for v in escort(tsallis(2.0), jnp.array([0.2, 0.8]), jnp.ones(2))]
        [0.0588, 0.9412]

    Source: Nock et al. 2017, section 3.
    """
    checks.instance("chi", chi, Signature)
    checks.finite("chi.theta", chi.theta)
    checks.non_negative("p", p)
    checks.non_negative("weights", weights)
    return escort_kernel(chi, p, weights)


def escort_kernel(chi: Signature, p: Any, weights: Any) -> Any:
    """What `escort` does after its checks."""
    unscaled = jnp.where(p > 0, chi(jnp.where(p > 0, p, 1)), 0)
    return unscaled / (weights @ unscaled)


def rescale(chi: Signature, p: float | Float[Array, ""]) -> Signature:
    """The signature chi_p(t) = chi(t p) / p, with log_{chi_p}(z) = log_chi(p z) - log_chi(p).

    Args:
        chi: a signature.
        p: a positive scalar; it may be traced.

    Returns:
        A `Signature` whose last parameter is p. Differentiable in it.

    Raises:
        ValueError: for a p that is not positive.

    Example:
        >>> from jaxact.geometry import log_chi, tsallis
        >>> chi = rescale(tsallis(1.5), 0.3)
        >>> whole = log_chi(tsallis(1.5), 0.6) - log_chi(tsallis(1.5), 0.3)
        >>> bool(abs(log_chi(chi, 2.0) - whole) < 1e-5)
        True

    Source: Nock et al. 2017, section 4.
    """
    checks.instance("chi", chi, Signature)
    checks.finite("chi.theta", chi.theta)
    checks.positive("p", p)
    checks.shape("p", p, ())
    parts = (chi.fn, chi.jumps, chi.log, chi.exp)
    jumps = _RescaledJumps(*parts) if callable(chi.jumps) or chi.jumps else ()
    return Signature(
        _RescaledChi(*parts),
        (chi.theta, p),
        f"{chi.name} rescaled",
        jumps,
        _RescaledLog(*parts),
        _RescaledExp(*parts),
    )


class _Rescaled:
    """A function derived from a signature's static parts; equal parts, equal function."""

    def __init__(self, fn: Any, jumps: Any, log: Any, exp: Any) -> None:
        self.fn, self.jumps, self.log, self.exp = fn, jumps, log, exp

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.fn, self.jumps, self.log, self.exp))

    def signature(self, theta: Any) -> Signature:
        return Signature(self.fn, theta, "chi", self.jumps, self.log, self.exp)


class _RescaledChi(_Rescaled):
    def __call__(self, t: Any, theta: Any, p: Any) -> Any:
        return self.fn(t * p, *theta) / p


class _RescaledLog(_Rescaled):
    def __call__(self, z: Any, theta: Any, p: Any) -> Any:
        chi = self.signature(theta)
        return log_kernel(chi, z * p) - log_kernel(chi, p)


class _RescaledExp(_Rescaled):
    def __call__(self, y: Any, theta: Any, p: Any) -> Any:
        chi = self.signature(theta)
        return exp_kernel(chi, y + log_kernel(chi, p)) / p


class _RescaledJumps(_Rescaled):
    def __call__(self, theta: Any, p: Any) -> Any:
        jumps = self.jumps(*theta) if callable(self.jumps) else self.jumps
        return conform(jumps, ())[0] / p
