"""The physical solution of a spectral law's equations, followed from infinity to the real axis.

Far from the spectrum every law is known: G = 1 / z. From there the solution is carried down the
vertical line to z by predictor and Newton steps. A step counts only if the equations hold and the
signs that mark the physical solution are right at its end; else a shorter one is tried. So what
comes back at Im z > 0 is certified, however hard the path was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex

from jaxact.numerics.polynomial import reciprocal

_STEPS = 400  # tried in all; about 20 are enough on an ordinary path
_NEWTON_STEPS = 3
_LONGEST = 1e-3  # a step's ratio of heights
# Heights of the last steps over the height of the last certified one; see `curve._LADDER`.
_LADDER = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 0.0, 0.0, 0.0, 0.0)


class Equations(NamedTuple):
    """A law's equations in one or two complex unknowns, elementwise in z.

    Attributes:
        start: (z, args) -> unknowns, accurate for large z.
        residual: (unknowns, z, args) -> residuals, one for each unknown.
        margin: (unknowns, z, args) -> the least of the signs' margins, positive for the
            physical solution at Im z > 0 and for no other.
        height: args -> the Im z from which `start` is accurate, scalar.
    """

    start: Callable[[Array, Any], tuple[Array, ...]]
    residual: Callable[..., tuple[Array, ...]]
    margin: Callable[..., Array]
    height: Callable[..., Array]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def physical(
    equations: Equations, z: Complex[Array, "..."], args: Any
) -> tuple[Complex[Array, "..."], ...]:
    """The physical unknowns at z, elementwise; on the real axis the limit from above.

    Args:
        equations: what to solve.
        z: nonzero points.
        args: the law's parameters, a pytree of real arrays.

    Returns:
        The unknowns, each of z's shape. Derivatives are implicit in z and args and may be taken
        again; where they are infinite, at an edge of the support, they are set to 0.
    """
    below = z.imag < 0
    unknowns = _follow(equations, jnp.where(below, jnp.conj(z), z), args)
    return tuple(jnp.where(below, jnp.conj(y), y) for y in unknowns)


@physical.defjvp
def _physical_jvp(equations: Equations, primals: Any, tangents: Any) -> tuple[Any, Any]:
    z, args = primals
    unknowns = physical(equations, z, args)
    shift = jax.jvp(functools.partial(equations.residual, unknowns), primals, tangents)[1]
    return unknowns, _newton(equations, unknowns, z, args, tuple(-s for s in shift))


def solved(
    equations: Equations, unknowns: tuple[Array, ...], z: Complex[Array, "..."], args: Any
) -> Bool[Array, "..."]:
    """Whether Newton's next step is below the square root of rounding, elementwise.

    Where the path to z could not be followed, `physical` stops above z, and this is False.
    """
    residual = equations.residual(unknowns, z, args)
    moves = _newton(equations, unknowns, z, args, tuple(-r for r in residual))
    small = float(jnp.finfo(z.dtype).eps) ** 0.5
    near = [jnp.abs(m) <= small * jnp.abs(y) for m, y in zip(moves, unknowns, strict=True)]
    return functools.reduce(jnp.logical_and, near)


def certified(
    equations: Equations, unknowns: tuple[Array, ...], z: Complex[Array, "..."], args: Any
) -> Bool[Array, "..."]:
    """Whether unknowns solve the equations at z and, off the real axis, are the physical ones."""
    below = z.imag < 0
    upper = jnp.where(below, jnp.conj(z), z)
    unknowns = tuple(jnp.where(below, jnp.conj(y), y) for y in unknowns)
    right = equations.margin(unknowns, upper, args) > 0
    return solved(equations, unknowns, upper, args) & (right | (z.imag == 0))


def jacobian(
    equations: Equations, unknowns: tuple[Array, ...], z: Array, args: Any
) -> list[tuple[Array, ...]]:
    """The columns of the residual's Jacobian in the unknowns."""
    residual = functools.partial(equations.residual, z=z, args=args)
    columns = []
    for i, y in enumerate(unknowns):
        along = tuple(jnp.full_like(y, i == j) for j in range(len(unknowns)))
        columns.append(jax.jvp(residual, (unknowns,), (along,))[1])
    return columns


def sine(x: Complex[Array, "..."]) -> Array:
    """Im x / |x|, and 0 at 0: a sign with its margin."""
    size = jnp.abs(x)
    return x.imag / jnp.where(size == 0, 1, size)


def _newton(
    equations: Equations, unknowns: tuple[Array, ...], z: Array, args: Any, target: Any
) -> tuple[Array, ...]:
    """J^-1 target, where J is the residual's Jacobian: at minus the residual, Newton's step."""
    columns = jacobian(equations, unknowns, z, args)
    if len(target) == 1:
        return (target[0] * reciprocal(columns[0][0]),)
    (a, c), (b, d) = columns
    inverse = reciprocal(a * d - b * c)
    return (d * target[0] - b * target[1]) * inverse, (a * target[1] - c * target[0]) * inverse


def _refine(
    equations: Equations, unknowns: tuple[Array, ...], z: Array, args: Any, steps: int
) -> tuple[Array, ...]:
    def step(_: Array, unknowns: tuple[Array, ...]) -> tuple[Array, ...]:
        residual = equations.residual(unknowns, z, args)
        moves = _newton(equations, unknowns, z, args, tuple(-r for r in residual))
        return tuple(
            jnp.where(jnp.isfinite(move), y + move, y)
            for y, move in zip(unknowns, moves, strict=True)
        )

    return jax.lax.fori_loop(0, steps, step, unknowns)


def _follow(equations: Equations, z: Array, args: Any) -> tuple[Array, ...]:
    eps = float(jnp.finfo(z.dtype).eps)
    lift = 1e-8 if eps < 1e-10 else 1e-4
    end = jnp.maximum(z.imag, lift * jnp.abs(z))
    top = jnp.maximum(equations.height(args).astype(end.dtype), jnp.maximum(end, 4 * jnp.abs(z)))

    def at(height: Array) -> Array:
        return jax.lax.complex(z.real, height)

    start = _refine(equations, equations.start(at(top), args), at(top), args, 4)

    def going(state: Any) -> Array:
        count, _, height, _ = state
        return (count < _STEPS) & jnp.any(height > end)

    def step(state: Any) -> Any:
        count, unknowns, height, ratio = state
        below = jnp.maximum(height * ratio, end)
        slope = jax.jvp(lambda v: equations.residual(unknowns, v, args), (at(height),),
                        (jnp.ones_like(z),))[1]  # fmt: skip
        slope = _newton(equations, unknowns, at(height), args, tuple(-s for s in slope))
        # Far out the unknowns are powers of z: the predictor is exact for powers.
        stretch = at(height) * jnp.log(at(below) / at(height))
        tried = tuple(
            y * jnp.exp(dy * reciprocal(y) * stretch) for y, dy in zip(unknowns, slope, strict=True)
        )
        tried = _refine(equations, tried, at(below), args, _NEWTON_STEPS)
        holds = solved(equations, tried, at(below), args)
        holds &= equations.margin(tried, at(below), args) > 0
        moving = height > end
        taken = holds & moving
        unknowns = tuple(jnp.where(taken, new, y) for new, y in zip(tried, unknowns, strict=True))
        ratio = jnp.where(holds, jnp.maximum(ratio**1.5, _LONGEST), jnp.sqrt(ratio))
        return count + 1, unknowns, jnp.where(taken, below, height), ratio

    first = (0, start, top, jnp.full_like(end, 0.1))
    _, unknowns, height, _ = jax.lax.while_loop(going, step, first)
    return _land(equations, unknowns, z, args, jnp.where(height > end, height, 0), end)


def _land(
    equations: Equations, unknowns: tuple[Array, ...], z: Array, args: Any, stuck: Array, end: Array
) -> tuple[Array, ...]:
    """From the last certified height to z itself; exactly real where the limit is.

    Close to an edge the solution is nearly double: small steps, whose every target is nearer
    than the other solution, keep to it. A point whose path is `stuck` above stays there.
    """
    heights = jnp.asarray(_LADDER, end.dtype)

    def polish(i: Array, unknowns: tuple[Array, ...]) -> tuple[Array, ...]:
        height = jnp.maximum(jnp.maximum(z.imag, end * heights[i]), stuck)
        return _refine(equations, unknowns, jax.lax.complex(z.real, height), args, 2)

    unknowns = jax.lax.fori_loop(0, len(_LADDER), polish, unknowns)
    small = 64 * float(jnp.finfo(z.dtype).eps)
    real = functools.reduce(
        jnp.logical_and, [jnp.abs(y.imag) <= small * jnp.abs(y) for y in unknowns]
    )
    real &= (z.imag == 0) & (stuck == 0)
    return tuple(jax.lax.complex(y.real, jnp.where(real, 0, y.imag)) for y in unknowns)
