"""How far an input may move before the answer could change: the certified radius."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.crown import crown_bounds
from jaxact.bounds.problem import Radius, clean_margin, prepare_labels
from jaxact.bounds.regions import Ball
from jaxact.bounds.search import bracket
from jaxact.bounds.spec import margin_spec
from jaxact.numerics import checks
from jaxact.tracing.graph import Network


def certified_radius(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    norm: Any = jnp.inf,
    *,
    clip: Any = None,
    start: Any = 0.01,
    tolerance: Any = 1e-3,
    evaluations: int = 60,
) -> Radius:
    """The largest eps for which CROWN proves that the answer in the ball of radius eps is `label`.

    All margins f_label - f_j stay positive for every input within `radius` of x. The search
    grows (or shrinks) eps by factors of four from `start` until bracketed, then bisects, all in
    one compiled loop; in a batch every lane has its own bracket.

    The result is piecewise constant to the tolerance, so it is not meant to be differentiated:
    differentiate `crown(...).lower` at the radius instead.

    Args:
        f: a function of one sample with `classes` outputs, or a traced `Network`.
        x: one sample, or a batch of samples along a leading axis.
        label: the class of x, an integer; or one for each sample of the batch.
        norm: 1, 2 or `jnp.inf`.
        clip: None, or (low, high), the range of the input's entries (for `jnp.inf`).
        start: the first eps tried, > 0.
        tolerance: stop when the bracket is this narrow, relative to its upper end.
        evaluations: the largest number of CROWN passes.

    Returns:
        `Radius`: the largest eps that passed (0 where x is misclassified), whether the search
        converged (False where every eps tried was certified, or the evaluations ran out) and the
        number of CROWN passes; scalars, or of shape (batch,).

    Raises:
        ValueError: for shapes, labels or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> r = certified_radius(lambda x: x @ w, jnp.array([1.0, 1.0]), 0, tolerance=1e-4)
        >>> round(float(r.radius), 3), bool(r.converged)     # margin 4 / ||(2, 2)||_1
        (1.0, True)

    Source: Zhang et al. 2018, section 4 (bisection on the certificate).
    """
    network, x, label = prepare_labels(f, x, label)
    classes = network.output_shape[0]
    checks.choice("norm", norm, (1, 2, jnp.inf))
    checks.positive("start", start)
    checks.positive("tolerance", tolerance)
    checks.integer("evaluations", evaluations, 1)
    if clip is not None:
        Ball(x, 0.0, norm, clip).check()
        clip = tuple(jnp.asarray(c, network.dtype) for c in clip)
    start, tolerance = (jnp.asarray(v, network.dtype) for v in (start, tolerance))
    return _radius(
        network, x, label, clip, start, tolerance, norm=norm, limit=evaluations, classes=classes
    )


@functools.partial(jax.jit, static_argnames=("norm", "limit", "classes"))
def _radius(
    network: Network,
    x: Array,
    label: Array,
    clip: Any,
    start: Array,
    tolerance: Array,
    *,
    norm: Any,
    limit: int,
    classes: int,
) -> Radius:
    def one(x: Array, label: Array) -> Radius:
        spec = margin_spec(label, classes).astype(x.dtype)

        def certified(eps: Array) -> tuple[Array, Any]:
            bounds = crown_bounds(network, Ball(x, eps, norm, clip), spec)
            return bounds.lower.min() > 0, ()

        correct = clean_margin(network, x, spec) > 0
        low, _, converged, count, _ = bracket(
            certified, start, tolerance, limit=limit, run=correct, evidence=()
        )
        return Radius(low, converged, count)

    return one(x, label) if label.ndim == 0 else jax.vmap(one)(x, label)
