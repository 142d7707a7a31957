"""A counterexample out of a near miss: linear programs in a shrinking trust region."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_STEPS = 25
_SMALLEST = 1e-9


def polish(
    net: Any, start: np.ndarray, lower: np.ndarray, upper: np.ndarray, rows: np.ndarray,
    thresholds: np.ndarray,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Descend the largest slack of a polyhedron from a point of a box.

    Each step minimises the largest of the linearised slacks over a box around the point (a linear
    program of inputs + 1 variables), moves if the true slack falls, and shrinks the box if not.
    Of a piecewise linear network that is exact while the activations keep their pieces, so it
    reaches counterexamples that are much thinner than gradient steps can hit.

    Args:
        net: a function of a flat sample, a pytree of float64 weights (or float32).
        start: the point, shape (inputs,).
        lower: of the box, shape (inputs,).
        upper: the same.
        rows: shape (half-spaces, outputs).
        thresholds: shape (half-spaces,).

    Returns:
        The best point, and its largest slack; <= 0 for a counterexample of this network.

    Source: Fletcher and Sainz de la Maza 1989, "Nonlinear programming and nonsmooth optimization
    by successive linear programming".
    """
    from scipy.optimize import linprog

    point = np.clip(np.asarray(start, np.float64), lower, upper)
    width = upper - lower
    trust = 0.25
    slacks, slope = _linearised(net, point, rows, thresholds)
    for _ in range(_STEPS):
        if slacks.max() <= 0 or trust < _SMALLEST:
            break
        ends = np.stack(
            [np.maximum(lower - point, -trust * width), np.minimum(upper - point, trust * width)], 1
        )
        found = linprog(
            np.r_[np.zeros(len(point)), 1.0],
            A_ub=np.c_[slope, -np.ones(len(slope))],
            b_ub=-slacks,
            bounds=[*map(tuple, ends), (None, None)],
            method="highs",
        )
        if found.x is None:
            break
        moved = np.clip(point + found.x[:-1], lower, upper)
        there, steeper = _linearised(net, moved, rows, thresholds)
        if there.max() < slacks.max():
            wanted = slacks.max() - found.x[-1]
            good = slacks.max() - there.max() > 0.5 * wanted
            point, slacks, slope = moved, there, steeper
            trust = min(2 * trust, 1.0) if good else trust
        else:
            trust /= 4
    return point, float(slacks.max())


def _linearised(net: Any, x: np.ndarray, rows: Any, thresholds: Any) -> Any:
    dtype = np.result_type(*jax.tree.leaves(net))
    with jax.enable_x64(dtype == np.float64):
        found = _value_and_slope(net, jnp.asarray(x, dtype), jnp.asarray(rows, dtype))
    slacks, slope = (np.asarray(v, np.float64) for v in found)
    return slacks - thresholds, slope


@jax.jit
def _value_and_slope(net: Any, x: Any, rows: Any) -> tuple[Any, Any]:
    def forms(x: Any) -> Any:
        return jnp.matmul(rows, net(x), precision=jax.lax.Precision.HIGHEST)

    return forms(x), jax.jacrev(forms)(x)
