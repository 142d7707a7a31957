"""Duality and regime: rates in eps, exact cases, and counts made by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory

EPS = np.array([1e-1, 1e-2, 1e-3])


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(1)
    return rng.normal(size=(12, 20)) / 3, rng.normal(size=(6, 16))


def rates(errors):
    return np.log10(errors[:-1] / errors[1:])


@pytest.mark.fast
def test_the_parabola_is_its_dual_at_every_eps(net):
    found = memory.duality(*net, memory.polynomial(2), eps=[1.0, *EPS])
    assert found.symmetric.max() < 1e-11
    np.testing.assert_allclose(rates(found.one_sided), 1, atol=0.05)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["rectified", "tanh", "user"])
def test_the_start_at_zero_is_second_order_and_the_paper_s_first(name, net):
    F = {
        "rectified": memory.rectified(4),
        "tanh": memory.from_activation(jaxact.get("tanh")),
        "user": memory.from_activation(lambda x: x + jnp.sin(x)),
    }[name]
    found = memory.duality(*net, F, eps=EPS)
    np.testing.assert_allclose(rates(found.one_sided), 1, atol=0.1)
    np.testing.assert_allclose(rates(found.symmetric), 2, atol=0.1)
    assert (found.symmetric < found.one_sided).all()


@pytest.mark.fast
def test_relu_is_exact_but_where_an_overlap_changes_sign(net):
    found = memory.duality(*net, jaxact.get("relu"), eps=[1e-1, 1e-5])
    assert found.crossings[0] > 0
    assert found.symmetric[0] > 1e-6
    assert found.crossings[1] == 0
    assert found.symmetric[1] < 1e-9


@pytest.mark.fast
def test_the_dual_is_one_hidden_layer(net, x64):
    memories, v = net
    h = v @ memories[:, :16].T / 1.5
    for act, f in (("relu", lambda h: np.maximum(h, 0)), ("tanh", np.tanh)):
        expected = f(h) @ memories[:, 16:] / 1.5
        found = memory.feed_forward(memories, v, jaxact.get(act), temperature=1.5)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    F = memory.rectified(3)
    expected = 3 * np.maximum(h, 0) ** 2 @ memories[:, 16:] / 1.5
    np.testing.assert_allclose(
        memory.feed_forward(memories, v, F, temperature=1.5), expected, rtol=1e-10
    )


@pytest.mark.fast
def test_answering_memories_are_counted(rng):
    memories, v = rng.uniform(-1, 1, (9, 7)), rng.uniform(-1, 1, (11, 5))
    F = memory.rectified(3)
    found = memory.answering_memories(memories, v, F, share=0.7)
    for i, sample in enumerate(v):
        u = memories[:, :5] @ sample - memories[:, 5:].sum(1)
        terms = (
            np.maximum(u[:, None] + 2 * memories[:, 5:], 0) ** 3 - np.maximum(u, 0)[:, None] ** 3
        )
        t = terms[:, terms.sum(0).argmax()]
        assert int(found.strong[i]) == (t > 0.7 * t.max()).sum()
        expected = np.abs(t).sum() ** 2 / (t**2).sum()
        np.testing.assert_allclose(found.participation[i], expected, rtol=1e-4)
    regime = memory.measure_regime(memories, v, F, share=0.7, cutoff=0.2)
    np.testing.assert_allclose(regime.single, np.mean(np.asarray(found.strong) == 1), rtol=1e-6)
    np.testing.assert_allclose(regime.participation, np.median(found.participation), rtol=1e-6)
    np.testing.assert_allclose(
        regime.one_class, np.mean((memories[:, 5:] > 0.2).sum(1) == 1), rtol=1e-6
    )


@pytest.mark.fast
def test_one_memory_answers_alone_at_large_n_and_all_at_small_n(rng):
    """A prototype of the input among the others: the power n singles it out."""
    v = np.sign(rng.normal(size=(1, 60)))
    memories = np.concatenate([0.3 * np.sign(rng.normal(size=(40, 60))), np.ones((40, 2))], 1)
    memories[:, :60] += 0.3 * v
    memories[0, :60] = v
    few, many = (
        float(memory.answering_memories(memories, v, memory.rectified(n)).participation[0])
        for n in (2, 30)
    )
    assert many < 1.1
    assert few > 20


@pytest.mark.fast
def test_no_memory_answers():
    found = memory.answering_memories(-np.ones((3, 4)), np.ones((2, 2)), memory.rectified(3))
    assert found.strong.tolist() == [0, 0]
    assert found.participation.tolist() == [0, 0]


@pytest.mark.fast
def test_participation_differentiates(rng):
    F = memory.rectified(3)
    v = np.ones(2)
    value = jax.jit(lambda p: memory.answering_memories(p, v, F).participation)
    slope = jax.jit(jax.grad(value))
    assert bool(jnp.isfinite(slope(-jnp.ones((3, 4)))).all())
    p, step = rng.uniform(0, 1, (3, 4)).astype(np.float32), np.float32(1e-2)
    expected = (value(p + step * np.eye(3, 4, dtype=p.dtype)) - value(p)) / step
    np.testing.assert_allclose(jnp.trace(slope(p)), expected, rtol=0.1)
