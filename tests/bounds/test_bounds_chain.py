"""The looped kernel of equal layers against the unrolled one."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import Ball, Box, crown
from jaxact.bounds.chain import chain_of
from jaxact.tracing import trace

kernels = importlib.import_module("jaxact.bounds.crown")
RNG = np.random.default_rng(2)
X = jnp.asarray(RNG.standard_normal(3), jnp.float32)


def weights(*widths):
    return [
        (
            jnp.asarray(RNG.standard_normal((m, n)) / np.sqrt(n), jnp.float32),
            jnp.asarray(RNG.standard_normal(m) / 4, jnp.float32),
        )
        for n, m in zip(widths[:-1], widths[1:], strict=True)
    ]


def apply(act, params, x):
    for w, b in params[:-1]:
        x = act(w @ x + b)
    return params[-1][0] @ x + params[-1][1]


EQUAL = weights(3, 6, 6, 6, 6, 6, 2)


def net(act, params=EQUAL):
    return jax.tree_util.Partial(jax.tree_util.Partial(apply, act), params)


def scaled(x):
    """Several affine steps a layer, and constants written in the text."""
    for w, b in EQUAL[:-1]:
        x = jnp.sin(2.0 * (w @ x) - b)
    return x[:2]


@pytest.mark.parametrize(
    ("f", "region"),
    [
        (net(jnp.tanh), Ball(X, 0.2)),
        (net(jnp.tanh), Ball(X, 0.3, 2)),
        (net(jax.nn.relu), Ball(X, 0.3, 1)),
        (net(lambda v: v * jax.nn.sigmoid(v)), Box(X - 0.1, X + 0.3)),
        (scaled, Ball(X, 0.1)),
    ],
    ids=["tanh", "tanh 2", "relu 1", "lambda box", "scaled"],
)
def test_the_loop_equals_the_unrolled_kernel(f, region):
    network = trace(f, X)
    assert len(chain_of(network).places) == 4
    spec = jnp.array([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]])
    got, want = crown(network, region, spec), jax.jit(kernels._crown_of)(network, region, spec)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_what_is_not_a_chain():
    params = weights(3, 6, 6, 5, 6, 6, 2)
    other = weights(3, 6, 6, 2)

    def skips(x):
        h = jnp.tanh(EQUAL[0][0] @ x)
        for w, b in EQUAL[1:-1]:
            h = h + jnp.tanh(w @ h + b)
        return h

    def mixed(x):
        for act, (w, b) in zip([jnp.tanh, jnp.sin] * 3, EQUAL, strict=True):
            x = act(w @ x + b)
        return x

    for f in (net(jnp.tanh, params), net(jnp.tanh, other), skips, mixed):
        assert chain_of(trace(f, X)) is None


def test_batches_derivatives_and_one_program():
    traces = 0

    @jax.jit
    def lower(params, x, eps):
        nonlocal traces
        traces += 1
        return crown(net(jnp.tanh, params), Ball(x, eps)).lower

    batch = jnp.stack([X, X + 0.5, -X])
    many = jax.jit(jax.vmap(lower, (None, 0, None)))(EQUAL, batch, 0.1)
    one = jnp.stack([lower(EQUAL, x, 0.1) for x in batch])
    np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-6)
    lower(jax.tree.map(lambda w: 1.1 * w, EQUAL), X, 0.2)
    assert traces == 1
    slope = jax.grad(lambda e: lower(EQUAL, X, e).sum())(0.1)
    step = 5e-3
    want = (lower(EQUAL, X, 0.1 + step) - lower(EQUAL, X, 0.1 - step)).sum() / (2 * step)
    assert abs(slope - want) < 5e-3 * abs(want)
    tilt = jax.grad(lambda p: lower(p, X, 0.1).sum())(EQUAL)
    assert all(jnp.abs(v).max() > 0 for v in jax.tree.leaves(tilt))
