"""One finite random matrix against the limiting law, and the simulator against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra

N0, N1, M = 300, 400, 600


def kolmogorov(eigenvalues, law):
    at = np.asarray(spectra.cdf(law, eigenvalues))
    rank = np.arange(len(eigenvalues) + 1) / len(eigenvalues)
    keep = eigenvalues > 1e-9
    return np.maximum(abs(at - rank[1:]), abs(at - rank[:-1]))[keep].max()


@pytest.mark.parametrize("name", ["relu", "tanh", "identity", "abs"])
def test_spectrum_and_training_error_of_one_draw(name, x64):
    act = jaxact.get(name)
    key = jax.random.key(3)
    law = spectra.law(act, phi=N0 / M, psi=N0 / N1)
    eigenvalues = np.asarray(spectra.simulate(key, act, n0=N0, n1=N1, m=M))
    assert eigenvalues.shape == (N1,)
    assert (np.diff(eigenvalues) >= 0).all()
    assert kolmogorov(eigenvalues, law) < 0.03
    gammas = np.array([1e-3, 1e-2, 1e-1, 1.0]) * float(law.eta)
    key = jax.random.clone(key)  # the same draw
    found = spectra.simulate_training_error(key, act, n0=N0, n1=N1, m=M, gamma=gammas)
    np.testing.assert_allclose(found, spectra.training_error(law, gammas), rtol=0.02)


def test_a_linear_network_cannot_pass_its_floor(x64):
    sizes = {"n0": 60, "n1": 120, "m": 120}
    gammas = np.array([1e-8, 1e-6])
    at = {name: jaxact.get(name) for name in ("identity", "relu")}
    for seed in (0, 1):
        found = {
            name: spectra.simulate_training_error(jax.random.key(seed), act, gamma=gammas, **sizes)
            for name, act in at.items()
        }
        np.testing.assert_allclose(found["identity"], 0.5, atol=1e-3)
        assert (np.asarray(found["relu"]) < 0.05).all()


def test_more_neurons_than_samples(x64):
    sizes = {"n0": 30, "n1": 50, "m": 20}
    eigenvalues = np.asarray(spectra.simulate(jax.random.key(0), jaxact.get("tanh"), **sizes))
    assert (eigenvalues[:30] == 0).all()
    assert (eigenvalues[30:] > 1e-3).all()
    error = spectra.simulate_training_error(
        jax.random.key(0), jaxact.get("tanh"), gamma=1e-9, **sizes
    )
    assert 0 < float(error) < 1e-15


def test_the_error_is_that_of_ridge_regression(rng, x64):
    # Ridge regression with real labels in NumPy on the same spectrum: E over labels by many draws.
    n1, m, gamma = 24, 40, 0.3
    y = np.tanh(rng.normal(size=(n1, m)))
    labels = rng.choice([-1.0, 1.0], (4000, m))
    gram = y @ y.T / m + gamma * np.eye(n1)
    weights = np.linalg.solve(gram, y @ labels.T / m)
    measured = ((labels.T - y.T @ weights) ** 2).mean()
    eigenvalues = jnp.asarray(np.linalg.eigvalsh(y @ y.T / m))
    found = spectra.ensemble._error(eigenvalues, jnp.asarray(gamma), m)
    assert float(found) == pytest.approx(measured, rel=0.01)


def test_the_mean_is_removed(x64):
    # An uncentred relu has an outlier near n1 mean^2 = 64; the centred one ends near its edge.
    act = jaxact.get("relu")
    top = float(spectra.simulate(jax.random.key(1), act, n0=N0, n1=N1, m=M)[-1])
    law = spectra.law(act, phi=N0 / M, psi=N0 / N1)
    assert top == pytest.approx(float(spectra.edges(law).edges[-1]), rel=0.1)


def test_scale_is_that_of_the_pre_activations(x64):
    act, sizes = jaxact.get("sin"), {"n0": 300, "n1": 400, "m": 600}
    law = spectra.law(act, phi=0.5, psi=0.75, scale=0.5)
    found = spectra.simulate(jax.random.key(5), act, scale=0.5, **sizes)
    assert float(jnp.mean(found)) == pytest.approx(float(law.eta), rel=0.02)
    assert kolmogorov(np.asarray(found), law) < 0.03


def test_keys_make_a_batch_in_float32():
    def keys():
        return jax.random.split(jax.random.key(2), (3, 2))

    act, sizes = jaxact.get("tanh"), {"n0": 30, "n1": 20, "m": 40}
    found = spectra.simulate(keys(), act, **sizes)
    assert found.shape == (3, 2, 20)
    assert found.dtype == jnp.float32
    assert len({float(v) for v in found[..., -1].ravel()}) == 6
    for one in (
        spectra.simulate(keys()[1, 0], act, **sizes),
        jax.vmap(lambda key: spectra.simulate(key, act, **sizes))(keys()[:, 0])[1],
    ):
        np.testing.assert_allclose(found[1, 0], one, rtol=1e-3, atol=1e-5)
    gamma = np.array([0.1, 1.0, 10.0], np.float32)
    errors = spectra.simulate_training_error(keys(), act, gamma=gamma, **sizes)
    assert errors.shape == (3, 2, 3)
    expected = 1 / 2 + np.mean((gamma / (np.asarray(found[1, 0])[:, None] + gamma)) ** 2, 0) / 2
    np.testing.assert_allclose(errors[1, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("entries", ["rademacher", "uniform"])
def test_the_law_does_not_depend_on_the_entries(entries, x64):
    act = jaxact.get("tanh")
    law = spectra.law(act, phi=N0 / M, psi=N0 / N1)
    sizes = {"n0": N0, "n1": N1, "m": M}
    found = np.asarray(spectra.simulate(jax.random.key(7), act, entries=entries, **sizes))
    assert kolmogorov(found, law) < 0.03


def test_centring_by_rows_or_not_at_all(x64):
    act, sizes = jaxact.get("relu"), {"n0": N0, "n1": N1, "m": M}
    law = spectra.law(act, phi=N0 / M, psi=N0 / N1)
    rows = np.asarray(spectra.simulate(jax.random.key(1), act, center="rows", **sizes))
    assert kolmogorov(rows, law) < 0.03
    raw = np.asarray(spectra.simulate(jax.random.key(1), act, center="none", **sizes))
    assert raw[-1] == pytest.approx(N1 / (2 * np.pi), rel=0.05)
    assert raw[-2] == pytest.approx(float(spectra.edges(law).edges[-1]), rel=0.1)


def test_bad_input():
    act = jaxact.get("tanh")
    with pytest.raises(ValueError, match="n1 must be at least 1, got 0"):
        spectra.simulate(jax.random.key(0), act, n0=3, n1=0, m=4)
    with pytest.raises(ValueError, match="gamma must be positive, got 0"):
        spectra.simulate_training_error(jax.random.key(0), act, n0=3, n1=2, m=4, gamma=0.0)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        spectra.simulate(jax.random.key(0), act, n0=3, n1=2, m=4, scale=0.0)
    with pytest.raises(ValueError, match="entries must be one of 'normal', 'rademacher', 'unif"):
        spectra.simulate(jax.random.key(0), act, n0=3, n1=2, m=4, entries="cauchy")
    with pytest.raises(ValueError, match="center must be one of 'gaussian', 'rows', 'none', got"):
        spectra.simulate(jax.random.key(0), act, n0=3, n1=2, m=4, center="columns")
