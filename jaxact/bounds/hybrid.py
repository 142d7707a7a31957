"""Bounds made of two methods: CROWN over interval arithmetic, and the best of several answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxact.bounds.backward import intersection
from jaxact.bounds.crown import interval_boxes
from jaxact.bounds.magnitudes import magnitudes
from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.sound import Method, sound_bounds
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import answer, bound_rows, relax_inside
from jaxact.numerics import checks
from jaxact.tracing.graph import Network


def crown_ibp(
    f: Callable[..., Any], region: Any, spec: Any = None, *, sound: bool = False
) -> Bounds:
    """Certified bounds of spec . f(x), by one backward CROWN pass over interval arithmetic.

    The pre-activation intervals come from interval arithmetic (as in `ibp`), only the rows of
    the spec are pulled back: A x + b <= spec . f(x). The cost is that of two network
    evaluations a row, which is what certified training uses. Arguments, errors and
    differentiation are those of `crown`.

    Returns:
        `Bounds`; between `ibp` and `crown` in tightness.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.bounds import Ball, crown_ibp
        >>> f = lambda x: jnp.tanh(x) @ jnp.array([1.0, -2.0])
        >>> b = crown_ibp(f, Ball(jnp.zeros(2), eps=0.5))
        >>> round(float(b.lower), 3), round(float(b.upper), 3)
        (-1.386, 1.386)

    Source: Zhang et al. 2020, "Towards stable and efficient training of verifiably robust neural
    networks".
    """
    network, region, spec = prepare(f, region, spec)
    if sound:
        return sound_bounds(network, region, spec, Method("ibp", "crown"))
    return _crown_ibp(network, region, spec, magnitudes(network))


@jax.jit
def _crown_ibp(network: Network, region: Any, spec: Any, sizes: tuple[Any, ...]) -> Bounds:
    known, boxes = relax_inside(network, interval_boxes(network, region, sizes))
    target = network.graph.target
    bounds, sides = bound_rows(network, region, target, spec_rows(spec, target), known)
    return answer(network, spec, bounds, sides, boxes)


def intersect(*bounds: Bounds) -> Bounds:
    """The best of several bounds of one question: max of the lower ends, min of the upper.

    All must bound the same forms of the same network over the same region. Differentiable
    wherever one of them is strictly the best.

    Args:
        bounds: one `Bounds` or more, of one shape.

    Returns:
        `Bounds` with `lines` None (the best is no longer one affine function) and the
        intersection of the intermediate boxes, if all have them for the same units.

    Raises:
        ValueError: if there are none or their shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.bounds import Ball, crown, ibp, intersect
        >>> f, ball = lambda x: jnp.tanh(x) @ jnp.array([1.0, -2.0]), Ball(jnp.zeros(2), 0.5)
        >>> both = intersect(crown(f, ball), ibp(f, ball))
        >>> bool(both.lower == jnp.maximum(crown(f, ball).lower, ibp(f, ball).lower))
        True

    Source: Zhang et al. 2018, section 3.4 (the larger of the linear and quadratic bounds).
    """
    if not bounds:
        raise ValueError("bounds must hold one Bounds or more, got none")
    for b in bounds:
        checks.instance("every one of bounds", b, Bounds)
    shapes = [np.shape(b.lower) for b in bounds]
    if len(set(shapes)) > 1:
        raise ValueError(f"bounds must have one shape, got {shapes}")
    lower, upper = intersection(*((b.lower, b.upper) for b in bounds))
    layouts = [jax.tree.map(np.shape, b.intermediate) for b in bounds]
    same = all(layout == layouts[0] for layout in layouts)
    boxes = zip(*(b.intermediate for b in bounds), strict=True) if same else ()
    return Bounds(lower, upper, None, tuple(intersection(*ends) for ends in boxes))
