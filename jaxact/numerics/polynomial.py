"""All roots of monic polynomials at once: Aberth's iteration from the Newton polygon.

Each root is an array of its own and the pairwise terms are unrolled, because a layout with the
roots along an axis compiles and runs many times slower. No eigenvalue routine is needed, so the
same kernel runs on every backend, in complex64 and complex128.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex


def horner(coefficients: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
    """The monic polynomial x^n + c_1 x^(n-1) + ... + c_n and its derivative at x.

    Example:
        >>> horner((-3.0, 2.0), 5.0)
        (12.0, 7.0)
    """
    value, slope = x + coefficients[0], 1 + 0 * x
    for c in coefficients[1:]:
        slope = slope * x + value
        value = value * x + c
    return value, slope


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def monic_roots(
    coefficients: tuple[Complex[Array, "..."], ...], steps: int = 20
) -> tuple[Complex[Array, "..."], ...]:
    """The n roots of x^n + c_1 x^(n-1) + ... + c_n, elementwise in arrays of coefficients.

    Aberth's iteration, Newton's step with the other roots divided out,
    x_i <- x_i - p / (p' - p sum_j 1 / (x_i - x_j)), from radii read off the Newton polygon, so
    roots of very different size all start near their own. A simple root reaches rounding within
    a dozen steps; a root of multiplicity r only about eps^(1/r), and slowly: check residuals
    where that matters.

    Args:
        coefficients: (c_1, ..., c_n), complex arrays of one shape and dtype.
        steps: iterations, fixed.

    Returns:
        n arrays of that shape, in no particular order. Derivatives are implicit,
        dx = -(sum_k dc_k x^(n-k)) / p'(x), may be taken again, and are 0 where p'(x) = 0.

    Source: Aberth, Math. Comp. 27 (1973); starting radii: Bini, Numer. Algorithms 13 (1996).

    Example:
        >>> roots = monic_roots((jnp.array(-6 + 0j), jnp.array(11 + 0j), jnp.array(-6 + 0j)))
        >>> [round(x, 3) for x in sorted(float(r.real) for r in roots)]
        [1.0, 2.0, 3.0]
    """
    start = _starting_points(coefficients)
    # Convergence is cubic: after a step this small, relative to its root, only rounding is left.
    small = float(jnp.finfo(start[0].dtype).eps) ** (2 / 3)

    def sweep(roots: tuple[Array, ...]) -> tuple[Array, ...]:
        # Gauss-Seidel order: each root already sees the new values of those before it.
        current = list(roots)
        for i, x in enumerate(current):
            value, slope = horner(coefficients, x)
            repulsion = jnp.zeros_like(x)
            for j, other in enumerate(current):
                if j != i:
                    repulsion = repulsion + reciprocal(x - other)
            current[i] = x - value * reciprocal(slope - value * repulsion)
        return tuple(current)

    def advance(state: tuple[Array, Array, Any]) -> tuple[Array, Array, Any]:
        step, _, before = state
        # The barrier keeps XLA from computing the sweep a second time inside the reduction.
        after = jax.lax.optimization_barrier(sweep(before))
        moves = [_square(x - y) > small * _square(x) for x, y in zip(after, before, strict=True)]
        return step + 1, jnp.any(functools.reduce(jnp.logical_or, moves)), after

    def unfinished(state: tuple[Array, Array, Any]) -> Array:
        return state[1] & (state[0] < steps)

    initial = (jnp.zeros((), jnp.int32), jnp.ones((), bool), start)
    return jax.lax.while_loop(unfinished, advance, initial)[2]


@monic_roots.defjvp
def _monic_roots_jvp(steps: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (coefficients,), (changes,) = primals, tangents
    roots = monic_roots(coefficients, steps)
    moved = []
    for x in roots:
        shift = changes[0]
        for change in changes[1:]:
            shift = shift * x + change
        moved.append(-shift * reciprocal(horner(coefficients, x)[1]))
    return roots, tuple(moved)


def reciprocal(x: Complex[Array, "..."]) -> Complex[Array, "..."]:
    """1 / x, and 0 at 0: cheaper than complex division, which also guards against overflow.

    Example:
        >>> [complex(v) == r for v, r in zip(reciprocal(jnp.array([2j, 0j])), (-0.5j, 0j))]
        [True, True]
    """
    square = _square(x)
    inverse = jnp.where(square == 0, 0, 1 / jnp.where(square == 0, 1, square))
    return jax.lax.complex(x.real * inverse, -x.imag * inverse)


def _square(x: Array) -> Array:
    return x.real**2 + x.imag**2


def _starting_points(coefficients: tuple[Array, ...]) -> tuple[Array, ...]:
    """Points on circles whose radii are exp of the slopes of the Newton polygon of log|c_k|."""
    degree = len(coefficients)
    real = jnp.finfo(coefficients[0].dtype)
    floor = math.log(float(real.tiny)) / 4
    sizes = [jnp.abs(c) for c in coefficients]
    logs = [jnp.zeros_like(sizes[0])]
    logs += [jnp.log(jnp.maximum(s, real.tiny)) for s in sizes]
    points = []
    for k in range(1, degree + 1):
        slope = None
        for i in range(k):
            steepest = functools.reduce(
                jnp.maximum, [(logs[j] - logs[i]) / (j - i) for j in range(k, degree + 1)]
            )
            slope = steepest if slope is None else jnp.minimum(slope, steepest)
        assert slope is not None  # noqa: S101
        angle = 0.7 + 2 * math.pi * k / degree
        # A root at exactly 0, of any multiplicity, starts there and stays.
        tail = functools.reduce(jnp.maximum, sizes[k - 1 :])
        radius = jnp.where(tail == 0, 0, jnp.exp(jnp.maximum(slope, floor)))
        points.append(jax.lax.complex(radius * math.cos(angle), radius * math.sin(angle)))
    return tuple(points)
