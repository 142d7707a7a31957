"""The law of a random nonlinear layer: four numbers, checked where they enter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.gaussian import moments


class SpectralLaw:
    """Any limiting spectral law; what `stieltjes`, `density`, `edges` and their kin accept.

    A kind of law is a pytree that derives from this class and registers itself with `prepared`,
    `transforms`, `support`, `atom_mass` and `moment_of`.
    """


@pytree()
class Law(SpectralLaw):
    """The limiting spectral law of one random nonlinear layer, as a pytree of four leaves.

    M = Y Y^T / m with Y = f(W X), W (n1, n0) and X (n0, m) Gaussian, f centred. The constructor
    checks nothing, because inside transformations leaves are placeholders and gradients; every
    function that takes a law checks it. For a batch of laws, `jax.vmap` over the leaves.

    Attributes:
        eta: E f(s xi)^2 > 0, scalar.
        zeta: (E xi f(s xi))^2 in [0, eta], scalar.
        phi: n0 / m > 0, scalar.
        psi: n0 / n1 > 0, scalar.
    """

    eta: Leaf
    zeta: Leaf
    phi: Leaf
    psi: Leaf


@pytree()
class NoLinearPart(Law):
    """A `Law` whose zeta is known to be 0 when it is traced: Marchenko-Pastur, in closed form."""


def law(
    act: Activation | Callable[..., Any],
    *,
    phi: ArrayLike,
    psi: ArrayLike,
    scale: ArrayLike = 1.0,
) -> Law:
    """The limiting spectral law of a layer with this activation.

    Args:
        act: an activation or a plain scalar function; its mean is taken off.
        phi: n0 / m > 0, inputs per sample.
        psi: n0 / n1 > 0, inputs per neuron.
        scale: standard deviation s > 0 of the pre-activations (sigma_w sigma_x).

    Returns:
        A `Law`; its leaves have the common shape of phi and psi, so arrays of them make a
        batch for `jax.vmap`.

    Raises:
        ValueError: if phi, psi or scale is not positive, or f is constant (eta = 0).

    Differentiable in theta, phi, psi and scale.

    Source: Pennington & Worah, NIPS 2017, Theorem 1.

    Example:
        >>> import jaxact
        >>> relu = law(jaxact.get("relu"), phi=0.5, psi=0.75)
        >>> round(float(relu.zeta), 4)
        0.25
    """
    checks.positive("phi", phi)
    checks.positive("psi", psi)
    found = moments(act, scale)
    made = Law(found.eta, found.zeta, phi, psi)
    if checks.is_concrete(found):
        eta, mean = float(found.eta), float(found.mean)
        if eta <= (32 * float(jnp.finfo(found.eta.dtype).eps) * mean) ** 2:
            raise ValueError(
                f"act must not be constant on Gaussian input, got eta = {eta:g} at mean {mean:g}"
            )
    check_values(made)
    dtype = jnp.result_type(*jax.tree.leaves(made), float)
    leaves = (jnp.asarray(leaf, dtype) for leaf in jax.tree.leaves(made))
    return Law(*jnp.broadcast_arrays(*leaves))


LawKind = TypeVar("LawKind", bound=SpectralLaw)

_COMPLEX = {"float32": jnp.complex64, "float64": jnp.complex128}
_SLACK = 1e-6  # of eta: what rounding in float32 quadrature may leave of 0 <= zeta <= eta


@functools.singledispatch
def prepared(law: Any, points: ArrayLike = 0.0) -> tuple[Any, Array]:
    """A checked law and points, as arrays of one precision (that of the inputs)."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


@prepared.register(Law)
def _prepared(law: Law, points: ArrayLike = 0.0) -> tuple[Law, Array]:
    for name in ("eta", "zeta", "phi", "psi"):
        size = np.shape(getattr(law, name))
        if size != ():
            raise ValueError(
                f"law.{name} must be a scalar, got shape {size}: "
                "use jax.vmap over the leaves for a batch of laws"
            )
    check_values(law)
    if checks.is_concrete(law.zeta) and float(law.zeta) == 0:
        law = NoLinearPart(*jax.tree.leaves(law))
    return in_one_precision(law, points)


def in_one_precision(law: LawKind, points: ArrayLike) -> tuple[LawKind, Array]:
    """The leaves of a law and points, as arrays of the widest of their precisions."""
    dtype = jnp.result_type(*jax.tree.leaves(law), jnp.real(points), float)
    wide = _COMPLEX[dtype.name] if jnp.iscomplexobj(points) else dtype
    cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), law)
    return cast, jnp.asarray(points, wide)


def floating(x: ArrayLike) -> Array:
    """An array of floating dtype; integers in JAX's default one."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def unit_parameters(law: Any) -> tuple[Array, Array, Array]:
    """(s, phi, psi), s = zeta / eta clipped to [0, 1] with the full slope kept at both ends."""
    s = law.zeta / law.eta
    return jnp.where(s < 0, 0, jnp.where(s > 1, 1, s)), law.phi, law.psi


def check_values(law: Any) -> None:
    """Raise `ValueError` unless eta, phi, psi > 0 and 0 <= zeta <= eta."""
    for name in ("eta", "phi", "psi"):
        checks.positive(f"law.{name}", getattr(law, name))
    checks.finite("law.zeta", law.zeta)
    if checks.is_concrete(law.eta, law.zeta):
        eta, zeta = np.asarray(law.eta, np.float64), np.asarray(law.zeta, np.float64)
        if ((zeta < -_SLACK * eta) | (zeta > (1 + _SLACK) * eta)).any():
            raise ValueError(
                f"law.zeta must be in [0, eta], got zeta = {law.zeta} with eta = {law.eta}"
            )
