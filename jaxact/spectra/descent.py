"""Double descent: training and test error over the number of neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxact.activation import Activation, Moments
from jaxact.numerics import checks
from jaxact.spectra.gaussian import moments
from jaxact.spectra.limit import Law
from jaxact.spectra.ridge import RidgeErrors, test_error, training_error


def double_descent(
    act: Activation | Moments | Callable[..., Any],
    widths: ArrayLike,
    *,
    phi: ArrayLike,
    gamma: ArrayLike,
    noise: ArrayLike,
    scale: ArrayLike = 1.0,
) -> RidgeErrors:
    """Training and test error as the layer widens, at fixed inputs and samples.

    `training_error` (of the teacher's labels) and `test_error` at psi = phi / (n1 / m). For a
    small ridge the test error peaks at n1 = m, where the features just interpolate, and falls
    again beyond.

    Args:
        act: an activation, a plain function, or its Gaussian `Moments`.
        widths: n1 / m > 0, any shape.
        phi: n0 / m > 0, a scalar.
        gamma: the ridge >= 0, a scalar, in the units of the features' variance eta; 0 is the
            limit from above, whose test error is infinite at width 1.
        noise: the variance of the label noise, >= 0, a scalar.
        scale: standard deviation of the pre-activations; not with `Moments`.

    Returns:
        `RidgeErrors`, each of the shape of `widths`.

    Raises:
        ValueError: if a width, phi or scale is not positive, or gamma or noise negative.

    Differentiable in everything, any number of times.

    Source: Belkin et al. 2019; the curve as in `test_error`.

    Example:
        >>> import jaxact
        >>> found = double_descent(
        ...     jaxact.get("relu"), [0.5, 1.0, 4.0], phi=0.5, gamma=1e-4, noise=0.25)
        >>> [round(float(e), 2) for e in found.test]
        [1.39, 9.54, 0.59]
    """
    for name, value in (("widths", widths), ("phi", phi)):
        checks.positive(name, value)
    for name, value in (("phi", phi), ("gamma", gamma), ("noise", noise)):
        checks.shape(name, value, ())
    checks.non_negative("gamma", gamma)
    checks.non_negative("noise", noise)
    found = act if isinstance(act, Moments) else moments(act, scale)
    dtype = jnp.result_type(found.eta, found.zeta, jnp.asarray(widths), phi, gamma, noise, float)
    eta, zeta, phi, gamma, noise = (
        jnp.asarray(v, dtype) for v in (found.eta, found.zeta, phi, gamma, noise)
    )
    ratios = jnp.asarray(widths, dtype)

    def errors(ratio: Any) -> tuple[Any, Any]:
        at = Law(eta, zeta, phi, phi / ratio)
        return training_error(at, gamma, noise=noise), test_error(at, gamma, noise=noise)

    train, test = jax.vmap(errors)(ratios.reshape(-1))
    return RidgeErrors(train.reshape(ratios.shape), test.reshape(ratios.shape))
