"""Training: against a plain loop, under a key, and on every kind of activation."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxact as ja
from jaxact import io, nets
from jaxact.nets import training


@pytest.fixture(scope="module")
def digits():
    return io.load_digits()


def _line(p, x):
    return p["a"] * x + p["b"]


START = {"a": jnp.array(0.0), "b": jnp.array(0.0)}


@pytest.mark.fast
def test_full_batch_descent_is_its_numpy_twin(rng):
    x = rng.normal(size=8).astype(np.float32)
    y = 2 * x - 1
    fitted, losses = nets.train(
        _line, START, (x, y), optimizer=optax.sgd(0.1), steps=5, batch=99, key=jax.random.key(0)
    )
    a = b = 0.0
    for loss in losses:
        r = a * x + b - y
        np.testing.assert_allclose(loss, np.mean(r**2), rtol=1e-5)
        a, b = a - 0.2 * np.mean(r * x), b - 0.2 * np.mean(r)
    np.testing.assert_allclose([fitted["a"], fitted["b"]], [a, b], rtol=1e-5)


@pytest.mark.fast
def test_an_epoch_sees_every_sample_once():
    seen = lambda p, x: p * 0 + x  # noqa: E731
    value = lambda prediction, target: prediction + 0 * target  # noqa: E731
    x = jnp.arange(12.0)
    _, losses = nets.train(
        seen, jnp.array(0.0), (x, x), loss=value, epochs=3, batch=4, key=jax.random.key(0)
    )
    sums = 4 * np.asarray(losses).reshape(3, 3)
    np.testing.assert_allclose(sums.sum(1), 66.0)
    assert not np.allclose(sums[0], sums[1])


def test_the_key_decides_and_nothing_retraces():
    apply, params = nets.functional(nets.MLP((1, 4, 1), ja.get("swish", 1.0), rngs=nnx.Rngs(0)))
    other = nets.functional(nets.MLP((1, 4, 1), ja.get("swish", 2.0), rngs=nnx.Rngs(0)))[0]
    x = jnp.linspace(-1, 1, 16)[:, None]
    run = functools.partial(nets.train, steps=7, batch=8)
    one = run(apply, params, (x, x), key=jax.random.key(0))
    before = training.run._cache_size()
    two = run(apply, params, (x, x), key=jax.random.key(0))
    three = run(other, params, (2 * x, x), key=jax.random.key(1))
    assert training.run._cache_size() == before
    chex.assert_trees_all_equal(one, two)
    assert float(jnp.abs(one[1] - three[1]).max()) > 0


def test_a_step_that_is_not_finite_is_left_out():
    blow = lambda p, x: p * jnp.where(x > 0, jnp.inf, 1.0)  # noqa: E731
    x = jnp.array([-1.0, 1.0, -1.0, -1.0])
    fitted, losses = nets.train(
        blow, jnp.array(2.0), (x, 0 * x), optimizer=optax.sgd(0.1), epochs=2, batch=1,
        key=jax.random.key(0),
    )  # fmt: skip
    assert int(jnp.isinf(losses).sum()) == 2
    assert bool(jnp.isfinite(fitted))
    np.testing.assert_allclose(fitted, 2 * 0.8**6, rtol=1e-5)


def test_trained_theta_moves(digits):
    f, fit = nets.train_classifier(
        digits.x[:256], digits.y[:256], ja.get("swish", 1.0), trainable=True, epochs=3,
        widths=(8,), key=jax.random.key(0),
    )  # fmt: skip
    theta = f.args[1]["act"]["theta"][0]
    assert abs(float(theta) - 1.0) > 1e-3
    assert bool(jnp.isfinite(fit.losses).all())


# relu and tanh; growth beyond a power; no gradient at all; nothing non-linear; a dead half.
FLOORS = {"relu": 0.95, "exp": 0.9, "cubic": 0.85, "step": 0.7, "identity": 0.9, "lsu": 0.9}


@pytest.mark.parametrize("name", FLOORS)
def test_classifier_learns_with_any_activation(name, digits):
    f, fit = nets.train_classifier(
        digits.x, digits.y, ja.get(name), test=(digits.test_x, digits.test_y), key=jax.random.key(0)
    )
    assert bool(jnp.isfinite(fit.losses).all())
    assert float(fit.test_accuracy) > FLOORS[name]
    # The standardisation is folded in: f takes the raw image, and agrees with its own score.
    hits = np.argmax(jax.vmap(f)(digits.test_x), axis=1) == digits.test_y
    assert np.mean(hits) == pytest.approx(float(fit.test_accuracy), abs=1e-6)


@pytest.mark.parametrize("name", ["gelu", "sign"])
def test_autoencoder(name, digits):
    encoder, generator, fit = nets.train_autoencoder(
        digits.x, act=ja.get(name), test=digits.test_x, key=jax.random.key(0)
    )
    codes = jax.vmap(encoder)(digits.x)
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(codes.std(0), 1, atol=1e-3)
    assert generator(codes[0]).shape == (8, 8)
    assert bool(jnp.isfinite(fit.losses).all())
    if name == "gelu":
        assert float(fit.test_accuracy) > 0.6
        shown = np.asarray(jax.vmap(generator)(codes))
        spread = np.mean((digits.x - digits.x.mean(0, keepdims=True)) ** 2)
        explained = 1 - np.mean((shown - digits.x) ** 2) / spread
        assert float(fit.accuracy) == pytest.approx(explained, abs=1e-4)


def test_float64(x64):
    x = jnp.linspace(-1.0, 1.0, 8)
    start = {"a": jnp.array(0.0), "b": jnp.array(0.0)}
    fitted, losses = nets.train(_line, start, (x, x), steps=3, key=jax.random.key(0))
    assert fitted["a"].dtype == losses.dtype == jnp.float64


@pytest.mark.fast
def test_losses_are_closed_forms():
    logits = jnp.array([1.0, 2.0, 3.0])
    expected = np.log(np.exp([1.0, 2.0, 3.0]).sum()) - 2.0
    np.testing.assert_allclose(nets.cross_entropy(logits, jnp.array(1)), expected, rtol=1e-6)
    np.testing.assert_allclose(nets.mse(logits, 0 * logits), 14 / 3, rtol=1e-6)


def test_bad_input():
    key = jax.random.key(0)
    x = jnp.ones(4)
    with pytest.raises(ValueError, match="give steps or epochs, not both: got steps=1, epochs=1"):
        nets.train(_line, START, (x, x), steps=1, epochs=1, key=key)
    with pytest.raises(ValueError, match=r"same, non-zero number of samples .* got \[3, 4\]"):
        nets.train(_line, START, (x, x[:3]), key=key)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        nets.train(_line, START, (x, x), steps=0, key=key)
    with pytest.raises(ValueError, match="x must be finite"):
        nets.train_classifier(jnp.full((2, 3), jnp.nan), jnp.array([0, 1]), jnp.tanh, key=key)
    with pytest.raises(ValueError, match="y must be non-negative"):
        nets.train_classifier(jnp.ones((2, 3)), jnp.array([0, -1]), jnp.tanh, key=key)
    with pytest.raises(ValueError, match=r"images must be in \[0.0, 1.0\]"):
        nets.train_autoencoder(jnp.full((2, 3, 3), 2.0), act=jnp.tanh, key=key)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    x = jnp.ones(8)
    traced = training.run.trace(
        jax.tree_util.Partial(_line), START, (x, x), jax.random.key(0), loss=nets.mse,
        optimizer=training.default_optimizer(3e-3, 4), steps=4, batch=4,
    )  # fmt: skip
    assert traced.lower(lowering_platforms=(platform,)).as_text()
