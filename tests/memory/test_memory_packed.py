"""Packed patterns against arrays, and what the batched dynamics promise on both."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxact import memory
from jaxact.memory.dynamics import run
from jaxact.memory.packed import _pack
from jaxact.sweep import sweep

CUBIC = memory.rectified(3)


def random_spins(seed, *shape):
    return np.random.default_rng(seed).choice(np.float32([-1, 1]), shape)


def numpy_words(patterns):
    """Little-endian bits of each pattern, by NumPy."""
    K, N = patterns.shape
    bits = np.zeros((K, -(-N // 32) * 32), np.uint8)
    bits[:, :N] = patterns > 0
    return np.packbits(bits, axis=1, bitorder="little").view("<u4").T


@pytest.mark.fast
@pytest.mark.parametrize(("K", "N"), [(1, 1), (3, 31), (5, 32), (4, 33), (7, 70)])
def test_bits_are_those_of_numpy_and_come_back(K, N):
    patterns = random_spins(N, K, N)
    stored = memory.pack(patterns)
    assert stored.shape == (K, N)
    np.testing.assert_array_equal(stored.words, numpy_words(patterns))
    np.testing.assert_array_equal(memory.unpack(stored), patterns)
    states = random_spins(N + 1, 6, N)
    h = memory.overlaps(stored, states)
    assert h.dtype == jnp.float32
    np.testing.assert_array_equal(h, states @ patterns.T)
    np.testing.assert_array_equal(memory.overlaps(stored, states.astype(int)[0]), h[0])


@pytest.mark.fast
@pytest.mark.parametrize("F", [CUBIC, memory.exponential(0.3)], ids=lambda F: F.name)
def test_energy_and_gaps_are_those_of_the_array(F):
    patterns, states = random_spins(0, 50, 70), random_spins(1, 2, 3, 70)
    stored = memory.pack(patterns)
    np.testing.assert_allclose(
        memory.energy(stored, states, F), memory.energy(patterns, states, F), rtol=1e-6
    )
    wanted = np.asarray(memory.gaps(patterns, states, F, method="direct"))
    for method in ("auto", "direct"):
        found = memory.gaps(stored, states, F, method=method)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.fast
def test_recall_is_that_of_the_array(x64):
    patterns, probes = random_spins(2, 150, 40), random_spins(3, 9, 40)
    stored = memory.pack(patterns)
    for options in ({"mode": "cccp+async"}, {"order": "random", "key": jax.random.key(0)}):
        plain, packed = (
            memory.retrieve(p, probes, CUBIC, max_sweeps=9, **options) for p in (patterns, stored)
        )
        chex.assert_trees_all_equal(plain, packed)
    counts = [
        memory.measure_recall(jax.random.key(1), p, CUBIC, probes=8, max_sweeps=9)
        for p in (patterns.astype(np.float64), stored)
    ]
    chex.assert_trees_all_equal(*counts)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    F=st.sampled_from([memory.polynomial(3), memory.rectified(3)]),
)
def test_energies_never_rise_and_async_fixed_points_are_cccp_fixed_points(seed, F):
    patterns, probes = random_spins(seed, 60, 33), random_spins(seed + 1, 4, 33)
    with jax.enable_x64(True):
        patterns, probes = patterns.astype(np.float64), probes.astype(np.float64)
        found = memory.retrieve(patterns, probes, F, max_sweeps=12)
        assert (np.diff(np.asarray(found.energies)) <= 0).all()
        assert found.converged.all()
        assert (memory.gaps(patterns, found.state, F) * found.state >= 0).all()
        if F.convex:
            fixed = memory.retrieve(patterns, found.state, F, mode="cccp", max_sweeps=12)
            np.testing.assert_array_equal(fixed.state, found.state)


@pytest.mark.fast
def test_a_sweep_over_probes_is_a_batch(x64):
    """`jaxact.sweep` splits probes over devices and resumes; the lens needs none of it."""
    patterns, probes = random_spins(8, 150, 40), random_spins(9, 5, 40)
    stored, F = memory.pack(patterns), CUBIC
    whole = memory.retrieve(stored, probes, F, max_sweeps=9)
    swept = sweep(lambda p: memory.retrieve(stored, p, F, max_sweeps=9), probes, chunk=2)
    chex.assert_trees_all_equal(swept, jax.tree.map(np.asarray, whole))


@pytest.mark.fast
def test_memory_is_flat_in_the_number_of_probes():
    stored = memory.pack(random_spins(4, 2000, 64))

    def scratch(B):
        probes = jax.ShapeDtypeStruct((B, 64), jnp.float32)
        options = {"mode": "async", "max_sweeps": 2, "chunk": 8}
        made = run.lower(stored, probes, CUBIC.normalised(64), None, **options).compile()
        return made.memory_analysis().temp_size_in_bytes

    # Of a probe there may be a few copies of its 64 spins, but not its 2,000 overlaps.
    assert scratch(512) - scratch(64) < 448 * 4 * 1000


@pytest.mark.fast
def test_steep_exponentials_stay_finite_and_recall():
    patterns = random_spins(5, 300, 100)
    probes = patterns[:4].copy()
    probes[:, :20] *= -1
    for beta in (1.0, 20.0, 100.0):
        F = memory.exponential(beta)
        found = memory.retrieve(patterns, probes, F, max_sweeps=4)
        np.testing.assert_array_equal(found.state, patterns[:4])
        for method in ("matmul", "direct"):
            assert np.isfinite(
                memory.gaps(patterns, probes, F.normalised(100), method=method)
            ).all()


@pytest.mark.fast
def test_patterns_of_one_shape_compile_once():
    stored = [memory.pack(random_spins(seed, 12, 40)) for seed in (0, 1)]
    probes = random_spins(2, 3, 40)

    def calls(patterns):
        memory.overlaps(patterns, probes)
        memory.gaps(patterns, probes, CUBIC)
        memory.retrieve(patterns, probes, CUBIC, max_sweeps=9)

    calls(stored[0])
    before = (_pack._cache_size(), run._cache_size())
    calls(stored[1])
    memory.pack(random_spins(3, 12, 40))
    assert (_pack._cache_size(), run._cache_size()) == before


STORED = memory.pack(random_spins(0, 3, 8))
REFUSED = [
    (lambda: memory.pack(np.zeros((2, 3))), r"patterns must be -1 or \+1, got 0 at index"),
    (lambda: memory.pack(np.ones((0, 3))), "patterns must not be empty"),
    (lambda: memory.pack(np.ones(3)), r"patterns must have shape \(K, N\), got \(3,\)"),
    (lambda: memory.pack(np.full((2, 3), np.nan)), r"patterns must be -1 or \+1, got nan"),
    (lambda: memory.overlaps(STORED, np.zeros(8)), r"state must be -1 or \+1, got 0"),
    (lambda: memory.energy(STORED, np.ones(7), CUBIC), r"state must have shape \(..., 8\)"),
    (lambda: memory.retrieve(STORED, np.ones(7), CUBIC), r"probe must have shape \(8,\)"),
    (lambda: memory.retrieve(STORED, np.full(8, np.nan), CUBIC), r"probe must be -1 or \+1"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.fast
def test_only_packed_patterns_are_unpacked():
    with pytest.raises(TypeError, match=r"stored must be a Packed from memory.pack, got"):
        memory.unpack(np.ones((2, 3)))
