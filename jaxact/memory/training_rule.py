"""The paper's training rule as optax transformations: momentum, row maxima, a box."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxact.numerics import checks


def memory_rule(
    rate: float | optax.Schedule, *, momentum: float = 0.6, floor: float = 1e-30, bound: float = 1.0
) -> optax.GradientTransformation:
    """The training rule of the dense associative memory, an optax transformation.

    V <- p V - dC/dxi;  xi^mu <- clip(xi^mu + rate V^mu / max_J |V^mu_J|, -bound, bound).

    Every memory's largest entry moves by the whole rate, whatever the size of its gradient: a
    memory that only just sees an error learns as fast as any other. The scale of the loss
    (sum or mean) does not matter.

    Args:
        rate: the step, > 0, or a schedule of it; the paper's is eps0 0.998^epoch with eps0 in
            [0.01, 0.04].
        momentum: p in [0, 1); the paper takes 0.6 to 0.95.
        floor: maxima below it count as it, > 0.
        bound: the memories stay within [-bound, bound] (up to the rounding of one addition).

    Returns:
        A transformation of arrays whose rows are memories, (K, units). Its `update` needs the
        params.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> rule = memory_rule(0.1)
        >>> xi = jnp.array([[0.5, -0.95], [0.0, 0.0]])
        >>> gradient = jnp.array([[1e-12, 2e-12], [-3.0, 0.0]])
        >>> updates, _ = rule.update(gradient, rule.init(xi), xi)
        >>> optax.apply_updates(xi, updates).round(3).tolist()
        [[0.45..., -1.0], [0.10..., 0.0]]

    Source: Krotov & Hopfield 2016, appendix A, eq. 15.
    """
    if not callable(rate):
        checks.positive("rate", rate)
    checks.between("momentum", momentum, 0.0, 1.0)
    if momentum == 1:
        raise ValueError("momentum must be below 1, got 1")
    return optax.chain(
        optax.trace(decay=momentum),
        scale_by_row_maximum(floor),
        optax.scale_by_learning_rate(rate),
        project_to_box(bound),
    )


def scale_by_row_maximum(floor: float = 1e-30) -> optax.GradientTransformation:
    """Divide every row by the largest absolute value in it, or by `floor` if that is larger.

    Args:
        floor: > 0.

    Returns:
        A stateless transformation of arrays with at least one axis.

    Raises:
        ValueError: if floor is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> scale = scale_by_row_maximum()
        >>> rows = jnp.array([[2.0, -4.0], [0.0, 0.0]])
        >>> scale.update(rows, scale.init(rows))[0].tolist()
        [[0.5, -1.0], [0.0, 0.0]]
    """
    checks.positive("floor", floor)

    def one(rows: Any) -> Any:
        return rows / jnp.maximum(jnp.max(jnp.abs(rows), axis=-1, keepdims=True), floor)

    return optax.stateless(lambda updates, _: jax.tree.map(one, updates))


def project_to_box(bound: float = 1.0) -> optax.GradientTransformation:
    """Shorten the updates so that the params stay within [-bound, bound]; the last in a chain.

    Args:
        bound: > 0.

    Returns:
        A stateless transformation whose `update` needs the params.

    Raises:
        ValueError: if bound is not positive; from `update` if it gets no params.

    Example:
        >>> import jax.numpy as jnp
        >>> box = project_to_box()
        >>> box.update(jnp.array([0.5, 0.5]), box.init(None), jnp.array([0.75, 0.0]))[0].tolist()
        [0.25, 0.5]
    """
    checks.positive("bound", bound)

    def update(updates: Any, params: Any) -> Any:
        if params is None:
            raise ValueError("update needs the params: update(updates, state, params)")
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -bound, bound) - p, updates, params)

    return optax.stateless(update)
