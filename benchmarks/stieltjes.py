"""The Stieltjes transform of a nonlinear layer's law at 100,000 points, against np.roots.

The peer is what one writes without a library: the quartic of the law at each point, `np.roots`,
then the branch, picked by the signs that exactly one root has (Im w > 0, Im G < 0 and
Im G_companion < 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark, size

LAW = ETA, ZETA, PHI, PSI = 1.0, 0.3, 0.5, 0.75
POINTS = np.linspace(0.02, 6.0, size(100_000, 5_000)) + 1e-6j

BENCHMARK = Benchmark(
    name=f"Stieltjes transform, {len(POINTS):,} points, float64",
    ours="jaxact.spectra.stieltjes",
    peer=f"np.roots loop with branch selection (numpy {np.__version__})",
    module="benchmarks.stieltjes",
)
BENCHMARKS = {
    "stieltjes_float32": dataclasses.replace(
        BENCHMARK,
        name=f"Stieltjes transform, {len(POINTS):,} points, float32",
        arguments=("float32",),
    )
}


def make_ours(precision: str = "float64") -> Callable[[], np.ndarray]:
    """One compiled call over all points."""
    import jax

    from jaxact.spectra import Law, stieltjes

    law = Law(eta=ETA, zeta=ZETA, phi=PHI, psi=PSI)
    double = precision == "float64"
    points = POINTS if double else POINTS.astype(np.complex64)

    def work() -> np.ndarray:
        with jax.enable_x64(double):
            values = np.asarray(stieltjes(law, points))
        return np.stack([values.real, values.imag])

    return work


def make_peer(precision: str = "float64") -> Callable[[], np.ndarray]:
    """A loop over the points, in float64 whatever ours is."""
    del precision

    def work() -> np.ndarray:
        values = np.array([by_roots(z, *LAW) for z in POINTS])
        return np.stack([values.real, values.imag])

    return work


def by_roots(z: complex, e: float, s: float, phi: float, psi: float) -> complex:
    """G(z) of the law with eta = e and zeta = s."""
    a1, b1 = phi * e - s, psi * e - s
    a2, b2 = -phi * (e - s) * s, -psi * (e - s) * s
    w = np.roots(
        [
            1,
            a1 + b1 - psi * z,
            a2 + b2 + a1 * b1 + 2 * s * psi * z,
            a1 * b2 + a2 * b1 - psi * z * s**2,
            a2 * b2,
        ]
    )
    p = (e - s) / w + s / (w - s)
    g, companion = psi / w / (1 + phi * p), psi / w / (1 + psi * p)
    # The three signs hold for one root; the margin of the least one picks it under rounding.
    margin = np.minimum(np.minimum(w.imag, -g.imag), -companion.imag)
    return complex(g[np.argmax(margin)])
