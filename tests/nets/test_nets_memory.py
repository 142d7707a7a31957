"""The associative memory as a module and as a fit: learns, resumes, compiles once."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxact
from jaxact import io, memory, nets
from jaxact.nets import training


@pytest.fixture(scope="module")
def digits():
    return io.load_digits()


def _line(p, x):
    return p["a"] * x + p["b"]


@pytest.mark.fast
def test_the_module_is_the_kernel_and_shares_its_weights_with_its_dual():
    F = memory.exponential(0.2)
    model = nets.DenseAssociativeMemory(6, 3, F, memories=5, temperature=2.0, rngs=nnx.Rngs(0))
    twin = model.dual()
    v = jnp.linspace(-1, 1, 12).reshape(2, 6)
    for factor in (1.0, 0.5):
        model.memories[...] = factor * model.memories[...]
        xi = model.memories[...]
        expected = memory.class_fields(xi, v, F, temperature=2.0)
        np.testing.assert_allclose(model(v), expected, rtol=1e-6)
        np.testing.assert_allclose(
            twin(v), memory.feed_forward(xi, v, F, temperature=2.0), rtol=1e-6
        )
    apply, params = nets.functional(model)
    np.testing.assert_allclose(apply(params, v), model(v), rtol=1e-6)
    assert set(params) == {"memories"}
    trained = nets.DenseAssociativeMemory(
        6, 3, jaxact.get("swish", 1.5), memories=5, trainable=True, rngs=nnx.Rngs(0)
    )
    apply, params = nets.functional(trained)
    slope = jax.grad(lambda p: apply(p, v).sum())(params)
    assert float(abs(slope["interaction"]["theta"][0])) > 0


SMALL = nets.PaperRule(
    rate=0.03, decay=0.9, momentum=0.6, m=2, temperature=(16.0, 6.0), ramp=8, mean=0.0, spread=0.1
)


@pytest.mark.parametrize(
    ("F", "rule", "floor"),
    [
        (memory.rectified(3), nets.CrossEntropyRule(temperature=2.0, rate=3e-3), 0.95),
        (memory.rectified(2), SMALL, 0.93),
        (jaxact.get("tanh"), nets.CrossEntropyRule(temperature=1.0, rate=1e-2), 0.93),
    ],
    ids=["modern", "paper", "tanh"],
)
def test_both_rules_learn_digits(F, rule, floor, digits):
    f, fit = nets.train_memory(
        digits.x, digits.y, F, memories=60, rule=rule, epochs=20, batch=50,
        test=(digits.test_x, digits.test_y), key=jax.random.key(0),
    )  # fmt: skip
    assert bool(jnp.isfinite(fit.losses).all())
    assert float(fit.test_accuracy) > floor
    hits = np.argmax(jax.vmap(f)(digits.test_x), axis=1) == digits.test_y
    assert np.mean(hits) == pytest.approx(float(fit.test_accuracy), abs=1e-6)
    if isinstance(rule, nets.PaperRule):
        assert float(jnp.abs(f.memories).max()) <= 1 + 1e-6


def test_a_killed_run_goes_on_where_it_was(digits, tmp_path):
    path = tmp_path / "state"
    stopped = []

    class Killed(Exception):
        pass

    def save(state):
        io.save_checkpoint(path, state)
        stopped.append(int(state.epoch))
        if len(stopped) == 2:
            raise Killed

    def restore(fresh):
        return io.load_checkpoint(path, fresh) if path.exists() else fresh

    def fit(F, **how):
        return nets.train_memory(
            digits.x[:200], digits.y[:200], F, memories=20, epochs=5, batch=50, every=2,
            key=jax.random.key(1), **how,
        )  # fmt: skip

    F = memory.exponential(0.1)
    whole = fit(F)
    with pytest.raises(Killed):
        fit(F, save=save)
    resumed = fit(F, restore=restore)
    assert stopped == [2, 4]
    chex.assert_trees_all_equal(resumed[0], whole[0])
    chex.assert_trees_all_equal(resumed[1].losses, whole[1].losses)
    before = training.run._cache_size()
    fit(memory.exponential(0.2))
    assert training.run._cache_size() == before


@pytest.mark.fast
def test_the_schedule_counts_through_the_parts():
    x = jnp.zeros(8)
    start = {"a": jnp.array(0.0), "b": jnp.array(0.0)}
    _, losses = nets.train_resumable(
        _line, start, (x, x), loss=lambda p, t, step: p + t + step, optimizer=optax.sgd(0.0),
        epochs=3, batch=4, every=2, schedule=lambda step: step.astype(jnp.float32),
        key=jax.random.key(0),
    )  # fmt: skip
    assert losses.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.fast
def test_bad_input():
    key = jax.random.key(0)
    x, y = np.ones((4, 3), np.float32), np.array([0, 1, 0, 1])
    F = memory.rectified(2)
    with pytest.raises(ValueError, match=r"x must be in \[0.0, 1.0\], got 2"):
        nets.train_memory(2 * x, y, F, key=key)
    with pytest.raises(ValueError, match=r"y must have shape \(4,\)"):
        nets.train_memory(x, y[:3], F, key=key)
    with pytest.raises(TypeError, match="F must be an Interaction"):
        nets.train_memory(x, y, 2, key=key)
    with pytest.raises(ValueError, match=r"temperature must have shape \(2,\)"):
        nets.PaperRule(temperature=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"dropout must be in \[0.0, 0.99\], got 1"):
        nets.CrossEntropyRule(dropout=1.0)
    data, start = (x[:, 0], x[:, 0]), {"a": jnp.array(0.0), "b": jnp.array(0.0)}
    how = {"optimizer": optax.sgd(0.1), "batch": 2, "key": key}
    kept = []
    nets.train_resumable(_line, start, data, epochs=2, every=1, save=kept.append, **how)
    with pytest.raises(ValueError, match=r"losses have shape \(4, 2\), got \(2, 2\)"):
        nets.train_resumable(_line, start, data, epochs=4, restore=lambda _: kept[0], **how)
    with pytest.raises(ValueError, match="a multiple of every=2 epochs, got 1"):
        nets.train_resumable(
            _line, start, data, epochs=2, every=2, restore=lambda _: kept[0], **how
        )
