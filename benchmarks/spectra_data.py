"""Double descent on real digits: a grid of 12 ridge parameters and 16 widths, against simulation.

Ours predicts the whole grid from one eigendecomposition of the kernel. The peer is what one
writes without a theory: for every width one draw of random features in NumPy, one
eigendecomposition of the smaller Gram matrix, and all ridge parameters from it. A single draw
scatters about its mean, so the error is the median over the grid of the relative difference of
the test errors, theory against one draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Benchmark

TRAIN = 600
GAMMAS = np.logspace(-4, 1, 12)
WIDTHS = np.unique(np.round(TRAIN * np.logspace(-1, 0.7, 16)).astype(int))


def median_difference(ours: np.ndarray, peer: np.ndarray) -> float:
    """The median over the grid of |theory / draw - 1|."""
    return float(np.median(np.abs(ours / peer - 1)))


BENCHMARK = Benchmark(
    name=f"Random-feature ridge on digits, {len(GAMMAS)} gammas x {len(WIDTHS)} widths",
    ours="jaxact.spectra.fixed_data",
    peer=f"one simulated draw a width (numpy {np.__version__})",
    module="benchmarks.spectra_data",
    error=median_difference,
    repetitions=3,
)


def data() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Digits, centred, of norm sqrt(n0), with one-hot labels: training and test samples."""
    from jaxact.io import load_digits

    digits = load_digits(train=TRAIN)
    mean = digits.x.reshape(TRAIN, -1).mean(0)
    sets = []
    for images, labels in ((digits.x, digits.y), (digits.test_x[:300], digits.test_y[:300])):
        x = images.reshape(len(images), -1).astype(np.float64) - mean
        sets.append((8 * x / np.linalg.norm(x, axis=1, keepdims=True), np.eye(10)[labels]))
    return sets[0], sets[1]


def make_ours() -> Callable[[], np.ndarray]:
    """The predicted test error of the grid: kernel, eigendecomposition and all."""
    import jax

    import jaxact

    (x, y), test = data()
    tanh = jaxact.get("tanh")

    def work() -> np.ndarray:
        with jax.enable_x64(True):  # noqa: FBT003
            found = jaxact.spectra.fixed_data(
                tanh, x, y, n1=WIDTHS[:, None].astype(float), gamma=GAMMAS, test=test
            )
            return np.asarray(found.test_error)

    return work


def make_peer() -> Callable[[], np.ndarray]:
    """A loop over widths."""
    (x, y), (test_x, test_y) = data()

    def work() -> np.ndarray:
        rng = np.random.default_rng(0)
        return np.stack([_draw(rng, n1, x, y, test_x, test_y) for n1 in WIDTHS])

    return work


def _draw(rng: Any, n1: int, x: Any, y: Any, test_x: Any, test_y: Any) -> np.ndarray:
    m, n0 = x.shape
    weights = rng.normal(size=(n1, n0)) / n0**0.5
    features, fresh = np.tanh(weights @ x.T), np.tanh(weights @ test_x.T)
    few = n1 <= m
    values, basis = np.linalg.eigh((features @ features.T if few else features.T @ features) / m)
    pulled = basis.T @ (features @ y / m if few else y)
    back = fresh.T @ basis if few else fresh.T @ features @ basis / m
    errors = [back @ (pulled / (values + g)[:, None]) - test_y for g in GAMMAS]
    return np.array([(e**2).sum() / len(test_y) for e in errors])
