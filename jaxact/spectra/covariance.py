"""The kernel of infinitely many random neurons on given data, for any activation.

K(x, y) = E f(w.x) f(w.y) depends on x and y through three numbers, the two standard deviations
a, b of the pre-activations and their angle t. As a function of t it is far smoother than of the
correlation: for an activation with its kinks at 0 it is analytic up to t = 0 and t = pi, where a
Hermite (Mehler) series converges like a power only. So it is tabulated once, by quadrature split
at the kinks, at Chebyshev points in (a, b, t) of the range the data has, and every pair of
samples is then a matrix product of Chebyshev polynomials.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.numerics.quadrature import gaussian_rule, panel_rule

_EXACT = jax.lax.Precision.HIGHEST
# Chebyshev points in (norm, angle), by how far the norms of the samples are apart.
_ONE_NORM, _NEAR_NORMS, _MANY_NORMS = (1, 64), (10, 40), (16, 40)
_NEAR = 2.0  # the largest norm over the smallest
_NODES = 16  # a panel
_FIXED = (-13.0, -5.0, -2.0, 0.0, 2.0, 5.0, 13.0)  # panel ends of every Gaussian integral
_STEEP = (-2.0, 2.0)  # and in the pre-activation, where an activation turns
_LAYER = (-8.0, -2.0, 0.0, 2.0, 8.0)  # and around a kink that the other factor has smoothed


def kernel(
    act: Activation | Callable[..., Any],
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    scale: ArrayLike = 1.0,
) -> Float[Array, "m k"]:
    """The kernel matrix K_ij = E f(w.x_i) f(w.y_j), w ~ N(0, scale^2 / n0).

    It is the covariance (with the mean inside) of the features of an infinitely wide random
    layer, the NNGP kernel of one layer: any activation, any data.

    Args:
        act: an activation or a plain scalar function.
        x: samples in rows, (m, n0).
        y: other samples, (k, n0); x itself by default.
        scale: s > 0; the pre-activation of a sample of norm sqrt(n0) has this deviation.

    Returns:
        K, (m, k). In float64 the error relative to the largest entry is below 1e-13 where all
        samples have one norm (1e-10 for kinks elsewhere than at 0) and about 1e-10 for norms
        within a factor 7. With different norms, kinks elsewhere than at 0 leave about 1e-7 at
        nearly parallel samples (jumps 1e-6) and 1e-8 at others.

    Raises:
        ValueError: if x or y is not a finite matrix, their columns differ or scale is not
            positive.

    Differentiable in theta, and once in scale and (where no two samples are parallel) the data.

    Source: Louart, Liao & Couillet, Ann. Appl. Probab. 28 (2018); for relu it is the arc-cosine
    kernel of Cho & Saul (2009).

    Example:
        >>> import jaxact
        >>> x = jnp.sqrt(2.0) * jnp.eye(2)     # orthogonal, of norm sqrt(n0)
        >>> [round(float(v), 4) for v in kernel(jaxact.get("relu"), x)[0]]     # 1/2, 1/(2 pi)
        [0.5, 0.1592]
    """
    act, found, scale = prepared_data(act, x, scale)
    others = None if y is None else samples("y", y, found)
    return kernel_matrix(act, found, others, scale, table_size(x, y))


def prepared_data(act: Any, x: Any, scale: Any) -> tuple[Activation, Array, Array]:
    """A checked activation, data matrix and scale, in one precision."""
    checks.positive("scale", scale)
    checks.shape("scale", scale, ())
    checks.finite("x", x)
    checks.shape("x", x, ("m", "n0"))
    if min(np.shape(x)) < 1:
        raise ValueError(f"x must hold samples in rows, (m, n0), got shape {np.shape(x)}")
    x = jnp.asarray(x, jnp.result_type(x, float))
    return activation(act), x, jnp.asarray(scale, x.dtype)


def samples(name: str, value: Any, x: Array) -> Array:
    """Checked samples of the width and precision of x."""
    checks.finite(name, value)
    if np.ndim(value) != 2 or np.shape(value)[1] != x.shape[1] or not np.shape(value)[0]:
        raise ValueError(
            f"{name} must have shape (k, {x.shape[1]}), as x has {x.shape[1]} columns, "
            f"got {np.shape(value)}"
        )
    return jnp.asarray(value, x.dtype)


def table_size(*data: Any) -> tuple[int, int]:
    """Chebyshev points in (norm, angle): few norms where all samples are known to be close."""
    data = tuple(d for d in data if d is not None)
    if not checks.is_concrete(data):
        return _MANY_NORMS
    rows = [np.asarray(d) for d in data]
    rows = [d.astype(np.result_type(d.dtype, np.float32)) for d in rows]
    sizes = np.concatenate([np.linalg.norm(d, axis=1) for d in rows])
    if np.ptp(sizes) <= 8 * float(np.finfo(sizes.dtype).eps) * sizes.max():
        return _ONE_NORM
    return _NEAR_NORMS if sizes.max() <= _NEAR * sizes.min() else _MANY_NORMS


@functools.partial(jax.jit, static_argnames="size")
def kernel_matrix(
    act: Activation, x: Array, y: Array | None, scale: Array, size: tuple[int, int]
) -> Array:
    """The kernel of checked data."""
    a, units = _polar(x, scale)
    b, others = (a, units) if y is None else _polar(y, scale)
    cosine = jnp.matmul(units, others.T, precision=_EXACT)
    if y is None:
        cosine = jnp.fill_diagonal(cosine, 0, inplace=False)
    inside = jnp.abs(cosine) < 1
    angle = jnp.arccos(jnp.where(inside, cosine, 0))
    angle = jnp.where(inside, angle, jnp.where(cosine < 0, np.pi, 0).astype(x.dtype))
    over_norms, over_angles = jax.lax.stop_gradient(
        (_range(jnp.log1p(jnp.concatenate([a, b]))), _range(angle))
    )
    left, right = (_polynomials(_unit(jnp.log1p(v), over_norms), max(size[0], 2)) for v in (a, b))
    table = _table(act, over_norms, over_angles, size)
    found = _evaluate(table, left, right, _unit(angle, over_angles))
    if y is None:
        found = jnp.fill_diagonal(found, one_sample(act, a)[1], inplace=False)
    return found


def one_sample(act: Activation, a: Array) -> tuple[Array, Array]:
    """E f(a xi) and E f(a xi)^2 for every entry of a."""

    def each(a: Array) -> tuple[Array, Array]:
        xi, weight = gaussian_rule(act.kink_points(), jnp.maximum(a, _tiny(a)))
        value = act(a * xi)
        return weight @ value, weight @ value**2

    return jax.vmap(each)(a)


def deviations(x: Array, scale: Array) -> Array:
    """The standard deviations of the samples' pre-activations."""
    square = jnp.sum(x**2, axis=1)
    size = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return scale * size / x.shape[1] ** 0.5


def _polar(x: Array, scale: Array) -> tuple[Array, Array]:
    a = deviations(x, scale)
    size = a * x.shape[1] ** 0.5 / scale
    return a, x / jnp.where(size > 0, size, 1)[:, None]


def _tiny(a: Array) -> float:
    return float(jnp.finfo(a.dtype).tiny) ** 0.5


def _range(v: Array) -> tuple[Array, Array]:
    """The middle and half the width of the values' range; the width is never 0."""
    low, high = jnp.min(v), jnp.max(v)
    return (low + high) / 2, jnp.maximum((high - low) / 2, jnp.maximum(_tiny(v), 1e-3 * high))


def _unit(v: Array, at: tuple[Array, Array]) -> Array:
    return (v - at[0]) / at[1]


@functools.cache
def _chebyshev(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n Chebyshev points, and the matrix from values there to Chebyshev coefficients."""
    place = (np.arange(n) + 0.5) * np.pi / n
    transform = 2 / n * np.cos(np.arange(n)[:, None] * place)
    transform[0] /= 2
    return np.cos(place), transform


def _table(
    act: Activation, norms: Any, angles: Any, size: tuple[int, int]
) -> Float[Array, "angles norms norms"]:
    """Chebyshev coefficients of K(a, b, t), in log(1 + a), log(1 + b) and t."""
    dtype = angles[0].dtype
    (p, to_p), (t, to_t) = (tuple(jnp.asarray(v, dtype) for v in _chebyshev(n)) for n in size)
    t = angles[0] + angles[1] * t
    if size[0] == 1:
        # The value at the one norm, and the slopes: derivatives pass from sample to sample.
        def expanded(angle: Array) -> Array:
            along = lambda s: _pair(act, jnp.expm1(s), jnp.expm1(norms[0]), angle)  # noqa: E731
            value, slope = jax.jvp(along, (norms[0],), (norms[1],))
            return jnp.stack([value, slope, slope, 0 * slope]).reshape(2, 2)

        values = jax.lax.map(jax.checkpoint(expanded), t)
        return jnp.einsum("kt,tab->kab", to_t, values, precision=_EXACT)
    a = jnp.expm1(norms[0] + norms[1] * p)
    upper, lower = np.triu_indices(size[0])

    @jax.checkpoint  # a gradient keeps no integrand
    def over_pairs(angle: Array) -> Array:
        return jax.vmap(_pair, (None, 0, 0, None))(act, a[upper], a[lower], angle)

    values = jax.lax.map(over_pairs, t)
    place = np.zeros((size[0], size[0]), int)
    place[upper, lower] = place[lower, upper] = np.arange(len(upper))
    return jnp.einsum("kt,pa,qb,tab->kpq", to_t, to_p, to_p, values[:, place], precision=_EXACT)


def _pair(act: Activation, a: Array, b: Array, angle: Array) -> Array:
    """E f(a u) f(b v) for a standard Gaussian pair with correlation cos(angle), in two integrals.

    Panels end where f(a u) or f(b v) has a kink; the inner integral is smooth in u, but over a
    width tan(angle) only, so the outer panels are graded around the kinks of f(b u) too.
    """
    dtype = angle.dtype
    kinks = jnp.asarray(act.kink_points(), dtype).reshape(-1)
    steep = jnp.asarray(_STEEP, dtype)
    a, b = jnp.maximum(a, _tiny(a)), jnp.maximum(b, _tiny(b))
    c, s = jnp.cos(angle), jnp.sin(angle)
    s = jnp.maximum(s, _tiny(s))
    # Near a right angle nothing is sharp and the panels may end anywhere.
    slope = jnp.where(jnp.abs(c) < 0.1, 0.1, c)
    layer = (kinks[:, None] / b - s * jnp.asarray(_LAYER, dtype)[None]) / slope
    u, weight = _rule(jnp.concatenate([kinks / a, steep / a, layer.reshape(-1)]))

    def smoothed(u: Array) -> Array:
        xi, weight = _rule((jnp.concatenate([kinks, steep]) / b - c * u) / s)
        return weight @ act(b * (c * u + s * xi))

    return weight @ (act(a * u) * jax.vmap(smoothed)(u))


def _rule(points: Array) -> tuple[Array, Array]:
    """Nodes and Gaussian weights on panels split at the points."""
    fixed = jnp.asarray(_FIXED, points.dtype)
    edges = jnp.sort(jnp.concatenate([fixed, jnp.clip(points, _FIXED[0], _FIXED[-1])]))
    x, weight = panel_rule(edges, _NODES)
    return x.reshape(-1), (weight * jnp.exp(-(x**2) / 2)).reshape(-1) / (2 * np.pi) ** 0.5


def _evaluate(table: Array, left: Array, right: Array, t: Array) -> Array:
    """The Chebyshev series at all pairs of norms and angles, by Clenshaw's recurrence in t."""

    def step(i: Array, ahead: tuple[Array, Array]) -> tuple[Array, Array]:
        row = jnp.matmul(left, table[table.shape[0] - 1 - i], precision=_EXACT)
        term = jnp.matmul(row, right.T, precision=_EXACT)
        return term + 2 * t * ahead[0] - ahead[1], ahead[0]

    now, ahead = jax.lax.fori_loop(0, table.shape[0], step, (0 * t, 0 * t))
    return now - t * ahead


def _polynomials(u: Array, n: int) -> Float[Array, "m n"]:
    """T_0 ... T_{n-1} at u."""
    rows = [jnp.ones_like(u), u]
    for _ in range(n - 2):
        rows.append(2 * u * rows[-1] - rows[-2])
    return jnp.stack(rows[:n], axis=1)
