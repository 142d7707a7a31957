"""The variational identity of the f-GAN on a deformed family: both sides and the witness."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.geometry.deformed import exp_kernel, log_kernel
from jaxact.geometry.escort import escort_kernel
from jaxact.geometry.family import DeformedFamily, check_theta, cumulant
from jaxact.geometry.matched import SignatureConjugate
from jaxact.geometry.member import escort_mean_kernel, member_rule, natural
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class VariationalIdentity:
    """Both sides of sup_T {E_P[T] - E_{Q~}[(-log_{chi_{Q~}})^*(T)]} = D_C(theta||vt) + J(Q).

    Attributes:
        supremum: the left side at the witness, by the convex conjugate.
        bregman: D_C(theta || vt), by the cumulant and its gradient.
        offset: J(Q) = E_{Q~}[log_chi q~ - log_chi q] <= 0; 0 where q~ = q.
        escort_gap: E_{Q~}[log_chi q - log_chi p], which equals `bregman`.
        witness: T*(x) = -q~(x) / chi(p(x)) at the points, (n,).
        points: the rule's points.
        weights: and weights, (n,).

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> both = variational_identity(family, 0.3, -0.2)
        >>> bool(abs(both.supremum - (both.bregman + both.offset)) < 1e-5)
        True
    """

    supremum: Leaf
    bregman: Leaf
    offset: Leaf
    escort_gap: Leaf
    witness: Leaf
    points: Leaf
    weights: Leaf


def variational_identity(family: DeformedFamily, theta: Any, vt: Any) -> VariationalIdentity:
    """Both sides of the f-GAN identity for P = P_theta and Q = Q_vt, each by its own formula.

        sup_T { E_P[T] - E_{Q~}[(-log_{chi_{Q~}})^*(T)] } = D_C(theta || vt) + J(Q)

    over T < 0, attained at T* = -q~ / chi(p) = -(1/Z_P) q~ / p~, where ~ is the escort. As
    J(Q) <= 0, the game's value is a lower bound of D_C, negative at P = Q unless chi(t) = t.

    Args:
        family: the family of both, on an interval, the line, a box or a finite set.
        theta: the natural parameter of P.
        vt: that of Q, whose escort is the game's generator. Its support must lie in P's.

    Returns:
        A `VariationalIdentity`. Differentiable in theta, vt and the signature's parameters.

    Raises:
        ValueError: as `cumulant`, or for a Q whose support reaches beyond P's, where the sides
            differ. (Not checked when traced: compare `supremum` with bregman + offset there.)

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.0), lambda x: x, interval(-1.0, 1.0))
        >>> round(float(variational_identity(family, 0.3, -0.2).supremum), 5)
        0.04154

    Source: Nock et al. 2017, section 4.
    """
    theta, vt = check_theta(family, theta), check_theta(family, vt, "vt")
    both, stray = _identity(family, theta, vt, cumulant(family, theta), cumulant(family, vt))
    if checks.is_concrete(stray) and stray > float(jnp.finfo(stray.dtype).eps) ** 0.5:
        raise ValueError(
            f"vt = {vt} must have its support in that of theta = {theta}, got a share "
            f"{float(stray):.3g} of Q's escort where P's density is 0"
        )
    return both


def variational_value(
    family: DeformedFamily, both: VariationalIdentity, theta: Any, vt: Any, witness: Any
) -> Float[Array, ""]:
    """E_P[T] - E_{Q~}[(-log_{chi_{Q~}})^*(T)] for any T < 0 at the points of an identity.

    Args:
        family: the family.
        both: what `variational_identity` gave for theta and vt.
        theta: the natural parameter of P.
        vt: that of Q.
        witness: T at `both.points`, (n,), negative.

    Returns:
        The value, at most `both.supremum`; -inf where the conjugate is infinite.

    Raises:
        ValueError: as `cumulant`.

    Example:
        >>> from jaxact.geometry import interval, tsallis
        >>> family = DeformedFamily(tsallis(1.5), lambda x: x, interval(-1.0, 1.0))
        >>> both = variational_identity(family, 0.3, -0.2)
        >>> value = variational_value(family, both, 0.3, -0.2, 0.9 * both.witness)
        >>> bool(value < both.supremum)
        True
    """
    checks.instance("both", both, VariationalIdentity)
    checks.finite("both", both)
    dtype = both.weights.dtype
    theta, vt = (checks.floating(n, v).astype(dtype) for n, v in (("theta", theta), ("vt", vt)))
    witness = checks.floating("witness", witness)
    checks.shape("witness", witness, np.shape(both.weights))
    ends = (cumulant(family, theta), cumulant(family, vt))
    p, escort = _densities(family, theta, vt, *ends, both.points, both.weights)
    return _value(family, p, escort, both.weights, jnp.asarray(witness, dtype))


@jax.jit
def _identity(
    family: DeformedFamily, theta: Any, vt: Any, c_p: Any, c_q: Any
) -> tuple[VariationalIdentity, Any]:
    """Both sides, and the share of Q's escort outside P's support."""
    points, weights = member_rule(family, [(theta, c_p), (vt, c_q)])
    p, escort = _densities(family, theta, vt, c_p, c_q, points, weights)
    inside = escort > 0
    ratio = escort / jnp.where(inside, family.chi(jnp.where(p > 0, p, 1)), 1)
    witness = -jnp.where(inside, ratio, 0)
    log_p = natural(family, theta, points) - c_p
    log_q = natural(family, vt, points) - c_q
    mass = weights * escort
    log_escort = log_kernel(family.chi, jnp.where(inside, escort, 1))
    both = VariationalIdentity(
        supremum=_value(family, p, escort, weights, witness),
        bregman=c_p - c_q - jnp.sum((theta - vt) * escort_mean_kernel(family, vt, c_q)),
        offset=jnp.sum(jnp.where(inside, mass * (log_escort - log_q), 0)),
        escort_gap=jnp.sum(jnp.where(inside, mass * (log_q - log_p), 0)),
        witness=witness,
        points=points,
        weights=weights,
    )
    return both, jnp.sum(jnp.where(p > 0, 0, mass))


def _densities(
    family: DeformedFamily, theta: Any, vt: Any, c_p: Any, c_q: Any, points: Any, weights: Any
) -> tuple[Any, Any]:
    p = exp_kernel(family.chi, natural(family, theta, points) - c_p)
    q = exp_kernel(family.chi, natural(family, vt, points) - c_q)
    return p, escort_kernel(family.chi, q, weights)


@jax.jit
def _value(family: DeformedFamily, p: Any, escort: Any, weights: Any, witness: Any) -> Any:
    """With u = q~ z the conjugate is sup_u (T/q~) u + log_chi(u) - log_chi(q~)."""
    inside = escort > 0
    safe = jnp.where(inside, escort, 1)
    theta = jax.tree.map(lambda leaf: jnp.asarray(leaf, safe.dtype), family.chi.theta)
    slope = jnp.where(inside, witness, -1) / safe
    conjugate = SignatureConjugate(family.chi)(slope, *theta) - log_kernel(family.chi, safe)
    return jnp.sum(weights * jnp.where(inside, p * witness - escort * conjugate, 0))
