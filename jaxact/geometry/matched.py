"""The divergence generator f = -log_chi of a signature, and its convex conjugate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxact.geometry.deformed import log_kernel
from jaxact.geometry.signature import ActivationParts, Signature
from jaxact.numerics.roots import increasing_root


class _SignatureParts:
    """A function derived from a signature's static parts; equal parts, equal function."""

    def __init__(self, chi: Signature) -> None:
        self.parts = (chi.fn, chi.jumps, chi.log, chi.exp)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.parts))

    def log(self, z: Any, theta: Any) -> Any:
        fn, jumps, log, exp = self.parts
        return log_kernel(Signature(fn, theta, "chi", jumps, log, exp), z)


class SignatureGenerator(_SignatureParts):
    """f(u) = -log_chi(u)."""

    def __call__(self, u: Any, *theta: Any) -> Any:
        """At u >= 0, elementwise."""
        return -self.log(u, theta)


class SignatureConjugate(_SignatureParts):
    """f*(T) = T u + log_chi(u) where chi(u) = -1/T, for T < 0."""

    def __call__(self, t: Any, *theta: Any) -> Any:
        """At t, elementwise; +inf where the supremum is infinite."""
        below = t < 0
        target = -1 / jnp.where(below, t, -1)
        s = increasing_root(self._chi, target, theta)
        at = jnp.where(jnp.isfinite(s), s, 0)
        at = _if_attained(at, self._chi(at, *theta), target)
        u = self._u(at)
        at_zero = self.log(jnp.zeros_like(t), theta)
        value = jnp.where(s == -jnp.inf, at_zero, t * u + self.log(u, theta))
        return jnp.where(below & (s != jnp.inf), value, jnp.inf)

    def _u(self, s: Any) -> Any:
        largest = 0.99 * jnp.log(jnp.finfo(s.dtype).max)
        return jnp.exp(jnp.clip(s, -largest, largest))

    def _chi(self, s: Any, *theta: Any) -> Any:
        return self.parts[0](self._u(s), *theta)


class ActivationConjugate(ActivationParts):
    """The same for the signature of an activation v, without an inverse of chi.

    With u = v(x) + k the sup over u of T u + log_chi(u) is the sup over x of
    T (v(x) + k) + x - t0, attained where v'(x) = -1/T.
    """

    def __call__(self, t: Any, *theta: Any) -> Any:
        """At t, elementwise; +inf where the supremum is infinite."""
        k = self.offset(theta, t.dtype)
        start = self.inverse(jnp.ones_like(k), k, theta)
        below = t < 0
        target = -1 / jnp.where(below, t, -1)
        x = increasing_root(self._slope, target, theta)
        at = jnp.where(jnp.isfinite(x), x, 0)
        at = _if_attained(at, self._slope(at, *theta), target)
        at_zero = self.inverse(jnp.zeros_like(k), k, theta) - start
        value = t * (self.fn(at, *theta) + k) + at - start
        value = jnp.where(x == -jnp.inf, at_zero, value)
        return jnp.where(below & (x != jnp.inf), value, jnp.inf)

    def _slope(self, x: Any, *theta: Any) -> Any:
        return jax.jvp(lambda v: self.fn(v, *theta), (x,), (jnp.ones_like(x),))[1]


def _if_attained(x: Any, value: Any, target: Any) -> Any:
    """X with its implicit derivative where the equation holds, constant where x sits at a jump."""
    close = jnp.sqrt(jnp.finfo(x.dtype).eps) * target
    return jnp.where(jnp.abs(value - target) <= close, x, jax.lax.stop_gradient(x))
