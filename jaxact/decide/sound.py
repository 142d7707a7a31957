"""Boxes closed for good: planes that hold in real arithmetic, and margins with their rounding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.bounds.regions import Box
from jaxact.bounds.sound import Method, sound_bounds
from jaxact.decide.input_step import joint_margin
from jaxact.decide.problem import Pieces
from jaxact.tracing.graph import Network

_BATCH = 32
_STEPS = 50


def sound_margins(
    network: Network, pieces: Pieces, lower: np.ndarray, upper: np.ndarray, piece: np.ndarray
) -> np.ndarray:
    """Lower bounds, in real arithmetic, of the largest slack of a polyhedron over boxes.

    CROWN's planes of every half-space with an allowance for rounding (`bounds.crown(sound=True)`),
    and of their convex combinations the best that is found, evaluated in float64 and lowered by
    what its rounding may add.

    Args:
        network: the traced network, float32.
        pieces: the polyhedra.
        lower: shape (boxes, inputs), float32.
        upper: the same.
        piece: which polyhedron, shape (boxes,).

    Returns:
        Margins, shape (boxes,); positive where the box holds no counterexample.

    Source: Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1.
    """
    found = np.empty(len(lower))
    pieces.check_exact()
    rows = pieces.rows.astype(np.float32)
    for start in range(0, len(lower), _BATCH):
        stop = min(start + _BATCH, len(lower))
        take = np.minimum(np.arange(start, start + _BATCH), stop - 1)
        lines = _planes(network, lower[take], upper[take], rows[piece[take]])
        slopes, constants = (np.asarray(v, np.float64)[: stop - start] for v in lines)
        level = constants - pieces.thresholds[piece[start:stop]]
        ends = (v[start:stop].astype(np.float64) for v in (lower, upper))
        found[start:stop] = _joint(slopes.reshape(*level.shape, -1), level, *ends)
    return found


@jax.jit
def _planes(network: Network, lower: Any, upper: Any, rows: Any) -> Any:
    def one(lower: Any, upper: Any, rows: Any) -> Any:
        region = Box(lower.reshape(network.input_shape), upper.reshape(network.input_shape))
        lines = sound_bounds(network, region, rows, Method()).lines
        return lines.lower_slope, lines.lower_intercept

    return jax.vmap(one)(jnp.asarray(lower), jnp.asarray(upper), jnp.asarray(rows))


def _joint(slopes: Any, level: Any, lower: Any, upper: Any) -> np.ndarray:
    """The best plane or combination of them, evaluated with its error."""
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    reach = np.maximum(np.abs(lower), np.abs(upper))
    size = np.abs(level) + (np.abs(slopes) * reach[:, None]).sum(2)
    # no weight is negative, so a wrong normalisation scales the margin and keeps its sign
    room = 1e-13 * size.max(1)
    alone = level + (slopes * middle[:, None]).sum(2) - (np.abs(slopes) * half[:, None]).sum(2)
    with jax.enable_x64(True):
        weights = np.asarray(_weights(slopes, level, lower, upper))
    direction = (weights[:, :, None] * slopes).sum(1)
    value = (weights * level).sum(1) + (direction * middle - np.abs(direction) * half).sum(1)
    best = np.maximum(alone.max(1), value)
    return np.where(np.isfinite(best), best, -np.inf) - room


@jax.jit
def _weights(slopes: Any, level: Any, lower: Any, upper: Any) -> Any:
    return joint_margin(slopes, level, lower, upper, _STEPS)[1]
