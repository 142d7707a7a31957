"""One draw of random features on given data: the simulation that `fixed_data` predicts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.spectra.covariance import deviations, one_sample, prepared_data
from jaxact.spectra.fixed import label_matrix, unseen

_EXACT = jax.lax.Precision.HIGHEST


def simulate_fixed_data(
    key: Key[Array, ""],
    act: Activation | Callable[..., Any],
    x: ArrayLike,
    labels: ArrayLike,
    *,
    n1: int,
    gamma: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    scale: ArrayLike = 1.0,
    centred: bool = False,
) -> tuple[Float[Array, "..."], Float[Array, "..."] | None]:
    """Ridge regression on one draw of random features f(W x), on given data and labels.

    beta minimises (1/m) ||labels - Y^T beta||^2 + gamma ||beta||^2 with Y = f(W X) of (n1, m),
    W of entries N(0, scale^2 / n0). See `fixed_data` for the limit.

    Args:
        key: a typed random key; a batch of draws is `jax.vmap` over keys.
        act: an activation or a plain scalar function.
        x: training samples in rows, (m, n0).
        labels: real labels, (m,) or (m, outputs).
        n1: neurons, at least 1.
        gamma: ridge parameters > 0, any shape.
        test: test samples (k, n0) and their labels.
        scale: standard deviation s > 0 of the pre-activations of a sample of norm sqrt(n0).
        centred: take E_w f(w.x) off the features of every sample x.

    Returns:
        The training error and the test error (None without test samples), of gamma's shape:
        mean squares over the samples, summed over the outputs.

    Raises:
        ValueError: if a shape does not fit, a value is not finite, n1 is below 1, or gamma or
            scale is not positive.
        TypeError: if key is not a typed key or n1 not an integer.

    Example:
        >>> import jaxact
        >>> x = jax.random.normal(jax.random.key(0), (40, 10))
        >>> error, _ = simulate_fixed_data(
        ...     jax.random.key(1), jaxact.get("relu"), x, jnp.sign(x[:, 0]), n1=30, gamma=0.1)
        >>> bool(0 < error < 1)
        True
    """
    checks.key("key", key)
    checks.integer("n1", n1, 1)
    checks.positive("gamma", gamma)
    act, x, scale = prepared_data(act, x, scale)
    outputs = label_matrix("labels", labels, x)
    held_out = None if test is None else unseen(test, x, outputs)
    gamma = jnp.asarray(gamma, x.dtype)
    return _draw(key, act, x, outputs, held_out, gamma, scale, n1=n1, centred=centred)


@functools.partial(jax.jit, static_argnames=("n1", "centred"))
def _draw(
    key: Array, act: Activation, x: Array, labels: Array, test: Any, gamma: Array, scale: Array,
    *, n1: int, centred: bool,
) -> tuple[Array, Array | None]:  # fmt: skip
    m, n0 = x.shape
    weights = jax.random.normal(key, (n1, n0), x.dtype) * scale / n0**0.5

    def features(x: Array) -> Array:
        found = act(jnp.matmul(weights, x.T, precision=_EXACT))
        return found - one_sample(act, deviations(x, scale))[0][None] if centred else found

    y = features(x)
    fresh = None if test is None else features(test[0])
    primal = n1 <= m
    gram = jnp.matmul(y, y.T, precision=_EXACT) if primal else jnp.matmul(y.T, y, precision=_EXACT)
    values, basis = jnp.linalg.eigh(gram / m)
    values = jnp.maximum(values, 0)
    pulled = jnp.matmul(y, labels, precision=_EXACT) / m if primal else labels
    pulled = jnp.matmul(basis.T, pulled, precision=_EXACT)

    def errors(gamma: Array) -> tuple[Array, Array | None]:
        solved = jnp.matmul(basis, pulled / (values + gamma)[:, None], precision=_EXACT)
        if primal:
            beta = solved
            left = labels - jnp.matmul(y.T, beta, precision=_EXACT)
        else:  # solved is (Y^T Y / m + gamma)^-1 labels, which the residual is gamma times
            beta = jnp.matmul(y, solved, precision=_EXACT) / m
            left = gamma * solved
        training = jnp.sum(left**2) / m
        if test is None or fresh is None:
            return training, None
        missed = test[1] - jnp.matmul(fresh.T, beta, precision=_EXACT)
        return training, jnp.sum(missed**2) / missed.shape[0]

    found = jax.lax.map(errors, gamma.reshape(-1))
    return jax.tree.map(lambda v: v.reshape(gamma.shape), found)
