"""Basins, the exponential memory, XOR and measured capacity: closed forms and simulations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory
from jaxact.memory.simulate import _simulate, random_patterns


@pytest.mark.fast
def test_flips_enter_the_bit_error_as_the_lost_overlap():
    """Two normal tails by hand, at N = 50 with 10 flipped bits, n = 3."""
    N, K, m = 50, 200, 10
    signs = np.random.default_rng(0).choice([-1, 1], (200_000, N - 1)).sum(1)
    D = lambda h: (h + 1.0) ** 3 - (h - 1.0) ** 3  # noqa: E731
    spread = np.sqrt((K - 1) * np.mean(D(signs) ** 2))
    tail = jax.scipy.stats.norm.sf
    kept, turned = (float(tail(D(N - 1 - 2 * lost) / spread)) for lost in (m, m - 1))
    wanted = (N - m) / N * kept + m / N * turned
    assert memory.bit_error(N, 3, K, flips=m / N) == pytest.approx(wanted, rel=0.02)
    assert memory.bit_error(N, 3, K, flips=0.0) == memory.bit_error(N, 3, K)


@pytest.mark.fast
def test_the_rectified_memory_at_twice_the_load_is_the_polynomial_one():
    for N, n, K in ((100, 2, 15), (200, 3, 2009), (100, 4, 10_048)):
        rect = memory.bit_error(N, n, 2 * K - 1, rectified=True)
        assert rect == pytest.approx(memory.bit_error(N, n, K), rel=1e-9)


@pytest.mark.parametrize(
    ("F", "K", "flips"),
    [
        (memory.polynomial(3), round(memory.finite_capacity(100, 3)), 0.0),
        (memory.rectified(3), 300, 0.2),
        (memory.exponential(0.1), 300, 0.27),
    ],
    ids=["polynomial, the 0.5 % point", "rectified, flipped", "exponential, flipped"],
)
def test_simulated_bits_fail_as_the_finite_theory_says(F, K, flips):
    """400,000 bits and more; also within the simulation's own standard error."""
    found = memory.measure_capacity(
        jax.random.key(1), 100, K, F, flips=flips, memories=80, probes=60, chunk=60
    )
    assert 1e-3 < found.theory < 0.05
    assert found.bit_error == pytest.approx(float(found.theory), rel=0.1)
    assert abs(found.bit_error - found.theory) < 4 * found.bit_error_se
    assert found.bit_error_se < 0.1 * found.theory
    assert 0 < found.exact < 1


def test_measured_capacity_counts_what_the_gaps_say():
    """The same memories, unpacked, and their energy differences in NumPy."""
    N, K, memories = 40, 8, 3
    F = memory.polynomial(2)
    found = memory.measure_capacity(
        jax.random.key(5), N, K, F, memories=memories, probes=99, chunk=7
    )
    wrong, exact = [], []
    for key in jax.random.split(jax.random.key(5), memories):
        draw, _ = jax.random.split(key)
        patterns = np.asarray(memory.unpack(random_patterns(draw, N, K)))
        rest = (patterns @ patterns.T)[:, :, None] - patterns[:, None, :] * patterns[None, :, :]
        gap = (4 * patterns[None, :, :] * rest).sum(1)
        bad = gap * patterns < 0
        wrong.append(bad.mean())
        exact.append(1 - bad.any(-1).mean())
    assert 0 < np.mean(exact) < 1
    np.testing.assert_allclose(found.bit_error, np.mean(wrong), rtol=1e-5)
    np.testing.assert_allclose(found.exact, np.mean(exact), rtol=1e-5)
    np.testing.assert_allclose(
        found.bit_error_se, np.std(wrong, ddof=1) / np.sqrt(memories), rtol=1e-4
    )


@pytest.mark.fast
def test_random_patterns_are_fair_and_leave_unused_bits_empty():
    stored = random_patterns(jax.random.key(0), 45, 4000)
    assert (np.asarray(stored.words[-1]) >> 13 == 0).all()
    spins = np.asarray(memory.unpack(stored))
    assert np.abs(spins.mean(0)).max() < 5 / np.sqrt(4000)
    np.testing.assert_array_equal(np.diag(memory.overlaps(stored, spins[:9])[:, :9]), 45)


@pytest.mark.fast
def test_the_basin_radius_is_where_the_error_is_reached():
    loads = np.array([200.0, 400.0, 1e6])
    radius = np.asarray(memory.basin_radius(100, CUBIC, loads))
    assert radius[0] > radius[1] > 0 == radius[2]
    assert radius.dtype == np.float32
    with jax.enable_x64(True):
        for K in loads[:2]:
            rho = memory.basin_radius(100, CUBIC, K)
            assert memory.bit_error(100, CUBIC, K, flips=rho) == pytest.approx(0.005, rel=1e-9)
    wide = memory.basin_radius(100, 3, 200, 0.02, rectified=True)
    assert wide > radius[0]
    assert memory.basin_radius(100, 3, 1) == pytest.approx(0.5, abs=0.02)


CUBIC = memory.rectified(3)


@pytest.mark.parametrize(("F", "K"), [(CUBIC, 300), (memory.exponential(0.1), 300)])
def test_one_update_repairs_what_the_basin_radius_says(F, K):
    """At a whole number of flips inside the radius fewer bits stay wrong, outside more."""
    rho = memory.basin_radius(100, F, K, 0.02)
    inside, outside = np.floor(100 * rho) / 100, np.ceil(100 * rho) / 100
    errors = [
        memory.measure_capacity(
            jax.random.key(2), 100, K, F, flips=flips, memories=80, probes=60, chunk=60
        )
        for flips in (inside, outside)
    ]
    assert errors[0].bit_error < 0.02 < errors[1].bit_error


def test_basins_differentiate(x64):
    def radius(beta, K, error):
        return memory.basin_radius(50, memory.exponential(beta), K, error)

    at = [0.1, 40.0, 0.02]
    slopes = jax.grad(radius, argnums=(0, 1, 2))(*at)
    for k in range(3):
        ends = [radius(*(v * (1 + s * 1e-5 * (i == k)) for i, v in enumerate(at))) for s in (1, -1)]
        np.testing.assert_allclose(slopes[k], (ends[0] - ends[1]) / (2e-5 * at[k]), rtol=1e-4)
    slope = jax.grad(memory.exponential_basin, argnums=1)(40, 1500.0)
    ends = [memory.exponential_basin(40, 1500.0 + s) for s in (0.01, -0.01)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 0.02, rtol=1e-5)
    slope = jax.grad(memory.exponential_alpha)(0.1)
    np.testing.assert_allclose(slope, -np.log(1.8 / 0.2) / 2, rtol=1e-9)


@pytest.mark.fast
def test_the_exponential_capacity_is_the_papers():
    assert memory.exponential_alpha() == pytest.approx(np.log(2) / 2, rel=1e-12)
    assert memory.exponential_alpha(0.5) == 0
    for rho in (0.05, 0.2, 0.45):
        x = 1 - 2 * rho
        rate = ((1 + x) * np.log(1 + x) + (1 - x) * np.log(1 - x)) / 2
        assert memory.exponential_alpha(rho) == pytest.approx(rate / 2, rel=1e-12)
        K = memory.exponential_capacity(100, rho)
        assert pytest.approx(np.exp(100 * rate / 2) + 1, rel=1e-12) == K
        assert memory.exponential_basin(100, K) == pytest.approx(rho, rel=1e-9)
    assert memory.exponential_capacity(3000) == np.inf
    assert memory.exponential_basin(20, 2**11) == 0
    assert memory.exponential_basin(20, 2) == 0.5
    np.testing.assert_allclose(
        memory.exponential_basin(40, np.array([1575.0, 1e9])), [0.1, 0], atol=1e-4
    )


def test_the_exponential_memory_repairs_its_basin_in_one_update():
    K = round(memory.exponential_capacity(60, 0.15))
    found = memory.measure_capacity(
        jax.random.key(3), 60, K, memory.exponential(), flips=0.15, memories=8, probes=32
    )
    assert K > 1000
    assert found.exact > 0.95


@pytest.mark.fast
@pytest.mark.parametrize("n", range(1, 7))
def test_xor_has_the_papers_closed_forms(n):
    poly, rect = memory.xor(memory.polynomial(n)), memory.xor(memory.rectified(n))
    product = np.asarray(poly.states).prod(1)
    wanted = (3.0**n - 3) * product if n % 2 else np.full(8, -(3.0**n + 3))
    np.testing.assert_array_equal(poly.energies, wanted)
    np.testing.assert_array_equal(rect.energies, np.where(product == -1, -(3.0**n), -3.0))
    assert bool(poly.solves) == (n % 2 == 1 and n >= 3)
    assert bool(rect.solves) == (n >= 2)
    assert rect.margin == 3**n - 3


@pytest.mark.fast
def test_xor_of_any_activation_needs_an_odd_part_that_grows(x64):
    acts = [jaxact.get(name) for name in ("tanh", "relu", "softplus", "gelu")]
    acts.append(jaxact.activation(lambda x: 3 * x**2, name="square"))
    for act, solves in zip(acts, (False, True, False, False, True), strict=True):
        found = memory.xor(act)
        P = act.primitive
        odd = [float(P(jnp.float64(h)) - P(jnp.float64(-h))) / 2 for h in (1.0, 3.0)]
        np.testing.assert_allclose(found.margin, 2 * (odd[1] - 3 * odd[0]), atol=1e-9)
        if act.name in ("tanh", "relu", "square"):
            assert bool(found.solves) == solves
    slope = jax.grad(lambda b: memory.xor(jaxact.get("swish", b)).margin)(1.0)
    ends = [float(memory.xor(jaxact.get("swish", 1.0 + s)).margin) for s in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-8)


@pytest.mark.fast
def test_loads_and_shares_compile_once():
    def calls(flips, seed, beta):
        memory.measure_capacity(
            jax.random.key(seed), 40, 30, memory.exponential(beta), flips=flips,
            memories=3, probes=99, chunk=7,
        )  # fmt: skip

    calls(0.0, 0, 0.1)
    before = _simulate._cache_size()
    calls(0.1, 1, 0.2)
    assert _simulate._cache_size() == before


REFUSED = [
    (lambda: memory.bit_error(100, 3, 10, flips=1.5), r"flips must be in \[0.0, 1.0\], got 1.5"),
    (lambda: memory.basin_radius(100, 3, 0), r"K must be in \[1.0, inf\], got 0"),
    (lambda: memory.basin_radius(100, 3, 10, 0.6), "error must be below 0.5, got 0.6"),
    (lambda: memory.basin_radius(100, 0, 10), "n must be at least 1, got 0"),
    (lambda: memory.exponential_alpha(0.7), r"flips must be in \[0.0, 0.5\], got 0.7"),
    (lambda: memory.exponential_alpha(np.nan), r"flips must be in \[0.0, 0.5\], got nan"),
    (lambda: memory.exponential_capacity(0), "N must be at least 1, got 0"),
    (lambda: memory.exponential_basin(10, 1), r"K must be in \[2.0, inf\], got 1"),
    (
        lambda: memory.measure_capacity(jax.random.key(0), 10, 0, CUBIC),
        "K must be at least 1, got 0",
    ),
    (
        lambda: memory.measure_capacity(jax.random.key(0), 10, 5, CUBIC, memories=1),
        "memories must be at least 2, got 1",
    ),
]


@pytest.mark.fast
@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.fast
def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match="key must be a typed key"):
        memory.measure_capacity(0, 10, 5, CUBIC)
    with pytest.raises(TypeError, match="F must be an Interaction"):
        memory.xor(abs)
