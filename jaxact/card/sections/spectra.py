"""The random-matrix section: moments, spectrum and memorisation, predicted and simulated."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import spectra as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value

QUESTION = (
    "What does a random layer with this activation do to the eigenvalues of its features, "
    "and how well does it memorise noise?"
)
_PHI, _PSI = 0.5, 0.75
_GAMMAS = np.logspace(-4, 1, 41)
_SIMULATED = np.logspace(-3, 0, 4)


def spectra(act: Activation, key: Any, *, size: int) -> Section:
    """Moments, the law at (phi, psi) = (1/2, 3/4), and one simulated matrix with n0 = size."""
    moments = lens.moments(act)
    mean, eta, zeta = (float(v) for v in (moments.mean, moments.eta, moments.zeta))
    values = [
        Value("mean", "mean of f(xi)", mean),
        Value("eta", "eta, variance of f(xi)", eta),
        Value("zeta", "zeta, linear part of eta", zeta, "0: the first layer keeps spectra as is"),
    ]
    if not eta > 1e-12 * (1 + mean**2):
        return Section(
            "spectra",
            QUESTION,
            _without_law(values),
            reason="f is constant on Gaussian input: its features carry nothing",
        )
    m, n1 = 2 * size, round(size / _PSI)
    law = lens.law(act, phi=_PHI, psi=size / n1)
    first, second = jax.random.split(key)
    eigenvalues = lens.simulate(first, act, n0=size, n1=n1, m=m) / eta
    edges = lens.edges(law)
    top = float(np.max(np.asarray(edges.edges)[: int(edges.count)])) / eta
    x = np.linspace(0, 1.06 * max(top, float(eigenvalues.max())), 1201)
    density = np.asarray(lens.density(law, jnp.asarray(x) * eta)) * eta
    error = np.asarray(lens.training_error(law, jnp.asarray(_GAMMAS) * eta))
    simulated = np.asarray(
        lens.simulate_training_error(
            second,
            act,
            n0=size,
            n1=n1,
            m=m,
            gamma=jnp.asarray(_SIMULATED) * eta,
        )
    )
    predicted = np.interp(np.log(_SIMULATED), np.log(_GAMMAS), error)
    beta = math.log10(eta / zeta - 1) if 1e-12 < zeta / eta < 1 - 1e-12 else None
    gap = float(np.abs(simulated / predicted - 1).max())
    values += _of_law(
        beta,
        zeta / eta,
        top,
        float(np.interp(1e-3, _GAMMAS, error)),
        _distance(x, density, np.asarray(eigenvalues)),
        gap,
    )
    data = {
        "eigenvalues": np.asarray(eigenvalues),
        "x": x[::4],
        "density": density[::4],
        "gamma": _GAMMAS,
        "training_error": error,
        "gamma_simulated": _SIMULATED,
        "training_error_simulated": simulated,
    }
    return Section("spectra", QUESTION, tuple(values), data)


def _of_law(
    beta: float | None,
    share: float | None,
    top: float | None,
    error: float | None,
    distance: float | None,
    gap: float | None,
) -> list[Value]:
    why = "no nonlinear part" if share and share > 0.5 else "no linear part: -infinity for linear f"
    return [
        Value("beta", "beta = log10(eta / zeta - 1)", beta, "" if beta is not None else why),
        Value("edge", "top of the spectrum, / eta", top, "n0 / m = 1/2, n0 / n1 = 3/4"),
        Value(
            "training_error",
            "training error on noise, ridge eta / 1000",
            error,
            "the floor is 1/3 here; lower memorises better",
            "lower",
        ),
        Value(
            "spectrum_distance",
            "KS distance, one simulated matrix",
            distance,
            "prediction against simulation",
        ),
        Value(
            "training_error_gap",
            "training error, worst relative gap",
            gap,
            "prediction against simulation",
        ),
    ]


def _without_law(values: list[Value]) -> tuple[Value, ...]:
    return (*values, *_of_law(None, None, None, None, None, None))


def _distance(x: np.ndarray, density: np.ndarray, eigenvalues: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of the sample to the law, atom at 0 included."""
    steps = np.diff(x) * (density[1:] + density[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(steps), steps, 0))])
    cdf = mass + max(0.0, 1 - mass[-1])
    ordered = np.sort(eigenvalues)
    at = np.interp(ordered, x, cdf)
    rank = np.arange(len(ordered) + 1) / len(ordered)
    positive = ordered > 1e-9
    return float(np.maximum(np.abs(at - rank[1:]), np.abs(at - rank[:-1]))[positive].max())
