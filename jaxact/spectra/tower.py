"""The spectral curve of a deep network, which is rational in one variable for any depth.

K_l = X_l^T X_l / n_l, the m x m kernel of layer l with features of unit variance, has the law
mu_l = MP_{gamma_l} (x) ((1 - b_l^2) + b_l^2 mu_{l-1}), gamma_l = m / n_l, b_l^2 = zeta_l / eta_l,
K_0 that of the data (Fan & Wang 2020, Theorem 3.4). Let v_l(z) be the Stieltjes transform of the
n_l x n_l companion of K_l, and h_l(z) = int z / (z - t) d mu_l(t). Silverstein's equation reads

    z_l = (1 + gamma_l (h_l - 1)) / v_l,    h_l = h_{l-1}(z_{l-1}) / (1 - (1 - b_l^2) v_l),
    z_{l-1} = (1 - (1 - b_l^2) v_l) / (b_l^2 v_l).

Read upwards, v_l is an explicit function of z_{l-1}: with one variable u at the bottom every layer
is explicit. So that no b_l = 0 needs a case of its own, layer l is in units of
c_l = b_{l+1}^2 ... b_L^2: Y_l = 1 / (c_l z_l), e_l = h_l - 1, and

    a_l = (1 - b_l^2) c_l Y_{l-1},    e_l = e_{l-1} + a_l (1 + e_{l-1}),
    Y_l = Y_{l-1} / ((1 + a_l) (1 + gamma_l e_l)),    Y_{-1} = u, e_{-1} = 0, b_0 = 0.

At the physical solution for Im z > 0 all of u, Y_l and Y_l (1 + e_l) have negative imaginary
parts, and at no other: layer by layer, Silverstein's equation has one solution with these signs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.spectra.continuation import Equations, sine


class Layers(NamedTuple):
    """Parameters of layers 0 (the data) to L, each (L + 1,); see the module.

    Attributes:
        noise: (1 - b_l^2) c_l.
        unit: c_l.
        gamma: m / n_l.
    """

    noise: Array
    unit: Array
    gamma: Array


def layers(share: Array, phi: Array, psi: Array) -> Layers:
    """From b_l^2 (L,), n0 / m and n0 / n_l (L,)."""
    linear = jnp.concatenate([jnp.zeros_like(share[:1]), share])
    above = jnp.concatenate([share, jnp.ones_like(share[:1])])
    unit = jnp.cumprod(above[::-1])[::-1]
    gamma = jnp.concatenate([jnp.ones_like(psi[:1]), psi]) / phi
    return Layers((1 - linear) * unit, unit, gamma)


def climb(u: Array, at: Layers) -> tuple[Array, Array, Array, Array]:
    """Y_L and e_L, of u's shape, and the rows Y_l and e_l, (L + 1, ...)."""

    def layer(below: Any, row: Layers) -> Any:
        y, e = below
        noise, gamma = row.noise.astype(u.dtype), row.gamma.astype(u.dtype)
        a = noise * y
        e = e + a * (1 + e)
        y = y / ((1 + a) * (1 + gamma * e))
        return (y, e), (y, e)

    (y, e), (ys, es) = jax.lax.scan(layer, (u, jnp.zeros_like(u)), at)
    return y, e, ys, es


def _start(z: Array, at: Layers) -> tuple[Array, ...]:
    return (1 / z,)


def _residual(unknowns: tuple[Array, ...], z: Array, args: Layers) -> tuple[Array, ...]:
    # The logarithm treats zeros and poles of Y_L alike: z is small near the latter.
    return (jnp.log(z * climb(unknowns[0], args)[0]),)


def _margin(unknowns: tuple[Array, ...], z: Array, at: Layers) -> Array:
    _, _, ys, es = climb(unknowns[0], at)
    signs = jnp.minimum(-sine(ys), -sine(ys * (1 + es))).min(axis=0)
    return jnp.minimum(signs, -sine(unknowns[0]))


def _height(at: Layers) -> Array:
    """Eight times a bound of the spectrum."""
    bound = jnp.sum(2 * jnp.log1p(jnp.sqrt(at.gamma)))
    return 8 * jnp.exp(jnp.minimum(bound, 40.0))


TOWER = Equations(_start, _residual, _margin, _height)
