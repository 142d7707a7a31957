"""The Stieltjes transform of a layer's limiting law, and its density."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Complex, Float

from jaxact.numerics import checks
from jaxact.spectra.curve import branch, curve, factors, quadratic_branch
from jaxact.spectra.limit import Law, NoLinearPart, SpectralLaw, prepared, unit_parameters


def stieltjes(law: SpectralLaw, z: ArrayLike) -> Complex[Array, "..."]:
    """The Stieltjes transform G(z) = lim E tr (z - M)^-1 / n1, elementwise.

    Args:
        law: the law.
        z: nonzero points, complex or real, any shape. On the real axis the limit from above is
            returned: exactly real outside the support, -Im G / pi = density inside.

    Returns:
        G, complex, of z's shape.

    Raises:
        ValueError: if z is 0 or not finite, or the law is not valid.

    Differentiable in the law and (holomorphically) in z, any number of times.

    Source: Pennington & Worah, NIPS 2017, Theorem 1, solved as in `jaxact.spectra.curve`.

    Example:
        >>> mp = Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5)     # Marchenko-Pastur, n1 = m
        >>> round(float(stieltjes(mp, -1.0).real), 4)
        -0.618
    """
    return _stieltjes(*_at_points(law, z))


def companion(law: SpectralLaw, z: ArrayLike) -> Complex[Array, "..."]:
    """The Stieltjes transform of the m x m matrix Y^T Y / m, elementwise; see `stieltjes`.

    G_companion(z) = (1 - c) / z + c G(z) with c = phi / psi = n1 / m, evaluated without the
    cancellation that formula has near z = 0.

    Args:
        law: the law.
        z: nonzero points, complex or real, any shape.

    Returns:
        G_companion, complex, of z's shape.

    Raises:
        ValueError: if z is 0 or not finite, or the law is not valid.

    Differentiable in the law and (holomorphically) in z, any number of times.

    Example:
        >>> wide = Law(eta=1.0, zeta=0.3, phi=1.0, psi=0.5)     # n1 = 2 m
        >>> round(float(companion(wide, -1.0).real), 4)
        -0.424
        >>> round(float((1 + 2 * stieltjes(wide, -1.0)).real), 4)
        -0.424
    """
    return _companion(*_at_points(law, z))


def density(law: SpectralLaw, x: ArrayLike) -> Float[Array, "..."]:
    """The density rho(x) = -Im G(x + i0) / pi of the absolutely continuous part, elementwise.

    Args:
        law: the law.
        x: real points, any shape.

    Returns:
        rho of x's shape, with no smoothing: exactly 0 outside the support and for x <= 0 (an
        atom at 0 is not part of it, see `atom`; at a hard edge rho grows like x^-1/2).

    Raises:
        ValueError: if x is not finite, or the law is not valid.

    Differentiable in the law and in x, any number of times; the derivatives are infinite at an
    edge of the support and given as 0 there.

    Example:
        >>> mp = Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5)
        >>> [round(float(v), 4) for v in density(mp, jnp.array([-1.0, 1.0, 4.5]))]
        [0.0, 0.2757, 0.0]
    """
    checks.finite("x", x)
    return _density(*prepared(law, x))


def converged(law: SpectralLaw, z: ArrayLike) -> Bool[Array, "..."]:
    """Whether the equations of the law hold at z, elementwise: can `stieltjes` be trusted there?

    Newton's next step on what `stieltjes` and `density` found is below the square root of
    rounding, and where Im z != 0 the signs are those of the physical solution. For a `Law` that
    is so by construction, and checked again; a deep or mixed law is followed from infinity, and
    a path may end before z.

    Args:
        law: the law.
        z: nonzero points, complex or real, any shape.

    Returns:
        Booleans of z's shape.

    Raises:
        ValueError: if z is 0 or not finite, or the law is not valid.

    Example:
        >>> mp = Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5)
        >>> bool(converged(mp, jnp.array([-1.0, 0.5 + 0.1j])).all())
        True
    """
    return _converged(*_at_points(law, z))


@functools.singledispatch
def holds(law: Any, z: Array) -> Bool[Array, "..."]:
    """Whether what `transforms` finds for a prepared law solves its equations at complex z."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


@functools.singledispatch
def transforms(law: Any, z: Array) -> tuple[Array, Array]:
    """G and the companion's G of a prepared law at complex z."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


def density_of(law: Any, x: Array) -> Array:
    """The density of a prepared law at real x."""
    return (_closed_density if isinstance(law, NoLinearPart) else _density_of)(law, x)


def _density_of(law: Any, x: Array) -> Array:
    inside = x > 0
    g, _ = transforms(law, as_complex(jnp.where(inside, x, 1)))
    rho = -g.imag / math.pi
    return jnp.where(inside & (rho > 0), rho, 0)


@jax.custom_jvp
def _closed_density(law: NoLinearPart, x: Array) -> Array:
    """sqrt(4 phi psi - (psi t - phi - psi)^2) / (2 pi phi x), t = x / eta."""
    _, phi, psi = unit_parameters(law)
    middle, half = psi * (x / law.eta) - phi - psi, 2 * jnp.sqrt(phi * psi)
    square = (half - middle) * (half + middle)
    inside = (x > 0) & (square > 0)
    root = jnp.sqrt(jnp.where(inside, square, 0))
    return root / jnp.where(inside, 2 * math.pi * phi * x, 1)


@_closed_density.defjvp
def _closed_density_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # The slope in zeta is not that of a formula for zeta = 0.
    return jax.jvp(_density_of, primals, tangents)


@jax.jit
def _stieltjes(law: Any, z: Array) -> Array:
    return transforms(law, z)[0]


@jax.jit
def _companion(law: Any, z: Array) -> Array:
    return transforms(law, z)[1]


_density = jax.jit(density_of)


@jax.jit
def _converged(law: Any, z: Array) -> Array:
    return holds(law, z)


@jax.jit
def error_of(law: Any, gamma: Array) -> Array:
    """The training error of a prepared law, -z^2 dG_companion / dz at z = -gamma."""

    def factor(z: Array) -> Array:
        z = as_complex(z)
        return (z * transforms(law, z)[1]).real

    z = -gamma
    value, slope = jax.jvp(factor, (z,), (jnp.ones_like(z),))
    return value - z * slope


@transforms.register(Law)
def _transforms(law: Law, z: Array) -> tuple[Array, Array]:
    w = on_curve(law, z)
    s, phi, psi = (v.astype(z.dtype) for v in unit_parameters(law))
    p_factor, r_factor = factors(w, z / law.eta.astype(z.dtype), s, phi, psi)
    return r_factor / z, p_factor / z


@holds.register(Law)
def _holds(law: Law, z: Array) -> Array:
    w = on_curve(law, z)
    at = z / law.eta.astype(z.dtype)
    s, phi, psi = (v.astype(z.dtype) for v in unit_parameters(law))
    value, slope = jax.jvp(lambda w: curve(w, s, phi, psi), (w,), (jnp.ones_like(w),))
    # Near an edge the slope vanishes: there the residual itself is as small as it can be.
    small = float(jnp.finfo(z.dtype).eps) ** 0.5
    off = jnp.abs(value - at)
    near = (off <= small * jnp.abs(slope * w)) | (off <= small * jnp.abs(at))
    return near & ((z.imag == 0) | (w.imag * z.imag > 0))


def on_curve(law: Law, z: Array) -> Array:
    """w(z) on the law's spectral curve, see `jaxact.spectra.curve`."""
    solve = quadratic_branch if isinstance(law, NoLinearPart) else branch
    return solve(z / law.eta.astype(z.dtype), *unit_parameters(law))


def as_complex(z: Array) -> Array:
    """z, with imaginary part 0 if it is real."""
    return z if jnp.iscomplexobj(z) else jax.lax.complex(z, jnp.zeros_like(z))


def _at_points(law: SpectralLaw, z: ArrayLike) -> tuple[SpectralLaw, Array]:
    checks.finite("z", z, kinds="biufcV")
    z = jnp.asarray(z)
    if checks.is_concrete(z) and (np.asarray(z) == 0).any():
        raise ValueError("z must be nonzero (the transform may have a pole at 0), got 0")
    law, z = prepared(law, z)
    return law, as_complex(z)
