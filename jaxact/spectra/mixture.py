"""The law of a layer whose neurons have different activations, or random biases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxact.activation import Activation, activation, derived_moments
from jaxact.numerics import checks
from jaxact.numerics.polynomial import reciprocal
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.spectra.continuation import Equations, certified, physical, sine
from jaxact.spectra.limit import SpectralLaw, check_values, floating, in_one_precision, prepared
from jaxact.spectra.series import moment_of, multiply, series_inverse
from jaxact.spectra.support import atom_mass, is_linear
from jaxact.spectra.transform import holds, transforms

_BIAS_NODES = 24


@pytree()
class MixtureLaw(SpectralLaw):
    """The limiting spectral law of one layer with k types of neurons, as a pytree.

    M = Y Y^T / m as in `Law`; a share weights[j] of the rows of Y has the moments eta[j] and
    zeta[j]. The constructor checks nothing; every function that takes a law checks it.

    Attributes:
        weights: the types' shares of the neurons >= 0, of sum 1, (k,).
        eta: variance of a type's features > 0, (k,).
        zeta: in [0, eta], (k,).
        phi: n0 / m > 0, scalar.
        psi: n0 / n1 > 0, scalar.
    """

    weights: Leaf
    eta: Leaf
    zeta: Leaf
    phi: Leaf
    psi: Leaf


def mixture_law(
    acts: Sequence[Activation | Callable[..., Any]],
    weights: ArrayLike,
    *,
    phi: ArrayLike,
    psi: ArrayLike,
    scale: ArrayLike = 1.0,
    bias_std: ArrayLike = 0.0,
) -> MixtureLaw:
    """The limiting law of a layer whose neurons differ in activation and bias.

    Neuron i computes f_i(w_i X + beta_i), with f_i one of `acts` and beta_i ~ N(0, bias_std^2).
    Given both, its features are as good as Gaussian with its own eta_i and zeta_i. The neuron's
    mean E f_i(s xi + beta_i) is taken off; left in, it changes no more than one eigenvalue in
    the limit (see `outlier`).

    Args:
        acts: the activations (or plain scalar functions), k of them.
        weights: their shares of the neurons, (k,) >= 0, in any unit: divided by their sum.
        phi: n0 / m > 0, inputs per sample.
        psi: n0 / n1 > 0, inputs per neuron.
        scale: standard deviation s > 0 of w_i X.
        bias_std: standard deviation of the biases, >= 0; 24 Gauss-Hermite nodes each activation.
            Neurons that a large bias saturates have a tiny eta: at the very bottom of the
            spectrum the nodes show as narrow bands, with little mass, where a continuum belongs.

    Returns:
        A `MixtureLaw`, which `stieltjes`, `companion`, `density`, `edges`, `atom`, `moment` and
        `training_error` accept.

    Raises:
        ValueError: if there is not one weight an activation, a weight is negative, all are 0, or
            phi, psi or scale is not positive.

    Differentiable in every activation's theta, in weights, phi, psi, scale and bias_std > 0.

    Source: Adlam, Levinson & Pennington, AISTATS 2022, whose mixtures these are; the equations
    are derived in `jaxact.spectra.mixture`.

    Example:
        >>> import jaxact
        >>> from jaxact.spectra import moment
        >>> half = mixture_law([jaxact.get("relu"), jaxact.get("tanh")], [1, 1], phi=0.5, psi=0.75)
        >>> round(float(moment(half, 1)), 4)      # the mean of the two etas
        0.3676
    """
    acts = checks.sequence("acts", acts, 1)
    checks.non_negative("weights", weights)
    checks.shape("weights", weights, (len(acts),))
    for name, value in (("phi", phi), ("psi", psi), ("scale", scale)):
        checks.positive(name, value)
        checks.shape(name, value, ())
    checks.non_negative("bias_std", bias_std)
    checks.shape("bias_std", bias_std, ())
    biased = not checks.is_concrete(bias_std) or float(np.asarray(bias_std)) > 0
    nodes, shares = np.polynomial.hermite_e.hermegauss(_BIAS_NODES) if biased else ((0.0,), (1.0,))
    dtype = jnp.result_type(scale, float)
    nodes = jnp.asarray(nodes, dtype) * bias_std
    found = [
        jax.vmap(lambda b, f=f: _moments_at(f, b, scale))(nodes) for f in map(activation, acts)
    ]
    shares = jnp.asarray(np.asarray(shares) / np.sum(shares), dtype)
    weights = floating(weights)
    weights = weights / jnp.sum(weights)
    eta, zeta = (jnp.concatenate(rows) for rows in zip(*found, strict=True))
    made = MixtureLaw((weights[:, None] * shares[None]).reshape(-1), eta, zeta, phi, psi)
    return prepared(made)[0]


def _moments_at(act: Activation, bias: Array, scale: ArrayLike) -> tuple[Array, Array]:
    """The eta and zeta of f(. + bias)."""

    def kinks(_: Any, *theta: Any) -> Array:
        at = act.kinks(*theta) if callable(act.kinks) else act.kinks
        return jnp.asarray(at, bias.dtype) - bias

    shifted = Activation(lambda x, b, *theta: act.fn(x + b, *theta), (bias, *act.theta), "", kinks)
    found = derived_moments(shifted, scale)
    return found.eta, found.zeta


class Types(NamedTuple):
    """Parameters of the equations; those of the types are (k,).

    With Q = (z - Y^T Y / m)^-1, x = tr Q / m and t = tr (X^T X / n0) Q / m, the factor of type j
    is q_j = z G_j = 1 / (1 - (eta_j - zeta_j) x - zeta_j t), and Q is as good as
    (z - A - B K_0)^-1, K_0 = X^T X / n0 of Marchenko-Pastur law,

        A = A_0 + c sum_j weights_j q_j (eta_j - zeta_j),   B = B_0 + c sum_j weights_j q_j zeta_j,

    c = n1 / m. A_0 and B_0 are 0 for a layer; the tangent kernel adds A_0 + B_0 K_0 to Y^T Y / m.

    The unknowns are u = t (1 - u B) and B: with v = u B the companion's value of K_0,

        x = u / (1 - v + v / phi),   t = u / (1 - v),   u z = u A + 1 + v / (phi (1 - v)).
    """

    noise: Array  # eta_j - zeta_j
    zeta: Array
    share: Array  # c weights_j
    inverse_phi: Array
    shift: Array  # A_0
    lift: Array  # B_0


def solution(unknowns: tuple[Array, ...], at: Types) -> tuple[Array, ...]:
    """x, t, v and the q_j on a last axis of their own."""
    u, b = unknowns
    noise, zeta, inverse_phi = (row.astype(u.dtype) for row in (at.noise, at.zeta, at.inverse_phi))
    v = u * b
    x, t = u / (1 - v + inverse_phi * v), u / (1 - v)
    row = (1,) * u.ndim + (-1,)
    q = 1 / (1 - noise.reshape(row) * x[..., None] - zeta.reshape(row) * t[..., None])
    return x, t, v, q


def total(q: Array, weights: Array) -> Array:
    """The sum over the types, on the last axis of q."""
    return jnp.matmul(q, weights.astype(q.dtype), precision=jax.lax.Precision.HIGHEST)


def _start(z: Array, at: Types) -> tuple[Array, ...]:
    return 1 / z, jnp.full_like(z, at.lift + jnp.sum(at.share * at.zeta))


def _residual(unknowns: tuple[Array, ...], z: Array, args: Types) -> tuple[Array, ...]:
    u, b = unknowns
    _, _, v, q = solution(unknowns, args)
    a = args.shift.astype(z.dtype) + total(q, args.share * args.noise)
    again = args.lift.astype(z.dtype) + total(q, args.share * args.zeta)
    right = u * a + 1 + args.inverse_phi.astype(z.dtype) * v / (1 - v)
    # u grows like 1 / z near an atom at 0, where B vanishes, and falls like 1 / z far out.
    size = jax.lax.stop_gradient(1 + jnp.abs(z)).astype(z.dtype)
    return size * u * (b - again), u * z - right


def _margin(unknowns: tuple[Array, ...], z: Array, at: Types) -> Array:
    x, t, v, q = solution(unknowns, at)
    signs = jnp.minimum(-sine(x), -sine(t))
    signs = jnp.minimum(signs, -sine(q * reciprocal(z)[..., None]).min(axis=-1))
    inner = v * (1 - v) * reciprocal(1 - v + at.inverse_phi.astype(z.dtype) * v)
    inner = jnp.minimum(
        -sine(v), -sine(inner)
    )  # the companion of K_0, at a point in the upper half
    return jnp.minimum(signs, jnp.where(v == 0, 1, inner))


def _height(at: Types) -> Array:
    return 8 * bound(at)


def bound(at: Types) -> Array:
    """Of the spectrum, where the largest variance is 1."""
    data = (1 + jnp.sqrt(at.inverse_phi)) ** 2
    return data * ((1 + jnp.sqrt(jnp.sum(at.share))) ** 2 + at.lift) + at.shift


MIXTURE = Equations(_start, _residual, _margin, _height)


@functools.singledispatch
def types_of(law: Any) -> tuple[Types, Array]:
    """The parameters of a law's equations in some unit of its eigenvalues, and that unit."""
    raise TypeError(f"law must be a law of jaxact.spectra, got {type(law).__name__}")


@types_of.register(MixtureLaw)
def _types_of(law: MixtureLaw) -> tuple[Types, Array]:
    unit = jax.lax.stop_gradient(jnp.max(law.eta))
    zeta = jnp.clip(law.zeta, 0, law.eta) / unit
    share, none = law.weights * (law.phi / law.psi), jnp.zeros_like(law.phi)
    return Types(law.eta / unit - zeta, zeta, share, 1 / law.phi, none, none), unit


@prepared.register(MixtureLaw)
def _prepared(law: MixtureLaw, points: ArrayLike = 0.0) -> tuple[MixtureLaw, Array]:
    checks.shape("law.weights", law.weights, ("k",))
    for name, size in (("eta", (np.shape(law.weights)[0],)), ("phi", ()), ("psi", ())):
        checks.shape(f"law.{name}", getattr(law, name), size)
    checks.shape("law.zeta", law.zeta, np.shape(law.eta))
    check_values(law)
    checks.non_negative("law.weights", law.weights)
    if checks.is_concrete(law.weights):
        total = float(np.sum(np.asarray(law.weights, np.float64)))
        if abs(total - 1) > 1e-5:
            raise ValueError(f"law.weights must have sum 1, got {total:g}")
    return in_one_precision(law, points)


@transforms.register(MixtureLaw)
def _transforms(law: MixtureLaw, z: Array) -> tuple[Array, Array]:
    types, unit = types_of(law)
    unit = unit.astype(z.dtype)
    x, _, _, q = solution(physical(MIXTURE, z / unit, types), types)
    return total(q, law.weights) / z, x / unit


@holds.register(MixtureLaw)
def follows(law: Any, z: Array) -> Array:
    """Whether these equations hold at z, for any law that gives its `types_of`."""
    types, unit = types_of(law)
    z = z / unit.astype(z.dtype)
    return certified(MIXTURE, physical(MIXTURE, z, types), z, types)


@atom_mass.register(MixtureLaw)
def _atom(law: MixtureLaw) -> Array:
    linear = is_linear(law.zeta / law.eta)
    share = jnp.sum(jnp.where(linear, law.weights, 0))
    # Linear neurons see only n0 directions; the others fill what is left of the m.
    rank = jnp.minimum(share, law.psi) + (1 - share)
    return 1 - jnp.minimum(rank, law.psi / law.phi)


@moment_of.register(MixtureLaw)
def _moment(law: MixtureLaw, k: int) -> Array:
    types, unit = types_of(law)
    _, q = solution_series(types, k)
    return unit**k * total(q.T, law.weights)[k]


def solution_series(types: Types, k: int) -> tuple[Array, Array]:
    """Series in 1 / z to order k, x (k + 1,) and the q_j (types, k + 1).

    Every round of the equations makes one more term right.
    """
    one = jnp.zeros(k + 1, types.share.dtype).at[0].set(1)

    def factors(u: Array, b: Array) -> tuple[Array, Array]:
        v = multiply(u, b)
        x = multiply(u, series_inverse(one - v + types.inverse_phi * v))
        t = multiply(u, series_inverse(one - v))
        d = types.noise[:, None] * x[None] + types.zeta[:, None] * t[None]
        return x, jax.vmap(series_inverse)(one[None] - d)

    def round_(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        u, b = state
        _, q = factors(u, b)
        a = types.shift * one + total(q.T, types.share * types.noise)
        v = multiply(u, b)
        right = multiply(u, a) + one + types.inverse_phi * multiply(v, series_inverse(one - v))
        again = types.lift * one + total(q.T, types.share * types.zeta)
        return jnp.roll(right, 1).at[0].set(0), again

    start = (0 * one, one * (types.lift + jnp.sum(types.share * types.zeta)))
    return factors(*jax.lax.fori_loop(0, k + 1, round_, start))
