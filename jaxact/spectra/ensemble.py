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

_ENTRIES = {
    "normal": jax.random.normal,
    "rademacher": jax.random.rademacher,
    "uniform": lambda key, shape, dtype: jax.random.uniform(
        key, shape, dtype, minval=-(3.0**0.5), maxval=3.0**0.5
    ),
}
_CENTERS = ("gaussian", "rows", "none")


def simulate(
    key: Key[Array, "..."],
    act: Activation | Callable[..., Any],
    *,
    n0: int,
    n1: int,
    m: int,
    scale: ArrayLike = 1.0,
    entries: str = "normal",
    center: str = "gaussian",
) -> Float[Array, "... n1"]:
    """The eigenvalues of random draws of M = Y Y^T / m, Y = f(scale W X / sqrt(n0)) - center.

    W is (n1, n0) and X is (n0, m), with independent entries of mean 0 and variance 1, so the law
    to compare with has phi = n0 / m and psi = n0 / n1. It does not depend on the distribution of
    the entries (Peche, 2019, for smooth f).

    Args:
        key: a typed random key, or an array of them for as many draws: these are made one after
            the other, in the memory of one.
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        scale: standard deviation of the pre-activations, > 0.
        entries: "normal", "rademacher" (-1 or 1) or "uniform" on [-sqrt(3), sqrt(3)].
        center: what is taken off f: "gaussian" its mean E f(scale xi), as in theory; "rows" the
            mean of each neuron over the samples, as one would with data; "none" nothing, which
            leaves an eigenvalue near n1 (E f)^2 outside the bulk.

    Returns:
        The n1 eigenvalues of each draw, ascending; for n1 > m the n1 - m that vanish are exactly
        0.

    Raises:
        ValueError: if a size is below 1, scale is not positive, entries or center is not one of
            those, or act has no finite Gaussian moments.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate(jax.random.key(0), jaxact.get("tanh"), n0=40, n1=30, m=50)
        >>> found.shape
        (30,)
    """
    checks.choice("entries", entries, tuple(_ENTRIES))
    checks.choice("center", center, _CENTERS)
    return _eigenvalues(*_checked(key, act, n0, n1, m, scale), n0, n1, m, entries, center)


def simulate_training_error(
    key: Key[Array, "..."],
    act: Activation | Callable[..., Any],
    *,
    n0: int,
    n1: int,
    m: int,
    gamma: ArrayLike,
    scale: ArrayLike = 1.0,
) -> Float[Array, "..."]:
    """The training error of ridge regression on draws of random features, over noise labels.

    E_train = (gamma^2 / m) tr Q^2, Q = (Y^T Y / m + gamma)^-1: the average over labels of unit
    variance is exact, that over W and X is the draw. See `training_error` for the limit.

    Args:
        key: a typed random key, or an array of them for as many draws, one after the other.
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        gamma: ridge parameters > 0, any shape.
        scale: standard deviation of the pre-activations, > 0.

    Returns:
        E_train of the shape of key followed by that of gamma.

    Raises:
        ValueError: if a size is below 1, gamma or scale is not positive, or act has no finite
            Gaussian moments.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate_training_error(
        ...     jax.random.key(0), jaxact.get("tanh"), n0=40, n1=30, m=50, gamma=0.1)
        >>> bool(0.4 < found < 0.7)
        True
    """
    checks.positive("gamma", gamma)
    found = _eigenvalues(*_checked(key, act, n0, n1, m, scale), n0, n1, m, "normal", "gaussian")
    gamma = jnp.asarray(gamma, jnp.result_type(gamma, float))
    return _error(found[..., max(n1 - m, 0) :], gamma, m)


def _checked(
    key: Any, act: Any, n0: int, n1: int, m: int, scale: Any
) -> tuple[Any, Activation, Any]:
    checks.key("key", key)
    for name, size in (("n0", n0), ("n1", n1), ("m", m)):
        checks.integer(name, size, 1)
    act = activation(act)
    moments(act, scale)  # checks scale, and that the mean to take off exists
    return key, act, scale


@functools.partial(jax.jit, static_argnames=("n0", "n1", "m", "entries", "center"))
def _eigenvalues(
    keys: Array, act: Activation, scale: Any, n0: int, n1: int, m: int, entries: str, center: str
) -> Array:
    draw, exact, dtype = _ENTRIES[entries], jax.lax.Precision.HIGHEST, jnp.result_type(float)
    scale = jnp.asarray(scale, dtype)

    def one(key: Array) -> Array:
        for_weights, for_data = jax.random.split(key)
        weights = draw(for_weights, (n1, n0), dtype) * scale / n0**0.5
        y = act(jnp.matmul(weights, draw(for_data, (n0, m), dtype), precision=exact))
        if center == "gaussian":
            y = y - act.moments(scale).mean
        elif center == "rows":
            y = y - jnp.mean(y, axis=1, keepdims=True)
        gram = jnp.matmul(*((y, y.T) if n1 <= m else (y.T, y)), precision=exact)
        found = jnp.maximum(jnp.linalg.eigvalsh(gram / m), 0)
        return jnp.concatenate([jnp.zeros(max(n1 - m, 0), found.dtype), found])

    if keys.ndim == 0:
        return one(keys)
    return jax.lax.map(one, keys.reshape(-1)).reshape(*keys.shape, n1)


@functools.partial(jax.jit, static_argnames="m")
def _error(found: Array, gamma: Array, m: int) -> Array:
    """From the min(n1, m) eigenvalues that Y Y^T / m and Y^T Y / m share."""
    draws, rank = found.shape[:-1], found.shape[-1]
    found = found.reshape(draws + (1,) * gamma.ndim + (rank,))
    ridge = gamma.reshape((1,) * len(draws) + gamma.shape + (1,))
    return (m - rank) / m + jnp.sum((ridge / (found + ridge)) ** 2, axis=-1) / m
