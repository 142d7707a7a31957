"""The largest radius that passes a test: bracketing by factors of four, then bisection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

_GROWTH = 4
_LARGEST = 1e6  # times the start: what still passes there passes everywhere, as far as we look


def bracket(
    passes: Callable[[Array], tuple[Array, Any]],
    start: Array,
    tolerance: Array,
    *,
    limit: int,
    run: Array,
    evidence: Any,
) -> tuple[Array, Array, Array, Array, Any]:
    """Bracket the radius at which `passes` turns false, in one `lax.while_loop`.

    Args:
        passes: radius -> (whether it passes, evidence of a failure).
        start: the first radius tried, > 0.
        tolerance: the bracket is relative: stop when high - low <= tolerance * high.
        limit: the largest number of evaluations.
        run: False to answer (0, inf) without any evaluation.
        evidence: the initial evidence; what `passes` returned at the present `high` later.

    Returns:
        low (passes), high (fails; inf if nothing failed), converged, evaluations, evidence.
    """

    def narrow(low: Array, high: Array) -> Array:
        return high - low <= tolerance * high

    def going(state: Any) -> Array:
        low, high, count, _ = state
        open_end = jnp.isinf(high)
        more = jnp.where(open_end, low < _LARGEST * start, ~narrow(low, high))
        return run & more & (count < limit)

    def step(state: Any) -> Any:
        low, high, count, found = state
        outward = jnp.where(low > 0, _GROWTH * low, start)
        inward = jnp.where(low > 0, low + (high - low) / 2, high / _GROWTH)
        eps = jnp.where(jnp.isinf(high), outward, inward)
        passed, new = passes(eps)
        found = jax.tree.map(lambda a, b: jnp.where(passed, a, b), found, new)
        return jnp.where(passed, eps, low), jnp.where(passed, high, eps), count + 1, found

    zero = jnp.zeros_like(start)
    state = zero, jnp.full_like(start, jnp.inf), jnp.zeros_like(start, jnp.int32), evidence
    low, high, count, found = jax.lax.while_loop(going, step, state)
    return low, high, ~run | (jnp.isfinite(high) & narrow(low, high)), count, found
