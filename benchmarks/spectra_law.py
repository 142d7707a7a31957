"""One layer's law against peers: its density and edges, many laws at once, closed forms.

The simulation draws one layer of 1,333 neurons and diagonalises its features; its error is the
Kolmogorov distance of the two distribution functions. The grid of laws is solved by `np.roots` one
by one. At zeta = 0 the law is Marchenko-Pastur's, a free Poisson law, which freealg (a solver for
compound ones, and a closed density) and scikit-rmt (a closed density) know: set JAXACT_RMT_PYTHON
to an interpreter that has them. Against freealg's solver ours takes the general curve too, since
zeta is traced; against closed densities the closed form.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark, relative_error
from benchmarks.peers import rmt
from benchmarks.spectra_depth import distance
from benchmarks.stieltjes import by_roots

RMT = "JAXACT_RMT_PYTHON"
ETA, ZETA, PHI, PSI = 1.0, 0.3, 0.5, 0.75
INPUTS, NEURONS, SAMPLES = 1000, 1333, 2000
POINTS = np.linspace(0.05, 3.5, 100_000)  # past both ends of the support at zeta = 0
SOLVED = POINTS[::5] + 1e-3j
ACTS = ("tanh", "relu", "gelu", "erf", "silu", "sigmoid", "softplus", "elu", "mish", "arctan")
RATIOS = np.geomspace(0.1, 10.0, 32)[:-1]
_LEVEL = -0.1 + 1e-3j
STRIDE = 20  # the loop does one in so many of the grid's laws


def gap_of_grid(ours: np.ndarray, peer: np.ndarray) -> float:
    """The largest relative gap over the laws that the loop did."""
    mine, theirs = ours.reshape(2, -1)[:, ::STRIDE], peer.reshape(2, -1)
    return relative_error(mine, theirs)


def _rmt(name: str, ours: str, peer: str, kind: str) -> Benchmark:
    return Benchmark(
        name=name,
        ours=ours,
        peer=peer,
        module="benchmarks.spectra_law",
        python=(sys.executable, os.environ.get(RMT, sys.executable)),
        arguments=(kind,),
        requires=RMT,
        imports=("skrmt",) if kind == "scikit_rmt" else ("freealg",),
    )


BENCHMARKS = {
    "spectra_density": Benchmark(
        name="density at 1,000 points and edges of a layer, float64",
        ours="jaxact.spectra.density and edges",
        peer="one simulated layer, n1 = 1,333 (NumPy)",
        module="benchmarks.spectra_law",
        error=distance,
        arguments=("simulation",),
        repetitions=3,
    ),
    "spectra_grid": Benchmark(
        name="Stieltjes transform of 9,610 laws (phi x psi x activation), float64",
        ours="jaxact.spectra.stieltjes, one vmapped call",
        peer=f"np.roots loop with branch selection (numpy {np.__version__}), one law in 20",
        module="benchmarks.spectra_law",
        error=gap_of_grid,
        arguments=("grid",),
        peer_share=1 / STRIDE,
    ),
    "spectra_free_poisson": _rmt(
        "Stieltjes transform at 20,000 points, zeta = 0, float64",
        "jaxact.spectra.stieltjes, general curve",
        "freealg's CompoundFreePoisson.stieltjes",
        "free_poisson",
    ),
    "spectra_freealg": _rmt(
        "closed Marchenko-Pastur density, 100,000 points, float64 (freealg)",
        "jaxact.spectra.density at zeta = 0",
        "freealg's MarchenkoPastur.density",
        "freealg",
    ),
    "spectra_scikit_rmt": _rmt(
        "closed Marchenko-Pastur density, 100,000 points, float64 (scikit-rmt)",
        "jaxact.spectra.density at zeta = 0",
        "scikit-rmt's MarchenkoPasturDistribution.pdf",
        "scikit_rmt",
    ),
}


def make_ours(kind: str) -> Callable[[], np.ndarray]:
    """One call of the library, compiled, in float64."""
    import jax

    import jaxact
    from jaxact.spectra import Law, density, edges, law, stieltjes

    mixed = Law(eta=ETA, zeta=ZETA, phi=PHI, psi=PSI)
    nonlinear = Law(eta=ETA, zeta=0.0, phi=PHI, psi=PSI)
    traced = jax.jit(stieltjes)  # zeta = 0 is not known when it is traced
    one_law = jax.jit(jax.vmap(stieltjes))
    phi, psi = (axis.ravel() for axis in np.meshgrid(RATIOS, RATIOS, indexing="ij"))

    def distribution() -> np.ndarray:
        low, high = np.asarray(edges(mixed).edges)[:2]
        angle = (np.arange(1000) + 0.5) * np.pi / 1000
        x = (low + high - (high - low) * np.cos(angle)) / 2
        rate = np.asarray(density(mixed, x)) * (high - low) / 2 * np.sin(angle)
        return np.concatenate([x, np.cumsum(rate) * np.pi / 1000])

    def grid() -> np.ndarray:
        laws = [law(jaxact.get(name), phi=phi, psi=psi) for name in ACTS]
        every = jax.tree.map(lambda *leaves: np.concatenate(leaves), *laws)
        return _parts(one_law(every, np.full(every.phi.shape, _LEVEL)))

    work = {
        "simulation": distribution,
        "grid": grid,
        "free_poisson": lambda: _parts(traced(nonlinear, SOLVED)),
        "freealg": lambda: np.asarray(density(nonlinear, POINTS)),
        "scikit_rmt": lambda: np.asarray(density(nonlinear, POINTS)),
    }[kind]

    def in_float64() -> np.ndarray:
        with jax.enable_x64(True):  # noqa: FBT003
            return work()

    return in_float64


def make_peer(kind: str) -> Callable[[], np.ndarray]:
    """The same numbers by the peer of that kind."""
    return {
        "simulation": _simulation,
        "grid": _loop,
        "free_poisson": lambda: rmt.free_poisson(PHI / PSI, SOLVED),
        "freealg": lambda: rmt.freealg_density(PHI / PSI, POINTS),
        "scikit_rmt": lambda: rmt.scikit_rmt_density(PHI / PSI, POINTS),
    }[kind]()


def _parts(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return np.stack([values.real, values.imag])


def _simulation() -> Callable[[], np.ndarray]:
    # In f = sqrt(zeta) x + sqrt((eta - zeta) / 2) (x^2 - 1) the second part has no linear one.
    curved = ((ETA - ZETA) / 2) ** 0.5

    def work() -> np.ndarray:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(NEURONS, INPUTS)) @ rng.normal(size=(INPUTS, SAMPLES)) / INPUTS**0.5
        y = ZETA**0.5 * x + curved * (x * x - 1)
        return np.linalg.eigvalsh(y @ y.T / SAMPLES)

    return work


def _loop() -> Callable[[], np.ndarray]:
    """The moments are given to the loop: it only solves."""
    import jax

    import jaxact
    from jaxact.spectra import moments

    with jax.enable_x64(True):  # noqa: FBT003
        found = [moments(jaxact.get(name)) for name in ACTS]
    laws = [
        (float(m.eta), float(m.zeta), phi, psi) for m in found for phi in RATIOS for psi in RATIOS
    ][::STRIDE]
    return lambda: _parts(np.array([by_roots(_LEVEL, *one) for one in laws]))
