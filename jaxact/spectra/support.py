"""Where a layer's limiting law lives: its edges, hard edge and atom."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.numerics.polynomial import horner, monic_roots
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.curve import curve, quartic_parts
from jaxact.spectra.limit import Law, SpectralLaw, prepared, unit_parameters
from jaxact.spectra.transform import density_of


@pytree()
class Support:
    """The bands of the absolutely continuous part of a law.

    Attributes:
        edges: (4,) ascending; bands are [edges[0], edges[1]] and [edges[2], edges[3]]. With one
            band the last two repeat its upper edge, a second band of length 0.
        count: how many of them are edges, 2 or 4 (int32 scalar).
    """

    edges: Leaf
    count: Leaf


def edges(law: SpectralLaw) -> Support:
    """The edges of the support: real critical values of z(w) across which the density switches.

    Args:
        law: the law.

    Returns:
        A `Support`. A hard edge, where the density diverges, is an edge at exactly 0 (n1 = m;
        for linear f where the two smallest of n0, n1, m agree); an atom at 0 is not an edge,
        see `atom`.

    Raises:
        ValueError: if the law is not valid.

    Differentiable twice in the law wherever the number of bands does not change.

    Example:
        >>> one = edges(Law(eta=1.0, zeta=0.0, phi=1.0, psi=1.5))     # (1 -+ sqrt(2/3))^2
        >>> [round(float(x), 4) for x in one.edges[:2]], int(one.count)
        ([0.0337, 3.2997], 2)
        >>> int(edges(Law(eta=1.0, zeta=0.8, phi=0.05, psi=0.2)).count)
        4
    """
    return edges_of(prepared(law)[0])


def atom(law: SpectralLaw) -> Float[Array, ""]:
    """The mass of M's law at 0: 1 - min(1, n1^-1 m [, n1^-1 n0 if f is linear]).

    f counts as linear where eta and zeta agree to 8 roundings.

    Args:
        law: the law.

    Returns:
        The mass, in [0, 1).

    Example:
        >>> float(atom(Law(eta=1.0, zeta=0.5, phi=2.0, psi=0.5)))
        0.75
    """
    return atom_of(prepared(law)[0])


@functools.singledispatch
def support(law: Any) -> Support:
    """The support of a prepared law."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


@functools.singledispatch
def atom_mass(law: Any) -> Array:
    """The mass at 0 of a prepared law."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


@jax.jit
def edges_of(law: Any) -> Support:
    """`support`, compiled."""
    return support(law)


@jax.jit
def atom_of(law: Any) -> Array:
    """`atom_mass`, compiled."""
    return atom_mass(law)


@support.register(Law)
def _support_of_layer(law: Law) -> Support:
    at = unit_parameters(law)
    w, count, hard = _select(*jax.lax.stop_gradient(at))
    # One differentiated Newton step makes the first derivatives of w exact, hence also the
    # second derivatives of the critical values z(w).
    value, slope = horner(_quintic(*at), w)
    w = w - jnp.where(slope == 0, 0, value / jnp.where(slope == 0, 1, slope))
    x = jnp.where(hard, 0, curve(w, *at))
    return Support(law.eta * x, count)


def _select(s: Array, phi: Array, psi: Array) -> tuple[Array, Array, Array]:
    """The four w of the edges, how many are edges, and which of them are hard edges at 0."""
    roots = monic_roots(tuple(jax.lax.complex(c, 0 * c) for c in _quintic(s, phi, psi)), 32)
    w = jnp.stack([root.real for root in roots])
    x = curve(w, s, phi, psi)
    # Below this a critical value is a hard edge at 0 seen through rounding.
    tiny = 64 * float(jnp.finfo(x.dtype).eps)
    x = jnp.where(jnp.isfinite(x) & (x > tiny), x, 0)
    order = jnp.argsort(x)
    w, x = (jnp.concatenate([jnp.zeros_like(v[:1]), v[order]]) for v in (w, x))
    # Between neighbours the density is positive throughout or zero throughout.
    unit = Law(jnp.ones_like(s), s, phi, psi)
    on = density_of(unit, (x[:-1] + x[1:]) / 2) > 0
    never = jnp.zeros_like(on[:1])
    switches = jnp.concatenate([never, on]) != jnp.concatenate([on, never])
    count = jnp.minimum(jnp.sum(switches, dtype=jnp.int32), 4)
    place = jnp.minimum(jnp.arange(4, dtype=jnp.int32), count - 1)
    chosen = jnp.argsort(~switches, stable=True)[place]
    hard = x[chosen] == 0
    return jnp.where(hard, w[chosen[3]], w[chosen]), count, hard


def _quintic(s: Array, phi: Array, psi: Array) -> tuple[Array, ...]:
    """Coefficients of (N_phi N_psi)' w (w - s) - N_phi N_psi (3 w - s)."""
    a1, a2, b1, b2 = quartic_parts(s, phi, psi)
    q1, q2, q3, q4 = a1 + b1, a2 + b2 + a1 * b1, a1 * b2 + a2 * b1, a2 * b2
    return -3 * s, -q2 - 2 * s * q1, -2 * q3 - s * q2, -3 * q4, s * q4


@atom_mass.register(Law)
def _atom_of_layer(law: Law) -> Array:
    s, phi, psi = unit_parameters(law)
    rank = jnp.minimum(1, psi / phi)
    return 1 - jnp.where(is_linear(s), jnp.minimum(rank, psi), rank)


def is_linear(s: Array) -> Array:
    """Whether zeta / eta is 1 to 8 roundings."""
    return 1 - s <= 8 * float(jnp.finfo(s.dtype).eps)
