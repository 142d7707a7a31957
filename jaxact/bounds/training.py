"""Certified training: the cross-entropy of the worst case, and the schedules it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxact.bounds.labelled import Labelled, prepare_labels
from jaxact.bounds.methods import find_method
from jaxact.numerics import checks


def certified_margins(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    eps: Any,
    *,
    norm: Any = jnp.inf,
    clip: Any = None,
    method: Any = "crown",
    mesh: Any = None,
) -> Array:
    """Lower bounds of f_label - f_j, j != label ascending, over the ball of radius eps around x.

    All positive: no input of the ball changes the answer.

    Args:
        f: a function of one sample with `classes` outputs, or a traced `Network`.
        x: one sample, or a batch along a leading axis.
        label: its class, or theirs.
        eps: the radius, >= 0; one for all samples; may be traced.
        norm: 1, 2 or `jnp.inf`.
        clip: None, or (low, high): the range of the input's entries (for `jnp.inf`).
        method: a name or a function, as in `certified_radius`.
        mesh: as in `certified_radius`; not inside `jax.jit` or `jax.grad`.

    Returns:
        Shape (classes - 1,) or (batch, classes - 1). Differentiable in x, eps and traced weights.

    Raises:
        ValueError: for arguments that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> certified_margins(lambda x: x @ w, jnp.array([1.0, 1.0]), 0, 0.25).tolist()
        [3.0]
    """
    question, _ = prepare_labels(f, x, label, norm=norm, clip=clip)
    checks.non_negative("eps", eps)
    checks.shape("eps", eps, ())
    question.ball(0.0).check()
    eps = jnp.asarray(eps, question.network.dtype)
    return question.run(_margins, eps, mesh=mesh, split=(False,), bound=find_method(method))


def _margins(question: Labelled, eps: Array, *, bound: Callable[..., Any]) -> Array:
    def one(sample: Labelled) -> Array:
        return bound(sample.network, sample.ball(eps), sample.spec).lower

    return question.each(one)


def certified_loss(
    f: Callable[..., Any],
    x: Any,
    label: Any,
    eps: Any,
    *,
    norm: Any = jnp.inf,
    clip: Any = None,
    method: Any = "ibp",
) -> Array:
    """Cross-entropy of the worst logits that are possible within eps of x: log(1 + sum exp(-m_j)).

    m_j are the `certified_margins`. It is an upper bound of the cross-entropy of every input in
    the ball, so descending it trains what is certified.

    Args:
        f: as in `certified_margins`; in training a function that closes over traced weights.
        x: one sample, or a batch.
        label: its class, or theirs.
        eps: the radius, >= 0; may be traced, so that a schedule does not compile again.
        norm: 1, 2 or `jnp.inf`.
        clip: as in `certified_margins`.
        method: "ibp" (cheap, and what trains best at large eps), "crown", or any function as in
            `certified_radius`.

    Returns:
        A scalar, or one for each sample. Differentiable in x, eps and traced weights.

    Raises:
        ValueError: for arguments that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> w = jnp.array([[1.0, -1.0], [2.0, 0.0]])
        >>> loss = lambda w: certified_loss(lambda x: x @ w, jnp.ones(2), 0, 0.25)
        >>> round(float(loss(w)), 4), jax.grad(loss)(w).shape
        (0.0486, (2, 2))

    Source: Wong & Kolter 2018, theorem 2; Gowal et al. 2018, eq. 12; Zhang et al. 2020
    (CROWN-IBP), eq. 12.
    """
    margins = certified_margins(f, x, label, eps, norm=norm, clip=clip, method=method)
    return jax.nn.logsumexp(-jnp.pad(margins, [(0, 0)] * (margins.ndim - 1) + [(0, 1)]), axis=-1)


def ramp(
    start: float, end: float, steps: int, *, begin: float = 0.1, finish: float = 0.7,
    shape: str = "smooth",
) -> optax.Schedule:  # fmt: skip
    """An optax schedule from `start` to `end`: for eps, and for the weight of the clean loss.

    Constant up to begin * steps and from finish * steps on; in between t in [0, 1] enters as t
    ("linear") or as 3 t^2 - 2 t^3 ("smooth"): eps must grow slowly at first.

    Args:
        start: the first value.
        end: the last value.
        steps: of the whole training.
        begin: share of the steps before the ramp.
        finish: share of the steps at which it ends.
        shape: "linear" or "smooth".

    Returns:
        schedule(step) -> value.

    Raises:
        ValueError: for shares that are not 0 <= begin < finish <= 1.

    Example:
        >>> eps = ramp(0.0, 0.1, 100)
        >>> [round(float(eps(step)), 4) for step in (0, 10, 40, 70, 99)]
        [0.0, 0.0, 0.05, 0.1, 0.1]

    Source: Zhang et al. 2020 (CROWN-IBP), section 4; Xu et al. 2020, appendix C (smoothed).
    """
    checks.integer("steps", steps, 1)
    checks.choice("shape", shape, ("linear", "smooth"))
    for name, value in (("start", start), ("end", end), ("begin", begin), ("finish", finish)):
        checks.finite(name, value)
        checks.shape(name, value, ())
    if not 0 <= begin < finish <= 1:
        raise ValueError(
            f"begin and finish must be 0 <= begin < finish <= 1, got {begin}, {finish}"
        )
    duration = max(1, round((finish - begin) * steps))
    share = optax.linear_schedule(0.0, 1.0, duration, round(begin * steps))

    def schedule(step: Any) -> Any:
        t = share(step)
        return start + (end - start) * (t if shape == "linear" else t * t * (3 - 2 * t))

    return schedule
