"""Measured recall on random patterns and on real digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxact
from jaxact import memory


@pytest.mark.fast
def test_recall_counts_what_retrieve_returns():
    patterns = jax.random.rademacher(jax.random.key(0), (40, 64), jnp.float32)
    untouched = memory.measure_recall(jax.random.key(1), patterns, memory.rectified(3), flips=0.0)
    assert (untouched.exact, untouched.overlap, untouched.sweeps) == (1, 1, 0)
    opposite = memory.measure_recall(jax.random.key(1), patterns, memory.polynomial(4), flips=1.0)
    assert opposite.overlap == -1
    assert opposite.bit_error == 1
    assert opposite.converged == 1
    noisy = memory.measure_recall(
        jax.random.key(1), patterns, memory.polynomial(2), flips=0.2, max_sweeps=1, probes=64
    )
    assert 0 < noisy.bit_error < 0.5
    np.testing.assert_allclose(noisy.overlap, 1 - 2 * noisy.bit_error, rtol=1e-6)


@pytest.mark.fast
def test_a_higher_degree_recalls_more():
    patterns = jax.random.rademacher(jax.random.key(2), (500, 64), jnp.float32)
    exact = [
        float(memory.measure_recall(jax.random.key(3), patterns, F, flips=0.1, probes=64).exact)
        for F in (memory.rectified(2), memory.rectified(3), memory.rectified(6))
    ]
    assert exact[0] < 0.3 < exact[1] < 1
    assert exact[2] == 1


def test_real_digits_are_recalled():
    """40 of scikit-learn's 8 x 8 digits: strongly correlated patterns, where n = 2 fails."""
    digits = np.where(load_digits().data[:40] > 7, 1, -1)
    assert len(np.unique(digits, axis=0)) == 40

    def measure(F):
        return memory.measure_recall(jax.random.key(0), digits, F, flips=0.1, probes=80)

    high, low, relu = map(measure, (memory.rectified(20), memory.polynomial(2), jaxact.get("relu")))
    assert high.exact >= 0.9
    assert high.converged == 1
    assert low.exact <= 0.1
    # relu is rectified(2) / 2: the same memory, recalled no better than the paper's n = 2.
    assert relu.exact <= 0.1
    assert relu.overlap == measure(memory.rectified(2)).overlap


def test_bad_input_is_refused():
    patterns = np.ones((3, 8))
    with pytest.raises(ValueError, match=r"flips must be in \[0.0, 1.0\], got 1.5"):
        memory.measure_recall(jax.random.key(0), patterns, memory.rectified(2), flips=1.5)
    with pytest.raises(TypeError, match=r"key must be a typed key from jax.random.key\(seed\)"):
        memory.measure_recall(0, patterns, memory.rectified(2))
    with pytest.raises(ValueError, match=r"patterns must be -1 or \+1, got 0 at index \(0, 1\)"):
        memory.measure_recall(jax.random.key(0), np.eye(3), memory.rectified(2))
