"""How well random features memorise: the training error of ridge regression on noise labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.spectra.curve import branch, factors
from jaxact.spectra.limit import Law, SpectralLaw, law, prepared, unit_parameters
from jaxact.spectra.transform import error_of


def training_error(
    subject: SpectralLaw | Activation | Callable[..., Any],
    gamma: ArrayLike,
    *,
    phi: ArrayLike | None = None,
    psi: ArrayLike | None = None,
    scale: ArrayLike = 1.0,
) -> Float[Array, "..."]:
    """The limiting training error of ridge regression on random features with noise labels.

    E_train(gamma) = (gamma^2 / m) E tr Q^2 = (1 - phi/psi) - (phi/psi) gamma^2 G'(-gamma) with
    Q = (Y^T Y / m + gamma)^-1, in a form without cancellation. It tends to 1 for large gamma
    and to 1 - min(1, n1/m [, n0/m if f is linear]) for small.

    Args:
        subject: a law, or an activation (or plain function) together with phi and psi.
        gamma: ridge parameters > 0, any shape, in the units of the features' variance eta.
        phi: n0 / m > 0; only with an activation.
        psi: n0 / n1 > 0; only with an activation.
        scale: standard deviation of the pre-activations; only with an activation.

    Returns:
        E_train in (0, 1), of gamma's shape. The labels have unit variance, and the features
        are centred.

    Raises:
        ValueError: if gamma, phi, psi or scale is not positive or the law is not valid.
        TypeError: if phi and psi are missing with an activation, or given with a law.

    Differentiable in the law (so in the activation's theta) and in gamma, any number of times.

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
        if phi is None or psi is None:
            raise TypeError("training_error of an activation needs phi= and psi=")
        found = law(subject, phi=phi, psi=psi, scale=scale)
    checks.positive("gamma", gamma)
    return (_training_error if isinstance(found, Law) else error_of)(*prepared(found, gamma))


@jax.jit
def _training_error(law: Law, gamma: Array) -> Array:
    s, phi, psi = unit_parameters(law)
    z = -gamma / law.eta
    w = branch(jax.lax.complex(z, jnp.zeros_like(z)), s, phi, psi).real
    # With p(v), q = v p'(v) < 0, P = 1 + phi p and R = 1 + psi p, the derivative of the
    # companion transform P / z along the curve gives a quotient of sums of positive terms.
    first, second = factors(w, z, s, phi, psi)
    q = (1 - s) / w + s * w / (w - s) ** 2
    top = first**2 * (second - psi * q)
    return top / (first * second - phi * q * second - psi * q * first)
