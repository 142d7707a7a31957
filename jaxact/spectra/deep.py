"""The law of a deep random network, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.continuation import certified, physical
from jaxact.spectra.gaussian import moments
from jaxact.spectra.limit import (
    SpectralLaw,
    check_values,
    floating,
    in_one_precision,
    prepared,
    unit_parameters,
)
from jaxact.spectra.series import moment_of, multiply, series_inverse
from jaxact.spectra.support import atom_mass, is_linear
from jaxact.spectra.tower import TOWER, Layers, climb, layers
from jaxact.spectra.transform import holds, transforms

Activations = Activation | Callable[..., Any] | Sequence[Activation | Callable[..., Any]]


@pytree()
class DeepLaw(SpectralLaw):
    """The limiting spectral law of the last layer of a deep random network.

    M = Y_L Y_L^T / m with Y_l = f_l(W_l Y_{l-1}), Y_0 = X (n0, m) Gaussian, W_l Gaussian, f_l
    centred. One layer is exactly `Law`. The constructor checks nothing; every function that
    takes a law checks it. For a batch of laws, `jax.vmap` over the leaves.

    Attributes:
        eta: variance of layer l's features > 0, (L,).
        zeta: (E xi f_l(s_l xi))^2 in [0, eta], (L,).
        phi: n0 / m > 0, scalar.
        psi: n0 / n_l > 0, (L,).
    """

    eta: Leaf
    zeta: Leaf
    phi: Leaf
    psi: Leaf


def deep_law(
    acts: Activations, *, phi: ArrayLike, psi: ArrayLike, scale: ArrayLike = 1.0
) -> DeepLaw:
    """The limiting law of a deep network's last features.

    The kernel K_l = Y_l^T Y_l / n_l of every layer in the proportional limit, in units of eta_l:
    mu_l = MP_{gamma_l} (x) ((1 - b_l^2) + b_l^2 mu_{l-1}), gamma_l = m / n_l and
    b_l^2 = zeta_l / eta_l, where (x) is the free multiplicative convolution.

    Args:
        acts: one activation (or plain scalar function) for all layers, or one a layer. The mean
            of each layer's features is taken off, as everywhere in this lens.
        phi: n0 / m > 0, inputs per sample, scalar.
        psi: n0 / n_l > 0, inputs per neuron, (L,): its length is the depth.
        scale: sigma_w > 0 of the layers' weights, scalar or (L,): W_l has entries of variance
            scale_l^2 / n_{l-1}. The pre-activations of layer 1 have standard deviation
            scale_1, those of layer l > 1 scale_l sqrt(eta_{l-1}).

    Returns:
        A `DeepLaw`, which `stieltjes`, `companion`, `density`, `edges`, `atom`, `moment` and
        `training_error` accept.

    Raises:
        ValueError: if phi, psi or scale is not positive, if there is not one activation a
            layer, or one of them is constant (eta = 0).

    Differentiable in every activation's theta, in phi, psi and scale.

    Source: Fan & Wang, NeurIPS 2020, Theorem 3.4.

    Example:
        >>> import jaxact
        >>> from jaxact.spectra import edges
        >>> deep = deep_law(jaxact.get("tanh"), phi=1.0, psi=jnp.full(3, 1.5))
        >>> round(float(edges(deep).edges[1] / deep.eta[-1]), 3)
        10.038
    """
    checks.positive("phi", phi)
    checks.shape("phi", phi, ())
    checks.positive("psi", psi)
    checks.shape("psi", psi, ("L",))
    if not np.shape(psi)[0]:
        raise ValueError("psi must have an entry a layer, got none")
    each = activations(acts, np.shape(psi)[0])
    scales = layer_scales(scale, len(each))
    eta, zeta = [], []
    for act, weight in zip(each, scales, strict=True):
        found = moments(act, weight * jnp.sqrt(eta[-1]) if eta else weight)
        if checks.is_concrete(found.eta) and float(found.eta) <= 0:
            raise ValueError(f"acts must not be constant on Gaussian input, got {act.name}")
        eta.append(found.eta)
        zeta.append(found.zeta)
    made = DeepLaw(jnp.stack(eta), jnp.stack(zeta), phi, floating(psi))
    return prepared(made)[0]


def activations(acts: Activations, depth: int) -> tuple[Activation, ...]:
    """One activation a layer."""
    if not isinstance(acts, Sequence):
        return (activation(acts),) * depth
    if len(acts) != depth or depth == 0:
        raise ValueError(f"acts must hold one activation a layer, got {len(acts)} for {depth}")
    return tuple(activation(act) for act in acts)


def layer_scales(scale: ArrayLike, depth: int) -> tuple[Array, ...]:
    """sigma_w of every layer."""
    checks.positive("scale", scale)
    if np.shape(scale) != ():
        checks.shape("scale", scale, (depth,))
    return tuple(jnp.broadcast_to(floating(scale), (depth,)))


def second_moments(law: DeepLaw) -> Float[Array, "L"]:
    """The second moments of the kernels K_l / eta_l of all layers, in closed form.

    m_2(l) = gamma_l + 1 - b_l^4 + b_l^4 m_2(l-1), m_2(0) = 1 + m / n0: what is not linear in a
    layer's input forgets the layers below.

    Args:
        law: the deep law.

    Returns:
        E tr (K_l / eta_l)^2 / m for l = 1, ..., L.

    Raises:
        ValueError: if the law is not valid.

    Differentiable in the law.

    Example:
        >>> import jaxact
        >>> deep = deep_law(jaxact.get("abs"), phi=1.0, psi=jnp.full(3, 1.5))
        >>> [round(float(m), 4) for m in second_moments(deep)]      # Marchenko-Pastur throughout
        [2.5, 2.5, 2.5]
    """
    law, _ = prepared(law)
    share, phi, psi = unit_parameters(law)

    def layer(below: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        fourth, gamma = row[0] ** 2, row[1] / phi
        now = gamma + 1 - fourth + fourth * below
        return now, now

    return jax.lax.scan(layer, 1 + 1 / phi, (share, psi))[1]


def tower_of(law: DeepLaw) -> Layers:
    """The parameters of the curve of a prepared law."""
    return layers(*unit_parameters(law))


@prepared.register(DeepLaw)
def _prepared(law: DeepLaw, points: ArrayLike = 0.0) -> tuple[DeepLaw, Array]:
    if np.ndim(law.psi) != 1 or np.shape(law.psi) == (0,):
        raise ValueError(f"law.psi must have shape (depth,), got {np.shape(law.psi)}")
    checks.shape("law.phi", law.phi, ())
    for name in ("eta", "zeta"):
        checks.shape(f"law.{name}", getattr(law, name), np.shape(law.psi))
    check_values(law)
    return in_one_precision(law, points)


@transforms.register(DeepLaw)
def _transforms(law: DeepLaw, z: Array) -> tuple[Array, Array]:
    at = tower_of(law)
    gamma = at.gamma[-1].astype(z.dtype)
    (u,) = physical(TOWER, z * gamma / law.eta[-1].astype(z.dtype), at)
    _, e, _, _ = climb(u, at)
    return (1 + gamma * e) / z, (1 + e) / z


@holds.register(DeepLaw)
def _holds(law: DeepLaw, z: Array) -> Array:
    at = tower_of(law)
    z = z * at.gamma[-1].astype(z.dtype) / law.eta[-1].astype(z.dtype)
    return certified(TOWER, physical(TOWER, z, at), z, at)


@atom_mass.register(DeepLaw)
def _atom(law: DeepLaw) -> Array:
    share, phi, psi = unit_parameters(law)
    rank = jnp.where(is_linear(share[-1]), kernel_ranks(law)[-2], 1)
    return 1 - jnp.minimum(1, rank * psi[-1] / phi)


def kernel_ranks(law: DeepLaw) -> list[Array]:
    """The ranks over m of K_0, ..., K_L."""
    share, phi, psi = unit_parameters(law)
    ranks = [jnp.minimum(1, phi)]
    for s, width in zip(share, phi / psi, strict=True):
        ranks.append(jnp.minimum(width, jnp.where(is_linear(s), ranks[-1], 1)))
    return ranks


@moment_of.register(DeepLaw)
def _moment(law: DeepLaw, k: int) -> Array:
    """By Lagrange inversion of 1 / z = Y_L(u) in z G = 1 + gamma_L e_L(u)."""
    at = tower_of(law)
    one = jnp.zeros(k + 1, law.phi.dtype).at[0].set(1)

    def layer(below: Any, row: Layers) -> Any:
        inverse, e = below  # u / Y_{l-1} and e_{l-1}
        y = jnp.roll(series_inverse(inverse), 1).at[0].set(0)
        a = row.noise * y
        e = e + multiply(a, one + e)
        inverse = multiply(inverse, multiply(one + a, one + row.gamma * e))
        return (inverse, e), None

    (inverse, e), _ = jax.lax.scan(layer, (one, 0 * one), at)
    if k == 0:
        return one[0]
    index = jnp.arange(1, k + 1, dtype=one.dtype)
    slope = jnp.concatenate([at.gamma[-1] * e[1:] * index, jnp.zeros_like(one[:1])])
    series = jax.lax.fori_loop(0, k, lambda _, a: multiply(a, inverse), slope)
    return (law.eta[-1] / at.gamma[-1]) ** k * series[k - 1] / k
