"""The signature chi of an activation: derived from it, or in closed form where one is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.activation import Activation, activation
from jaxact.geometry import special
from jaxact.geometry.admissible import admissibility
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.roots import increasing_root

_FAR = 2.0**40


@pytree(static=("fn", "name", "jumps", "log", "exp"))
class Signature:
    """A non-decreasing chi: (0, inf) -> (0, inf) with its parameters, as a pytree.

    Attributes:
        fn: fn(t, *theta), elementwise and traceable.
        theta: the parameters, a tuple of pytrees of arrays; differentiable.
        name: what tables call it.
        jumps: points t > 0 where chi or a derivative of it jumps; or a function theta -> such
            points. Quadrature is split there.
        log: closed form (z, *theta) -> log_chi(z), where one is known.
        exp: closed form (y, *theta) -> exp_chi(y), where one is known.

    Example:
        >>> chi = Signature(lambda t, q: t**q, (1.5,), name="power")
        >>> round(float(chi(4.0)), 4)
        8.0
    """

    fn: Callable[..., Any]
    theta: Leaf = ()
    name: str = "chi"
    jumps: tuple[float, ...] | Callable[..., Any] = ()
    log: Callable[..., Any] | None = None
    exp: Callable[..., Any] | None = None

    def __call__(self, t: Any) -> Any:
        """chi(t), elementwise, in the dtype of t."""
        t, theta = conform(t, self.theta)
        return jnp.asarray(self.fn(t, *theta), t.dtype)


def conform(t: Any, theta: Any) -> tuple[Any, Any]:
    """T as a floating array, and theta in its dtype."""
    t = jnp.asarray(t)
    if not jnp.issubdtype(t.dtype, jnp.floating):
        t = t.astype(jnp.result_type(float))
    return t, jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(t.dtype), theta)


def signature(act: Activation | Callable[..., Any]) -> Signature:
    """The signature of a convex increasing activation f that is bounded below.

        chi(y) = f'((f + k)^{-1}(y)),   k = -inf f,

    so that f(. + t0) + k is exp_chi. By the catalogue's closed form where there is one, else
    through the inverse, for any such f and with theta traced. In
    float64 the derived chi is within 1e-11 relative of the closed form for y in [1e-3, 1e11].
    Nearer to 0 it is as good as f + k is in its own tail: where that cancels (mu_relu as
    x + sqrt(c + x^2), or any k != 0) only an absolute error of about 1e-11 is kept.

    Args:
        act: an `Activation`, or a scalar JAX function.

    Returns:
        A `Signature` with the activation's theta. Differentiable in t and theta (implicitly
        through the inverse) any number of times.

    Raises:
        ValueError: if the activation is not admissible, with the reason. With theta traced
            by JAX there is nothing to test, and the caller vouches for it.

    Example:
        >>> import jax, jaxact
        >>> chi = signature(jaxact.get("mu_relu", 0.4))
        >>> round(float(chi(0.5)), 4)  # 4 y^2 / ((1 - mu)^2 + 4 y^2)
        0.7353
        >>> signature(jaxact.get("tanh"))
        Traceback (most recent call last):
        ...
        ValueError: tanh has no signature: tanh is not convex: its slope falls ...

    Source: Nock et al. 2017, Table 1 and section 5.
    """
    act = activation(act)
    require_admissible(act)
    parts = (act.fn, act.closed.inverse, act.kinks)
    return Signature(
        act.closed.signature or _DerivedChi(*parts),
        act.theta,
        f"signature of {act.name}",
        _Jumps(*parts) if act.kinks else (),
        _ActivationLog(*parts),
        _ActivationExp(*parts),
    )


def require_admissible(act: Activation) -> None:
    """Raise `ValueError` unless the activation has a signature; tracers pass."""
    if checks.is_concrete(act.theta):
        report = admissibility(act)
        if not report.has_signature:
            raise ValueError(f"{act.name} has no signature: {report.reason}")


def parametric_curve(
    act: Activation, t: Float[Array, "..."] | float
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The graph of the signature without an inverse: t -> (f(t) + k, f'(t)), k = -inf f.

    Args:
        act: an activation that has a signature.
        t: pre-activations, any shape.

    Returns:
        y = f(t) + k and chi(y) = f'(t), each of t's shape. Differentiable in t and theta.

    Raises:
        ValueError: if the activation has no signature, with the reason.

    Example:
        >>> import jaxact
        >>> y, chi = parametric_curve(jaxact.get("softplus"), 0.0)
        >>> round(float(y), 4), round(float(chi), 4)
        (0.6931, 0.5)

    Source: Nock et al. 2017, the definition of chi in section 5.
    """
    act = activation(act)
    checks.finite("t", t)
    require_admissible(act)
    x, theta = conform(t, act.theta)
    value, slope = jax.jvp(lambda v: act.fn(v, *theta), (x,), (jnp.ones_like(x),))
    return value + offset(act.fn, theta, x.dtype), slope


def tsallis(q: Any) -> Signature:
    """chi(t) = t^q, the signature of the Tsallis (q-) logarithm; q = 1 is the ordinary one.

    log_q(z) = (z^(1-q) - 1) / (1 - q) and exp_q(y) = [1 + (1 - q) y]_+^(1 / (1 - q)), smooth
    in q through q = 1.

    Args:
        q: a finite non-negative scalar; it may be traced.

    Raises:
        ValueError: for a negative q (chi must not decrease).

    Example:
        >>> from jaxact.geometry import exp_chi, log_chi
        >>> round(float(log_chi(tsallis(0.5), 2.0)), 4), round(float(exp_chi(tsallis(2), 0.5)), 4)
        (0.8284, 2.0)

    Source: Tsallis 1988; Nock et al. 2017, section 3; Naudts 2011.
    """
    checks.non_negative("q", q)
    return Signature(_power, (q,), "tsallis", (), special.tsallis_log, special.tsallis_exp)


def gan() -> Signature:
    """chi(t) = 1 / log(1 + 1/t), the signature of the GAN divergence.

    log_chi(z) = (z + 1) log(z + 1) - z log z - 2 log 2. Its matched divergence is
    Jensen-Shannon.

    Example:
        >>> from jaxact.geometry import log_chi
        >>> round(float(log_chi(gan(), 2.0)), 4)
        0.5232

    Source: Nock et al. 2017, section 4.
    """
    return Signature(special.gan_chi, (), "gan", (), special.gan_log, special.gan_exp)


def _power(t: Any, q: Any) -> Any:
    inside = t > 0
    return jnp.where(inside, jnp.where(inside, t, 1) ** q, jnp.where(q > 0, 0.0, 1.0))


def offset(fn: Callable[..., Any], theta: Any, dtype: Any) -> Any:
    """K = -inf f: minus f at the furthest point to the left where it is finite.

    Powers of two: sums such as x + sqrt(c + x^2) cancel there without rounding error.
    """
    powers = jnp.finfo(dtype).maxexp // 8  # pyright: ignore[reportOperatorIssue]
    points = -jnp.exp2(jnp.asarray([2, 4, 8, 16, 32, 64, powers], dtype))
    points = jnp.maximum(points, -jnp.asarray(2.0**powers, dtype))
    fits = jnp.isfinite(fn(points, *theta))
    last = jnp.min(jnp.where(fits, points, 0))
    return -fn(jax.lax.stop_gradient(last), *theta)


class ActivationParts:
    """A function derived from an activation's parts; equal parts, equal function."""

    def __init__(self, fn: Any, inverse: Any, kinks: Any) -> None:
        """Keep f, its closed inverse (or None) and its kinks."""
        self.fn, self.closed_inverse, self.kinks = fn, inverse, kinks

    def __eq__(self, other: object) -> bool:
        """Equal parts."""
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Of the parts."""
        return hash((type(self), self.fn, self.closed_inverse, self.kinks))

    def offset(self, theta: Any, dtype: Any) -> Any:
        """K, as an array."""
        return jnp.asarray(offset(self.fn, theta, dtype), dtype)

    def points(self, theta: Any, dtype: Any) -> Any:
        """The kinks of f at theta, shape (k,)."""
        kinks = self.kinks(*theta) if callable(self.kinks) else self.kinks
        return jnp.asarray(kinks, dtype).reshape(-1)

    def inverse(self, y: Any, k: Any, theta: Any) -> Any:
        """(f + k)^{-1}(y) for y > 0; at and below 0 the right end of f's flat part, or -inf."""
        if self.closed_inverse is not None:
            x = self.closed_inverse(y - k, *theta)
        else:
            x = increasing_root(self.fn, jnp.asarray(y - k), theta)
        positive = y > 0
        return jnp.where(positive, x, self._floor(k, theta, y.dtype))

    def _floor(self, k: Any, theta: Any, dtype: Any) -> Any:
        points = self.points(theta, dtype)
        if points.size == 0:
            return jnp.asarray(-jnp.inf, dtype)
        above = self.fn(points, *theta) + k
        flat = above <= 8 * jnp.finfo(dtype).eps * (1 + jnp.abs(k))
        return jnp.max(jnp.where(flat, points, -jnp.inf))


class _DerivedChi(ActivationParts):
    """chi = f' o (f + k)^{-1}."""

    def __call__(self, y: Any, *theta: Any) -> Any:
        x = self.inverse(y, self.offset(theta, y.dtype), theta)
        x = jnp.clip(x, -_FAR, _FAR)
        return jax.jvp(lambda v: self.fn(v, *theta), (x,), (jnp.ones_like(x),))[1]


class _ActivationLog(ActivationParts):
    """log_chi(z) = (f + k)^{-1}(z) - (f + k)^{-1}(1)."""

    def __call__(self, z: Any, *theta: Any) -> Any:
        k = self.offset(theta, z.dtype)
        value = self.inverse(z, k, theta) - self.inverse(jnp.ones_like(k), k, theta)
        return jnp.where(z < 0, -jnp.inf, value)


class _ActivationExp(ActivationParts):
    """exp_chi(y) = f(y + t0) + k with f(t0) + k = 1."""

    def __call__(self, y: Any, *theta: Any) -> Any:
        k = self.offset(theta, y.dtype)
        value = self.fn(y + self.inverse(jnp.ones_like(k), k, theta), *theta) + k
        # A rounding error below the infimum is no density.
        return jnp.maximum(value, 0)


class _Jumps(ActivationParts):
    """The points of chi that belong to the kinks of f."""

    def __call__(self, *theta: Any) -> Any:
        dtype = jnp.result_type(*jax.tree.leaves(theta), float)
        points = self.points(theta, dtype)
        return self.fn(points, *theta) + self.offset(theta, dtype)
