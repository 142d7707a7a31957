"""The entmax family against sorting, bisection, softmax and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxact.memory.fenchel_young import entmax_conjugate, entmax_weights

SCALES = np.array([1e-3, 0.3, 1.0, 30.0, 1e4])[:, None]
SCORES = SCALES * np.random.default_rng(0).standard_normal((5, 40))


def by_sorting(z):
    """Sparsemax (Martins & Astudillo 2016, algorithm 1)."""
    falling = np.sort(z)[::-1]
    sums, k = np.cumsum(falling), np.arange(1, len(z) + 1)
    support = k[1 + k * falling > sums][-1]
    return np.maximum(z - (sums[support - 1] - 1) / support, 0)


def by_sorting_1p5(z):
    """1.5-entmax (Peters, Niculae & Martins 2019, algorithm 2)."""
    falling = np.sort(z / 2)[::-1]
    k = np.arange(1, len(z) + 1)
    mean, square = np.cumsum(falling) / k, np.cumsum(falling**2) / k
    tau = mean - np.sqrt(np.maximum((1 - k * (square - mean**2)) / k, 0))
    return np.maximum(z / 2 - tau[(tau <= falling).sum() - 1], 0) ** 2


def by_bisection(z, alpha):
    low, high = (alpha - 1) * z.max() - 1, (alpha - 1) * z.max()
    for _ in range(200):
        middle = (low + high) / 2
        p = np.maximum((alpha - 1) * z - middle, 0) ** (1 / (alpha - 1))
        low, high = (middle, high) if p.sum() > 1 else (low, middle)
    return p


def by_softmax(z):
    p = np.exp(z - z.max())
    return p / p.sum()


TWINS = {
    1.0: by_softmax,
    1.2: lambda z: by_bisection(z, 1.2),
    1.5: by_sorting_1p5,
    2.0: by_sorting,
    3.0: lambda z: by_bisection(z, 3.0),
}
weights = jax.jit(entmax_weights)


@pytest.mark.fast
@pytest.mark.parametrize("alpha", TWINS)
def test_weights_equal_the_numpy_twins(alpha, x64):
    wanted = np.array([TWINS[alpha](z) for z in SCORES])
    found = weights(jnp.asarray(SCORES), alpha)
    # Differences of scores of 1e4 are known to 1e-12; beyond alpha = 2 exp_a is steep at 0.
    np.testing.assert_allclose(found, wanted, atol=1e-11 if alpha <= 2 else 1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-14)
    single = weights(jnp.asarray(SCORES[:4], jnp.float32), alpha)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, wanted[:4], atol=1e-5 if alpha <= 2 else 1e-3)


@pytest.mark.fast
def test_alpha_to_one_is_softmax(x64):
    z = jnp.asarray(SCORES[:4])
    limit = np.array([by_softmax(row) for row in SCORES[:4]])
    for step in (1e-4, 1e-8, 1e-14):
        assert np.abs(weights(z, 1 + step) - limit).max() < 100 * step + 1e-13


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
def test_derivatives_are_exact_twice(alpha, x64):
    z = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6)))
    slope = jax.grad(lambda z: entmax_conjugate(z, alpha).sum())(z)
    np.testing.assert_allclose(slope, entmax_weights(z, alpha), atol=1e-13)
    check_grads(weights, (z, alpha), 2, modes=["rev"], atol=1e-5, rtol=1e-5)


def test_the_conjugate_is_a_maximum(x64):
    z = jnp.asarray(SCORES[2])
    for alpha in (1.5, 2.0):
        best = float(entmax_conjugate(z, alpha))
        trials = np.random.default_rng(2).dirichlet(np.full(40, 0.2), 200)
        omega = (trials**alpha - trials).sum(-1) / (alpha * (alpha - 1))
        assert (trials @ SCORES[2] - omega <= best + 1e-12).all()
        p = np.asarray(entmax_weights(z, alpha))
        mine = p @ SCORES[2] - (p**alpha - p).sum() / (alpha * (alpha - 1))
        assert mine == pytest.approx(best, abs=1e-12)
