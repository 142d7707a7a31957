"""Where a layer's limiting law lives: its edges, hard edge and atom."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.numerics.polynomial import horner, monic_roots
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.curve import curve, quartic_parts
from jaxact.spectra.limit import Law, prepared, unit_parameters
from jaxact.spectra.transform import unit_density


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


def edges(law: Law) -> Support:
    """The edges of the support: real critical values of z(w) across which the density switches.

    Args:
        law: the law.

    Returns:
        A `Support`. A hard edge, where the density diverges, is an edge at exactly 0 (n1 = m,
        or for linear f also n0 = n1 or n0 = m); an atom at 0 is not an edge, see `atom`.

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
    return _edges(prepared(law)[0])


def atom(law: Law) -> Float[Array, ""]:
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
    return _atom(prepared(law)[0])


@jax.jit
def _edges(law: Law) -> Support:
    s, phi, psi = unit_parameters(law)
    x = curve(_critical_points(s, phi, psi), s, phi, psi)
    # Below this a critical value is a hard edge at 0 seen through rounding.
    tiny = 64 * float(jnp.finfo(x.dtype).eps)
    x = jnp.where(jnp.isfinite(x) & (x > tiny), x, 0)
    x = jnp.concatenate([jnp.zeros_like(x[:1]), jnp.sort(x)])
    # Between neighbours the density is positive throughout or zero throughout.
    middle = jax.lax.stop_gradient((x[:-1] + x[1:]) / 2)
    on = unit_density(*jax.lax.stop_gradient((s, phi, psi)), middle) > 0
    never = jnp.zeros_like(on[:1])
    switches = jnp.concatenate([never, on]) != jnp.concatenate([on, never])
    count = jnp.minimum(jnp.sum(switches, dtype=jnp.int32), 4)
    ranked = x[jnp.argsort(~switches, stable=True)][:4]
    top = ranked[count - 1]
    found = jnp.where(jnp.arange(4, dtype=jnp.int32) < count, ranked, top)
    return Support(law.eta * found, count)


def _critical_points(s: Array, phi: Array, psi: Array) -> Array:
    """Real parts of the roots of the monic quintic z'(w) = 0, as a vector of 5.

    The two last Newton steps are differentiated, which makes first derivatives of the points,
    and so second derivatives of z at them, exact.
    """
    at = _quintic(*jax.lax.stop_gradient((s, phi, psi)))
    roots = monic_roots(tuple(jax.lax.complex(c, jnp.zeros_like(c)) for c in at), 32)
    w = jnp.stack([root.real for root in roots])
    coefficients = _quintic(s, phi, psi)
    for _ in range(2):
        value, slope = horner(coefficients, w)
        w = w - jnp.where(slope == 0, 0, value / jnp.where(slope == 0, 1, slope))
    return w


def _quintic(s: Array, phi: Array, psi: Array) -> tuple[Array, ...]:
    """Coefficients of (N_phi N_psi)' w (w - s) - N_phi N_psi (3 w - s)."""
    a1, a2, b1, b2 = quartic_parts(s, phi, psi)
    q1, q2, q3, q4 = a1 + b1, a2 + b2 + a1 * b1, a1 * b2 + a2 * b1, a2 * b2
    return -3 * s, -q2 - 2 * s * q1, -2 * q3 - s * q2, -3 * q4, s * q4


@jax.jit
def _atom(law: Law) -> Array:
    s, phi, psi = unit_parameters(law)
    linear = 1 - s <= 8 * float(jnp.finfo(s.dtype).eps)
    rank = jnp.minimum(1, psi / phi)
    return 1 - jnp.where(linear, jnp.minimum(rank, psi), rank)
