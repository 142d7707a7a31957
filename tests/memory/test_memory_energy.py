"""The energy and its differences: definition, tables of the paper, finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory

XOR = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
PATTERNS = np.where(np.sin(1.7 * np.outer(np.arange(1, 6), np.arange(1, 9)) + 0.3) >= 0, 1, -1)
STATE = np.where(np.cos(0.9 * np.arange(8)) >= 0, 1, -1)
KINDS = {"polynomial": memory.polynomial, "rectified": memory.rectified}


def power(kind, n):
    """F as a NumPy function."""
    return lambda h: (np.maximum(h, 0) if kind == "rectified" else h) ** n


def direct_gaps(patterns, state, F):
    """Flip every spin both ways and take the difference of the energies."""
    flipped = []
    for i in range(len(state)):
        low, high = state.copy(), state.copy()
        low[i], high[i] = -1, 1
        flipped.append(-F(patterns @ low).sum() + F(patterns @ high).sum())
    return np.array(flipped)


@pytest.mark.fast
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_gaps_from_two_matmuls_equal_the_definition(kind, n, rng, x64):
    patterns = rng.choice([-1.0, 1.0], (400, 60))
    state = rng.choice([-1.0, 1.0], 60)
    wanted = direct_gaps(patterns, state, power(kind, n))
    F = KINDS[kind](n)
    identity = memory.gaps(patterns, state, F, method="matmul")
    np.testing.assert_allclose(identity, wanted, rtol=1e-9)
    np.testing.assert_allclose(memory.gaps(patterns, state, F, method="direct"), wanted, rtol=1e-9)
    np.testing.assert_array_equal(memory.gaps(patterns, state, F), identity)


TABLE = [
    ("polynomial", 2, -56, [-20, 12, -28, -28, 4, 36, 28, 28], [-1, 1, -1, -1, -1, 1, 1, 1], -120),
    (
        "polynomial", 3, 288, [56, -152, 200, 232, 8, -296, -232, -200],
        [1, -1, 1, 1, 1, -1, -1, -1], -496,
    ),
    (
        "polynomial", 4, -1568, [-272, 1008, -1264, -1264, 16, 2832, 1264, 1264],
        [-1, 1, -1, -1, 1, -1, 1, 1], -4128,
    ),
    ("rectified", 2, 0, [-4, -4, 0, 8, 4, 4, -8, 0], [-1, 1, -1, 1, -1, 1, -1, 1], -64),
    ("rectified", 3, 0, [-8, -8, 0, 16, 8, 8, -16, 0], [-1, 1, -1, 1, -1, 1, -1, 1], -512),
    ("rectified", 4, 0, [-16, -16, 0, 32, 16, 16, -32, 0], [-1, 1, -1, 1, -1, 1, -1, 1], -4096),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize(("kind", "n", "before", "gap", "swept", "after"), TABLE)
def test_a_deterministic_memory_gives_the_table_exactly(kind, n, before, gap, swept, after):
    F = KINDS[kind](n)
    assert (PATTERNS @ STATE).tolist() == [0, 0, -6, -2, -4]
    np.testing.assert_array_equal(memory.overlaps(PATTERNS, STATE), [0, 0, -6, -2, -4])
    assert memory.energy(PATTERNS, STATE, F) == before
    for method in ("matmul", "direct"):
        np.testing.assert_array_equal(memory.gaps(PATTERNS, STATE, F, method=method), gap)
    found = memory.retrieve(PATTERNS, STATE, F, max_sweeps=1)
    np.testing.assert_array_equal(found.state, swept)
    assert memory.energy(PATTERNS, found.state, F) == after
    # N = 8 is a power of two: the trace is the raw energy over 8^n.
    np.testing.assert_array_equal(found.energies * 8.0**n, [before, after])


@pytest.mark.fast
@pytest.mark.parametrize("n", range(1, 9))
def test_xor_is_solved_by_the_interactions_the_paper_names(n):
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    stored = cube.prod(axis=1) == -1
    odd, even = 3.0**n - 3, -(3.0**n + 3)
    energies = memory.energy(XOR, cube, memory.polynomial(n))
    wanted = odd * cube.prod(axis=1) if n % 2 else np.full(8, even)
    np.testing.assert_array_equal(energies, wanted)
    rect = memory.energy(XOR, cube, memory.rectified(n))
    np.testing.assert_array_equal(rect, np.where(stored, -(3.0**n), -3.0))
    for kind, solves in (("polynomial", n % 2 == 1 and n >= 3), ("rectified", n >= 2)):
        inputs = XOR * np.array([1, 1, 0]) + np.array([0, 0, 1])
        z = np.sign(memory.gaps(XOR, inputs, KINDS[kind](n))[:, 2])
        assert bool((z == XOR[:, 2]).all()) == solves


def test_energies_and_gaps_out_of_range_are_infinite_and_never_nan(rng):
    patterns = rng.choice([-1.0, 1.0], (50, 784)).astype(np.float32)
    patterns[1] = -patterns[0]
    even, odd = memory.polynomial(30), memory.polynomial(31)
    assert memory.energy(patterns, patterns[0], even) == -np.inf
    assert not np.isnan(memory.energy(patterns, patterns[0], odd))
    for F in (even, odd, memory.rectified(30), memory.exponential()):
        g = np.asarray(memory.gaps(patterns, patterns[0], F))
        assert not np.isnan(g).any()
        if F is not odd:  # there the pattern and its stored opposite cancel
            np.testing.assert_array_equal(np.sign(g), patterns[0])
        assert not np.isnan(memory.energy(patterns, patterns, F)).any()
    assert memory.energy(patterns, np.zeros(784, np.float32), even) == 0
    # Two overlaps out of range that cancel, and one that is negative.
    assert memory.energy(patterns[:2], patterns[0], odd) == 0
    assert memory.energy(patterns[1:2], patterns[0], even) == -np.inf
    assert memory.energy(patterns[1:2], patterns[0], odd) == np.inf
    opposite = memory.gaps(patterns[1:2], patterns[0], even.normalised(784))
    assert np.isfinite(opposite).all()
    np.testing.assert_array_equal(np.sign(opposite), patterns[0])


def test_general_patterns_use_the_definition(rng, x64):
    patterns, state = rng.normal(size=(30, 8)), rng.normal(size=8)
    F = memory.polynomial(3)
    for i in range(8):
        low, high = state.copy(), state.copy()
        low[i], high[i] = -1, 1
        wanted = memory.energy(patterns, low, F) - memory.energy(patterns, high, F)
        np.testing.assert_allclose(memory.gaps(patterns, state, F)[i], wanted, rtol=1e-10)


@pytest.mark.parametrize(
    "F",
    [
        memory.rectified(3),
        memory.polynomial(4),
        memory.exponential(0.3),
        memory.from_activation(jaxact.get("swish", 1.3)),
    ],
    ids=lambda F: F.name,
)
def test_energy_differentiates_in_patterns_state_and_theta(F, rng, x64):
    arguments = (rng.normal(size=(6, 4)), rng.normal(size=4), F)
    arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), arguments)
    for fn in (memory.energy, lambda p, s, F: memory.gaps(p, s, F).sum()):
        gradient = jax.grad(fn, argnums=(0, 1, 2))(*arguments)
        direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), arguments)
        step = 1e-6

        def moved(t, fn=fn, direction=direction):
            return float(fn(*jax.tree.map(lambda a, d: a + t * d, arguments, direction)))

        slope = (moved(step) - moved(-step)) / (2 * step)
        parts = jax.tree.map(lambda g, d: float((g * d).sum()), gradient, direction)
        np.testing.assert_allclose(sum(jax.tree.leaves(parts)), slope, rtol=1e-6)
    if F.theta:
        assert float(gradient[2].theta[0]) != 0


def test_an_anchored_energy_has_the_same_derivatives_as_a_plain_one(rng):
    """float32 at a degree that must be anchored, against float64 that need not be."""
    patterns, state = rng.normal(size=(6, 100)), rng.normal(size=100)

    def slopes(patterns, state):
        F = memory.rectified(20)
        return jax.grad(lambda p, s: memory.energy(p / 40, s, F), argnums=(0, 1))(patterns, state)

    single = slopes(jnp.float32(patterns), jnp.float32(state))
    with jax.enable_x64(True):  # noqa: FBT003
        double = slopes(jnp.float64(patterns), jnp.float64(state))
    for low, high in zip(single, double, strict=True):
        np.testing.assert_allclose(low, high, rtol=1e-3, atol=1e-4 * np.abs(high).max())
