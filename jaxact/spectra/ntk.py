"""The neural tangent kernel of a random network with one hidden layer: its spectrum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.quadrature import gaussian_rule
from jaxact.spectra.continuation import physical
from jaxact.spectra.gaussian import moments
from jaxact.spectra.limit import SpectralLaw, check_values, in_one_precision, prepared
from jaxact.spectra.mixture import MIXTURE, Types, follows, solution, solution_series, types_of
from jaxact.spectra.mixture_support import searched_support
from jaxact.spectra.series import moment_of
from jaxact.spectra.support import atom_mass, is_linear, support
from jaxact.spectra.transform import holds, transforms

_EXACT = jax.lax.Precision.HIGHEST


@pytree()
class TangentLaw(SpectralLaw):
    """The limiting law of the m x m tangent kernel of one hidden layer; see `ntk_law`.

    `stieltjes` and `companion` are both that of the kernel, (1/m) tr (z - Theta)^-1, and
    `training_error` is that of kernel ridge regression with Theta. The constructor checks
    nothing; every function that takes a law checks it.

    Attributes:
        eta: variance of the features > 0, scalar.
        zeta: its linear part, in [0, eta], scalar.
        slope: s^2 E f'(s xi)^2 >= zeta, scalar.
        phi: n0 / m > 0, scalar.
        psi: n0 / n1 > 0, scalar.
        output: variance of the output weights >= 0, scalar.
    """

    eta: Leaf
    zeta: Leaf
    slope: Leaf
    phi: Leaf
    psi: Leaf
    output: Leaf


def ntk_law(
    act: Activation | Callable[..., Any],
    *,
    phi: ArrayLike,
    psi: ArrayLike,
    scale: ArrayLike = 1.0,
    output_scale: ArrayLike = 1.0,
) -> TangentLaw:
    """The limiting law of the neural tangent kernel of one hidden layer, both layers trained.

    The net is a . f(s W x / sqrt(n0)) / sqrt(n1), W and x standard Gaussian, a independent of
    both and of standard deviation `output_scale`. In the proportional limit the
    part of the hidden weights linearises,

        Theta = Y^T Y / n1 + (Y'^T diag(a)^2 Y' / n1) o (s^2 X^T X / n0)
              ~ Y^T Y / n1 + output_scale^2 [(s^2 E f'^2 - zeta) I + zeta X^T X / n0],

    Y = f(s W X / sqrt(n0)), centred, Y' = f'(the same), o the entrywise product. The law is
    that of `mixture_law`'s equations with this added. The kernel of more hidden layers is not
    offered.

    Args:
        act: an activation or a plain scalar function, without jumps.
        phi: n0 / m > 0, inputs per sample, scalar.
        psi: n0 / n1 > 0, inputs per neuron, scalar.
        scale: s > 0, the standard deviation of the pre-activations.
        output_scale: standard deviation of the output weights, >= 0; 0 trains the output alone.

    Returns:
        A `TangentLaw`, which `stieltjes`, `density`, `edges`, `atom`, `moment`, `cdf`,
        `quantile`, `sample` and `training_error` accept.

    Raises:
        ValueError: if phi, psi or scale is not positive, output_scale is negative, f is constant
            or it has a jump (E f'^2 is then infinite).

    Differentiable in theta, phi, psi, scale and output_scale.

    Source: Fan & Wang, NeurIPS 2020, Theorem 3.7 for one layer; the equations are those of
    `jaxact.spectra.mixture`.

    Example:
        >>> import jaxact
        >>> from jaxact.spectra import moment
        >>> kernel = ntk_law(jaxact.get("erf"), phi=0.5, psi=0.75)     # E Theta_ii: eta + E f'^2
        >>> round(float(moment(kernel, 1)), 4)
        1.034
    """
    act = activation(act)
    for name, value in (("phi", phi), ("psi", psi), ("scale", scale)):
        checks.positive(name, value)
        checks.shape(name, value, ())
    checks.non_negative("output_scale", output_scale)
    checks.shape("output_scale", output_scale, ())
    found = moments(act, scale)
    mean, square = _slopes(act, scale)
    if checks.is_concrete(mean, found) and not np.isclose(
        float(mean) ** 2, float(found.zeta), rtol=1e-4, atol=1e-4 * float(found.eta)
    ):
        raise ValueError(f"act must be without jumps, or E f'^2 is infinite; got {act.name}")
    leaves = (found.eta, found.zeta, square, phi, psi, jnp.square(output_scale))
    return prepared(TangentLaw(*leaves))[0]


def simulate_ntk(
    key: Key[Array, ""],
    act: Activation | Callable[..., Any],
    *,
    n0: int,
    n1: int,
    m: int,
    scale: ArrayLike = 1.0,
    output_scale: ArrayLike = 1.0,
) -> Float[Array, " m"]:
    """The eigenvalues of the tangent kernel of one draw of the network and the data of `ntk_law`.

    The output weights are +-output_scale: the limit is that of Gaussian ones, without the
    fluctuation of their squares' mean. What is left at finite size is that of the samples'
    lengths, of order n0^(-1/2), which blurs the lower edge.

    Args:
        key: a typed random key; a batch of draws is `jax.vmap` over keys.
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        scale: standard deviation of the pre-activations, > 0.
        output_scale: standard deviation of the output weights, >= 0.

    Returns:
        The m eigenvalues, ascending. Features are centred by their Gaussian mean.

    Raises:
        ValueError: if a size is below 1, scale is not positive or output_scale negative.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate_ntk(jax.random.key(0), jaxact.get("tanh"), n0=40, n1=30, m=50)
        >>> found.shape
        (50,)
    """
    checks.key("key", key)
    for name, size in (("n0", n0), ("n1", n1), ("m", m)):
        checks.integer(name, size, 1)
    checks.positive("scale", scale)
    checks.shape("scale", scale, ())
    checks.non_negative("output_scale", output_scale)
    checks.shape("output_scale", output_scale, ())
    return _eigenvalues(key, activation(act), scale, output_scale, n0, n1, m)


@jax.jit
def _slopes(act: Activation, scale: ArrayLike) -> tuple[Array, Array]:
    """S E f' and s^2 E f'^2."""
    xi, weights = gaussian_rule(act.kink_points(), scale)
    slope = scale * act.derivative(scale * xi)
    return weights @ slope, weights @ slope**2


@functools.partial(jax.jit, static_argnames=("n0", "n1", "m"))
def _eigenvalues(
    key: Array, act: Activation, scale: Any, output_scale: Any, n0: int, n1: int, m: int
) -> Array:
    for_weights, for_data, for_output = jax.random.split(key, 3)
    dtype = jnp.result_type(float)
    x = jax.random.normal(for_data, (n0, m), dtype)
    w = jax.random.normal(for_weights, (n1, n0), dtype)
    a = jax.random.rademacher(for_output, (n1,), dtype) * output_scale
    h = jnp.matmul(w, x, precision=_EXACT) * (scale / n0**0.5)
    y = act(h) - act.moments(scale).mean
    slope = act.derivative(h) * a[:, None] * scale
    inputs = jnp.matmul(x.T, x, precision=_EXACT) / n0
    hidden = jnp.matmul(slope.T, slope, precision=_EXACT) / n1
    kernel = jnp.matmul(y.T, y, precision=_EXACT) / n1 + hidden * inputs
    return jnp.linalg.eigvalsh(kernel)


@prepared.register(TangentLaw)
def _prepared(law: TangentLaw, points: ArrayLike = 0.0) -> tuple[TangentLaw, Array]:
    for name in ("eta", "zeta", "slope", "phi", "psi", "output"):
        checks.shape(f"law.{name}", getattr(law, name), ())
    check_values(law)
    checks.non_negative("law.slope", law.slope)
    checks.non_negative("law.output", law.output)
    return in_one_precision(law, points)


@types_of.register(TangentLaw)
def _types_of(law: TangentLaw) -> tuple[Types, Array]:
    c = law.phi / law.psi
    unit = jax.lax.stop_gradient(law.eta / c)
    zeta = jnp.clip(law.zeta, 0, law.eta)
    noise, linear = ((law.eta - zeta) / (c * unit), zeta / (c * unit))
    shift = law.output * jnp.maximum(law.slope - zeta, 0) / unit
    lift = law.output * zeta / unit
    return Types(noise[None], linear[None], c[None], 1 / law.phi, shift, lift), unit


@transforms.register(TangentLaw)
def _transforms(law: TangentLaw, z: Array) -> tuple[Array, Array]:
    types, unit = types_of(law)
    unit = unit.astype(z.dtype)
    x, _, _, _ = solution(physical(MIXTURE, z / unit, types), types)
    return x / unit, x / unit


@atom_mass.register(TangentLaw)
def _atom(law: TangentLaw) -> Array:
    """Of the kernel: full rank as soon as f bends and the hidden layer is trained."""
    linear = is_linear(law.zeta / law.eta)
    width = jnp.where(linear, jnp.minimum(law.phi, law.phi / law.psi), law.phi / law.psi)
    trained = jnp.where(linear, law.phi, 1)
    return 1 - jnp.minimum(1, jnp.where(law.output > 0, trained, width))


@moment_of.register(TangentLaw)
def _moment(law: TangentLaw, k: int) -> Array:
    types, unit = types_of(law)
    x, _ = solution_series(types, k + 1)
    return unit**k * x[k + 1]


support.register(TangentLaw)(searched_support)
holds.register(TangentLaw)(follows)
