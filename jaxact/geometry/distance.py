"""How far one activation is from another: the distances in which weak admissibility is stated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.numerics.quadrature import panel_rule

_OCTAVES = 12


@dataclasses.dataclass(frozen=True)
class Distance:
    """Distances of two activations f and g on the whole line.

    Attributes:
        l1: the integral of |f - g|; inf where it does not converge.
        sup: the largest |f - g| found; inf where it grows without end.
    """

    l1: float
    sup: float


def activation_distance(
    first: Activation | Callable[..., Any], second: Activation | Callable[..., Any]
) -> Distance:
    """The L1 and the supremum distance of two activations, in float64 on the host.

    An activation is weakly admissible if strongly admissible ones come as near as one likes in
    L1: softplus(b) is within pi^2 / (6 b^2) of relu. mu_relu is not: its gap falls like 1 / |x|,
    and only the supremum distance (1 - mu) / 2 goes to 0.

    By Gauss-Legendre quadrature on panels that double up to |x| = 4,096 and split at the kinks;
    a tail counts as divergent where the last octaves fall by less than a quarter each.

    Args:
        first: an `Activation` with concrete theta, or a scalar JAX function.
        second: likewise.

    Returns:
        A `Distance`.

    Raises:
        ValueError: if a theta is being traced by JAX.

    Example:
        >>> import jaxact
        >>> relu = jaxact.get("relu")
        >>> round(activation_distance(jaxact.get("softplus", 2.0), relu).l1, 6)
        0.411234
        >>> activation_distance(jaxact.get("mu_relu", 0.4), relu)
        Distance(l1=inf, sup=0.3)

    Source: Nock et al. 2017, section 5 (weakly admissible activations).
    """
    pair = (activation(first), activation(second))
    if not checks.is_concrete(pair):
        raise ValueError("activation_distance needs concrete parameters: call it outside jit")
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), pair)
        grades = np.concatenate([[0], 2.0 ** np.arange(-4, _OCTAVES + 1)])
        kinks = [np.asarray(act.kink_points(), np.float64).reshape(-1) for act in wide]
        edges = np.unique(np.concatenate([-grades, grades, *kinks]))
        x, w = panel_rule(jnp.asarray(edges))
        gap = np.abs(np.asarray(_gap(wide, x)))
        at_edges = np.abs(np.asarray(_gap(wide, jnp.asarray(edges))))
    # What rounding leaves of f - g far out is no distance.
    gap[gap < 8e-16 * (1 + np.abs(np.asarray(x)))] = 0
    panels = (np.asarray(w) * gap).sum(axis=1)
    centre = (edges[1:] + edges[:-1]) / 2
    l1, sup = float(panels.sum()), float(max(gap.max(), at_edges.max()))
    for side in (centre < 0, centre > 0):
        ordered = panels[side][np.argsort(np.abs(centre[side]))]
        if ordered[-1] > 0.75 * ordered[-2] > 0:
            l1 = np.inf
    if max(at_edges[0], at_edges[-1]) > 1.5 * max(at_edges[1], at_edges[-2]):
        sup = np.inf
    return Distance(l1, sup)


@jax.jit
def _gap(pair: tuple[Activation, Activation], x: Any) -> Any:
    return pair[0](x) - pair[1](x)
