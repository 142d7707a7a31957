"""Patterns that come and go: slots, donation, compile counts, checkpoints, retrieval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import io, memory
from jaxact.memory.continuous import _recall
from jaxact.memory.dynamics import run
from jaxact.memory.store import _forget, _store

SPINS = np.random.default_rng(0).choice([-1.0, 1.0], (7, 24)).astype(np.float32)


def filled(rows, capacity=10):
    held = memory.open_store(capacity, 24, dtype=jnp.float32)
    for row in rows:
        held = memory.store(held, row)
    return held


@pytest.mark.fast
def test_slots_are_reused_oldest_first():
    held = filled(SPINS[:4], capacity=3)
    np.testing.assert_array_equal(held.patterns, SPINS[[3, 1, 2]])
    held = memory.store(memory.forget(held, 2), SPINS[4])
    np.testing.assert_array_equal(held.patterns, SPINS[[3, 1, 4]])
    held = memory.store(held, SPINS[5])
    np.testing.assert_array_equal(held.patterns, SPINS[[3, 5, 4]])
    assert held.used.all()


@pytest.mark.fast
def test_the_buffer_is_changed_in_place():
    before = filled(SPINS[:2])
    memory.store(before, SPINS[2])
    assert before.patterns.is_deleted()


CASES = {
    "async": memory.rectified(3), "sync": memory.rectified(2), "cccp": memory.exponential(0.5),
    "softmax": memory.softmax(0.2), "entmax": memory.entmax(1.5, 0.1),
    "near": memory.epanechnikov(0.05), "sphere": memory.rectified(4),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_free_slots_take_no_part(name):
    F = CASES[name]
    mode = name if name in ("async", "sync", "cccp", "sphere") else None
    held = memory.forget(filled([*SPINS[:3], SPINS[6], *SPINS[3:6]]), 3)
    probes = np.where(np.random.default_rng(1).random((4, 24)) < 0.2, -1, 1) * SPINS[:4]
    probes = probes.astype(np.float32)
    wanted = memory.retrieve(SPINS[:6], probes, F, mode=mode)
    found = memory.retrieve(held, probes, F, mode=mode)
    np.testing.assert_allclose(found.state, wanted.state, atol=1e-5)
    np.testing.assert_allclose(found.energies, wanted.energies, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        memory.energy(held, probes, F), memory.energy(SPINS[:6], probes, F), rtol=1e-5
    )


@pytest.mark.fast
def test_nothing_is_recompiled_as_it_fills():
    held = filled(SPINS[:1])
    kernels = (_recall, run, _store, _forget)
    sizes = []
    for row in SPINS[1:4]:
        held = memory.forget(memory.store(held, row), 0)
        memory.retrieve(held, SPINS[0], memory.rectified(3))
        memory.retrieve(held, SPINS[0], memory.softmax(0.2))
        sizes.append([kernel._cache_size() for kernel in kernels])
    assert sizes[0] == sizes[-1]


def test_a_checkpoint_keeps_it(tmp_path):
    held = filled(SPINS[:5])
    path = io.save_checkpoint(tmp_path / "memories", held)
    back = io.load_checkpoint(path, memory.open_store(10, 24, dtype=jnp.float32))
    assert isinstance(back, memory.Store)
    jax.tree.map(np.testing.assert_array_equal, back, held)
    assert int(memory.store(back, SPINS[5]).turn) == 6


@pytest.mark.fast
def test_bad_input_is_refused():
    held = memory.open_store(3, 24)
    with pytest.raises(ValueError, match="patterns must not be empty, got a store without"):
        memory.retrieve(held, SPINS[0], memory.softmax())
    with pytest.raises(ValueError, match=r"pattern must have shape \(24,\), got \(5,\)"):
        memory.store(held, SPINS[0, :5])
    with pytest.raises(ValueError, match=r"pattern must be finite, got nan at index \(0,\)"):
        memory.store(held, np.full(24, np.nan, np.float32))
    with pytest.raises(ValueError, match=r"index must be in \[0, 2\], got 3"):
        memory.forget(held, 3)
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        memory.open_store(0, 3)
    with pytest.raises(TypeError, match="memory must be a Store from open_store, got ndarray"):
        memory.store(SPINS, SPINS[0])
