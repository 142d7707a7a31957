"""A law as a distribution: its distribution function, quantiles and samples.

The distribution function of one layer's law is a closed form on its curve: G dz has an elementary
primitive there, the logarithmic potential

    int log(z - x) dmu(x) = const + log w + (1 - psi/phi) log P
                            + psi (2 p - (1 - s) v + log(1 - s v))

with v = 1 / w and P = 1 + phi p (`jaxact.spectra.curve`). Over the upper half plane w and 1 - s v
stay in the upper half plane and P in the lower, so every logarithm is the principal one, and
-Im / pi of the potential at x + i0 is the mass up to x, less 1. Other kinds of law are tabulated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from jaxact.numerics import checks
from jaxact.numerics.polynomial import reciprocal
from jaxact.numerics.roots import bracketed_root
from jaxact.spectra.curve import factors
from jaxact.spectra.limit import Law, SpectralLaw, prepared, unit_parameters
from jaxact.spectra.support import atom_mass, atom_of, edges_of, support
from jaxact.spectra.transform import as_complex, density_of, on_curve

_TABLE_NODES = 512


def cdf(law: SpectralLaw, x: ArrayLike) -> Float[Array, "..."]:
    """The distribution function F(x) = mu((-inf, x]), elementwise, the atom at 0 included.

    Args:
        law: the law.
        x: real points, any shape.

    Returns:
        F of x's shape: 0 for x < 0, the atom's mass at 0, exactly constant between bands. To
        rounding for a `Law`; other kinds of law integrate their density by a rule of 512 nodes
        a band.

    Raises:
        ValueError: if x is not finite, or the law is not valid.

    Differentiable in the law and in x (dF/dx is the density), any number of times.

    Example:
        >>> mp = Law(eta=1.0, zeta=0.0, phi=1.0, psi=0.5)     # n1 = 2 m: half the mass is at 0
        >>> [round(float(v), 4) for v in cdf(mp, jnp.array([-1.0, 0.0, 3.0, 6.0]))]
        [0.0, 0.5, 0.8771, 1.0]
    """
    checks.finite("x", x)
    return _cdf(*prepared(law, x))


def quantile(law: SpectralLaw, q: ArrayLike) -> Float[Array, "..."]:
    """The quantile function, the least x with F(x) >= q, elementwise.

    Args:
        law: the law.
        q: probabilities in [0, 1], any shape.

    Returns:
        x of q's shape, never in a gap between bands: 0 for q up to the atom's mass; the lowest
        edge at q = 0 if there is no atom, and the highest at q = 1.

    Raises:
        ValueError: if q is not in [0, 1], or the law is not valid.

    Differentiable in the law and in q, any number of times: implicitly,
    dx = (dq - dF(x)) / density(x), and at q = 0 and q = 1 as the edges are.

    Example:
        >>> mp = Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5)
        >>> [round(float(v), 4) for v in quantile(mp, jnp.array([0.0, 0.5, 1.0]))]
        [0.0, 0.6528, 4.0]
    """
    checks.between("q", q, 0, 1)
    return _quantile_of(*prepared(law, q))


def sample(key: Key[Array, ""], law: SpectralLaw, shape: Sequence[int] = ()) -> Float[Array, "..."]:
    """Independent draws from the law: quantiles of uniform numbers.

    Eigenvalues of one matrix repel each other and are not independent; for those see `simulate`.

    Args:
        key: a typed random key.
        law: the law.
        shape: of the result.

    Returns:
        Draws of that shape, those from the atom exactly 0.

    Raises:
        TypeError: if key is not a typed key.
        ValueError: if the law is not valid.

    Differentiable in the law (reparametrised), any number of times.

    Example:
        >>> mp = Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5)
        >>> draws = sample(jax.random.key(0), mp, (1000,))
        >>> bool(abs(draws.mean() - 1) < 0.1), bool(draws.max() < 4)
        (True, True)
    """
    checks.key("key", key)
    shape = checks.sizes("shape", shape, 0, least=0)
    ready, zero = prepared(law)
    return _quantile_of(ready, jax.random.uniform(key, shape, zero.dtype))


@functools.singledispatch
def cumulative(law: Any) -> Callable[[Array], Array]:
    """The distribution function of a prepared law, for x > 0, made ready for many calls.

    By default from a table: with x = t^2 and t = middle - half cos(angle) on a band, the density
    in the angle is an even periodic function, whose cosine series converges geometrically (at a
    hard edge the band is continued evenly to negative t) and is integrated term by term.
    """
    bands = jnp.sqrt(support(law).edges.reshape(-1, 2))
    low, high = bands[:, :1], bands[:, 1:]
    hard = low == 0
    low = jnp.where(hard, -high, low)
    middle, half = (high + low) / 2, (high - low) / 2
    angle = (np.arange(_TABLE_NODES) + 0.5) * (math.pi / _TABLE_NODES)
    order = np.arange(_TABLE_NODES)
    cosines = np.cos(order[:, None] * angle[None]) * (2 / _TABLE_NODES)
    t = middle - half * jnp.asarray(np.cos(angle)[None], low.dtype)
    rate = 2 * jnp.abs(t) * density_of(law, t**2) * half * jnp.asarray(np.sin(angle)[None], t.dtype)
    series = jnp.matmul(rate, jnp.asarray(cosines.T, t.dtype), precision=jax.lax.Precision.HIGHEST)
    mean, waves = series[:, 0] / 2, series[:, 1:] / jnp.asarray(order[None, 1:], t.dtype)
    atom = atom_mass(law)

    def mass(angle: Array, band: int) -> Array:
        """The integral from angle 0, by Clenshaw's recurrence for the sines."""
        twice = 2 * jnp.cos(angle)
        zero = jnp.zeros_like(angle)
        after, _ = jax.lax.scan(
            lambda pair, c: ((c + twice * pair[0] - pair[1], pair[0]), None),
            (zero, zero),
            waves[band],
            reverse=True,
        )
        return mean[band] * angle + jnp.sin(angle) * after[0]

    def evaluate(x: Array) -> Array:
        total = jnp.full_like(x, 1) * atom
        for i in range(bands.shape[0]):
            there = half[i, 0] > 0
            width = jnp.where(there, half[i, 0], 1)
            cosine = jnp.clip((middle[i, 0] - jnp.sqrt(x)) / width, -1, 1)
            start = jnp.where(hard[i, 0], math.pi / 2, 0.0).astype(x.dtype)
            part = mass(_arccos(cosine), i) - mass(start, i)
            total = total + jnp.where(there, part, 0)
        return total

    return evaluate


@cumulative.register(Law)
def _cumulative(law: Law) -> Callable[[Array], Array]:
    s, phi, psi = unit_parameters(law)

    def evaluate(x: Array) -> Array:
        z = as_complex(x)
        w = on_curve(law, z)
        s_, phi_, psi_ = (v.astype(z.dtype) for v in (s, phi, psi))
        lower, _ = factors(w, z / law.eta.astype(z.dtype), s_, phi_, psi_)
        v = reciprocal(w)
        p = (1 - s_) * v + s_ * reciprocal(w - s_)
        area = _argument(w) - (1 - psi / phi) * _argument(lower)
        area += psi * ((2 * p - (1 - s_) * v).imag + _argument(1 - s_ * v))
        return 1 - area / math.pi

    return evaluate


def cdf_of(law: Any, x: Array) -> Array:
    """The distribution function of a prepared law at real x."""
    inside = x > 0
    found = jnp.clip(cumulative(law)(jnp.where(inside, x, 1)), 0, 1)
    return jnp.where(inside, found, jnp.where(x < 0, 0, atom_mass(law)))


_cdf = jax.jit(cdf_of)


def _quantile_of(law: Any, q: Array) -> Array:
    # The support is a program of its own, so that another shape of q does not compile it again.
    return _quantile(law, q, edges_of(law).edges, atom_of(law))


@jax.jit
def _quantile(law: Any, q: Array, edges: Array, atom: Array) -> Array:
    x = _inside(law, q, *jax.lax.stop_gradient((edges, atom)))
    at_low = jnp.where(atom > 0, 0, edges[0])
    return jnp.where(q >= 1, edges[-1], jnp.where(q <= atom, at_low, x))


@jax.custom_jvp
def _inside(law: Any, q: Array, edges: Array, atom: Array) -> Array:
    """The quantile by a bracketed root in the angle of `cumulative`, counted on over the bands."""
    distribution = cumulative(law)
    bands = jnp.sqrt(edges.reshape(-1, 2))
    middle, half = (bands[:, 1] + bands[:, 0]) / 2, (bands[:, 1] - bands[:, 0]) / 2
    last = bands.shape[0] - 1

    def place(angle: Array) -> Array:
        """Where an angle is: on the k-th band between (k - 1) pi and k pi, both ends included."""
        k = jnp.clip(jnp.ceil(angle / math.pi).astype(jnp.int32) - 1, 0, last)
        within = jnp.clip(angle - math.pi * k.astype(angle.dtype), 0, math.pi)
        return (middle[k] - half[k] * jnp.cos(within)) ** 2

    zero = jnp.zeros_like(q)
    top = math.pi * jnp.sum(half > 0, dtype=q.dtype)
    values = (zero + atom - q, 1 - q)
    return place(
        bracketed_root(lambda a: distribution(place(a)) - q, zero, zero + top, values=values)
    )


@_inside.defjvp
def _inside_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    law, q, *_ = primals
    x = _inside(*primals)
    moved = jax.jvp(lambda at: cdf_of(at, x), (law,), (tangents[0],))[1]
    rho = density_of(law, x)
    safe = jnp.where(rho > 0, rho, 1)
    return x, jnp.where(rho > 0, (tangents[1] - moved) / safe, 0)


def _argument(x: Array) -> Array:
    """|arg x|, in [0, pi]."""
    return jnp.arctan2(jnp.abs(x.imag), x.real)


def _arccos(x: Array) -> Array:
    """arccos, with slope 0 in place of infinity at -1 and 1."""
    inner = jnp.abs(x) < 1
    return jnp.where(inner, jnp.arccos(jnp.where(inner, x, 0)), jnp.where(x > 0, 0, math.pi))
