"""Ridge regression on one draw of random features: the experiment that `test_error` predicts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Key

from jaxact.activation import Activation, activation
from jaxact.numerics import checks
from jaxact.spectra.ridge import RidgeErrors


def simulate_test_error(
    key: Key[Array, ""],
    act: Activation | Callable[..., Any],
    *,
    n0: int,
    n1: int,
    m: int,
    gamma: ArrayLike,
    noise: ArrayLike,
    scale: ArrayLike = 1.0,
    tests: int | None = None,
) -> RidgeErrors:
    """Training and test error of ridge regression on one draw, for a linear teacher with noise.

    Y = f(W X) - mean as in `simulate`; the fit is a = (Y Y^T / m + gamma)^-1 Y y / m for labels
    y = X^T beta + noise. The averages over beta (of unit length) and the label noise are exact;
    those over W, X and `tests` fresh points are this one draw. See `test_error` for the limit.

    Args:
        key: a typed random key; a batch of draws is `jax.vmap` over keys.
        act: an activation or a plain scalar function.
        n0: inputs, at least 1.
        n1: neurons, at least 1.
        m: samples, at least 1.
        gamma: ridge parameters > 0, any shape.
        noise: the variance of the label noise, >= 0, a scalar.
        scale: standard deviation of the pre-activations, > 0.
        tests: fresh points, at least 1; None for m.

    Returns:
        `RidgeErrors`, both of gamma's shape.

    Raises:
        ValueError: if a size is below 1, gamma or scale is not positive, or noise is negative.
        TypeError: if key is not a typed key or a size not an integer.

    Example:
        >>> import jaxact
        >>> found = simulate_test_error(
        ...     jax.random.key(0), jaxact.get("tanh"), n0=40, n1=30, m=50, gamma=0.1, noise=0.25)
        >>> bool(found.train < found.test)
        True
    """
    checks.key("key", key)
    sizes = n0, n1, m, m if tests is None else tests
    for name, size in zip(("n0", "n1", "m", "tests"), sizes, strict=True):
        checks.integer(name, size, 1)
    checks.positive("gamma", gamma)
    checks.non_negative("noise", noise)
    checks.shape("noise", noise, ())
    checks.positive("scale", scale)
    checks.shape("scale", scale, ())
    dtype = jnp.result_type(float)
    numbers = (jnp.asarray(v, dtype) for v in (gamma, noise, scale))
    return _errors(key, activation(act), *numbers, sizes=sizes)


@functools.partial(jax.jit, static_argnames="sizes")
def _errors(
    key: Array,
    act: Activation,
    gamma: Array,
    noise: Array,
    scale: Array,
    *,
    sizes: tuple[int, int, int, int],
) -> RidgeErrors:
    n0, n1, m, tests = sizes
    for_weights, for_data, for_tests = jax.random.split(key, 3)
    dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    weights = jax.random.normal(for_weights, (n1, n0), gamma.dtype) * scale / n0**0.5
    data = jax.random.normal(for_data, (n0, m), gamma.dtype)
    fresh = jax.random.normal(for_tests, (n0, tests), gamma.dtype)
    mean = act.moments(scale).mean
    features, tested = act(dot(weights, data)) - mean, act(dot(weights, fresh)) - mean
    # Y = sqrt(m) U S V^T: every ridge then costs the diagonal S / (S^2 + gamma) only.
    left, size, right = jnp.linalg.svd(features / m**0.5, full_matrices=False)
    seen = dot(right, data.T)
    probe = dot(tested.T, left)
    answer = dot(probe.T, dot(fresh.T, seen.T)) / m**0.5
    moved = dot(probe.T, probe) / m
    teacher = dot(seen, seen.T) / n0

    def at(ridge: Array) -> tuple[Array, Array]:
        d = size / (size**2 + ridge)
        kept = (ridge / (size**2 + ridge)) ** 2
        test = (
            jnp.sum(fresh**2) / n0
            - 2 * dot(d, jnp.diagonal(answer)) / n0
            + dot(d, dot(moved * teacher, d))
            + noise * (tests + dot(d**2, jnp.diagonal(moved)))
        )
        outside = jnp.sum(data**2) / n0 - jnp.trace(teacher) + noise * (m - size.shape[0])
        train = outside + dot(kept, jnp.diagonal(teacher) + noise)
        return train / m, test / tests

    train, test = jax.vmap(at)(gamma.reshape(-1))
    return RidgeErrors(train.reshape(gamma.shape), test.reshape(gamma.shape))
