"""The ridge that predicts best."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.roots import increasing_root
from jaxact.spectra.limit import Law, unit_parameters
from jaxact.spectra.resolvent import Resolvent, resolvent
from jaxact.spectra.ridge import error_on_fresh_data, law_arguments

_GRID = 128


@pytree()
class OptimalRidge:
    """The ridge of least test error.

    Attributes:
        gamma: the ridge, scalar, in the units of eta; 0 where no ridge is best, and infinity
            where zeta = 0, so that the features know nothing of the teacher.
        error: the test error there.
        converged: whether it is a proven stationary point inside a bracket, or one of the two
            ends with a test error that rises away from it.
    """

    gamma: Leaf
    error: Leaf
    converged: Leaf


def optimal_gamma(law: Law, *, noise: ArrayLike) -> OptimalRidge:
    """The ridge that minimises `test_error`, and that error.

    The error is rational in the curve's own parameter, so no curve is solved: a grid over the
    logarithm of it brackets the least minimum, and the root of the derivative in the bracket is
    the answer. For zeta > 0 the error falls below 1 + noise as 1 + noise - 2 zeta / (psi gamma)
    from infinity, so the optimum is finite; for little noise it can be 0.

    Args:
        law: the law.
        noise: the variance of the label noise, >= 0, a scalar.

    Returns:
        An `OptimalRidge`.

    Raises:
        ValueError: if noise is negative or the law is not valid.

    Differentiable in the law and noise, any number of times (implicitly, at the minimum; at
    the ends 0 and infinity gamma's derivative is 0).

    Example:
        >>> best = optimal_gamma(Law(eta=1.0, zeta=0.7, phi=0.5, psi=0.75), noise=0.25)
        >>> round(float(best.gamma), 3), round(float(best.error), 4), bool(best.converged)
        (0.61, 0.8895, True)
        >>> float(optimal_gamma(Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5), noise=0.1).gamma)
        inf
    """
    at, _, variance = law_arguments(law, 0.0, noise)
    return _optimal(at, variance)


@jax.jit
def _optimal(law: Law, noise: Array) -> OptimalRidge:
    s, phi, psi = unit_parameters(law)
    low, high = jax.lax.stop_gradient(_range(s, phi, psi, noise))
    x = low + (high - low) * jnp.arange(_GRID, dtype=s.dtype) / (_GRID - 1)
    values = jax.lax.stop_gradient(_log_error(x, s, phi, psi, noise))
    best = jnp.argmin(values)
    middle = jnp.clip(best, 1, _GRID - 2)
    half = (high - low) / (_GRID - 1)
    root = increasing_root(_slope, jnp.zeros_like(s), (x[middle], half, s, phi, psi, noise))
    t = jnp.exp(x[middle] + half * root)
    at_zero = jax.lax.stop_gradient(_log_error_at(jnp.zeros_like(s), s, phi, psi, noise))
    eps = float(jnp.finfo(s.dtype).eps)
    never = at_zero <= values[best] + 16 * eps * jnp.minimum(jnp.abs(at_zero), 1)
    # Without a linear part, or with one that rounding hides, the error falls for ever.
    useless = s <= eps
    inside = (best == middle) & (jnp.abs(root) <= 1)
    found = resolvent(jnp.where(never, 0, t), s, phi, psi)
    error = error_on_fresh_data(found, phi, psi, noise)
    gamma = jnp.where(never, 0, law.eta * found.gamma)
    return OptimalRidge(
        jnp.where(useless, jnp.inf, gamma),
        jnp.where(useless, 1 + noise, error),
        inside | never | useless,
    )


def _range(s: Array, phi: Array, psi: Array, noise: Array) -> tuple[Array, Array]:
    """Bounds of log t, from rounding up to far beyond the minimum of the expansion in 1 / y."""
    # E = 1 + noise - 2 s / y + k / y^2 + ..., so a minimum far out is at y = k / s.
    k = (1 + noise) * phi * (s**2 + psi) + s * psi + 3 * s**2
    tiny = float(jnp.finfo(s.dtype).eps)
    scale = 1 + phi + psi
    return jnp.log(tiny * scale), jnp.log(1e3 * (scale + k / jnp.maximum(s, tiny)))


def _slope(
    at: Array, x: Array, half: Array, s: Array, phi: Array, psi: Array, noise: Array
) -> Array:
    """The derivative of the error's logarithm in log t, at x + half * at, |at| <= 1."""

    def error(v: Array) -> Array:
        return _log_error(x + half * v, s, phi, psi, noise)

    return jax.jvp(error, (at,), (jnp.ones_like(at),))[1]


def _log_error(x: Array, s: Array, phi: Array, psi: Array, noise: Array) -> Array:
    return _log_error_at(jnp.exp(x), s, phi, psi, noise)


def _log_error_at(t: Array, s: Array, phi: Array, psi: Array, noise: Array) -> Array:
    """The logarithm of E_test / (1 + noise), precise near 0 and for small errors."""
    at = resolvent(t, s, phi, psi)
    error = error_on_fresh_data(at, phi, psi, noise)
    share = -_gain(at, phi, psi, noise) / (1 + noise)
    near = (share > -0.5) & (share < 1)
    direct = jnp.log(jnp.where(near, 1, error)) - jnp.log1p(noise)
    return jnp.where(near, jnp.log1p(jnp.where(near, share, 0)), direct)


def _gain(at: Resolvent, phi: Array, psi: Array, noise: Array) -> Array:
    """1 + noise - E_test, in a form that keeps its digits where the two are close."""
    tail = psi * at.q
    bottom = at.first * (at.second + tail) + phi * at.q * at.second
    loss = (1 + noise) * phi * (at.k**2 * at.second + at.p * tail)
    return (at.k * ((1 + at.u) * at.second + tail) - loss) / bottom
