"""Find the points where a scalar function is not smooth: a scan, then a confirmation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks

SCAN_RANGE = 16.0
_CELLS = 2048
_HALVINGS = 34
_ORDERS = 4


def find_kinks(fn: Callable[..., Any], theta: tuple[Any, ...] = ()) -> tuple[float, ...]:
    """Points in [-16, 16] where fn or one of its first three derivatives jumps.

    Every cell of a grid is halved again and again, keeping the half over which the function
    (or its derivative of order 1, 2, 3) changes more. Over a smooth piece that change shrinks
    with the cell; over a kink it does not. A kink narrower than a cell that ends where it began
    (such as a spike of width < 0.01) can be missed: declare it.

    Args:
        fn: elementwise function fn(x, *theta).
        theta: its parameters, concrete.

    Returns:
        Ascending kinks, with those within 1e-9 of a short decimal set to that decimal.

    Example:
        >>> import jax.numpy as jnp
        >>> find_kinks(lambda x: jnp.abs(x - 1) + jnp.maximum(x, 3))
        (1.0, 3.0)
    """
    checks.function("fn", fn)
    checks.finite("theta", theta)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        return _find(fn, jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), theta))


def _find(fn: Callable[..., Any], theta: tuple[Any, ...]) -> tuple[float, ...]:
    orders: list[Callable[[Any], Any]] = [lambda x: fn(x, *theta)]
    for _ in range(_ORDERS - 1):
        orders.append(_derivative(orders[-1]))

    def values(x: jax.Array) -> jax.Array:
        """Order k of the function on row k of x."""
        return jnp.stack([jnp.broadcast_to(d(row), row.shape) for d, row in zip(orders, x)])  # noqa: B905

    @jax.jit
    def shrink(left: jax.Array, right: jax.Array) -> tuple[jax.Array, ...]:
        def halve(_: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            a, fa, b, fb = state
            m = a + (b - a) / 2
            fm = values(m)
            first = jnp.abs(fm - fa) >= jnp.abs(fb - fm)
            return (
                jnp.where(first, a, m),
                jnp.where(first, fa, fm),
                jnp.where(first, m, b),
                jnp.where(first, fm, fb),
            )

        return jax.lax.fori_loop(0, _HALVINGS, halve, (left, values(left), right, values(right)))

    # An offset grid: a kink at a round number is never a grid point.
    grid = np.linspace(-SCAN_RANGE, SCAN_RANGE, _CELLS + 1) + 1.2345e-3
    edges = np.broadcast_to(grid, (_ORDERS, _CELLS + 1))
    a, fa, b, fb = (np.asarray(v) for v in shrink(edges[:, :-1], edges[:, 1:]))
    with np.errstate(invalid="ignore"):
        jump = np.abs(fb - fa) > 1e-5 * (1 + np.abs(fa) + np.abs(fb))
    found = sorted(_tidy((lo + hi) / 2) for lo, hi in zip(a[jump], b[jump], strict=True))
    kinks: list[float] = []
    for point in found:
        if not kinks or point - kinks[-1] > 1e-7:
            kinks.append(point)
    return tuple(kinks)


def _derivative(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: jax.jvp(fn, (x,), (jnp.ones_like(x),))[1]


def _tidy(point: float) -> float:
    short = round(float(point), 6)
    return short + 0.0 if abs(short - point) < 1e-9 else float(point)
