"""The two links that depend on the divergence: Nowozin's table and the canonical link."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softplus

from jaxact.geometry import table
from jaxact.geometry.divergences import Divergence
from jaxact.geometry.links import log_softplus
from jaxact.geometry.signature import conform
from jaxact.numerics import checks
from jaxact.numerics.pytrees import pytree
from jaxact.numerics.roots import increasing_root


def is_named(divergence: Divergence, name: str) -> bool:
    """Whether it is the named divergence itself, not one that a user calls so."""
    row = table.NAMED.get(name)
    return divergence.fn is (table.alpha if row is None else row.f)


@pytree()
class NowozinLink:
    """The output activation g_f that Nowozin et al. 2016, Table 6, give each divergence.

    The logistic link for reverse KL, JS and GAN (for KL up to a shift); v / 2 and 2 v for Neyman
    and squared Hellinger; T = v for Pearson, Jeffrey and alpha > 1; tanh(v) / 2 for total
    variation, which has no log-ratio.
    """

    name = "nowozin"

    def check(self, divergence: Divergence) -> None:
        """Refuse a divergence that is not in the table."""
        if not in_table(divergence):
            raise ValueError(
                f"link 'nowozin' has no row for the divergence {divergence.name!r}: choose "
                "'logistic' or 'canonical', or one of the other links"
            )

    def terms(self, divergence: Divergence, v: Any) -> tuple[Any, Any]:
        """T and f*(T) at v."""
        if is_named(divergence, "total_variation"):
            output = jnp.tanh(v) / 2
            return output, output
        if is_named(divergence, "pearson"):
            return v, divergence.conjugate(v)
        output, conjugate = divergence.heads(self.log_ratio(divergence, v))
        if is_named(divergence, "alpha"):
            (a,) = conform(v, divergence.theta)[1]
            linear = a > 1
            below = jnp.where(linear, 1, 1 - a)
            output = jnp.where(linear, v, 1 / below - softplus(-v))
            direct = table.alpha_conjugate(jnp.where(linear, v, 0), jnp.where(linear, a, 2))
            conjugate = jnp.where(linear, direct, conjugate)
        return output, conjugate

    def log_ratio(self, divergence: Divergence, v: Any) -> Any:
        """S at v; -inf where T = v lies below the range of f'."""
        name = divergence.name
        if is_named(divergence, "total_variation"):
            raise ValueError(
                "total_variation reads no density ratio: its optimal output is the sign of p - q"
            )
        if name in _SHIFTS:
            scale, shift = _SHIFTS[name]
            return scale * v + shift
        if name == "pearson":
            return _log_or_minus_inf(1 + v / 2)
        if name == "jeffrey":
            return -table.log_omega(1 - v)
        (a,) = conform(v, divergence.theta)[1]
        linear = a > 1
        power = jnp.where(linear, _log_or_minus_inf(1 + (a - 1) * v), 0)
        concave = jnp.log(jnp.where(linear, 1, 1 - a)) + log_softplus(-v)
        return jnp.where(linear, power, concave) / (a - 1)

    def output(self, divergence: Divergence, s: Any) -> Any:
        """The v whose log-ratio is s."""
        name = divergence.name
        if name in _SHIFTS:
            scale, shift = _SHIFTS[name]
            return (s - shift) / scale
        value, _ = divergence.heads(s)
        if name == "alpha":
            (a,) = conform(s, divergence.theta)[1]
            # softplus(-v) = e^((a - 1) s) / (1 - a) = r, so v = -log(e^r - 1).
            linear = a > 1
            r = jnp.exp(jnp.where(linear, 0, (a - 1) * s)) / jnp.where(linear, 1, 1 - a)
            value = jnp.where(linear, value, -(r + jnp.log(-jnp.expm1(-r))))
        return value


@pytree()
class CanonicalLink:
    """v = f*(T) - T's difference of the partial losses: v = l(-1) - l(+1) = T + f*(T).

    Both partial losses are convex in v for every divergence. Where f(0) is finite, v below
    -f(0) + f'(0) continues with f* = -f(0) and T = v + f(0).
    """

    name = "canonical"

    def check(self, divergence: Divergence) -> None:
        """Refuse a divergence whose canonical link does not reach every v."""
        bound = _upper_end(divergence)
        if bound is not None:
            raise ValueError(
                f"the canonical link of {divergence.name} reaches v < {bound:.4g} only, and a "
                "discriminator's output is not bounded: choose another link"
            )

    def terms(self, divergence: Divergence, v: Any) -> tuple[Any, Any]:
        """T and f*(T) at v."""
        s = self.log_ratio(divergence, v)
        reached = s > -jnp.inf
        output, conjugate = divergence.heads(jnp.where(reached, s, 0))
        at_zero = jnp.where(reached, 0, divergence.f(jnp.zeros((), v.dtype)))
        return jnp.where(reached, output, v + at_zero), jnp.where(reached, conjugate, -at_zero)

    def log_ratio(self, divergence: Divergence, v: Any) -> Any:
        """S at v; -inf below the range."""
        name = divergence.name if is_named(divergence, divergence.name) else ""
        if name in ("gan", "jensen_shannon"):
            return v
        if name == "kl":
            return table.log_omega(v - 1)
        if name == "reverse_kl":
            return -table.log_omega(-1 - v)
        if name == "squared_hellinger":
            return 2 * jnp.arcsinh(v / 2)
        if name == "pearson":
            inside = v > -3
            v = jnp.where(inside, v, 0)
            return jnp.where(inside, jnp.log((3 + v) / (1 + jnp.sqrt(4 + v))), -jnp.inf)
        return increasing_root(_head_sum, v, (divergence,))

    def output(self, divergence: Divergence, s: Any) -> Any:
        """The v whose log-ratio is s."""
        return _head_sum(s, divergence)


_SHIFTS = {
    "kl": (1.0, -1.0),
    "reverse_kl": (1.0, 0.0),
    "neyman": (0.5, 0.0),
    "squared_hellinger": (2.0, 0.0),
    "jensen_shannon": (1.0, 0.0),
    "gan": (1.0, 0.0),
}


def in_table(divergence: Divergence) -> bool:
    """Whether the divergence has a row in Nowozin's table."""
    name = divergence.name
    return (name in table.NAMED or name == "alpha") and is_named(divergence, name)


def _log_or_minus_inf(x: Any) -> Any:
    inside = x > 0
    return jnp.where(inside, jnp.log(jnp.where(inside, x, 1)), -jnp.inf)


def _head_sum(s: Any, divergence: Divergence) -> Any:
    output, conjugate = divergence.heads(s)
    return output + conjugate


def _upper_end(divergence: Divergence) -> float | None:
    """The supremum of T + f*(T) over s, where it is finite; None where it is not, or traced."""
    if not checks.is_concrete(divergence.theta):
        return None
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), divergence)
        # Growth by at least log s, against the last steps of a bounded function.
        near, far = np.asarray(_head_sum(jnp.array([7.5, 15.0]), wide))
    bounded = far - near < math.log(15 / 7.5) / 8
    if is_named(divergence, "alpha"):
        bounded = bool(np.all(np.asarray(divergence.theta[0]) < 0))
    return float(far) if bounded else None
