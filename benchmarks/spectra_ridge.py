"""The test error's gradient in all six numbers of 2,000 laws, against finite differences in NumPy.

The peer is what one writes without a library: the quartic's roots as the eigenvalues of batched
companion matrices, the branch as the least real root at z = -gamma, the test error in closed form
from it, and central differences: 12 evaluations a law. The error is the largest difference of
gradients over the largest entry of each law's, so it is that of the differences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark

LAWS = 2_000
STEP = 1e-6


def _parameters() -> np.ndarray:
    """(eta, zeta, phi, psi, gamma, noise) of every law, (6, LAWS)."""
    rng = np.random.default_rng(0)
    eta, phi, psi = np.exp(rng.uniform(-1, 1, (3, LAWS)))
    share, noise = rng.uniform(0.05, 0.95, LAWS), rng.uniform(0.05, 1, LAWS)
    return np.stack([eta, share * eta, phi, psi, 10 ** rng.uniform(-2, 1, LAWS), noise])


def _error(ours: np.ndarray, peer: np.ndarray) -> float:
    ours, peer = ours.reshape(6, -1), peer.reshape(6, -1)
    return float((np.abs(ours - peer).max(0) / np.abs(peer).max(0)).max())


BENCHMARK = Benchmark(
    name="Gradient of the ridge test error in 6 numbers, 2,000 laws, float64",
    ours="jax.grad of jaxact.spectra.test_error, vmapped",
    peer=f"central differences over batched eigenvalues (numpy {np.__version__})",
    module="benchmarks.spectra_ridge",
    error=_error,
)


def make_ours() -> Callable[[], np.ndarray]:
    """One compiled call over all laws."""
    import jax

    from jaxact.spectra import Law, test_error

    def error(v: jax.Array) -> jax.Array:
        return test_error(Law(*v[:4]), v[4], noise=v[5])

    gradient = jax.jit(jax.vmap(jax.grad(error), 1, 1))
    parameters = _parameters()

    def work() -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(gradient(parameters))

    return work


def make_peer() -> Callable[[], np.ndarray]:
    """Twelve batched evaluations."""
    parameters = _parameters()

    def work() -> np.ndarray:
        rows = []
        for i in range(6):
            shift = np.zeros((6, 1))
            shift[i] = STEP
            step = shift * parameters
            rise = _test_error(parameters + step) - _test_error(parameters - step)
            rows.append(rise / (2 * step[i]))
        return np.stack(rows)

    return work


def _test_error(parameters: np.ndarray) -> np.ndarray:
    eta, zeta, phi, psi, gamma, noise = parameters
    s, z = zeta / eta, -gamma / eta
    a1, b1 = phi - s, psi - s
    a2, b2 = -phi * s * (1 - s), -psi * s * (1 - s)
    companion = np.zeros((s.size, 4, 4))
    companion[:, [1, 2, 3], [0, 1, 2]] = 1
    companion[:, 0] = -np.stack(
        [
            a1 + b1 - psi * z,
            a2 + b2 + a1 * b1 + 2 * s * psi * z,
            a1 * b2 + a2 * b1 - psi * z * s**2,
            a2 * b2,
        ],
        -1,
    )
    roots = np.linalg.eigvals(companion)
    real = np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots))
    y = -np.where(real, roots.real, np.inf).min(-1)
    p, q = (1 - s) / y + s / (y + s), (1 - s) / y + s * y / (y + s) ** 2
    first, second, u, tail = 1 - phi * p, 1 - psi * p, y / (y + s), psi * q
    top = noise * (second + tail) + u * (u * second + tail)
    return top / (first * (second + tail) + phi * q * second)
