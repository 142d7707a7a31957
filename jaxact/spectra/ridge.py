"""Ridge regression on random features: how well it memorises noise, and how well it predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.limit import Law, SpectralLaw, law, prepared, unit_parameters
from jaxact.spectra.resolvent import Resolvent, offset, resolvent
from jaxact.spectra.transform import error_of


@pytree()
class RidgeErrors:
    """What a ridge regression leaves: of a linear teacher's noisy labels, in both fields.

    Attributes:
        train: the training error.
        test: the error on fresh data.
    """

    train: Leaf
    test: Leaf


def training_error(
    subject: SpectralLaw | Activation | Callable[..., Any],
    gamma: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    phi: ArrayLike | None = None,
    psi: ArrayLike | None = None,
    scale: ArrayLike = 1.0,
) -> Float[Array, "..."]:
    """The limiting training error of ridge regression on random features.

    On labels that are noise of unit variance (the default: memorisation)

        E_train(gamma) = (gamma^2 / m) E tr Q^2 = (1 - phi/psi) - (phi/psi) gamma^2 G'(-gamma)

    with Q = (Y^T Y / m + gamma)^-1, in a form without cancellation. It tends to 1 for large
    gamma and to 1 - min(1, n1/m [, n0/m if f is linear]) for small. With `noise` the labels are
    those of `test_error`, a linear teacher plus noise, and E_train = (gamma tr Q / m)^2 E_test.

    Args:
        subject: a law, or an activation (or plain function) together with phi and psi.
        gamma: ridge parameters >= 0, any shape, in the units of the features' variance eta; 0
            is the limit from above (the least-squares solution of least norm), of a `Law` only.
        noise: None, or the variance >= 0 of the noise beside the teacher, a scalar; only with
            a `Law` or an activation.
        phi: n0 / m > 0; only with an activation.
        psi: n0 / n1 > 0; only with an activation.
        scale: standard deviation of the pre-activations; only with an activation.

    Returns:
        E_train, of gamma's shape. The features are centred.

    Raises:
        ValueError: if gamma or noise is negative, phi, psi or scale is not positive, or the law
            is not valid.
        TypeError: if phi and psi are missing with an activation, or given with a law.

    Differentiable in the law (so in the activation's theta), gamma and noise, any number of
    times. At gamma = 0 the derivative in gamma is the one from above; it is infinite at n1 = m
    and given there as a finite number.

    Source: Pennington & Worah, NIPS 2017, section 4.

    Example:
        >>> import jaxact
        >>> relu = jaxact.get("relu")
        >>> round(float(training_error(relu, gamma=0.01, phi=0.5, psi=0.75)), 4)
        0.3542
        >>> round(float(training_error(Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5), 1.0)), 4)
        0.4472
    """
    if isinstance(subject, SpectralLaw):
        if phi is not None or psi is not None:
            raise TypeError("phi and psi are part of the law: give them with an activation only")
        found = subject
    else:
        checks.function("subject", subject, "one array, or a law")
        if phi is None or psi is None:
            raise TypeError("training_error of a subject that is no law needs phi= and psi=")
        found = law(subject, phi=phi, psi=psi, scale=scale)
    if not isinstance(found, Law):
        if noise is not None:
            raise TypeError(
                f"noise must be None for a {type(found).__name__}: its teacher's law "
                "is known for one layer only"
            )
        checks.positive("gamma", gamma)
        return error_of(*prepared(found, gamma))
    at, gamma, variance = law_arguments(found, gamma, 0.0 if noise is None else noise)
    return _memorisation(at, gamma) if noise is None else _teacher(at, gamma, variance).train


def test_error(law: Law, gamma: ArrayLike, *, noise: ArrayLike) -> Float[Array, "..."]:
    """The limiting error on fresh data of ridge regression on random features.

    The labels are those of a linear teacher, y = beta . x + noise, |beta| = 1, x ~ N(0, I), and
    the error is that against noisy labels, so it tends to 1 + noise for large gamma. With
    tau_1 = tr Q / m, tau_2 = tr(X^T X / n0 Q) / m = u tau_1 and Q = (Y^T Y / m + gamma)^-1

        E_test = -(noise tau_1' + tau_2') / tau_1^2
               = [noise (R + psi q) + u (u R + psi q)] / [P (R + psi q) + phi q R],

    the quantities being those of `jaxact.spectra.resolvent`: all are positive and none cancels,
    at zeta = 0 either (u = 1: the teacher is then noise to the features).

    Args:
        law: the law.
        gamma: ridge parameters >= 0, any shape, in the units of the features' variance eta; 0
            is the limit from above (the least-squares solution of least norm), infinite at
            n1 = m.
        noise: the variance of the label noise, >= 0, a scalar.

    Returns:
        E_test of gamma's shape.

    Raises:
        ValueError: if gamma or noise is negative, or the law is not valid.

    Differentiable in the law, gamma and noise, any number of times.

    Source: Mei & Montanari 2019 and Adlam & Pennington 2020, here from the rational curve and
    in the normalisation of `Law`.

    Example:
        >>> import jaxact
        >>> relu = law(jaxact.get("relu"), phi=0.5, psi=0.75)
        >>> errors = test_error(relu, [1e-3, 1e-1, 1e1], noise=0.25)
        >>> [round(float(e), 3) for e in errors]
        [1.687, 0.882, 1.192]
    """
    return _teacher(*law_arguments(law, gamma, noise)).test


def law_arguments(law: Law, gamma: ArrayLike, noise: ArrayLike) -> tuple[Law, Array, Array]:
    """The checked law, ridges and noise, as arrays of one precision."""
    checks.non_negative("gamma", gamma)
    checks.non_negative("noise", noise)
    checks.shape("noise", noise, ())
    if not isinstance(law, Law):
        raise TypeError(f"law must be a jaxact.spectra.Law, of one layer, got {type(law).__name__}")
    law, points = prepared(law, jnp.asarray(gamma))
    # One kernel for all values: on this half line zeta = 0 has no shorter way.
    return Law(law.eta, law.zeta, law.phi, law.psi), points, jnp.asarray(noise, points.dtype)


def error_on_fresh_data(at: Resolvent, phi: Array, psi: Array, noise: Array) -> Array:
    """E_test where the curve is `at`."""
    tail = psi * at.q
    top = noise * (at.second + tail) + at.u * (at.u * at.second + tail)
    return top / _bottom(at, phi, psi)


@jax.jit
def _memorisation(law: Law, gamma: Array) -> Array:
    s, phi, psi = unit_parameters(law)
    at = resolvent(offset(gamma / law.eta, s, phi, psi), s, phi, psi)
    # The derivative of P / z along the curve; at a pole of both (n1 = m, gamma = 0) it is 0.
    bottom = _bottom(at, phi, psi)
    some = bottom > 0
    return jnp.where(some, at.first**2 * (at.second + psi * at.q) / jnp.where(some, bottom, 1), 0)


@jax.jit
def _teacher(law: Law, gamma: Array, noise: Array) -> RidgeErrors:
    s, phi, psi = unit_parameters(law)
    at = resolvent(offset(gamma / law.eta, s, phi, psi), s, phi, psi)
    test = error_on_fresh_data(at, phi, psi, noise)
    some = at.first > 0
    return RidgeErrors(jnp.where(some, at.first**2 * jnp.where(some, test, 0), 0), test)


def _bottom(at: Resolvent, phi: Array, psi: Array) -> Array:
    return at.first * (at.second + psi * at.q) + phi * at.q * at.second
