"""Noise models: what a mismatch between A G(z) and y costs, and its curvature."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.inversion.callables import Function, as_function
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@runtime_checkable
class Noise(Protocol):
    """What a noise model must offer: a frozen pytree with these methods.

    `a` is A G(z) and `y` the measurements, both as flat real vectors (m,).
    """

    def misfit(self, a: Any, y: Any) -> Any:
        """sum_i rho(a_i, y_i), a scalar: 0 or least where a = y explains y."""
        ...

    def weights(self, a: Any, y: Any) -> Any:
        """(m,) curvatures >= 0 of rho in a, for Gauss-Newton; None where all are 1."""
        ...

    def check(self, y: Any) -> None:
        """Raise on the host if the model or y is out of range."""


@pytree()
class GaussianNoise:
    """y = a + sigma n, n ~ N(0, 1): rho = (a - y)^2 / (2 sigma^2).

    Attributes:
        sigma: > 0, a scalar, or one for each measurement (y's shape). None: 1, least squares.
            With a sigma, `prior=1` gives the posterior mode under z ~ N(0, I).

    Example:
        >>> import jax.numpy as jnp
        >>> float(GaussianNoise(0.5).misfit(jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])))
        2.0
    """

    sigma: Leaf = None

    def misfit(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """||(a - y) / sigma||^2 / 2."""
        r = a - y if self.sigma is None else (a - y) / _flat(self.sigma, a)
        return r @ r / 2

    def weights(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, " m"] | None:
        """1 / sigma^2."""
        del y
        return None if self.sigma is None else jnp.broadcast_to(_flat(self.sigma, a) ** -2, a.shape)

    def check(self, y: Any) -> None:
        """Raise `ValueError` unless sigma is positive and of y's shape or a scalar."""
        if self.sigma is None:
            return
        checks.positive("noise.sigma", self.sigma)
        if np.ndim(self.sigma):
            _real_only("noise.sigma of one value a measurement", y)
            checks.shape("noise.sigma", self.sigma, np.shape(y))


@pytree()
class HuberNoise:
    """Least squares up to delta, linear beyond: gross outliers pull with a bounded force.

    rho = r^2 / 2 for |r| <= delta, delta (|r| - delta / 2) beyond; r = a - y. The weights are
    those of iteratively reweighted least squares, min(1, delta / |r|).

    Attributes:
        delta: > 0, in the units of y: a few deviations of the ordinary noise.

    Example:
        >>> import jax.numpy as jnp
        >>> float(HuberNoise(1.0).misfit(jnp.array([0.5, 3.0]), jnp.zeros(2)))
        2.625

    Source: Huber 1964; Holland & Welsch 1977, the weights.
    """

    delta: Leaf

    def misfit(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """The sum of rho."""
        delta = jnp.asarray(self.delta, a.dtype)
        size = jnp.abs(a - y)
        near = jnp.minimum(size, delta)
        return jnp.sum(near * (size - near / 2))

    def weights(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, " m"]:
        """min(1, delta / |r|)."""
        delta = jnp.asarray(self.delta, a.dtype)
        return delta / jnp.maximum(jnp.abs(a - y), delta)

    def check(self, y: Any) -> None:
        """Raise `ValueError` unless delta is positive."""
        del y
        checks.positive("noise.delta", self.delta)


@pytree()
class L1Noise:
    """The absolute error, smoothed at 0: rho = sqrt(r^2 + s^2) - s with r = a - y.

    Data that G explains but for sparse gross errors are recovered to about s. The weights are
    those of iteratively reweighted least squares, 1 / sqrt(r^2 + s^2): many small steps where s
    is small, so give the solver more of them.

    Attributes:
        smoothing: s > 0, in the units of y.

    Example:
        >>> import jax.numpy as jnp
        >>> float(L1Noise(smoothing=3.0).misfit(jnp.array([4.0]), jnp.zeros(1)))
        2.0

    Source: Lei et al. 2019 use the l1 loss for generators.
    """

    smoothing: Leaf = 1e-3

    def misfit(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """The sum of rho, as r^2 / (sqrt(r^2 + s^2) + s): no cancellation near 0."""
        square = (a - y) ** 2
        s = jnp.asarray(self.smoothing, a.dtype)
        return jnp.sum(square / (jnp.sqrt(square + s**2) + s))

    def weights(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, " m"]:
        """1 / sqrt(r^2 + s^2)."""
        return 1 / jnp.sqrt((a - y) ** 2 + jnp.asarray(self.smoothing, a.dtype) ** 2)

    def check(self, y: Any) -> None:
        """Raise `ValueError` unless the smoothing is positive."""
        del y
        checks.positive("noise.smoothing", self.smoothing)


@pytree()
class PoissonNoise:
    """Counts y ~ Poisson(a + background): half the deviance.

    rho = l - y + y log(y / l) with l = a + background: 0 at l = y. Weights: the Fisher
    information 1 / l. Where l <= 0 the misfit is inf, and no step goes there.

    Attributes:
        background: >= 0, counts that do not come from the generator. Give one where A G(z) can
            be 0 (ReLU outputs): a count there is impossible without it.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(PoissonNoise().misfit(jnp.array([1.0]), jnp.array([2.0]))), 6)
        0.386294

    Source: McCullagh & Nelder 1989, Poisson deviance and scoring.
    """

    background: Leaf = 0.0

    def misfit(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """Half the deviance; inf where a rate is not positive."""
        rate, fine = self._rate(a)
        counted = y > 0
        ratio = jnp.log(jnp.where(counted, y, 1) / rate)
        terms = rate - y + jnp.where(counted, y * ratio, 0)
        return jnp.sum(jnp.where(fine, terms, jnp.inf))

    def weights(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, " m"]:
        """1 / l."""
        del y
        return 1 / self._rate(a)[0]

    def check(self, y: Any) -> None:
        """Raise `ValueError` unless y and the background are non-negative."""
        _real_only("counts", y)
        checks.non_negative("y (counts)", y)
        checks.non_negative("noise.background", self.background)

    def _rate(self, a: Any) -> tuple[Any, Any]:
        rate = a + jnp.asarray(self.background, a.dtype)
        return jnp.where(rate > 0, rate, 1), rate > 0


@pytree()
class LogisticNoise:
    """One-bit measurements y = +1 or -1 of the sign of a + scale * logistic noise.

    rho = log(1 + exp(-y a / scale)). It needs the operator without its sign: y = sign(A x) is
    inverted by `operator=A, noise=LogisticNoise()`. Signs say nothing of the length of A x: for
    a homogeneous generator (ReLU, no bias) the latent comes back up to scale, and only with a
    `prior` > 0, which keeps it finite.

    Attributes:
        scale: > 0, in the units of a.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(LogisticNoise().misfit(jnp.zeros(2), jnp.array([1.0, -1.0]))), 6)
        1.386294

    Source: Plan & Vershynin 2013, one-bit compressed sensing with logistic loss.
    """

    scale: Leaf = 1.0

    def misfit(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """The sum of rho."""
        return jnp.sum(jax.nn.softplus(-y * a / jnp.asarray(self.scale, a.dtype)))

    def weights(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, " m"]:
        """The variance p (1 - p) / scale^2, p the probability of the sign that was seen."""
        scale = jnp.asarray(self.scale, a.dtype)
        p = jax.nn.sigmoid(y * a / scale)
        return p * (1 - p) / scale**2

    def check(self, y: Any) -> None:
        """Raise `ValueError` unless y holds signs and the scale is positive."""
        _real_only("signs", y)
        checks.spins("y (signs)", y)
        checks.positive("noise.scale", self.scale)


@pytree()
class Custom:
    """Any elementwise rho(a, y), twice differentiable in a; negative curvature counts as 0."""

    rho: Function

    def misfit(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, ""]:
        """The sum of rho."""
        return jnp.sum(self.rho(a, y))

    def weights(self, a: Float[Array, " m"], y: Float[Array, " m"]) -> Float[Array, " m"]:
        """max(d^2 rho / da^2, 0)."""
        ones = jnp.ones_like(a)
        slope = lambda v: jax.jvp(lambda u: self.rho(u, y), (v,), (ones,))[1]  # noqa: E731
        return jnp.maximum(jax.jvp(slope, (a,), (ones,))[1], 0)

    def check(self, y: Any) -> None:
        """Nothing is known about it."""


def as_noise(noise: Any) -> Noise:
    """A noise model: None is least squares, a function rho(a, y) of arrays is `Custom`.

    Raises:
        TypeError: if it is none.
    """
    if noise is None:
        return GaussianNoise()
    if isinstance(noise, type) or not (isinstance(noise, Noise) or callable(noise)):
        raise TypeError(
            "noise must be a GaussianNoise(...), HuberNoise(...), L1Noise(...), "
            f"PoissonNoise(...), LogisticNoise(...) or a function rho(a, y), got {noise!r}"
        )
    return noise if isinstance(noise, Noise) else Custom(as_function("noise", noise))


def _flat(sigma: Any, a: Any) -> Any:
    sigma = jnp.asarray(sigma, a.dtype)
    return sigma.ravel() if sigma.ndim else sigma


def _real_only(what: str, y: Any) -> None:
    if jnp.issubdtype(jnp.result_type(y), jnp.complexfloating):
        raise TypeError(f"y must be real for {what}, got dtype {jnp.result_type(y)}")
