"""Capacity: the paper's numbers, exact finite-N sums, and simulated bits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import memory


@pytest.mark.fast
def test_the_papers_numbers():
    alphas = [0.150718, 0.0502394, 0.0100479, 0.00143541, 0.000159490]
    for n, value in enumerate(alphas, start=2):
        assert memory.alpha(n) == pytest.approx(value, abs=1e-6, rel=1e-5)
        assert memory.alpha(n, rectified=True) == pytest.approx(2 * memory.alpha(n), 1e-12)
        assert memory.capacity(100, n) == pytest.approx(memory.alpha(n) * 100.0 ** (n - 1), 1e-12)
    assert memory.alpha(2, 0.0036) == pytest.approx(0.1385, abs=2e-4)
    perfect = [10.857362, 361.912068, 7238.241365, 103403.448073]
    for n, value in enumerate(perfect, start=2):
        assert memory.no_error_capacity(100, n) == pytest.approx(value, abs=1e-6)


@pytest.mark.fast
def test_capacities_stay_finite_at_the_papers_largest_degree():
    assert np.isfinite(memory.capacity(784, 30))
    assert np.isfinite(memory.finite_capacity(784, 30))
    assert memory.bit_error(784, 30, 1e40) < memory.bit_error(784, 30, 1e46)


@pytest.mark.fast
def test_finite_sizes_approach_the_asymptotic_law():
    """The published reference ratios of the exact to the leading-order variance at N = 100."""
    for n, ratio in ((2, 0.99), (3, 0.97570), (4, 0.95470), (5, 0.92778)):
        mean = (100.0**n - 98.0**n) / (2 * n * 100.0 ** (n - 1))
        wanted = 1 + mean**2 / ratio * memory.capacity(100, n)
        assert memory.finite_capacity(100, n) == pytest.approx(wanted, rel=2e-5)
    table = [(1000, 2, 150, 0.00481), (1000, 2, 301, 0.03401), (200, 3, 2009, 0.00513)]
    table += [(200, 3, 4019, 0.03479), (100, 4, 10048, 0.00526), (100, 4, 20096, 0.03523)]
    for N, n, K, error in table:
        assert memory.bit_error(N, n, K) == pytest.approx(error, abs=6e-6)
    rect = [
        memory.bit_error(N, n, K, rectified=True) for N, n, K in ((1000, 2, 301), (200, 3, 4019))
    ]
    np.testing.assert_allclose(rect, [0.00493, 0.00514], atol=6e-6)


@pytest.mark.fast
def test_the_variance_is_the_average_over_every_pattern(x64):
    """All 2^(N - 1) sign patterns of a small N, counted one by one, for any F."""
    N, K = 9, 20
    h = np.array([sum(signs) for signs in itertools.product((-1, 1), repeat=N - 1)])
    for act in (jaxact.get("tanh"), jaxact.get("gelu"), jaxact.activation(jnp.arctan)):
        F = memory.from_activation(act).scaled(5.0)
        G = F.normalised(N)
        variance = np.mean(np.asarray(G(h + 1.0) - G(h - 1.0)) ** 2)
        margin = float(G(N) - G(N - 2)) / np.sqrt((K - 1) * variance)
        assert memory.bit_error(N, F, K) == pytest.approx(
            float(jax.scipy.stats.norm.sf(margin)), 1e-9
        )


@pytest.mark.parametrize(("n", "rectified", "K"), [(3, False, 2009), (3, True, 4019)])
def test_simulated_bits_fail_as_often_as_the_theory_says(n, rectified, K, rng):
    F = memory.rectified(n) if rectified else memory.polynomial(n)
    wrong = []
    # 400,000 bits in 40 memories: the bits of one site share a field, so few memories vary a lot.
    for _ in range(40):
        patterns = jnp.float32(rng.choice([-1, 1], (K, 200)))
        gaps = memory.gaps(patterns, patterns[:50], F.normalised(200), method="matmul")
        wrong.append(float((gaps * patterns[:50] < 0).mean()))
    assert np.mean(wrong) == pytest.approx(
        memory.bit_error(200, n, K, rectified=rectified), rel=0.1
    )


def test_the_memory_of_an_activation_is_predicted_too(rng):
    """A function the paper never saw: softplus' primitive at gain 12, simulated."""
    F = memory.from_activation(jaxact.get("softplus")).scaled(12.0)
    K = round(memory.finite_capacity(200, F, 0.02))
    trials = 400_000 // (200 * K) + 1
    wrong = []
    for _ in range(trials):
        patterns = jnp.float32(rng.choice([-1, 1], (K, 200)))
        gaps = memory.gaps(patterns, patterns, F.normalised(200), method="matmul")
        wrong.append(float((gaps * patterns < 0).mean()))
    assert np.mean(wrong) == pytest.approx(0.02, rel=0.1)


def test_capacity_and_bit_error_differentiate(x64):
    def holds(beta, error):
        F = memory.from_activation(jaxact.get("swish", beta)).scaled(20.0)
        return memory.finite_capacity(50, F, error)

    step = 1e-5
    for k in range(2):
        at = [0.7, 0.01]
        slope = jax.grad(holds, argnums=k)(*at)
        ends = []
        for sign in (1, -1):
            moved = list(at)
            moved[k] *= 1 + sign * step
            ends.append(holds(*moved))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step * at[k]), rtol=1e-6)
    loads = jnp.array([20.0, 40.0])
    slope = jax.vmap(jax.grad(lambda K: memory.bit_error(50, 3, K)))(loads)
    assert (slope > 0).all()
    alone = jax.jit(lambda e: memory.alpha(3, e))(0.005)
    assert float(alone) == pytest.approx(memory.alpha(3), rel=1e-9)


@pytest.mark.fast
def test_float32_users_get_float64_numbers():
    with jax.enable_x64(True):  # noqa: FBT003
        wide = memory.bit_error(1000, 4, 10**6)
    assert memory.bit_error(1000, 4, 10**6) == wide
    assert memory.bit_error(100, 2, np.array([10, 20])).dtype == jnp.float32
    assert memory.bit_error(100, 3, 1) == 0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        memory.capacity(100, 1)
    with pytest.raises(ValueError, match=r"error must be below 0.5, got 0.7"):
        memory.alpha(2, 0.7)
    with pytest.raises(ValueError, match="error must be positive, got 0"):
        memory.finite_capacity(100, 2, 0.0)
    with pytest.raises(ValueError, match="N must be at least 2, got 1"):
        memory.no_error_capacity(1, 2)
    with pytest.raises(ValueError, match=r"K must be in \[1.0, inf\], got 0"):
        memory.bit_error(100, 2, 0)
