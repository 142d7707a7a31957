"""Marchenko-Pastur's law by freealg and by scikit-rmt; runs where they are, without jaxact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def free_poisson(ratio: float, z: np.ndarray) -> Callable[[], np.ndarray]:
    """G = -m of jumps of size `ratio` at rate 1 / ratio, on a horizontal line of points."""
    from freealg.distributions import CompoundFreePoisson

    law = CompoundFreePoisson(t=[ratio], w=[1.0], lam=1 / ratio)

    def work() -> np.ndarray:
        values = -law.stieltjes(z)
        return np.stack([values.real, values.imag])

    return work


def freealg_density(ratio: float, x: np.ndarray) -> Callable[[], np.ndarray]:
    """The closed density of freealg."""
    from freealg.distributions import MarchenkoPastur

    law = MarchenkoPastur(ratio)
    return lambda: np.asarray(law.density(x))


def scikit_rmt_density(ratio: float, x: np.ndarray) -> Callable[[], np.ndarray]:
    """The closed density of scikit-rmt."""
    from skrmt.ensemble.spectral_law import MarchenkoPasturDistribution

    law = MarchenkoPasturDistribution(ratio=ratio)
    return lambda: np.asarray(law.pdf(x))
