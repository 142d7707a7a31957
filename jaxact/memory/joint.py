"""Joint energies: memories of real-valued patterns that compete for the state.

E(q) = |q|^2 / 2 - L(beta X q) / beta, L a convex function of all overlaps together: log-sum-exp
(the modern Hopfield network), the conjugates of the Tsallis entropies, the log-sum-ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.memory.fenchel_young import entmax_conjugate, entmax_weights
from jaxact.memory.interaction import Interaction, Scalar
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

SIMILARITIES = ("dot", "distance")


@pytree(static=("fn", "slope", "similarity", "name"))
class JointEnergy:
    """An energy of all overlaps together, as a pytree; `retrieve` and `energy` take it as F.

    - similarity "dot": z = beta X q, E = |q|^2 / 2 - L(z) / beta. The pattern with the largest
      overlap wins, so patterns should have about the same norm.
    - similarity "distance": z_mu = -beta |q - xi_mu|^2 / 2, E = -L(z) / beta. The nearest
      pattern wins, whatever the norms.

    Attributes:
        fn: L(z, *theta), over the last axis of z, traceable and convex.
        beta: positive scalar, the inverse temperature.
        theta: parameters of L, a tuple of pytrees of arrays.
        slope: slope(z, *theta), the weights of the patterns; None for the gradient of L.
        similarity: "dot" or "distance".
        name: what tables and plots call it.

    Example:
        >>> from jaxact import memory
        >>> memory.softmax(beta=2.0).weights(jnp.array([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """

    fn: Callable[..., Any]
    beta: Leaf = 1.0
    theta: Leaf = ()
    slope: Callable[..., Any] | None = None
    similarity: str = "dot"
    name: str = "joint"

    def potential(self, z: Float[Array, "*batch K"]) -> Float[Array, " *batch"]:
        """L(z)."""
        return self.fn(z, *self.theta)

    def weights(self, z: Float[Array, "*batch K"]) -> Float[Array, "*batch K"]:
        """The gradient of L at z, or what stands for it: how much each pattern pulls."""
        if self.slope is not None:
            return self.slope(z, *self.theta)
        return jax.grad(lambda z: jnp.sum(self.potential(z)))(z)


def joint(
    fn: Callable[..., Any],
    beta: Scalar = 1.0,
    *,
    theta: tuple[Any, ...] = (),
    similarity: str = "dot",
) -> JointEnergy:
    """A joint energy of your own, from one function: L(z, *theta), whose gradient is derived.

    Args:
        fn: L, a traceable function of z (..., K) that reduces the last axis; convex, or the
            energy may rise. For "distance": an increasing function of a convex one, with
            derivatives that are not negative.
        beta: positive scalar, a leaf.
        theta: further arguments of L, leaves.
        similarity: what z is, see `JointEnergy`.

    Returns:
        The energy.

    Raises:
        TypeError: if fn is not a function.
        ValueError: if beta is not positive or similarity is unknown.

    Example:
        >>> F = joint(lambda z: jnp.sqrt(1 + jnp.sum(z**2, axis=-1)))
        >>> F.weights(jnp.zeros(3)).tolist()
        [0.0, 0.0, 0.0]

    Source: Krotov & Hopfield 2021, eq. 2-4: L is the Lagrangian of the hidden neurons.
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function of the overlaps, got {fn!r}")
    checks.positive("beta", beta)
    checks.choice("similarity", similarity, SIMILARITIES)
    return JointEnergy(fn, beta, theta, None, similarity, getattr(fn, "__name__", "joint"))


def softmax(beta: Scalar = 1.0, *, similarity: str = "dot") -> JointEnergy:
    """The modern Hopfield network: L is log-sum-exp, whose gradient weighs the patterns.

    One step is attention with keys and values X. A pattern is well separated, and recalled in
    one step, when beta times its margin over the others is well above ln K.

    Args:
        beta: positive scalar, a leaf; 1 / sqrt(N) in attention.
        similarity: "dot" (Ramsauer et al.), or "distance" (a Gaussian mean shift), which does
            not favour patterns of large norm.

    Returns:
        The energy.

    Raises:
        ValueError: if beta is not positive or similarity is unknown.

    Example:
        >>> from jaxact import memory
        >>> patterns = jax.random.normal(jax.random.key(0), (1000, 64))
        >>> probe = patterns[7] + 0.5 * jax.random.normal(jax.random.key(1), (64,))
        >>> found = memory.retrieve(patterns, probe, memory.softmax(beta=1.0))
        >>> bool(jnp.abs(found.state - patterns[7]).max() < 1e-3), bool(found.converged)
        (True, True)

    Source: Ramsauer et al. 2020, eq. 1-3; Hoover et al. 2025 for "distance".
    """
    checks.positive("beta", beta)
    checks.choice("similarity", similarity, SIMILARITIES)
    return JointEnergy(_log_sum_exp, beta, (), _softmax, similarity, "softmax")


def entmax(alpha: Scalar, beta: Scalar = 1.0, *, similarity: str = "dot") -> JointEnergy:
    """Sparse Hopfield-Fenchel-Young: weights alpha-entmax(beta X q), exactly zero far away.

    L is the conjugate of the Tsallis entropy's negative, Omega(p) = sum (p^alpha - p) /
    (alpha (alpha - 1)). alpha = 1 is `softmax`, alpha = 2 `sparsemax`. For alpha > 1 recall is
    exact, in one step, once beta (z_1 - max other z) >= 1 / (alpha - 1), z the overlaps.

    Args:
        alpha: scalar, at least 1, a leaf: differentiable, and no retracing over it. Above 2
            the weights are steep where they start, and float32 loses digits.
        beta: positive scalar, a leaf.
        similarity: see `JointEnergy`.

    Returns:
        The energy.

    Raises:
        ValueError: if alpha < 1, beta is not positive, or similarity is unknown.

    Example:
        >>> entmax(1.5).weights(jnp.array([3.0, 1.0, 0.0])).tolist()
        [1.0, 0.0, 0.0]

    Source: Santos et al. 2024, "Sparse and Structured Hopfield Networks", eq. 9-11.
    """
    checks.between("alpha", alpha, 1.0, float("inf"))
    checks.positive("beta", beta)
    checks.choice("similarity", similarity, SIMILARITIES)
    return JointEnergy(entmax_conjugate, beta, (alpha,), entmax_weights, similarity, "entmax")


def sparsemax(beta: Scalar = 1.0, *, similarity: str = "dot") -> JointEnergy:
    """`entmax` with alpha = 2: weights are the projection of beta X q onto the simplex.

    Args:
        beta: positive scalar, a leaf.
        similarity: see `JointEnergy`.

    Returns:
        The energy.

    Raises:
        ValueError: if beta is not positive or similarity is unknown.

    Example:
        >>> sparsemax().weights(jnp.array([0.5, 0.1, -2.0])).round(6).tolist()
        [0.699999988079071, 0.30000001192092896, 0.0]

    Source: Martins & Astudillo 2016; Hu et al. 2023.
    """
    return entmax(2.0, beta, similarity=similarity)


def epanechnikov(beta: Scalar = 1.0, *, floor: Scalar = 1e-6) -> JointEnergy:
    """The log-sum-ReLU energy: each pattern pulls inside its ball of radius sqrt(2 / beta) only.

    E(q) = -log(floor + sum_mu max(1 - beta |q - xi_mu|^2 / 2, 0)) / beta. A step goes to the mean
    of the patterns whose balls hold q, and never raises E. A pattern whose ball holds no other
    pattern is a fixed point at finite beta, exactly; where balls overlap without holding
    another pattern their mean is a further, emergent memory.

    Outside all balls E is flat (-log(floor) / beta) and its gradient zero: there the step is
    that of `softmax(beta, similarity="distance")`, until a ball is met. If that has a fixed
    point outside all balls, the state stays there and its energy says so.

    Args:
        beta: positive scalar, a leaf: 2 / radius^2.
        floor: positive scalar, a leaf: keeps the energy finite outside all balls.

    Returns:
        The energy.

    Raises:
        ValueError: if beta or floor is not positive.

    Example:
        >>> from jaxact import memory
        >>> patterns = jnp.array([[0.0, 0.0], [3.0, 0.0]])
        >>> far = jnp.array([1.4, 4.0])
        >>> memory.retrieve(patterns, far, memory.epanechnikov(beta=2.0)).state.tolist()
        [0.0, 0.0]

    Source: Hoover et al. 2025, "Dense Associative Memory with Epanechnikov Energy".
    """
    checks.positive("beta", beta)
    checks.positive("floor", floor)
    return JointEnergy(_log_sum_relu, beta, (floor,), _active_mean, "distance", "epanechnikov")


def summed(F: Interaction) -> JointEnergy:
    """L = sum_mu F(h_mu): an interaction as a joint energy."""
    return JointEnergy(_sum, 1.0, (F,), None, "dot", F.name)


def _log_sum_exp(z: Array) -> Array:
    return jax.nn.logsumexp(z, axis=-1)


def _softmax(z: Array) -> Array:
    return jax.nn.softmax(z, axis=-1)


def _log_sum_relu(z: Array, floor: Any) -> Array:
    return jnp.log(floor + jnp.sum(jnp.maximum(1 + z, 0), axis=-1))


def _active_mean(z: Array, floor: Any) -> Array:
    del floor
    active = z > -1
    count = jnp.sum(active, axis=-1, keepdims=True, dtype=z.dtype)
    share = active.astype(z.dtype) / jnp.maximum(count, 1)
    return jnp.where(count > 0, share, _softmax(z))


def _sum(z: Array, F: Interaction) -> Array:
    return jnp.sum(F(z), axis=-1)
