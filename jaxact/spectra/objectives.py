"""What an activation is designed for: objectives, each a function of an activation."""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.gaussian import moments
from jaxact.spectra.limit import Law, law
from jaxact.spectra.optimum import optimal_gamma
from jaxact.spectra.ridge import test_error, training_error


@pytree()
class TargetMoments:
    """Reach a share zeta / eta, and a variance eta if one is given.

    The value is the relative entropy of the two shares, KL(zeta || share) of coins, plus
    log(eta / target)^2: smooth, 0 where the target is reached and quadratic around it, also at
    the ends 0 and 1 of the share.

    Attributes:
        zeta: the target of zeta / eta, in [0, 1].
        eta: the target of eta, > 0; None leaves it free.
        scale: standard deviation of the pre-activations.
    """

    zeta: Leaf = 0.0
    eta: Leaf = None
    scale: Leaf = 1.0

    def __call__(self, act: Activation) -> Array:
        """The distance from the target."""
        found = moments(act, self.scale)
        tiny = float(jnp.finfo(found.eta.dtype).tiny)
        share = jnp.clip(found.zeta / found.eta, 0, 1)
        target = jnp.asarray(self.zeta, share.dtype)
        entropy = xlogy(target, target) + xlogy(1 - target, 1 - target)
        off = entropy - xlogy(target, jnp.maximum(share, tiny))
        off = off - xlogy(1 - target, jnp.maximum(1 - share, tiny))
        if self.eta is None:
            return off
        return off + jnp.log(found.eta / jnp.asarray(self.eta, share.dtype)) ** 2


@pytree()
class MinimiseTrainingError:
    """Memorise best: the `training_error` on noise labels, with gamma in units of eta.

    Attributes:
        phi: n0 / m.
        psi: n0 / n1.
        gamma: the ridge over eta, so the scale of the activation does not matter.
        scale: standard deviation of the pre-activations.
    """

    phi: Leaf
    psi: Leaf
    gamma: Leaf
    scale: Leaf = 1.0

    def __call__(self, act: Activation) -> Array:
        """The training error."""
        return training_error(_unit_law(act, self), self.gamma)


@pytree()
class MinimiseTestError:
    """Predict best: the `test_error` of a linear teacher, with gamma in units of eta.

    Attributes:
        phi: n0 / m.
        psi: n0 / n1.
        noise: the variance of the label noise.
        gamma: the ridge over eta, so the scale of the activation does not matter; None for the
            best ridge of each activation (`optimal_gamma`).
        scale: standard deviation of the pre-activations.
    """

    phi: Leaf
    psi: Leaf
    noise: Leaf
    gamma: Leaf = None
    scale: Leaf = 1.0

    def __call__(self, act: Activation) -> Array:
        """The test error."""
        at = _unit_law(act, self)
        if self.gamma is None:
            return optimal_gamma(at, noise=self.noise).error
        return test_error(at, self.gamma, noise=self.noise)


def _unit_law(act: Activation, sizes: MinimiseTrainingError | MinimiseTestError) -> Law:
    found = law(act, phi=sizes.phi, psi=sizes.psi, scale=sizes.scale)
    one = jnp.ones_like(found.eta)
    return Law(one, found.zeta / found.eta, found.phi, found.psi)
