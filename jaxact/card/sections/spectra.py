"""The random-matrix section: moments, spectrum, memorisation and test error, beside simulation."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import spectra as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value, number
from jaxact.io import Images

QUESTION = (
    "What does a random layer with this activation do to the eigenvalues of its features, "
    "and how well does it memorise noise?"
)
_PHI, _PSI = 0.5, 0.75
_LAYER = "a random layer with n0 / m = 1/2 inputs a sample and n0 / n1 = 3/4 inputs a neuron"
_GAMMAS = np.logspace(-4, 1, 41)
_SIMULATED = np.logspace(-3, 0, 4)
_NOISE = 0.25
_BETAS = (-1.0, 0.0, 1.0)
_LINEAR = 1e-12
_DEPTH = 5
_SAMPLES, _FEATURES = 200, 300


def spectra(act: Activation, digits: Images, key: Any, *, size: int, quick: bool) -> Section:
    """Moments, the law at (phi, psi) = (1/2, 3/4), and one simulated matrix with n0 = size."""
    found = lens.moments(act)
    mean, eta, zeta = (float(v) for v in (found.mean, found.eta, found.zeta))
    facts = _moments(mean, eta, zeta)
    if not np.isfinite([mean, eta, zeta]).all():
        reason = "f grows too fast: its features have no finite variance in float64"
        return Section("spectra", QUESTION, tuple(facts), reason=reason)
    if not eta > _LINEAR * (1 + mean**2):
        reason = "f is constant on Gaussian input: its features carry nothing"
        return Section("spectra", QUESTION, tuple(facts), reason=reason)
    n1 = round(size / _PSI)
    law = lens.law(act, phi=_PHI, psi=size / n1)
    sizes: dict[str, Any] = {"n0": size, "n1": n1, "m": 2 * size}
    first, second = jax.random.split(key)
    spectrum, drawn = _spectrum(law, act, first, eta, sizes)
    memory, curve = _memorisation(law, act, second, eta, sizes)
    values = [*memory, *facts, *spectrum]
    if not quick:
        values += [
            _best_error(law, eta),
            _depth(act),
            _on_digits(act, digits, jax.random.fold_in(key, 1)),
        ]
    return Section("spectra", QUESTION, tuple(values), {**drawn, **curve})


def _moments(mean: float, eta: float, zeta: float) -> list[Value]:
    part = zeta / eta if 0 < eta < math.inf else 0.0
    nonlinear = _LINEAR < part < 1 - _LINEAR
    beta = math.log10(eta / zeta - 1) if nonlinear else None
    why = "minus infinity: f is linear" if part > 0.5 else "plus infinity: f has no linear part"
    return [
        Value("mean", "mean of a feature", mean, "E f(xi), xi standard normal", kind="exact"),
        Value("eta", "eta, variance of a feature", eta, "Var f(xi)", kind="exact"),
        Value(
            "zeta",
            "zeta, its linear part",
            zeta,
            "(E xi f(xi))^2; at 0 a layer leaves the spectrum of its data as it is",
            kind="exact",
        ),
        Value(
            "beta",
            "beta, degree of nonlinearity",
            beta,
            "log10(eta / zeta - 1): minus infinity for a linear layer",
            kind="exact",
            reason="" if nonlinear else why,
        ),
    ]


def _spectrum(
    law: Any, act: Activation, key: Any, eta: float, sizes: dict[str, Any]
) -> tuple[list[Value], dict[str, Any]]:
    """The top edge, the distance of one simulated matrix to the law, and both curves."""
    eigenvalues = np.asarray(lens.simulate(key, act, **sizes)) / eta
    support = lens.edges(law)
    top = float(np.max(np.asarray(support.edges)[: int(support.count)])) / eta
    x = np.linspace(0, 1.06 * max(top, float(eigenvalues.max())), 1201)
    density = np.asarray(lens.density(law, jnp.asarray(x) * eta)) * eta
    values = [
        Value(
            "edge",
            "largest eigenvalue",
            top,
            f"of the centred features' covariance, {_LAYER}",
            "eta",
            "exact",
            abs(float(eigenvalues.max()) - top),
            f"one simulated matrix has {float(eigenvalues.max()):.4g}",
        ),
        Value(
            "spectrum_distance",
            "distance of the law to a simulated spectrum",
            _distance(x, density, eigenvalues),
            "Kolmogorov-Smirnov: the largest difference of the two distribution functions",
            kind="measured",
            trust=f"one matrix, {len(eigenvalues)} eigenvalues",
        ),
    ]
    return values, {"eigenvalues": eigenvalues, "x": x[::4], "density": density[::4]}


def _memorisation(
    law: Any, act: Activation, key: Any, eta: float, sizes: dict[str, Any]
) -> tuple[list[Value], dict[str, Any]]:
    """Training error on noise against the ridge: theory, simulation, and other nonlinearities."""
    error = np.asarray(lens.training_error(law, jnp.asarray(_GAMMAS) * eta))
    ridges = jnp.asarray(_SIMULATED) * eta
    simulated = np.asarray(lens.simulate_training_error(key, act, **sizes, gamma=ridges))
    at = np.interp(np.log(_SIMULATED), np.log(_GAMMAS), error)
    reference = {}
    for beta in (-math.inf, *_BETAS, math.inf):
        other = lens.Law(eta=1.0, zeta=1 / (1 + 10.0**beta), phi=law.phi, psi=law.psi)
        reference[f"{beta:g}"] = np.asarray(lens.training_error(other, jnp.asarray(_GAMMAS)))
    values = [
        Value(
            "training_error",
            "training error on pure noise",
            float(at[0]),
            "share of random labels that ridge regression on the features leaves unexplained, "
            "ridge eta / 1000; 1/3 is the least possible here, and lower memorises better",
            "share of the labels' variance",
            "exact",
            abs(float(simulated[0] - at[0])),
            f"one simulation has {float(simulated[0]):.4g}; at four ridges the largest "
            f"relative gap is {float(np.abs(simulated / at - 1).max()):.1%}",
            "lower",
        )
    ]
    return values, {
        "gamma": _GAMMAS,
        "training_error": error,
        "gamma_simulated": _SIMULATED,
        "training_error_simulated": simulated,
        "training_error_of_beta": reference,
    }


def _best_error(law: Any, eta: float) -> Value:
    best = lens.optimal_gamma(law, noise=_NOISE)
    ridge = float(best.gamma) / eta
    words = "no ridge helps: the features know nothing of a linear teacher"
    if math.isfinite(ridge):
        words = f"reached at ridge {ridge:.3g} eta"
    return Value(
        "test_error",
        "least test error on a linear teacher",
        float(best.error),
        f"of ridge regression on the features, label noise {_NOISE:g}; {1 + _NOISE:g} is guessing",
        "squared error, teacher's variance 1",
        "exact",
        None,
        words + ("" if bool(best.converged) else "; the search did not converge"),
        "lower",
    )


def _depth(act: Activation) -> Value:
    law = lens.deep_law(act, phi=_PHI, psi=np.full(_DEPTH, _PSI))
    support = lens.edges(law)
    top = float(np.max(np.asarray(support.edges)[: int(support.count)])) / float(law.eta[-1])
    return Value(
        "deep_edge",
        f"largest eigenvalue after {_DEPTH} layers",
        number(top),
        "of the last features' covariance; near the value of one layer, depth does not stretch "
        "the data",
        "eta of the last layer",
        "exact",
    )


def _on_digits(act: Activation, digits: Images, key: Any) -> Value:
    """Random features on real digits by the deterministic equivalent, beside one draw."""

    def rows(images: Any) -> Any:
        flat = np.asarray(images, float).reshape(len(images), -1)
        return (flat - centre) / spread

    train = np.asarray(digits.x[:_SAMPLES], float).reshape(_SAMPLES, -1)
    centre, spread = train.mean(), train.std()
    x, test = rows(digits.x[:_SAMPLES]), rows(digits.test_x[:400])
    labels = [jnp.eye(10)[np.asarray(y)] - 0.1 for y in (digits.y, digits.test_y)]
    y, test_y = labels[0][:_SAMPLES], labels[1][:400]
    gamma = jnp.logspace(-3, 1, 9) * float(lens.moments(act).eta)
    asked: Any = {"n1": _FEATURES, "test": (test, test_y), "centred": True}
    errors = np.asarray(lens.fixed_data(act, x, y, gamma=gamma, **asked).test_error)
    best = int(np.argmin(errors))
    _, draws = lens.simulate_fixed_data(key, act, x, y, gamma=gamma[best : best + 1], **asked)
    drawn = float(np.asarray(draws)[0])
    return Value(
        "digits_error",
        "least test error of random features on digits",
        float(errors[best]),
        f"{_FEATURES} features, {_SAMPLES} digits to learn from, no training run; 0.9 is guessing",
        "squared error of the one-hot label",
        "exact",
        abs(drawn - float(errors[best])),
        f"the theory for these digits; one draw of features has {drawn:.3g}",
        "lower",
    )


def _distance(x: np.ndarray, density: np.ndarray, eigenvalues: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of the sample to the law, atom at 0 included."""
    steps = np.diff(x) * (density[1:] + density[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(steps), steps, 0))])
    cdf = mass + max(0.0, 1 - mass[-1])
    ordered = np.sort(eigenvalues)
    at = np.interp(ordered, x, cdf)
    rank = np.arange(len(ordered) + 1) / len(ordered)
    positive = ordered > 1e-9
    if not positive.any():
        return 1.0
    return float(np.maximum(np.abs(at - rank[1:]), np.abs(at - rank[:-1]))[positive].max())
