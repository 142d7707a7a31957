"""The spectral curve of a random nonlinear layer, which is rational, and its physical branch.

In units of eta, with s = zeta / eta and w = 1 / v, Theorem 1 of Pennington & Worah (2017) reads

    z = N_phi(w) N_psi(w) / (psi w (w - s)^2),   N_a(w) = w^2 + (a - s) w - a s (1 - s),

a quartic in w that is monic for every parameter: s = 0 (Marchenko-Pastur) and s = 1 (a linear
network) need no case of their own. The Stieltjes transforms follow from w by

    p = (1 - s) / w + s / (w - s),   G = psi / (w (1 + phi p)) = (1 + psi p) / z,

and the companion's by exchanging phi and psi in the factors. For Im z > 0 exactly one root has
Im w > 0, Im G < 0 and Im G_companion < 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxact.numerics.polynomial import monic_roots, reciprocal

_ABERTH_STEPS = 24  # at most; nearly all laws need 4 to 10
# Heights of the first polishing steps over the height of selection: from one to the next the
# cubic term, height^1.5, stays below the new height. Newton steps at height 0 follow.
_LADDER = (1e-2, 1e-5, 0.0)
_NEWTON_STEPS = 3
_BLOCK = 2048  # points at a time on a CPU, so that the four roots stay in its cache


def quartic_parts(s: Any, phi: Any, psi: Any) -> tuple[Any, Any, Any, Any]:
    """The coefficients of N_phi = w^2 + a1 w + a2 and N_psi = w^2 + b1 w + b2."""
    t = s * (1 - s)
    return phi - s, -phi * t, psi - s, -psi * t


def curve(w: Any, s: Any, phi: Any, psi: Any) -> Any:
    """z(w), in units of eta; 0 where w is a pole."""
    a1, a2, b1, b2 = quartic_parts(s, phi, psi)
    top = (w**2 + a1 * w + a2) * (w**2 + b1 * w + b2)
    bottom = psi * w * (w - s) ** 2
    return jnp.where(bottom == 0, 0, top / jnp.where(bottom == 0, 1, bottom))


@jax.custom_jvp
def branch(
    z: Complex[Array, "..."], s: Float[Array, ""], phi: Float[Array, ""], psi: Float[Array, ""]
) -> Complex[Array, "..."]:
    """The physical root w(z), elementwise in z; on the real axis the limit from above.

    The root is selected at Im z >= 1e-7 |z| (1e-4 in float32), where residual and signs decide
    without doubt, and then carried to z itself, so values on the real axis are exact: w is real,
    with imaginary part exactly 0, outside the support.

    Args:
        z: points in units of eta, z != 0.
        s: zeta / eta in [0, 1].
        phi: n0 / m.
        psi: n0 / n1.

    Returns:
        w of z's shape. Derivatives are implicit in all four arguments and may be taken again;
        at an edge of the support, where they are infinite, they are set to 0.
    """
    if z.size <= _BLOCK:
        return _solve(z, s, phi, psi)
    return jax.lax.platform_dependent(z, s, phi, psi, cpu=_solve_in_blocks, default=_solve)


def _solve_in_blocks(z: Array, s: Array, phi: Array, psi: Array) -> Array:
    blocks = -(-z.size // _BLOCK)
    length = -(-z.size // blocks)
    padded = jnp.pad(z.reshape(-1), (0, blocks * length - z.size), mode="edge")
    found = jax.lax.map(lambda part: _solve(part, s, phi, psi), padded.reshape(blocks, length))
    return found.reshape(-1)[: z.size].reshape(z.shape)


def _solve(z: Array, s: Array, phi: Array, psi: Array) -> Array:
    eps = float(jnp.finfo(z.dtype).eps)
    below = z.imag < 0
    upper = jnp.where(below, jnp.conj(z), z)
    lift = 1e-7 if eps < 1e-10 else 1e-4

    # In u = w / unit all coefficients are of order one, so no power overflows. They are real: to
    # divide them as complex numbers would cost more than a sweep over the roots.
    unit = _unit(z, phi, psi)
    parts = tuple(part.astype(z.dtype) for part in _scaled_parts(s, phi, psi, unit))
    t = (s / unit).astype(z.dtype)

    def at_height(height: Any) -> Array:
        floor = (lift * height * jnp.abs(upper)).astype(upper.real.dtype)
        imag = jnp.maximum(upper.imag, floor)
        return jax.lax.complex(psi * upper.real / unit, psi * imag / unit)

    y = at_height(1.0)
    u = _select(monic_roots(_coefficients(y, t, *parts), _ABERTH_STEPS), y, t, *parts)
    u = _carry(u, at_height, t, *parts)
    # On the real axis roots are real or conjugate; next to an edge rounding may cross over.
    on_axis = upper.imag == 0
    real = on_axis & (jnp.abs(u.imag) <= 16 * eps * jnp.abs(u))
    imag = jnp.where(real, 0, jnp.where(on_axis, jnp.abs(u.imag), u.imag))
    w = jax.lax.complex(unit * u.real, unit * imag)
    return jnp.where(below, jnp.conj(w), w)


@jax.custom_jvp
def quadratic_branch(
    z: Complex[Array, "..."], s: Float[Array, ""], phi: Float[Array, ""], psi: Float[Array, ""]
) -> Complex[Array, "..."]:
    """`branch` where s = 0, in closed form: the curve is that of Marchenko-Pastur.

    psi z w = (w + phi) (w + psi): the two roots have product phi psi, and z(w) rises along the
    larger one, so that is the physical one; inside the support, where they are conjugate, the
    one above the real axis.
    """
    below = z.imag < 0
    upper = jnp.where(below, jnp.conj(z), z)
    unit = _unit(z, phi, psi)
    b, c = (psi * upper.real - phi - psi) / (2 * unit), psi * upper.imag / (2 * unit)
    # w = (b + i c) + root of (b + i c)^2 - phi psi. Factors keep the digits of its real part at
    # the edges; the root of larger w has the sign of b and a positive imaginary part.
    gap = jnp.sqrt(phi * psi) / unit
    square, cross = (b - gap) * (b + gap) - c * c, jnp.abs(b * c)
    size = jnp.sqrt((jnp.sqrt(square**2 + 4 * cross**2) + jnp.abs(square)) / 2)
    other = cross / jnp.where(size == 0, 1, size)
    real, imag = (jnp.where(square >= 0, *pair) for pair in ((size, other), (other, size)))
    w = jax.lax.complex(unit * (b + jnp.where(b < 0, -real, real)), unit * (c + imag))
    return jnp.where(below, jnp.conj(w), w)


def _implicit(solve: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    w = solve(*primals)
    z, _, phi, psi = primals
    unit = jax.lax.stop_gradient(_unit(z, phi, psi))
    residual = functools.partial(_residual, unit=unit)
    shift = jax.jvp(functools.partial(residual, w), primals, tangents)[1]
    slope = jax.jvp(lambda v: residual(v, *primals), (w,), (jnp.ones_like(w),))[1]
    return w, -shift * reciprocal(slope)


branch.defjvp(functools.partial(_implicit, branch))
quadratic_branch.defjvp(functools.partial(_implicit, quadratic_branch))


def factors(w: Any, z: Any, s: Any, phi: Any, psi: Any) -> tuple[Any, Any]:
    """P = 1 + phi p = z G_companion and R = 1 + psi p = z G, without cancellation.

    The smaller of the two is taken from P R = psi z / w.
    """
    p = (1 - s) / w + s / (w - s)
    first, second = 1 + phi * p, 1 + psi * p
    leads = jnp.abs(first) >= jnp.abs(second)
    other = psi * z / (w * jnp.where(leads, first, second))
    return jnp.where(leads, first, other), jnp.where(leads, other, second)


def _unit(z: Array, phi: Array, psi: Array) -> Array:
    return 1 + phi + psi * (1 + jnp.abs(z))


def _scaled_parts(s: Any, phi: Any, psi: Any, unit: Any) -> tuple[Any, Any, Any, Any]:
    a1, a2, b1, b2 = quartic_parts(s, phi, psi)
    return a1 / unit, a2 / unit / unit, b1 / unit, b2 / unit / unit


def _residual(w: Any, z: Any, s: Any, phi: Any, psi: Any, *, unit: Any) -> Any:
    """The quartic over unit^4; `unit` is a constant here."""
    s, phi, psi, unit = (x.astype(w.dtype) for x in (s, phi, psi, unit))
    a1, a2, b1, b2 = _scaled_parts(s, phi, psi, unit)
    u, t = w / unit, s / unit
    return (u * u + a1 * u + a2) * (u * u + b1 * u + b2) - psi * z / unit * u * (u - t) ** 2


def _coefficients(y: Any, t: Any, a1: Any, a2: Any, b1: Any, b2: Any) -> tuple[Any, ...]:
    """Of the quartic in u, where y = psi z and t = s in the same unit."""
    return (
        a1 + b1 - y,
        a2 + b2 + a1 * b1 + 2 * t * y,
        a1 * b2 + a2 * b1 - t * t * y,
        a2 * b2 + 0 * y,
    )


def _select(roots: tuple[Array, ...], y: Any, t: Any, a1: Any, a2: Any, b1: Any, b2: Any) -> Array:
    """The converged root with the three right signs; they hold for exactly one."""
    tolerance = float(jnp.finfo(roots[0].dtype).eps) ** 0.6
    best, best_score = roots[0], jnp.full(jnp.shape(y), -jnp.inf, roots[0].real.dtype)
    for u in roots:
        first, second = u * u + a1 * u + a2, u * u + b1 * u + b2
        third = y * u * (u - t) ** 2
        size = jnp.abs(u)
        size = (size**2 + jnp.abs(a1) * size + jnp.abs(a2)) * (
            size**2 + jnp.abs(b1) * size + jnp.abs(b2)
        ) + jnp.abs(third)
        residual = jnp.abs(first * second - third) / jnp.where(size == 0, 1, size)
        signs = jnp.minimum(_sine(u), -_sine((u - t) * jnp.conj(first)))
        signs = jnp.minimum(signs, -_sine((u - t) * jnp.conj(second)))
        score = jnp.where((residual <= tolerance) & (size > 0), signs, -2 - residual)
        better = score > best_score
        best, best_score = jnp.where(better, u, best), jnp.where(better, score, best_score)
    return best


def _sine(x: Array) -> Array:
    size = jnp.abs(x)
    return x.imag / jnp.where(size == 0, 1, size)


def _carry(
    u: Array, at_height: Callable[[Any], Array], t: Any, a1: Any, a2: Any, b1: Any, b2: Any
) -> Array:
    """Bring u down to the actual z and polish it.

    Steps to the nearer root of the local quadratic come first, because near an edge of the
    support the root is nearly double: Newton's method would only halve the distance, and a
    single step from the height of selection might end at the other of the two.
    """
    heights = jnp.asarray(_LADDER, u.real.dtype)

    def terms(u: Array, y: Any) -> tuple[Array, ...]:
        first, second = u * u + a1 * u + a2, u * u + b1 * u + b2
        d_first, d_second = 2 * u + a1, 2 * u + b1
        value = first * second - y * u * (u - t) ** 2
        slope = d_first * second + first * d_second - y * (u - t) * (3 * u - t)
        bend = 2 * (first + second + d_first * d_second) - y * (6 * u - 4 * t)
        return value, slope, bend

    def descend(i: Array, u: Array) -> Array:
        value, slope, bend = terms(u, at_height(heights[i]))
        root = jnp.sqrt(slope * slope - 2 * value * bend)
        agrees = (slope * jnp.conj(root)).real >= 0
        return u - value * reciprocal((slope + jnp.where(agrees, root, -root)) / 2)

    def newton(_: Array, u: Array) -> Array:
        value, slope, _ = terms(u, at_height(0.0))
        return u - value * reciprocal(slope)

    u = jax.lax.fori_loop(0, len(_LADDER), descend, u)
    return jax.lax.fori_loop(0, _NEWTON_STEPS, newton, u)
