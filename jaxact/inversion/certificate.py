"""Is the answer unique? First-order certificates from the Jacobian of what is measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.inversion.callables import as_function
from jaxact.inversion.composed import check_operator
from jaxact.inversion.kink_distance import kink_distance, kinks_of
from jaxact.inversion.noise import as_noise
from jaxact.inversion.operators import identity
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

TOLERANCE = 1e-4


@pytree()
class Certificate:
    """How well the measurements A G(z) determine z near one latent; J = d(A G)/dz there.

    Attributes:
        singular_values: (k,) of J, descending, zeros where there are fewer than k measurements.
        sigma_min: the smallest. Measurement noise e moves z by at most ||e|| / sigma_min, to
            first order.
        sigma_max: the largest.
        condition: sigma_max / sigma_min; inf where sigma_min is 0.
        identifiable: whether sigma_min > tolerance * sigma_max.
        active_rows: number of measurements that respond to z at all. Fewer than k are never
            enough; for ReLU about half of the rows are dead, so m >= 2k is needed.
        kink_margin: the smallest |pre-activation - kink| over all neurons that are not smooth
            everywhere and respond to z. inf if there is none (a smooth generator); NaN where the
            kinks are not known: a generator that `jaxact.tracing.trace` cannot read, or an
            activation whose parameters are being traced by JAX.
        kink_distance: the smallest |pre-activation - kink| / ||its gradient in z||: how far, to
            first order, z must move until J jumps. inf and NaN as for `kink_margin`.
    """

    singular_values: Leaf
    sigma_min: Leaf
    sigma_max: Leaf
    condition: Leaf
    identifiable: Leaf
    active_rows: Leaf
    kink_margin: Leaf = math.nan
    kink_distance: Leaf = math.nan


def certificate(
    generator: Callable[..., Any],
    z: Float[Array, "*shape"],
    *,
    operator: Callable[..., Any] | None = None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Local uniqueness of a latent: the singular values of J = d(A G)/dz at z.

    z is the only latent near itself that explains its measurements if sigma_min(J) > 0 (away
    from kinks). sigma_min is also the noise bound: ||dz|| <= ||e|| / sigma_min to first order.

    Args:
        generator: G, latent -> output: any JAX function, or a callable pytree such as
            `jax.tree_util.Partial(apply, params)`.
        z: the latent, of the shape that the generator takes. For many, `jax.vmap`.
        operator: A, output -> measurements: `mask(...)` or any JAX function. None: identity.
        tolerance: relative threshold of `identifiable`, >= 0. The default 1e-4: an error of
            1e-4 of what is measured could change z beyond recognition.

    Returns:
        A `Certificate`.

    Raises:
        ValueError: if z or the generator's output is not finite, or the mask does not fit.
        TypeError: if generator or operator is not callable.

    Differentiation: through the singular values, in z, the generator's arrays and the
    operator's; sigma_min is differentiable where it is simple and not 0.

    Example:
        >>> import jax.numpy as jnp
        >>> wide = jnp.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
        >>> found = certificate(lambda z: wide @ z, jnp.ones(2))
        >>> float(found.sigma_min), bool(found.identifiable), int(found.active_rows)
        (2.0, True, 2)
        >>> near = certificate(lambda z: abs(wide @ z - 1.5), jnp.ones(2))
        >>> float(near.kink_margin), float(near.kink_distance)
        (0.5, 0.25)

    Source: Ma, Ayaz & Karaman 2018, injectivity; threshold m >= 2k measured for random ReLU.
    """
    z = checks.floating("z", z)
    checks.non_negative("tolerance", tolerance)
    problem = pose(generator, operator, z.dtype, z.shape)
    kinks = kinks_of(problem, z.ravel())
    if kinks is not None:
        kinks = tuple(np.asarray(corners) for corners in kinks)
    found = _certify(problem, z.ravel(), tolerance, kinks)
    if checks.is_concrete(found) and not jnp.isfinite(found.sigma_max):
        raise ValueError("generator must be finite and differentiable at z, got a NaN or inf")
    return found


def pose(
    generator: Callable[..., Any],
    operator: Callable[..., Any] | None,
    dtype: Any,
    shape: tuple[int, ...],
    noise: Any = None,
) -> Problem:
    """A problem with y = 0, after the host's checks of generator and operator.

    Raises:
        TypeError: if one is not callable, or does not map one array to one array.
        ValueError: if a mask does not fit the output.

    Example:
        >>> import jax.numpy as jnp
        >>> pose(jnp.tanh, None, jnp.dtype("float32"), (3,)).y.shape
        (3,)
    """
    g = as_function("generator", generator)
    a = as_function("operator", identity if operator is None else operator)
    dtype, shape = checks.floating_dtype("dtype", dtype), checks.sizes("shape", shape, least=0)
    latent = jax.ShapeDtypeStruct(shape, dtype)
    output = _one_array("generator", jax.eval_shape(_apply, g, latent))
    check_operator(operator, output)
    measured = _one_array("operator", jax.eval_shape(_apply, a, output))
    return Problem(g, a, jnp.zeros(measured.shape, measured.dtype), 0.0, shape, as_noise(noise))


@jax.jit
def _apply(fn: Any, x: Any) -> Any:
    return fn(x)


def _one_array(name: str, value: Any) -> Any:
    if not isinstance(value, jax.ShapeDtypeStruct) or not jnp.issubdtype(value.dtype, jnp.inexact):
        raise TypeError(f"{name} must return one real or complex array, got {value}")
    return value


@jax.jit
def _certify(problem: Problem, z: Float[Array, " k"], tolerance: Any, kinks: Any) -> Certificate:
    found = from_jacobian(problem.jacobian(z)[1], tolerance)
    margin, distance = kink_distance(problem, z, kinks)
    return dataclasses.replace(found, kink_margin=margin, kink_distance=distance)


def from_jacobian(jacobian: Float[Array, "m k"], tolerance: Any) -> Certificate:
    """The certificate of one Jacobian, without kinks; a pure function."""
    m, k = jacobian.shape
    values = _singular_values(jacobian)
    values = jnp.concatenate([values, jnp.zeros(k - values.size, values.dtype)])
    largest, smallest = values[0], values[-1]
    positive = smallest > 0
    condition = jnp.where(positive, largest / jnp.where(positive, smallest, 1), jnp.inf)
    identifiable = smallest > jnp.asarray(tolerance, values.dtype) * largest
    active = jnp.sum(jnp.any(jacobian != 0, axis=1))
    return Certificate(values, smallest, largest, condition, identifiable, active)


@jax.custom_jvp
def _singular_values(a: Float[Array, "m k"]) -> Float[Array, " n"]:
    """By the SVD of R, A = Q R: as accurate as that of A (nothing is squared), much faster."""
    return _svd(jnp.linalg.qr(a, mode="r") if a.shape[0] > a.shape[1] else a)


@_singular_values.defjvp
def _singular_values_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # The derivative of R alone does not exist where the rank is not full.
    return _singular_values(*primals), jax.jvp(_svd, primals, tangents)[1]


def _svd(a: Float[Array, "m k"]) -> Float[Array, " n"]:
    return jnp.linalg.svd(a, compute_uv=False)
