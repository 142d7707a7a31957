"""The spectrum of a ten-layer network, against simulating one and against layered fixed points.

Ours is the density of the limiting law at 1,000 points of its support, on the real axis. The
simulation draws one network of 1,000 inputs, neurons and samples and diagonalises its features;
its error is the Kolmogorov distance of the two distribution functions. The fixed points are what
one writes from the paper: Silverstein's equation of every layer, damped, from the lowest layer's
Marchenko-Pastur law up, here for two layers at height 0.05, with the error beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark, size

SHARE, WIDTH, SIZE = 0.9, 1.0, size(1000, 500)
HEIGHTS = np.linspace(0.3, 6.0, 20) + 0.05j


def distance(ours: np.ndarray, peer: np.ndarray) -> float:
    """Kolmogorov's, between the law (x, distribution) and the eigenvalues."""
    x, law = np.split(ours, 2)
    at = np.interp(np.sort(peer), x, law)
    rank = np.arange(len(peer) + 1) / len(peer)
    return float(np.maximum(abs(at - rank[1:]), abs(at - rank[:-1])).max())


BENCHMARKS = {
    "spectra_depth": Benchmark(
        name="density of a 10-layer network at 1,000 points, float64",
        ours="jaxact.spectra.density of a DeepLaw",
        peer=f"one simulated network, n0 = n_l = m = {SIZE:,} (NumPy)",
        module="benchmarks.spectra_depth",
        error=distance,
        arguments=("simulation",),
    ),
    "spectra_depth_fixed_point": Benchmark(
        name="Stieltjes transform of a 2-layer network at 20 points, float64",
        ours="jaxact.spectra.companion of a DeepLaw",
        peer="damped layered fixed points (NumPy)",
        module="benchmarks.spectra_depth",
        arguments=("fixed_point",),
        repetitions=3,
    ),
}


def _leaky() -> float:
    """The slope of a leaky linear unit below 0 whose zeta / eta is SHARE."""
    # (1 + a)^2 / 4 = SHARE eta(a), with eta = (1 + a^2) / 2 - (1 - a)^2 / (2 pi)
    outer = 1 / 4 - SHARE * (1 / 2 - 1 / (2 * np.pi))
    roots = np.roots([outer, 1 / 2 - SHARE / np.pi, outer])
    return float(min(roots, key=abs))


def make_ours(against: str) -> Callable[[], np.ndarray]:
    """One compiled call over all points, in float64."""
    import jax

    from jaxact.spectra import DeepLaw, companion, density, edges

    depth = 10 if against == "simulation" else 2
    law = DeepLaw(np.ones(depth), np.full(depth, SHARE), 1.0, np.full(depth, WIDTH))

    def distribution() -> np.ndarray:
        with jax.enable_x64(True):  # noqa: FBT003
            top = float(edges(law).edges[-1])
            t = np.linspace(0, 1, 1001)[1:]
            rho = np.asarray(density(law, top * t**3)) * 3 * top * t**2  # a hard edge at 0
        return np.concatenate([top * t**3, np.cumsum(rho) / 1000])

    def transform() -> np.ndarray:
        with jax.enable_x64(True):  # noqa: FBT003
            values = np.asarray(companion(law, HEIGHTS))
        return np.stack([values.real, values.imag])

    return distribution if against == "simulation" else transform


def make_peer(against: str) -> Callable[[], np.ndarray]:
    """One network drawn and diagonalised, or the equations iterated."""
    slope = _leaky() if against == "simulation" else 0.0
    mean = (1 - slope) / np.sqrt(2 * np.pi)
    eta = (1 + slope**2) / 2 - (1 - slope) ** 2 / (2 * np.pi)

    def simulate() -> np.ndarray:
        rng = np.random.default_rng(0)
        y = rng.normal(size=(SIZE, SIZE))
        for _ in range(10):
            y = rng.normal(size=(SIZE, SIZE)) @ y / SIZE**0.5
            y = (np.where(y > 0, y, slope * y) - mean) / eta**0.5
        return np.linalg.eigvalsh(y @ y.T / SIZE)

    def iterate() -> np.ndarray:
        values = np.array([-_kernel(z, 2) for z in HEIGHTS])
        return np.stack([values.real, values.imag])

    return simulate if against == "simulation" else iterate


def _kernel(z: complex, layer: int) -> complex:
    """The integral of 1 / (t - z) d mu_l(t), where m = n_l = n0."""
    if layer == 0:
        return (-1 + np.sqrt(1 - 4 / z)) / 2
    v = -1 / z
    for _ in range(2000):
        inner = -(1 + (1 - SHARE) * v) / (SHARE * v)
        part = (1 - _kernel(inner, layer - 1) / (SHARE * v)) / v
        step = -1 / (z - part) - v
        v = v + step / 2
        if abs(step) < 1e-10 * abs(v):
            break
    return v
