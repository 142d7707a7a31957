"""The spectral curve at a ridge: z = -gamma, where everything is real, positive and rational.

In units of eta, with s = zeta / eta, the branch of `jaxact.spectra.curve` on the negative axis is
w = -y, y >= y_0 >= 0. In y, with p for -p(v) and q for -v p'(v) there,

    p = (1 - s) / y + s / (y + s),    q = (1 - s) / y + s y / (y + s)^2,
    P = 1 - phi p = gamma tr Q / m,    R = 1 - psi p,    gamma = -z = P R y / psi,
    u = y / (y + s) = tr(X^T X / n0 Q) / tr Q,    Q = (Y^T Y / m + gamma)^-1.

P and R are products over the roots of N_phi and N_psi, so with the offset t = y - y_0 from the
end y_0 of the branch (gamma = 0) nothing cancels at any ridge, in float32 neither.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.numerics.roots import increasing_root


class Resolvent(NamedTuple):
    """The quantities of the module's formulas, each of the offset's shape."""

    gamma: Array
    first: Array
    second: Array
    p: Array
    q: Array
    u: Array
    k: Array
    """1 - u = s / (y + s)."""


def resolvent(t: Array, s: Array, phi: Array, psi: Array) -> Resolvent:
    """Everything at the offset t >= 0 from the end of the branch."""
    y_phi, r_phi = _roots(phi, s)
    y_psi, r_psi = _roots(psi, s)
    end = jnp.maximum(y_phi, y_psi)
    # A linear network with n0 <= m and n0 <= n1 ends at y = 0: the quotients' limit there.
    floor = 2 * float(jnp.finfo(t.dtype).tiny) ** 0.5
    t = jnp.where(end > 0, t, jnp.maximum(t, floor))
    y = end + t
    k = s / (y + s)
    u = y / (y + s)
    first = (t + (end - y_phi)) / y * ((y + r_phi) / (y + s))
    second = (t + (end - y_psi)) / y * ((y + r_psi) / (y + s))
    nonlinear = (1 - s) / y
    return Resolvent(
        first * second * y / psi, first, second, nonlinear + k, nonlinear + k * u, u, k
    )


def offset(gamma: Array, s: Array, phi: Array, psi: Array) -> Array:
    """The offset t of a ridge gamma >= 0, in units of eta; implicit derivatives of any order."""
    unit = jax.lax.stop_gradient(phi + psi + psi * gamma)  # an upper bound, as p <= 1 / y
    t = unit * increasing_root(_odd_ridge, gamma, (unit, s, phi, psi))
    return jnp.where(gamma == 0, t - jax.lax.stop_gradient(t), t)


def _odd_ridge(t: Any, unit: Any, s: Any, phi: Any, psi: Any) -> Any:
    """Gamma at unit * t, continued to t < 0 as an odd function: increasing on the whole line."""
    size = jnp.where(t == 0, 1, jnp.abs(t))
    return jnp.sign(t) * resolvent(unit * size, s, phi, psi).gamma


def _roots(a: Array, s: Array) -> tuple[Array, Array]:
    """(y_a, r_a) >= 0 with N_a(-y) = y^2 - (a - s) y - a s (1 - s) = (y - y_a) (y + r_a)."""
    product, difference = a * s * (1 - s), a - s
    square = difference**2 + 4 * product
    root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    # Not jnp.abs, whose derivative at a = s would be that of neither side.
    over = difference > 0
    large = (jnp.where(over, difference, -difference) + root) / 2
    small = product / jnp.where(large > 0, large, 1)
    return jnp.where(over, large, small), jnp.where(over, small, large)
