"""f-divergences: a table of the named ones, and the one that is matched to an activation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation, activation
from jaxact.geometry import heads, table
from jaxact.geometry.matched import ActivationConjugate, SignatureConjugate, SignatureGenerator
from jaxact.geometry.signature import Signature, conform, signature
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_TOLERANCE = 1e-5


@pytree(static=("fn", "conjugate_fn", "name", "heads_fn", "slope_limit_fn"))
class Divergence:
    """The f-divergence I_f(P || Q) = E_Q f(p / q), f convex on u >= 0, as a pytree.

    Attributes:
        fn: fn(u, *theta), elementwise and traceable.
        conjugate_fn: (t, *theta) -> sup over u >= 0 of t u - f(u); +inf off its domain.
        theta: parameters, a tuple of pytrees of arrays; differentiable.
        name: what tables call it.
        heads_fn: closed form (s, *theta) -> (f'(e^s), f*(f'(e^s))) where one is known: the
            optimal discriminator and its conjugate at the log-ratio s = log p / q.
        slope_limit_fn: sup f', the upper end of the domain of f*, where it is known: a number
            or a function of theta. inf: f' is unbounded.

    Example:
        >>> kl = divergence("kl")
        >>> round(float(kl.f(2.0)), 4), round(float(kl.conjugate(1.0)), 4), float(kl.threshold)
        (1.3863, 1.0, 1.0)
    """

    fn: Callable[..., Any]
    conjugate_fn: Callable[..., Any]
    theta: Leaf = ()
    name: str = "divergence"
    heads_fn: Callable[..., Any] | None = None
    slope_limit_fn: float | Callable[..., Any] | None = None

    def f(self, u: Any) -> Any:
        """The generator at u >= 0, elementwise."""
        u, theta = conform(u, self.theta)
        return jnp.asarray(self.fn(u, *theta), u.dtype)

    def derivative(self, u: Any) -> Any:
        """f'(u), elementwise for u > 0: the optimal discriminator of the ratio u = p / q."""
        u, theta = conform(u, self.theta)
        return jax.jvp(lambda v: self.fn(v, *theta), (u,), (jnp.ones_like(u),))[1]

    def conjugate(self, t: Any) -> Any:
        """The convex conjugate f*(t), elementwise; +inf off its domain."""
        t, theta = conform(t, self.theta)
        return jnp.asarray(self.conjugate_fn(t, *theta), t.dtype)

    def heads(self, s: Any) -> tuple[Any, Any]:
        """f'(e^s) and f*(f'(e^s)) at the log-ratio s, elementwise: always inside the domain of f*.

        By the closed form where there is one; else from f, with an absolute rounding error of
        about eps e^s, and constant beyond |s| = 19 (float64: 156).
        """
        s, theta = conform(s, self.theta)
        if self.heads_fn is not None:
            output, conjugate = self.heads_fn(s, *theta)
            return jnp.asarray(output, s.dtype), jnp.asarray(conjugate, s.dtype)
        # Four powers of u, which two derivatives of the heads may hold, are finite.
        end = 0.22 * math.log(float(jnp.finfo(s.dtype).max))
        u = jnp.exp(jnp.clip(s, -end, end))
        output = self.derivative(u)
        return output, u * output - self.f(u)

    @property
    def slope_limit(self) -> Any:
        """Sup f', the upper end of the domain of f*; None where it is not known."""
        limit = self.slope_limit_fn
        return limit(*self.theta) if callable(limit) else limit

    @property
    def threshold(self) -> Any:
        """f'(1): a discriminator above it says that p > q."""
        return self.derivative(1.0)


def divergence(
    which: str | Divergence | Activation | Signature | Callable[..., Any],
    alpha: Any = None,
) -> Divergence:
    """The named f-divergence, or the one that is matched to an activation or a signature.

    Names: kl, reverse_kl, pearson, neyman, squared_hellinger, jensen_shannon, gan, jeffrey,
    total_variation, and alpha, f(u) = (u^a - 1 - a (u - 1)) / (a (a - 1)). An activation v with
    signature chi has f(u) = -log_chi(u) = v^{-1}(1 - k) - v^{-1}(u - k), k = -inf v: minus the
    inverse activation generates a divergence.

    Args:
        which: a name; an `Activation` (or a scalar function) or a `Signature`, for the matched
            divergence; a `Divergence` is returned as it is.
        alpha: the parameter a of "alpha", neither 0 (reverse_kl) nor 1 (kl); may be traced.

    Returns:
        A `Divergence`. Its f, f* and value are differentiable in their arguments and in theta.

    Raises:
        ValueError: for an unknown name, a missing or wrong alpha, or an activation that has no
            signature.

    Example:
        >>> import jaxact
        >>> round(float(divergence("alpha", 3.0).f(2.0)), 4)
        0.6667
        >>> d = divergence(jaxact.get("exp"))  # -log u, reverse KL
        >>> round(float(d.f(2.0)), 4), round(float(d.conjugate(-0.5)), 4)
        (-0.6931, -0.3069)

    Source: Nowozin, Cseke & Tomioka 2016, Table 6; Nock et al. 2017, sections 2 and 4.
    """
    if not isinstance(which, str | Divergence | Signature):
        checks.function("which", which, "one array, a name or a divergence")
    if alpha is not None and not (isinstance(which, str) and which == "alpha"):
        raise ValueError(f"alpha belongs to which='alpha', got it with {which!r}")
    if isinstance(which, Divergence):
        return which
    if isinstance(which, str):
        return _named(which, alpha)
    if isinstance(which, Signature):
        conjugate = SignatureConjugate(which)
        label = which.name
        chi = which
    else:
        act = activation(which)
        chi = signature(act)
        conjugate = ActivationConjugate(act.fn, act.closed.inverse, act.kinks)
        label = act.name
    return Divergence(SignatureGenerator(chi), conjugate, chi.theta, f"matched to {label}")


def _named(name: str, alpha: Any) -> Divergence:
    if name == "alpha":
        if alpha is None:
            raise ValueError("divergence('alpha', alpha) needs its parameter alpha")
        checks.finite("alpha", alpha)
        if checks.is_concrete(alpha) and np.any(np.isin(np.asarray(alpha), (0, 1))):
            raise ValueError(
                f"alpha must be neither 0 (that is 'reverse_kl') nor 1 ('kl'), got {alpha}"
            )
        parts = (heads.alpha, table.alpha_slope_limit)
        return Divergence(table.alpha, table.alpha_conjugate, (alpha,), "alpha", *parts)
    if name not in table.NAMED:
        known = (*table.NAMED, "alpha")
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ";"
        raise ValueError(
            f"which must be a known divergence, got {name!r}{hint} they are {', '.join(known)}"
        )
    row = table.NAMED[name]
    return Divergence(row.f, row.conjugate, (), name, row.heads, row.slope_limit)


def divergence_value(
    which: str | Divergence | Activation | Signature | Callable[..., Any],
    p: Float[Array, " n"] | Any,
    q: Float[Array, " n"] | Any,
) -> Float[Array, ""]:
    """I_f(P || Q) = sum_i q_i f(p_i / q_i) of two distributions on n points.

    Args:
        which: what `divergence` takes.
        p: probabilities, shape (n,).
        q: probabilities, shape (n,), positive wherever p is.

    Returns:
        The value, a scalar; +inf where f(0) = inf meets a zero of p. A point where both are
        zero counts 0. Differentiable in p, q and the divergence's theta.

    Raises:
        ValueError: if p or q is not a probability vector (entries >= 0, sum 1 to 1e-5), their
            shapes differ, or q is 0 where p is positive.

    Example:
        >>> value = divergence_value("kl", [0.5, 0.3, 0.2], [0.2, 0.5, 0.3])
        >>> round(float(value), 5)
        0.2238

    Source: Csiszar 1967; Nock et al. 2017, section 2.
    """
    _check_pair(p, q)
    p, q = conform(p, ())[0], conform(q, ())[0]
    return _value(divergence(which), p, q)


def matched_divergence(
    act: Activation | Signature | Callable[..., Any],
    p: Float[Array, " n"] | Any,
    q: Float[Array, " n"] | Any,
) -> Float[Array, ""]:
    """The divergence that belongs to an activation v: sum_i q_i f(p_i / q_i), f = -log_chi.

        f(u) = v^{-1}(1 - k) - v^{-1}(u - k),   k = -inf v.

    exp gives KL(Q || P), mu_relu ((1 - mu)^2 / 4) times Neyman's, relu zero.

    Args:
        act: an `Activation` that has a signature, a scalar function, or a `Signature`.
        p: probabilities, shape (n,).
        q: probabilities, shape (n,), positive wherever p is.

    Returns:
        The value, a scalar. Differentiable in p, q and theta: a divergence can be learned.

    Raises:
        ValueError: as `divergence_value`, and if the activation has no signature.

    Example:
        >>> import jaxact
        >>> p, q = [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]
        >>> round(float(matched_divergence(jaxact.get("mu_relu", 0.4), p, q)), 5)
        0.0327

    Source: Nock et al. 2017, section 4 (KL_chi), with the chi of the activation.
    """
    if isinstance(act, str | Divergence):
        raise TypeError(f"act must be an activation or a Signature, got {act!r}")
    return divergence_value(act, p, q)


@jax.jit
def _value(d: Divergence, p: Any, q: Any) -> Any:
    positive = q > 0
    ratio = jnp.where(positive, p / jnp.where(positive, q, 1), 1)
    return jnp.sum(jnp.where(positive, q * d.f(ratio), 0))


def _check_pair(p: Any, q: Any) -> None:
    for name, value in (("p", p), ("q", q)):
        checks.shape(name, value, ("n",))
        checks.non_negative(name, value)
        if checks.is_concrete(value):
            total = float(np.sum(np.asarray(value, np.float64)))
            if abs(total - 1) > _TOLERANCE:
                raise ValueError(f"{name} must sum to 1, got a sum of {total:.6g}")
    if np.shape(p) != np.shape(q):
        raise ValueError(f"p and q must have one shape, got {np.shape(p)} and {np.shape(q)}")
    if checks.is_concrete((p, q)):
        bad = np.flatnonzero((np.asarray(p) > 0) & (np.asarray(q) == 0))
        if bad.size:
            raise ValueError(f"q must be positive where p is, got 0 at index {bad[0]}")
