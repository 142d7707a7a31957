"""Mixtures of neurons, random biases and uncentred features, against one type and simulation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra import continuation, mixture

POINTS = np.array([-1.0, 0.02, 0.7, 2.5, 30.0])
MIXED = spectra.MixtureLaw(
    np.array([0.4, 0.6]), np.array([1.0, 2.0]), np.array([0.3, 1.9]), 0.5, 0.8
)


@pytest.mark.parametrize(
    ("verb", "tolerance"),
    [
        (lambda law: spectra.stieltjes(law, POINTS), 1e-12),
        (lambda law: spectra.companion(law, POINTS), 1e-12),
        (lambda law: spectra.edges(law).edges[:2], 1e-9),
        (spectra.atom, 1e-14),
        (lambda law: spectra.moment(law, 4), 1e-13),
        (lambda law: spectra.training_error(law, np.array([1e-3, 0.1, 3.0])), 1e-11),
    ],
)
def test_equal_types_are_the_law(verb, tolerance, x64):
    for eta, zeta, phi, psi in ((2.0, 0.6, 0.5, 0.75), (1.0, 0.5, 2.0, 0.5), (1.0, 0.0, 1.0, 1.5)):
        law = spectra.Law(eta, zeta, phi, psi)
        both = spectra.MixtureLaw(np.array([0.3, 0.7]), np.full(2, eta), np.full(2, zeta), phi, psi)
        np.testing.assert_allclose(verb(both), verb(law), rtol=tolerance, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_mixtures_are_certified(dtype, rng, x64):
    @jax.jit
    @jax.vmap
    def follow(weights, eta, zeta, phi, psi, x, height):
        at, _ = mixture.types_of(spectra.MixtureLaw(weights, eta, zeta, phi, psi))
        z = jax.lax.complex(x, height)
        unknowns = continuation.physical(mixture.MIXTURE, z, at)
        return (
            continuation.solved(mixture.MIXTURE, unknowns, z, at),
            mixture.MIXTURE.margin(unknowns, z, at),
        )

    n = 300
    phi, psi = np.exp(rng.uniform(-3, 3, (2, n)))
    eta = np.exp(rng.uniform(-3, 0, (n, 3)))
    zeta = eta * rng.choice([0, 1e-6, 0.2, 0.5, 0.9, 1 - 1e-6, 1], (n, 3))
    x = np.exp(rng.uniform(-4, 4, (n, 5))) * rng.choice([1, 1, 1, -1], (n, 5))
    height = np.abs(x) * np.array([1e-2, 1e-4, 1e-6, 1e-9, 0])
    args = (rng.dirichlet([1, 1, 1], n), eta, zeta, phi, psi, x, height)
    solved, margin = follow(*(jnp.asarray(v, dtype) for v in args))
    assert np.asarray(solved).all()
    assert (np.asarray(margin)[:, : 4 if dtype == np.float64 else 2] > 0).all()


def test_one_draw_with_two_activations_and_biases(rng, x64):
    n0, n1, m, std = 300, 400, 600, 0.7
    inner = rng.normal(size=(n1, n0)) / n0**0.5 @ rng.normal(size=(n0, m))
    inner += std * rng.normal(size=(n1, 1))
    y = np.concatenate([np.maximum(inner[:150], 0), np.tanh(3 * inner[150:])])
    y -= y.mean(axis=1, keepdims=True)
    found = np.linalg.eigvalsh(y @ y.T / m)
    law = spectra.mixture_law(
        [jaxact.get("relu"), lambda x: jnp.tanh(3 * x)],
        np.array([150, 250]),
        phi=n0 / m,
        psi=n0 / n1,
        bias_std=std,
    )
    t = np.linspace(0, 1, 1500)[1:]
    top = 1.2 * found[-1]
    rho = np.asarray(spectra.density(law, top * t**2)) * 2 * top * t
    cdf = np.cumsum(rho) * (t[1] - t[0])
    assert cdf[-1] == pytest.approx(1, abs=1e-3)
    at = np.interp(found, top * t**2, cdf)
    rank = np.arange(n1 + 1) / n1
    assert np.maximum(abs(at - rank[1:]), abs(at - rank[:-1])).max() < 0.03
    measured = ((0.01 / (found + 0.01)) ** 2).sum() / m + (m - n1) / m
    assert float(spectra.training_error(law, 0.01)) == pytest.approx(measured, rel=0.02)


def test_derivatives_of_a_mixture(x64):
    def read(eta, zeta, weights, phi, psi):
        law = spectra.MixtureLaw(weights, eta, zeta, phi, psi)
        return jnp.concatenate([spectra.density(law, 1.3)[None], spectra.edges(law).edges[:2]])

    leaves = (MIXED.eta, MIXED.zeta, MIXED.weights, MIXED.phi, MIXED.psi)
    at = tuple(jnp.asarray(leaf) for leaf in leaves)
    # Weights move along their simplex: the constructor's sum stays 1.
    along = tuple(jnp.asarray(v) for v in ([0.1, -0.2], [0.1, -0.15], [0.05, -0.05], 0.05, -0.1))
    found = jax.jvp(jax.jit(read), at, along)[1]
    step = 1e-5
    high, low = (
        read(*(a + sign * step * d for a, d in zip(at, along, strict=True))) for sign in (1, -1)
    )
    np.testing.assert_allclose(found, (high - low) / (2 * step), rtol=1e-6)


@pytest.mark.fast
def test_the_outlier(rng, x64):
    relu = jaxact.get("relu")
    n0, n1, m = 90, 120, 180
    predicted = spectra.outlier(relu, n0=n0, n1=n1, m=m)
    assert bool(predicted.separated)
    tops, seconds = [], []
    for _ in range(150):
        y = rng.normal(size=(n1, n0)) / n0**0.5 @ rng.normal(size=(n0, m))
        found = np.linalg.eigvalsh(np.maximum(y, 0) @ np.maximum(y, 0).T / m)
        tops.append(found[-1])
        seconds.append(found[-2])
    # The mean's error is 0.04; n1 mu^2 alone is 0.7 off.
    assert float(predicted.value) == pytest.approx(np.mean(tops), abs=0.15)
    edge = float(spectra.edges(spectra.law(relu, phi=n0 / m, psi=n0 / n1)).edges[-1])
    assert np.mean(seconds) == pytest.approx(edge, rel=0.1)
    odd = spectra.outlier(jaxact.get("tanh"), n0=n0, n1=n1, m=m)
    assert not bool(odd.separated)


@pytest.mark.fast
def test_centred_activations_have_no_outlier(x64):
    relu = spectra.centred(jaxact.get("relu"), 0.5)
    found = spectra.moments(relu, 0.5)
    assert abs(float(found.mean)) < 1e-14
    assert float(found.eta) == pytest.approx(0.340845056908105 / 4, rel=1e-12)
    assert not bool(spectra.outlier(relu, n0=90, n1=120, m=180, scale=0.5).separated)


@pytest.mark.fast
def test_bad_input():
    relu = jaxact.get("relu")
    with pytest.raises(ValueError, match=r"weights must have shape \(1,\), got \(2,\)"):
        spectra.mixture_law([relu], np.ones(2), phi=1.0, psi=1.0)
    with pytest.raises(ValueError, match="weights must be non-negative, got -1"):
        spectra.mixture_law([relu, relu], np.array([2.0, -1.0]), phi=1.0, psi=1.0)
    with pytest.raises(ValueError, match="law.weights must have sum 1, got 2"):
        spectra.edges(spectra.MixtureLaw(np.ones(2), np.ones(2), np.zeros(2), 1.0, 1.0))
    with pytest.raises(ValueError, match="n1 must be at least 1, got 0"):
        spectra.outlier(relu, n0=3, n1=0, m=4)
