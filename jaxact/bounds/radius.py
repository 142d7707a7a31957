"""How far an input may move before the answer could change: the certified radius."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.labelled import Labelled, prepare_labels
from jaxact.bounds.methods import find_method
from jaxact.bounds.problem import Bounds
from jaxact.bounds.search import bracket
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Radius:
    """A radius found by bracketing and bisection.

    Attributes:
        radius: the certified radius, in the units of the input.
        converged: whether the bracket is as narrow as was asked.
        evaluations: how many radii were tried.
    """

    radius: Leaf
    converged: Leaf
    evaluations: Leaf


def certified_radius(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    norm: Any = jnp.inf,
    *,
    target: Any = "untargeted",
    method: Any = "crown",
    clip: Any = None,
    start: Any = 0.01,
    tolerance: Any = 1e-3,
    evaluations: int = 60,
    key: Any = None,
    mesh: Any = None,
) -> Radius:
    """The largest eps for which it is proved that no input within eps of x changes the answer.

    The margins f_label - f_j (all of them, or that of the target j) stay positive for every
    input within `radius` of x. The search grows (or shrinks) eps by factors of four from `start`
    until bracketed, then bisects, all in one compiled loop; in a batch every lane has its own
    bracket and stops on its own.

    The result is piecewise constant to the tolerance, so it is not meant to be differentiated:
    differentiate `crown(...).lower` at the radius instead.

    Args:
        f: a function of one sample with `classes` outputs, or a traced `Network`.
        x: one sample, or a batch of samples along a leading axis.
        label: the class of x, an integer; or one for each sample of the batch.
        norm: 1, 2 or `jnp.inf`.
        target: "untargeted": the answer must not become any other class; or only one class, the
            "top2" (the runner-up at x), the "least" likely, a "random" one of the rest, or an
            integer for each label.
        method: "crown", "ibp", or any function (f, region, spec) -> `Bounds` such as
            `mean_value`; a module-level function compiles once.
        clip: None, or (low, high), the range of the input's entries (for `jnp.inf`).
        start: the first eps tried, > 0.
        tolerance: stop when the bracket is this narrow, relative to its upper end.
        evaluations: the largest number of passes of the method.
        key: a typed key for the "random" target; `jax.random.key(0)` by default.
        mesh: a `jax.sharding.Mesh` over whose devices the samples of a batch are split; their
            number need not divide, and each device stops when its own are done. With
            `jax.distributed` every process makes the same call and gets the whole result.

    Returns:
        `Radius`: the largest eps that passed (0 where the margin at x is not positive), whether
        the search converged (False where every eps tried was certified, or the evaluations ran
        out) and the number of passes; scalars, or of shape (batch,).

    Raises:
        ValueError: for shapes, labels, targets or parameters that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> r = certified_radius(lambda x: x @ w, jnp.array([1.0, 1.0]), 0, tolerance=1e-4)
        >>> round(float(r.radius), 3), bool(r.converged)     # margin 4 / ||(2, 2)||_1
        (1.0, True)

    Source: Zhang et al. 2018, section 4 (bisection on the certificate).
    """
    question, _ = prepare_labels(f, x, label, norm=norm, clip=clip, target=target, key=key)
    question.ball(0.0).check()
    dtype = question.network.dtype
    start, tolerance = check_search(start, tolerance, evaluations, dtype)
    return question.run(
        _radius, start, tolerance,
        mesh=mesh, split=(False, False), method=find_method(method), limit=evaluations,
    )  # fmt: skip


def check_search(start: Any, tolerance: Any, evaluations: int, dtype: Any) -> tuple[Array, Array]:
    """The parameters of a search for a radius, checked."""
    checks.positive("start", start)
    checks.positive("tolerance", tolerance)
    checks.shape("start", start, ())
    checks.shape("tolerance", tolerance, ())
    checks.integer("evaluations", evaluations, 1)
    return jnp.asarray(start, dtype), jnp.asarray(tolerance, dtype)


def sample_radius(
    sample: Labelled,
    start: Array,
    tolerance: Array,
    *,
    method: Callable[..., Bounds],
    limit: int,
) -> Radius:
    """The kernel of `certified_radius`, of one sample."""

    def certified(eps: Array) -> tuple[Array, Any]:
        return method(sample.network, sample.ball(eps), sample.spec).lower.min() > 0, ()

    correct = sample.margin(sample.x) > 0
    low, _, converged, count, _ = bracket(
        certified, start, tolerance, limit=limit, run=correct, evidence=()
    )
    return Radius(low, converged, count)


@functools.partial(jax.jit, static_argnames=("method", "limit"))
def _radius(question: Labelled, start: Array, tolerance: Array, **options: Any) -> Radius:
    return question.each(lambda s: sample_radius(s, start, tolerance, **options))
