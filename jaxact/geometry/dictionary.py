"""From a divergence to its signature and its activation: the dictionary read backwards."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation, ClosedForms
from jaxact.geometry import special
from jaxact.geometry.adapted import is_named
from jaxact.geometry.deformed import exp_chi, log_kernel
from jaxact.geometry.divergences import Divergence, divergence
from jaxact.geometry.matched import SignatureGenerator
from jaxact.geometry.signature import Signature, conform, gan, tsallis
from jaxact.numerics import checks
from jaxact.numerics.roots import increasing_root


def signature_of_divergence(
    which: str | Divergence | Activation | Any, *, margin: Any = None, ratio_bound: Any = None
) -> Signature:
    """The signature chi of a divergence: I_f(P || Q) = KL_chi(Q || P) + f(1).

        chi(u) = 1 / (K - f'(u)),   K = sup f' + margin,
        log_chi(z) = K (z - 1) - f(z) + f(1).

    Every margin gives the same divergence (f changes by a linear function), and another chi. With
    margin > 0, chi is bounded by 1 / margin, and exp_chi grows linearly.

    Args:
        which: what `divergence` takes. A divergence that is matched to an activation or a
            signature gives back that signature.
        margin: a non-negative number; it may be traced. Default 0, and 1 for total variation,
            whose f' attains its supremum.
        ratio_bound: a bound > 1 on u = p / q, for a divergence whose f' is unbounded (KL,
            Pearson, Jeffrey, alpha > 1) or not known to be bounded: K = f'(ratio_bound) +
            margin, with margin 1 by default, and chi is constant beyond it.

    Returns:
        A `Signature` with log_chi in closed form, differentiable in u, the divergence's theta,
        margin and ratio_bound.

    Raises:
        ValueError: if f' is unbounded and no ratio_bound is given; for a negative margin, a zero
            one for total variation, or a ratio_bound <= 1.

    Example:
        >>> chi = signature_of_divergence("squared_hellinger")  # sqrt(u)
        >>> round(float(chi(4.0)), 4)
        2.0
        >>> signature_of_divergence("kl")
        Traceback (most recent call last):
        ...
        ValueError: kl has no signature on all ratios: its f' is unbounded; pass ratio_bound ...

    Source: Nock et al. 2017, section 4.
    """
    d = divergence(which)
    checks.non_negative("margin", 0.0 if margin is None else margin)
    if ratio_bound is not None:
        return _bounded(d, ratio_bound, 1.0 if margin is None else margin)
    if is_named(d, "total_variation"):
        margin = 1.0 if margin is None else margin
        checks.positive("margin of total_variation", margin)
        return Signature(_tv_chi, (margin,), d.name, (1.0,), _tv_log, _tv_exp)
    base = _with_limit(d)
    if margin is None or (checks.is_concrete(margin) and not np.any(np.asarray(margin))):
        return base
    parts = (_margin_log, _margin_exp)
    return Signature(_margin_chi, (base, margin), f"{base.name} with margin", _margin_jumps, *parts)


def activation_from_divergence(
    which: str | Divergence | Activation | Any, *, margin: Any = None, ratio_bound: Any = None
) -> Activation:
    """The activation v = exp_chi of a divergence's signature: increasing, convex, v(0) = 1.

        v'(y) = chi(v(y)) = 1 / (K - f'(v(y))),   v^{-1}(z) = log_chi(z),

    and f is its matched divergence again, up to a linear function. reverse_kl gives exp,
    squared_hellinger (1 + y / 2)_+^2, neyman with margin 1 squareplus; gan a new one. With
    margin > 0 the slope stays below 1 / margin: choose margin = 1 for a layer of a network,
    whose slope then tends to 1 like relu's.

    Args:
        which: what `divergence` takes.
        margin: as for `signature_of_divergence`.
        ratio_bound: as for `signature_of_divergence`.

    Returns:
        An `Activation` for arrays of any shape, with its inverse and signature in closed form,
        differentiable in y and theta any number of times.

    Raises:
        ValueError: as `signature_of_divergence`; and where exp_chi is infinite at a finite y
            (neyman and alpha < 0 with margin 0).

    Example:
        >>> act = activation_from_divergence("gan", margin=1.0)
        >>> [round(float(act(y)), 4) for y in (-1.0, 0.0, 2.0)]
        [0.4677, 1.0, 2.3457]
        >>> round(float(activation_from_divergence("reverse_kl")(1.0)), 4)
        2.7183

    Source: Nock et al. 2017, section 5, read backwards: f -> chi -> exp_chi.
    """
    chi = signature_of_divergence(which, margin=margin, ratio_bound=ratio_bound)
    _check_finite(chi)
    closed = ClosedForms(inverse=_inverse, signature=_signature)
    return Activation(_value, (chi,), f"exp_chi of {divergence(which).name}", _kinks, closed)


def _value(y: Any, chi: Signature) -> Any:
    y, theta = conform(y, chi.theta)
    return exp_chi(chi, y) if chi.exp is None else jnp.asarray(chi.exp(y, *theta), y.dtype)


def _inverse(z: Any, chi: Signature) -> Any:
    z = conform(z, ())[0]
    inside = z > 0
    return jnp.where(inside, log_kernel(chi, jnp.where(inside, z, 1)), -jnp.inf)


def _signature(t: Any, chi: Signature) -> Any:
    return chi(t)


def _kinks(chi: Signature) -> Any:
    """log_chi at 0, where exp_chi leaves 0, and at the jumps of chi."""
    dtype = jnp.result_type(*jax.tree.leaves(chi), float)
    points = chi.jumps(*chi.theta) if callable(chi.jumps) else chi.jumps
    z = jnp.concatenate([jnp.zeros(1, dtype), jnp.asarray(points, dtype).reshape(-1)])
    at = log_kernel(chi, z)
    # There is none where log_chi(0) = -inf; the shape stays, and a kink at 0 does no harm.
    return jnp.where(jnp.isfinite(at), at, 0)


def _with_limit(d: Divergence) -> Signature:
    """The signature with K = sup f'; for a matched divergence the one it is matched to."""
    if isinstance(d.fn, SignatureGenerator):
        fn, jumps, log, exp = d.fn.parts
        return Signature(fn, d.theta, f"signature of {d.name}", jumps, log, exp)
    for names, make in _CLOSED:
        if any(is_named(d, name) for name in names):
            return make()
    if is_named(d, "alpha") and np.all(np.asarray(_below_one(*d.theta))):
        return Signature(_alpha_chi, d.theta, "alpha", (), _alpha_log, _alpha_exp)
    limit = d.slope_limit
    if limit is None or (checks.is_concrete(limit) and not np.isfinite(np.asarray(limit)).all()):
        what = "not known to be bounded" if limit is None else "unbounded"
        raise ValueError(
            f"{d.name} has no signature on all ratios: its f' is {what}; pass ratio_bound, a "
            "bound on p / q"
        )
    return Signature(_limit_chi, (d,), d.name, (), _limit_log, _limit_exp)


def _below_one(a: Any) -> Any:
    return np.asarray(a) < 1 if checks.is_concrete(a) else True


def _bounded(d: Divergence, bound: Any, margin: Any) -> Signature:
    """The signature with K = f'(bound) + margin, constant beyond the bound."""
    checks.positive("margin", margin)
    checks.finite("ratio_bound", bound)
    if checks.is_concrete(bound) and not np.all(np.asarray(bound) > 1):
        raise ValueError(f"ratio_bound must be above 1, got {bound}")
    parts = (_bounded_jumps, _bounded_log, _bounded_exp)
    return Signature(_bounded_chi, (d, bound, margin), f"{d.name} to a ratio", *parts)


_CLOSED = (
    (("reverse_kl",), lambda: tsallis(1.0)),
    (("squared_hellinger",), lambda: tsallis(0.5)),
    (("neyman",), lambda: tsallis(2.0)),
    (("gan", "jensen_shannon"), gan),
)


def _alpha_chi(t: Any, a: Any) -> Any:
    inside = t > 0
    return jnp.where(inside, (1 - a) * jnp.where(inside, t, 1) ** (1 - a), 0)


def _alpha_log(z: Any, a: Any) -> Any:
    return special.tsallis_log(z, 1 - a) / (1 - a)


def _alpha_exp(y: Any, a: Any) -> Any:
    return special.tsallis_exp((1 - a) * y, 1 - a)


def _tv_chi(t: Any, c: Any) -> Any:
    return jnp.where(t < 1, 1 / (1 + c), 1 / c)


def _tv_log(z: Any, c: Any) -> Any:
    return jnp.where(z < 0, -jnp.inf, (z - 1) * jnp.where(z < 1, 1 + c, c))


def _tv_exp(y: Any, c: Any) -> Any:
    return jnp.maximum(1 + y / jnp.where(y < 0, 1 + c, c), 0)


def _limit_chi(t: Any, d: Divergence) -> Any:
    return 1 / (d.slope_limit - d.derivative(jnp.maximum(t, jnp.finfo(t.dtype).tiny)))


def _limit_log(z: Any, d: Divergence) -> Any:
    return d.slope_limit * (z - 1) - d.f(z) + d.f(jnp.ones_like(z))


def _limit_exp(y: Any, d: Divergence) -> Any:
    return _exp_of_root(_limit_log, y, d)


def _margin_chi(t: Any, base: Signature, margin: Any) -> Any:
    chi = base(t)
    return chi / (1 + margin * chi)


def _margin_log(z: Any, base: Signature, margin: Any) -> Any:
    return log_kernel(base, z) + margin * (z - 1)


def _margin_exp(y: Any, base: Signature, margin: Any) -> Any:
    return _exp_of_root(_margin_log, y, base, margin)


def _margin_jumps(base: Signature, margin: Any) -> Any:
    del margin
    return base.jumps(*base.theta) if callable(base.jumps) else base.jumps


def _bounded_chi(t: Any, d: Divergence, bound: Any, margin: Any) -> Any:
    inside = jnp.clip(t, jnp.finfo(t.dtype).tiny, bound)
    return 1 / (d.derivative(bound) + margin - d.derivative(inside))


def _bounded_log(z: Any, d: Divergence, bound: Any, margin: Any) -> Any:
    inside = jnp.minimum(z, bound)
    slope = d.derivative(bound) + margin
    low = slope * (inside - 1) - d.f(inside) + d.f(jnp.ones_like(z))
    return jnp.where(z < 0, -jnp.inf, low + margin * (z - inside))


def _bounded_exp(y: Any, d: Divergence, bound: Any, margin: Any) -> Any:
    return _exp_of_root(_bounded_log, y, d, bound, margin)


def _bounded_jumps(d: Divergence, bound: Any, margin: Any) -> Any:
    del d, margin
    return bound


def _exp_of_root(log: Any, y: Any, *theta: Any) -> Any:
    """e^s at the root s of log(e^s) = y, for a closed deformed logarithm."""
    return jnp.exp(increasing_root(_log_of_exp(log), y, theta))


@functools.cache
def _log_of_exp(log: Any) -> Any:
    def at(s: Any, *theta: Any) -> Any:
        end = 0.95 * math.log(float(jnp.finfo(s.dtype).max))
        return log(jnp.exp(jnp.clip(s, -end, end)), *theta)

    return at


def _check_finite(chi: Signature) -> None:
    """Refuse a chi whose exp_chi is infinite at a finite y: log_chi stays bounded."""
    if chi.log is None or not checks.is_concrete(chi):
        return
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        near, far = np.asarray(log_kernel(chi, jnp.array([1e150, 1e300])))
    if far - near < 0.1:
        raise ValueError(
            f"{chi.name} has no activation on the whole line: its exp_chi is infinite at "
            f"y = {far:.4g}; pass margin > 0"
        )
