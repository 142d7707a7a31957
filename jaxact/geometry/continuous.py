"""f-divergences of densities, by quadrature or Monte Carlo, and the bound of raw outputs T."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxact.geometry.divergences import Divergence, divergence
from jaxact.geometry.signature import conform
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.quadrature import panel_rule

_PANELS = 64


@pytree()
class Estimate:
    """A number and how far to trust it.

    Attributes:
        value: the estimate, a scalar.
        error: by quadrature, the difference from the rule of half as many nodes (an upper bound
            for a smooth integrand); by Monte Carlo, the standard error.
    """

    value: Leaf
    error: Leaf


def divergence_integral(
    which: str | Divergence | Any,
    log_p: Callable[..., Any],
    log_q: Callable[..., Any],
    low: Any,
    high: Any,
) -> Estimate:
    """I_f(P || Q) of two densities on [low, high]: the integral of q f(p / q).

    By Gauss-Legendre quadrature on 64 panels of 16 nodes. Ask for it in float64: where e^s
    overflows (float32: |log p / q| > 85) the value is infinite.

    Args:
        which: what `divergence` takes.
        log_p: x -> log p(x), elementwise.
        log_q: x -> log q(x), elementwise.
        low: lower end; what lies outside [low, high] is left out.
        high: upper end, above `low`.

    Returns:
        An `Estimate`. Differentiable in what log_p and log_q close over, and in theta.

    Raises:
        ValueError: unless low < high, both finite.

    Example:
        >>> normal = lambda m: lambda x: -((x - m) ** 2) / 2 - 0.9189385
        >>> found = divergence_integral("kl", normal(0.0), normal(1.0), -8.0, 9.0)
        >>> round(float(found.value), 4)
        0.5

    Source: Nock et al. 2017, section 2.
    """
    checks.finite("low", low)
    checks.finite("high", high)
    if checks.is_concrete((low, high)) and low >= high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    checks.function("log_p", log_p, "x")
    checks.function("log_q", log_q, "x")
    d = divergence(which)
    edges = jnp.linspace(low, high, _PANELS + 1)

    def rule(nodes: int) -> Any:
        x, w = panel_rule(edges, nodes)
        log_weight = log_q(x)
        ratio = log_p(x) - log_weight
        density = jnp.exp(log_weight)
        term = density * d.f(jnp.exp(jnp.where(density > 0, ratio, 0)))
        return jnp.sum(w * jnp.where(density > 0, term, 0))

    value, coarse = rule(16), rule(8)
    return Estimate(value, jnp.abs(value - coarse))


def divergence_sample(which: str | Divergence | Any, log_ratio: Any) -> Estimate:
    """I_f(P || Q) from a sample of Q: the mean of f(e^s) at s = log p(x) - log q(x), x ~ Q.

    Args:
        which: what `divergence` takes.
        log_ratio: s at the points of the sample, shape (n,), n >= 2; -inf where p = 0.

    Returns:
        An `Estimate` with the standard error of the mean. Differentiable in s and theta.

    Raises:
        ValueError: for fewer than two points, or a NaN.

    Example:
        >>> found = divergence_sample("kl", jnp.array([0.1, -0.2, 0.3]))
        >>> round(float(found.value), 4)
        0.1172

    Source: Nock et al. 2017, section 2.
    """
    checks.shape("log_ratio", log_ratio, ("n",))
    if checks.is_concrete(log_ratio):
        checks.numbers("log_ratio", log_ratio)
    s = conform(log_ratio, ())[0]
    if s.shape[0] < 2:
        raise ValueError(f"log_ratio must have at least 2 points, got {s.shape[0]}")
    if checks.is_concrete(s) and np.isnan(np.asarray(s)).any():
        raise ValueError("log_ratio must not be NaN")
    terms = divergence(which).f(jnp.exp(s))
    return Estimate(jnp.mean(terms), jnp.std(terms, ddof=1) / s.shape[0] ** 0.5)


def variational_bound(which: str | Divergence | Any, t_p: Any, t_q: Any) -> Any:
    """The lower bound mean T(x_p) - mean f*(T(x_q)) of I_f from raw outputs T of a discriminator.

    `ProperComposite.value` cannot leave the domain of f*; this can, so it checks.

    Args:
        which: what `divergence` takes.
        t_p: T at samples of P, any shape.
        t_q: T at samples of Q, any shape.

    Returns:
        A scalar, differentiable in both and in theta.

    Raises:
        ValueError: for a T outside the domain of f*, named with that domain.

    Example:
        >>> round(float(variational_bound("gan", -0.5, -0.9)), 2)
        -1.02
        >>> variational_bound("gan", -0.5, 0.3)
        Traceback (most recent call last):
        ...
        ValueError: t_q must lie in the domain of f* of gan, t < 0, got 0.3

    Source: Nguyen, Wainwright & Jordan 2010; Nowozin, Cseke & Tomioka 2016, eq. 4.
    """
    d = divergence(which)
    for name, t in (("t_p", t_p), ("t_q", t_q)):
        checks.finite(name, t)
        _check_domain(name, d, t)
    t_p, t_q = conform(t_p, ())[0], conform(t_q, ())[0]
    return jnp.mean(t_p) - jnp.mean(d.conjugate(t_q))


def _check_domain(name: str, d: Divergence, t: Any) -> None:
    if not checks.is_concrete((t, d.theta)):
        return
    limit = d.slope_limit
    if limit is not None and not np.isfinite(np.asarray(limit)).all():
        return
    array = np.asarray(t, np.float64)
    outside = np.isposinf(np.asarray(d.conjugate(t), np.float64))
    if limit is not None:
        outside |= array > np.asarray(limit)
    if outside.any():
        bad = tuple(np.argwhere(outside)[0])
        where = f" at index {tuple(int(i) for i in bad)}" if array.ndim else ""
        closed = limit is not None and np.isfinite(np.asarray(d.conjugate(limit))).all()
        domain = "" if limit is None else f" t {'<=' if closed else '<'} {float(limit):.6g},"
        raise ValueError(
            f"{name} must lie in the domain of f* of {d.name},{domain} got {array[bad]:g}{where}"
        )
