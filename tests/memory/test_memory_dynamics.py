"""Retrieval against a NumPy twin, the paper's experiments and the theory of its modes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory


def numpy_async(patterns, state, F, sweeps):
    """The paper's rule with full overlaps for every spin; integers are exact in float64."""
    state = state.astype(np.float64).copy()
    for count in range(1, sweeps + 1):
        before = state.copy()
        for i in range(len(state)):
            rest = patterns @ state - patterns[:, i] * state[i]
            gap = np.sum(F(rest + patterns[:, i]) - F(rest - patterns[:, i]))
            if gap != 0:
                state[i] = np.sign(gap)
        if (state == before).all():
            return state, count
    return state, sweeps


def random_memory(seed, K, N, B):
    generator = np.random.default_rng(seed)
    patterns = generator.choice([-1.0, 1.0], (K, N))
    return patterns, generator.choice([-1.0, 1.0], (B, N))


@functools.cache
def looked_up(act, gain):
    """The primitive at gain times -40, ..., 40, for the twin."""
    return np.asarray(act.primitive(gain * jnp.arange(-40.0, 41.0)))


GELU = jaxact.get("gelu")
CUSTOM = jaxact.activation(lambda x: x * jnp.tanh(x), name="custom")
POWERS = {
    "polynomial2": (memory.polynomial(2), lambda h: h**2),
    "polynomial3": (memory.polynomial(3), lambda h: h**3),
    "rectified3": (memory.rectified(3), lambda h: np.maximum(h, 0) ** 3),
    "rectified4": (memory.rectified(4), lambda h: np.maximum(h, 0) ** 4),
    "exponential": (memory.exponential(0.2), lambda h: np.exp(0.2 * h)),
    "tanh": (
        memory.from_activation(jaxact.get("tanh")).scaled(4.0),
        lambda h: np.log(np.cosh(4 * h / 40)),
    ),
    "gelu": (
        memory.from_activation(jaxact.get("gelu")).scaled(8.0),
        lambda h: looked_up(GELU, 8 / 40)[h.astype(int) + 40],
    ),
    "custom": (
        memory.from_activation(CUSTOM),
        lambda h: looked_up(CUSTOM, 1 / 40)[h.astype(int) + 40],
    ),
}


@pytest.mark.parametrize("name", POWERS)
def test_async_equals_the_numpy_twin(name, x64):
    F, f = POWERS[name]
    patterns, probes = random_memory(1, 60, 40, 6)
    found = memory.retrieve(patterns, probes, F, max_sweeps=20)
    wanted = [numpy_async(patterns, probe, f, 20) for probe in probes]
    np.testing.assert_array_equal(found.state, [state for state, _ in wanted])
    assert found.converged.all()
    # The stability check by the gaps saves the twin's last sweep, in which nothing moves.
    np.testing.assert_array_equal(found.sweeps, [count - 1 for _, count in wanted])
    assert (memory.gaps(patterns, found.state, F.normalised(40)) * found.state >= 0).all()


@pytest.mark.fast
@pytest.mark.parametrize("order", ["sequential", "random"])
def test_energies_fall_and_the_trace_is_padded_with_the_last_one(order, x64):
    patterns, probes = random_memory(2, 200, 64, 8)
    F = memory.rectified(3)
    found = memory.retrieve(patterns, probes, F, order=order, key=jax.random.key(0), max_sweeps=9)
    energies = np.asarray(found.energies)
    assert energies.shape == (8, 10)
    assert np.isfinite(energies).all()
    assert (np.diff(energies) <= 0).all()
    np.testing.assert_array_equal(energies[:, 0] * 64**3, memory.energy(patterns, probes, F))
    np.testing.assert_array_equal(energies[:, -1] * 64**3, memory.energy(patterns, found.state, F))
    for row, sweeps in zip(energies, np.asarray(found.sweeps), strict=True):
        assert (row[sweeps:] == row[-1]).all()
        assert (np.diff(row[: sweeps + 1]) < 0).all()


def test_random_orders_differ_and_repeat_with_their_key(x64):
    patterns, probes = random_memory(3, 300, 40, 16)
    F = memory.rectified(2)
    one, again, other = (
        memory.retrieve(patterns, probes, F, order="random", key=jax.random.key(k)).state
        for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.fast
def test_ties_keep_the_state():
    """Two opposite patterns and even F: no spin has a preference anywhere they cancel."""
    patterns = np.array([[1, 1, 1, 1], [1, 1, -1, -1]])
    probe = np.array([-1, -1, 1, 1])
    gaps = memory.gaps(patterns, probe, memory.polynomial(1))
    np.testing.assert_array_equal(gaps, [4, 4, 0, 0])
    for mode in ("async", "sync"):
        found = memory.retrieve(patterns, probe, memory.polynomial(1), mode=mode)
        np.testing.assert_array_equal(found.state, [1, 1, 1, 1])
        assert found.converged


def test_ties_are_exact_at_sizes_that_are_no_power_of_two():
    """In float32, at N = 100: every tie of the integers is a tie of the normalised F."""
    patterns, probes = random_memory(4, 4, 100, 64)
    found = memory.retrieve(patterns, probes, memory.polynomial(3), mode="sync", max_sweeps=1)
    ties = np.stack([np.asarray(_integer_gaps(patterns, p)) == 0 for p in probes])
    assert ties.sum() > 5
    np.testing.assert_array_equal(np.asarray(found.state)[ties], probes[ties])


def _integer_gaps(patterns, state):
    rest = (patterns @ state)[:, None] - patterns * state
    return ((rest + patterns) ** 3 - (rest - patterns) ** 3).sum(0)


@pytest.mark.parametrize(
    "F",
    [*(memory.rectified(n) for n in range(1, 6)), memory.polynomial(2), memory.polynomial(4)],
    ids=lambda F: F.name,
)
def test_cccp_never_raises_the_energy_of_a_convex_interaction(F, x64):
    patterns, probes = random_memory(5, 400, 60, 64)
    found = memory.retrieve(patterns, probes, F, mode="cccp", max_sweeps=40, chunk=64)
    energies = np.asarray(found.energies)
    assert (np.diff(energies) <= 1e-12 * np.abs(energies[:, 1:])).all()
    assert found.converged.all()
    assert (energies[:, -1] <= energies[:, 0]).all()


@pytest.mark.parametrize("n", [2, 4])
def test_async_fixed_points_are_cccp_fixed_points_and_not_conversely(n, x64):
    patterns, probes = random_memory(6, 400, 60, 64)
    F = memory.rectified(n)

    def run(start, mode):
        return memory.retrieve(patterns, start, F, mode=mode, max_sweeps=40, chunk=64)

    slow, fast, both = (run(probes, mode) for mode in ("async", "cccp", "cccp+async"))
    np.testing.assert_array_equal(run(slow.state, "cccp").state, slow.state)
    single_flip_stable = (memory.gaps(patterns, fast.state, F) * fast.state >= 0).all(-1)
    assert single_flip_stable.mean() < 0.9
    assert both.converged.all()
    assert (memory.gaps(patterns, both.state, F) * both.state >= 0).all()
    assert (np.diff(np.asarray(both.energies)) <= 0).all()
    assert (both.sweeps >= fast.sweeps).all()


def test_a_synchronous_step_is_the_sign_of_the_gaps_and_may_cycle(x64):
    patterns, probes = random_memory(7, 400, 60, 64)
    F = memory.rectified(2)
    step = memory.retrieve(patterns, probes, F, mode="sync", max_sweeps=1)
    gaps = np.asarray(memory.gaps(patterns, probes, F))
    np.testing.assert_array_equal(step.state, np.where(gaps == 0, probes, np.sign(gaps)))
    found = memory.retrieve(patterns, probes, F, mode="sync", max_sweeps=60)
    assert (np.diff(np.asarray(found.energies)) > 0).any()
    assert not found.converged.all()
    assert (found.sweeps[~found.converged] == 60).all()


def test_a_batch_is_its_probes_one_by_one_whatever_the_chunk(x64):
    patterns, probes = random_memory(8, 150, 40, 7)
    F = memory.rectified(3)
    whole, pieces = (memory.retrieve(patterns, probes, F, chunk=chunk) for chunk in (32, 3))
    chex.assert_trees_all_equal(whole, pieces)
    alone = memory.retrieve(patterns, probes[5], F)
    assert alone.state.shape == (40,)
    chex.assert_trees_all_equal(alone, jax.tree.map(lambda leaf: leaf[5], whole))
    mapped = jax.vmap(lambda p: memory.retrieve(patterns, p, F))(jnp.asarray(probes))
    chex.assert_trees_all_equal(mapped, whole)


@pytest.mark.parametrize("n", [3, 20, 30, 100])
def test_high_degrees_recall_in_float32_with_the_signs_of_raw_float64(n):
    patterns, _ = random_memory(9, 200, 784, 1)
    generator = np.random.default_rng(0)
    probes = patterns[:4].copy()
    for probe in probes:
        probe[generator.choice(784, 157, replace=False)] *= -1
    F = memory.rectified(n)
    single = memory.retrieve(
        jnp.float32(patterns), jnp.float32(probes), F, mode="sync", max_sweeps=1
    )
    np.testing.assert_array_equal(single.state, patterns[:4])
    assert np.isfinite(single.energies).all()
    np.testing.assert_array_equal(
        memory.retrieve(jnp.float32(patterns), jnp.float32(probes), F).state, patterns[:4]
    )
    if n <= 30:
        with jax.enable_x64(True):  # noqa: FBT003
            raw = memory.gaps(patterns, probes, F, method="direct")
        assert np.isfinite(raw).all()
        np.testing.assert_array_equal(single.state, np.sign(raw))
        scaled = memory.gaps(jnp.float32(patterns), jnp.float32(probes), F.normalised(784))
        assert np.isfinite(scaled).all()
        np.testing.assert_array_equal(np.sign(scaled), np.sign(raw))


@pytest.mark.fast
def test_the_exponential_memory_recalls_beyond_the_range_of_float32():
    patterns, _ = random_memory(10, 300, 400, 1)
    probe = patterns[0].copy()
    probe[:100] *= -1
    found = memory.retrieve(jnp.float32(patterns), jnp.float32(probe), memory.exponential())
    np.testing.assert_array_equal(found.state, patterns[0])
    assert np.isfinite(found.energies).all()


def test_the_papers_capacity_experiment_in_small():
    """Appendix B: N = 100, K = 2000, random starts: who reaches a memory."""
    patterns, probes = random_memory(11, 2000, 100, 64)
    reached = {}
    stored = memory.pack(patterns)
    powers = [(memory.rectified, 3), (memory.rectified, 4)]
    powers += [(memory.polynomial, 3), (memory.polynomial, 4), (memory.polynomial, 5)]
    for kind, n in powers:
        F = kind(n)
        found = memory.retrieve(stored, jnp.float32(probes), F, max_sweeps=60)
        best = np.asarray(memory.overlaps(stored, found.state)).max(-1)
        reached[F.name] = (best == 100).mean()
        if n == 4:  # an even F also holds the opposite of every pattern
            best = np.abs(memory.overlaps(stored, found.state)).max(-1)
            reached[f"|{F.name}|"] = (best == 100).mean()
    assert reached["rectified(3)"] == 0
    assert reached["rectified(4)"] >= 0.95
    assert reached["polynomial(3)"] == 0
    assert reached["polynomial(5)"] == 1
    assert 0.25 < reached["polynomial(4)"] < 0.65
    assert reached["|polynomial(4)|"] > reached["polynomial(4)"] + 0.2


def test_the_classical_network_loses_its_memories_at_the_known_load():
    """Amit, Gutfreund & Sompolinsky: n = 2, N = 1000, started at a pattern."""
    overlap = {}
    for K in (100, 180):
        patterns, _ = random_memory(12, K, 1000, 1)
        start = jnp.float32(patterns[:16])
        found = memory.retrieve(patterns, start, memory.polynomial(2), max_sweeps=40)
        overlap[K] = float((found.state * start).mean())
    assert overlap[100] > 0.99
    assert overlap[180] < 0.75


def test_a_large_memory_repairs_a_fifth_of_its_bits_in_one_sweep():
    """N = 1000, K = 10000, rectified n = 3: the sheet's rates of 31 and 516 in 256000 bits."""
    patterns, _ = random_memory(13, 10_000, 1000, 1)
    generator = np.random.default_rng(1)
    probes = patterns[:16].copy()
    for probe in probes:
        probe[generator.choice(1000, 200, replace=False)] *= -1
    patterns, probes = jnp.float32(patterns), jnp.float32(probes)
    wrong = {
        mode: int((memory.retrieve(patterns, probes, F, mode=mode, max_sweeps=1).state
                   != patterns[:16]).sum())
        for F in [memory.rectified(3)] for mode in ("async", "sync")
    }  # fmt: skip
    assert wrong["async"] <= 10
    assert wrong["sync"] <= 62
