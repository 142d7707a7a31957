"""Features with a mean: the eigenvalue that leaves the bulk, and how to put it back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.curve import curve
from jaxact.spectra.gaussian import hermite_coefficients
from jaxact.spectra.limit import Law, prepared, unit_parameters
from jaxact.spectra.limit import law as law_of
from jaxact.spectra.support import edges


@pytree()
class Outlier:
    """The largest eigenvalue of a layer whose features were not centred.

    Attributes:
        value: its limit; the bulk's upper edge where none leaves the bulk.
        separated: whether it leaves the bulk (bool scalar).
    """

    value: Leaf
    separated: Leaf


def outlier(
    act: Activation | Callable[..., Any], *, n0: int, n1: int, m: int, scale: ArrayLike = 1.0
) -> Outlier:
    """The largest eigenvalue of Y Y^T / m, Y = f(W X), with the mean of f left in.

    The mean is a perturbation of rank one, of strength
    theta^2 = n1 (c_0^2 + (2 c_2^2 + sqrt(6) c_0 c_4) / n0), in `hermite_coefficients` of f: the
    lengths of the rows of W and of the columns of X fluctuate, and the means with them. The
    outlier solves lambda G(lambda) G_companion(lambda) = 1 / theta^2 (Benaych-Georges &
    Nadakuditi), which the rational curve of the law inverts: lambda = eta z(w) at
    w = psi theta^2 / eta. For large n1, lambda = theta^2 + (1 + n1 / m) eta + O(1 / n1).
    A single draw fluctuates about it by O(1), also with n1.

    Args:
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        scale: standard deviation s > 0 of the pre-activations.

    Returns:
        An `Outlier`. All other eigenvalues follow the law of the centred f.

    Raises:
        ValueError: if a size is below 1, scale is not positive or f is constant.
        TypeError: if a size is not an integer.

    Differentiable in theta and scale.

    Source: Benaych-Georges & Nadakuditi, J. Multivariate Anal. 111 (2012), Theorem 2.9.

    Example:
        >>> import jaxact
        >>> top = outlier(jaxact.get("relu"), n0=1000, n1=1333, m=2000)
        >>> round(float(top.value), 2), bool(top.separated)
        (212.83, True)
    """
    for name, size in (("n0", n0), ("n1", n1), ("m", m)):
        checks.integer(name, size, 1)
    found, _ = prepared(law_of(act, phi=n0 / m, psi=n0 / n1, scale=scale))
    mean, _, second, _, fourth = hermite_coefficients(act, 4, scale)
    theta = n1 * (mean**2 + (2 * second**2 + math.sqrt(6) * mean * fourth) / n0)
    return _outlier(found, theta, edges(found).edges[-1])


@jax.jit
def _outlier(law: Law, theta: Array, edge: Array) -> Outlier:
    at = unit_parameters(law)
    w = at[2] * theta.astype(law.eta.dtype) / law.eta
    z, slope = jax.jvp(lambda w: curve(w, *at), (w,), (jnp.ones_like(w),))
    separated = (law.eta * z > edge) & (slope > 0)
    return Outlier(jnp.where(separated, law.eta * z, edge), separated)


def centred(act: Activation | Callable[..., Any], scale: ArrayLike = 1.0) -> Activation:
    """The activation less its Gaussian mean, x -> f(x) - E f(s xi): no outlier.

    Args:
        act: an activation or a plain scalar function.
        scale: standard deviation s > 0 of the pre-activations.

    Returns:
        An activation with the theta of `act` and the scale as one more parameter, so the mean
        follows theta in every gradient.

    Raises:
        ValueError: if scale is not positive.

    Differentiable in theta and scale.

    Example:
        >>> import jaxact
        >>> relu = centred(jaxact.get("relu"))
        >>> round(float(relu(0.0)), 4), abs(float(relu.moments().mean)) < 1e-6
        (-0.3989, True)
    """
    act = activation(act)
    checks.positive("scale", scale)
    checks.shape("scale", scale, ())

    def fn(x: Float[Array, "..."], s: Any, *theta: Any) -> Float[Array, "..."]:
        at = act.replace(*theta)
        value = at(x)
        return value - jnp.asarray(at.moments(s).mean, value.dtype)

    kinks = act.kinks
    moving = (lambda _, *theta: kinks(*theta)) if callable(kinks) else kinks
    return Activation(fn, (scale, *act.theta), f"centred {act.name}", moving)
