"""The finite random layer: the simulation that the limiting law describes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.spectra.gaussian import moments


def simulate(
    key: Key[Array, ""],
    act: Activation | Callable[..., Any],
    *,
    n0: int,
    n1: int,
    m: int,
    scale: ArrayLike = 1.0,
) -> Float[Array, " n1"]:
    """The eigenvalues of one draw of M = Y Y^T / m, Y = f(W X) - mean.

    W is (n1, n0) with entries N(0, scale^2 / n0), X is (n0, m) with entries N(0, 1), and the
    mean is E f(scale xi), so the law to compare with has phi = n0 / m and psi = n0 / n1.

    Args:
        key: a typed random key; a batch of draws is `jax.vmap` over keys.
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        scale: standard deviation of the pre-activations, > 0.

    Returns:
        The n1 eigenvalues, ascending; for n1 > m the n1 - m that vanish are exactly 0.

    Raises:
        ValueError: if a size is below 1 or scale is not positive.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate(jax.random.key(0), jaxact.get("tanh"), n0=40, n1=30, m=50)
        >>> found.shape
        (30,)
    """
    return _eigenvalues(*_checked(key, act, n0, n1, m, scale), n0, n1, m)


def simulate_training_error(
    key: Key[Array, ""],
    act: Activation | Callable[..., Any],
    *,
    n0: int,
    n1: int,
    m: int,
    gamma: ArrayLike,
    scale: ArrayLike = 1.0,
) -> Float[Array, "..."]:
    """The training error of ridge regression on one draw of random features, over noise labels.

    E_train = (gamma^2 / m) tr Q^2, Q = (Y^T Y / m + gamma)^-1: the average over labels of unit
    variance is exact, that over W and X is this one draw. See `training_error` for the limit.

    Args:
        key: a typed random key; a batch of draws is `jax.vmap` over keys.
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        gamma: ridge parameters > 0, any shape.
        scale: standard deviation of the pre-activations, > 0.

    Returns:
        E_train of gamma's shape.

    Raises:
        ValueError: if a size is below 1, or gamma or scale is not positive.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate_training_error(
        ...     jax.random.key(0), jaxact.get("tanh"), n0=40, n1=30, m=50, gamma=0.1)
        >>> bool(0.4 < found < 0.7)
        True
    """
    checks.positive("gamma", gamma)
    found = _eigenvalues(*_checked(key, act, n0, n1, m, scale), n0, n1, m)
    gamma = jnp.asarray(gamma, jnp.result_type(gamma, float))
    return _error(found[max(n1 - m, 0) :], gamma, m)


def _checked(
    key: Any, act: Any, n0: int, n1: int, m: int, scale: Any
) -> tuple[Any, Activation, Any]:
    checks.key("key", key)
    for name, size in (("n0", n0), ("n1", n1), ("m", m)):
        checks.integer(name, size, 1)
    act = activation(act)
    moments(act, scale)  # checks scale, and that the mean to take off exists
    return key, act, scale


@functools.partial(jax.jit, static_argnames=("n0", "n1", "m"))
def _eigenvalues(key: Array, act: Activation, scale: Any, n0: int, n1: int, m: int) -> Array:
    for_weights, for_data = jax.random.split(key)
    dtype = jnp.result_type(float)
    scale = jnp.asarray(scale, dtype)
    weights = jax.random.normal(for_weights, (n1, n0), dtype) * scale / n0**0.5
    data = jax.random.normal(for_data, (n0, m), dtype)
    exact = jax.lax.Precision.HIGHEST
    y = act(jnp.matmul(weights, data, precision=exact)) - act.moments(scale).mean
    gram = jnp.matmul(y, y.T, precision=exact) if n1 <= m else jnp.matmul(y.T, y, precision=exact)
    found = jnp.maximum(jnp.linalg.eigvalsh(gram / m), 0)
    return jnp.concatenate([jnp.zeros(max(n1 - m, 0), found.dtype), found])


@functools.partial(jax.jit, static_argnames="m")
def _error(found: Array, gamma: Array, m: int) -> Array:
    """From the min(n1, m) eigenvalues that Y Y^T / m and Y^T Y / m share."""
    kept = (gamma[..., None] / (found.reshape((1,) * gamma.ndim + (-1,)) + gamma[..., None])) ** 2
    return (m - found.shape[0]) / m + jnp.sum(kept, axis=-1) / m
