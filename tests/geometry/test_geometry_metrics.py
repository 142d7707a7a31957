"""The ring and the kernel density against NumPy, SciPy-like sums and scikit-learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from jaxact.geometry import kde_bandwidth, kde_log_likelihood, ring, ring_coverage


def flat(a):
    return np.asarray(a, float).reshape(len(a), -1)


def twin(samples, x, h):
    square = ((flat(samples)[:, None] - flat(x)[None]) ** 2).sum(-1) / (2 * h**2)
    least = square.min(0)
    total = np.log(np.exp(least[None] - square).mean(0)) - least
    return total - flat(x).shape[1] * np.log(h * np.sqrt(2 * np.pi))


@pytest.mark.parametrize(("block", "count"), [(256, 40), (16, 40), (7, 41)])
def test_kde_is_scikit_learns(x64, rng, block, count):
    samples, x = rng.normal(size=(count, 2, 3)), rng.normal(size=(23, 2, 3))
    got = kde_log_likelihood(samples, x, bandwidth=0.4, block=block)
    np.testing.assert_allclose(got, twin(samples, x, 0.4), rtol=1e-12)
    # scikit-learn's tree loses digits where many dimensions meet a small bandwidth; not here.
    peer = KernelDensity(bandwidth=0.4).fit(flat(samples))
    np.testing.assert_allclose(got, peer.score_samples(flat(x)), rtol=1e-9)


def test_kde_of_digits_in_single_precision():
    from jaxact.io import load_digits

    digits = load_digits()
    got = kde_log_likelihood(digits.x[:300], digits.test_x[:50], bandwidth=0.1134)
    assert got.dtype == jnp.float32
    want = twin(digits.x[:300], digits.test_x[:50], 0.1134)
    np.testing.assert_allclose(got, want, atol=1e-2)


def test_kde_far_away_is_finite_and_has_a_gradient(x64):
    samples = np.array([[0.0], [1.0]])
    far = kde_log_likelihood(samples, np.array([[1e3]]), bandwidth=0.1)
    np.testing.assert_allclose(far, twin(samples, np.array([[1e3]]), 0.1), rtol=1e-12)
    f = lambda h: jnp.sum(kde_log_likelihood(samples, samples, bandwidth=h))  # noqa: E731
    np.testing.assert_allclose(jax.grad(f)(0.5), (f(0.5 + 1e-6) - f(0.5 - 1e-6)) / 2e-6, rtol=1e-7)


def test_bandwidth_is_the_best_of_three_held_out_folds(x64, rng):
    x = rng.normal(size=(61, 2))
    tried = [0.05, 0.2, 0.5, 1.5]
    fold = np.arange(61) % 3
    held = lambda h, j: twin(x[fold != j], x[fold == j], h).sum()  # noqa: E731
    scores = [sum(held(h, j) for j in range(3)) / 61 for h in tried]
    found = kde_bandwidth(x, candidates=tried, block=16)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-11)
    assert float(found.value) == tried[int(np.argmax(scores))]


def test_ring_density_is_the_mixtures_and_its_samples_follow_it(x64):
    law = ring(modes=3, radius=1.0, deviation=0.3)
    points = np.stack(np.meshgrid(*[np.linspace(-3, 3, 121)] * 2), -1).reshape(-1, 2)
    density = np.exp(jax.vmap(law.log_density)(points))
    angle = 2 * np.pi * np.arange(3) / 3
    centers = np.stack([np.cos(angle), np.sin(angle)], 1)
    square = ((points[:, None] - centers) ** 2).sum(-1)
    np.testing.assert_allclose(
        density, np.exp(-square / 0.18).mean(1) / (2 * np.pi * 0.09), rtol=1e-12
    )
    np.testing.assert_allclose(density.sum() * 0.05**2, 1, rtol=1e-9)
    x = np.asarray(law(jax.random.key(0), 20000))
    np.testing.assert_allclose(x.mean(0), 0, atol=0.03)
    np.testing.assert_allclose((x**2).sum(1).mean(), 1 + 2 * 0.09, atol=0.03)


def test_coverage_counts_by_hand():
    law = ring()
    centers = np.asarray(law.centers)
    samples = np.concatenate([
        np.repeat(centers[:2], [150, 49], axis=0) + np.array([0.39, 0.0]),  # within 4 deviations
        centers[3:4],  # one sample of 200 is too few for a mode
        np.repeat(centers[5:6], 50, axis=0) + np.array([0.0, 0.41]),  # beyond
    ]).astype(np.float32)  # fmt: skip
    seen = ring_coverage(samples, law)
    assert int(seen.modes) == 2
    np.testing.assert_allclose(seen.quality, 200 / 250)
    p = np.array([150, 49, 1]) / 200
    np.testing.assert_allclose(seen.kl, (p * np.log(p)).sum() + np.log(8), rtol=1e-5)
    nothing = ring_coverage(np.zeros((5, 2), np.float32), law)
    assert int(nothing.modes) == 0
    np.testing.assert_allclose([nothing.quality, nothing.kl], [0, np.log(8)], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ring(modes=0), "modes must be at least 1"),
        (lambda: ring(deviation=-1.0), "deviation must be positive"),
        (lambda: ring_coverage(np.zeros((3, 3))), "x must have shape"),
        (lambda: ring_coverage(np.zeros((0, 2))), "at least one sample"),
        (lambda: ring_coverage(np.full((3, 2), np.nan)), "x must be finite"),
        (
            lambda: kde_log_likelihood(np.zeros((2, 1)), np.zeros((2, 2)), bandwidth=1.0),
            "one shape",
        ),
        (lambda: kde_log_likelihood(np.zeros((0, 1)), np.zeros((2, 1)), bandwidth=1.0), "samples"),
        (
            lambda: kde_log_likelihood(np.zeros((2, 1)), np.zeros((2, 1)), bandwidth=0.0),
            "bandwidth",
        ),
        (lambda: kde_bandwidth(np.zeros((2, 1)), folds=3), "at least folds=3"),
        (lambda: kde_bandwidth(np.zeros((4, 1)), candidates=[-1.0]), "candidates"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
