"""The training error against the sheet's table, closed forms, limits and finite differences."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra

GAMMAS = (1e-3, 1e-2, 1e-1, 1.0)  # in units of eta
A, B, C = (0.5, 1000 / 1333), (1.0, 1000 / 667), (0.5, 0.5)
TABLE = [
    (A, "identity", (0.50008, 0.50432, 0.55289, 0.70464)),
    (A, "relu", (0.33357, 0.33806, 0.40871, 0.64272)),
    (A, "tanh", (0.33405, 0.35334, 0.47241, 0.68419)),
    (A, "erf", (0.33389, 0.34939, 0.46198, 0.67978)),
    (A, "abs", (0.33352, 0.33488, 0.37283, 0.58838)),
    (B, "identity", (0.33324, 0.34321, 0.42789, 0.64731)),
    (B, "relu", (0.33304, 0.33578, 0.39060, 0.61738)),
    (B, "tanh", (0.33310, 0.33874, 0.41218, 0.63792)),
    (B, "square", (0.33302, 0.33438, 0.37242, 0.58814)),
    (C, "identity", (0.50001, 0.50050, 0.51895, 0.64572)),
    (C, "relu", (0.02398, 0.07532, 0.22508, 0.53568)),
    (C, "tanh", (0.04361, 0.13379, 0.34327, 0.60778)),
    (C, "erf", (0.03942, 0.12167, 0.32327, 0.59983)),
    (C, "gelu", (0.02361, 0.07419, 0.22222, 0.53291)),
    (C, "silu", (0.02699, 0.08453, 0.24750, 0.55525)),
    (C, "sin", (0.03078, 0.09604, 0.27347, 0.57372)),
    (C, "sign", (0.02117, 0.06664, 0.20262, 0.51191)),
    (C, "abs", (0.01581, 0.04994, 0.15617, 0.44721)),
]


@pytest.mark.fast
@pytest.mark.parametrize(("ratios", "name", "expected"), TABLE)
def test_the_table_of_the_sheet(ratios, name, expected, x64):
    law = spectra.law(jaxact.get(name), phi=ratios[0], psi=ratios[1])
    found = spectra.training_error(law, np.array(GAMMAS) * float(law.eta))
    np.testing.assert_allclose(found, expected, atol=1.1e-5)


@pytest.mark.fast
def test_the_sugar_is_the_law(x64):
    act = jaxact.get("relu")
    gammas = np.array(GAMMAS)
    law = spectra.law(act, phi=0.5, psi=0.75, scale=1.3)
    expected = spectra.training_error(law, gammas)
    found = spectra.training_error(act, gamma=gammas, phi=0.5, psi=0.75, scale=1.3)
    np.testing.assert_array_equal(found, expected)
    # A plain function needs no registration.
    bare = spectra.training_error(
        lambda x: jnp.maximum(x, 0), gamma=gammas, phi=0.5, psi=0.75, scale=1.3
    )
    np.testing.assert_allclose(bare, expected, rtol=1e-12)


def marchenko_pastur_error(gamma, c):
    """-gamma^2 g'(-gamma) for the companion transform g of MP with ratio c = n1 / m, eta = 1."""
    # tau = (1/m) tr Q solves gamma tau^2 + (gamma + c - 1) tau - 1 = 0; E = -gamma^2 tau'.
    b = gamma + c - 1
    root = math.sqrt(b * b + 4 * gamma)
    tau = 2 / (b + root) if b > 0 else (root - b) / (2 * gamma)
    return gamma**2 * tau * (tau + 1) / (2 * gamma * tau + b)


@pytest.mark.parametrize("c", [0.3, 1.0, 4.0])
def test_zeta_zero_in_closed_form_down_to_tiny_ridges(c, x64):
    law = spectra.Law(eta=1.0, zeta=0.0, phi=c, psi=1.0)
    gammas = np.array([1e-9, 1e-4, 1e-1, 1e4])
    expected = [marchenko_pastur_error(g, c) for g in gammas]
    # Relative accuracy, although for c = 4 the error falls like gamma^2.
    np.testing.assert_allclose(spectra.training_error(law, gammas), expected, rtol=1e-9)


def test_it_is_the_derivative_of_the_stieltjes_transform(x64):
    phi, psi = 0.6, 1.3
    law = spectra.Law(eta=1.2, zeta=0.5, phi=phi, psi=psi)
    slope = jax.vmap(jax.grad(lambda x: spectra.stieltjes(law, x).real))
    gammas = jnp.array([1e-2, 1e-1, 1.0, 1e1])
    expected = (1 - phi / psi) - phi / psi * gammas**2 * slope(-gammas)
    np.testing.assert_allclose(spectra.training_error(law, gammas), expected, rtol=1e-10)


@pytest.mark.fast
def test_limits(x64):
    gammas = np.array([1e-12, 1e-10, 1e8, 1e10])

    def ends(zeta, phi, psi):
        found = spectra.training_error(spectra.Law(1.0, zeta, phi, psi), gammas)
        assert float(found[3]) == pytest.approx(1, abs=1e-8)
        return float(found[0])

    # 1 - min(1, n1/m [, n0/m if linear])
    assert ends(0.4, 0.5, 0.5) == pytest.approx(0, abs=1e-4)
    assert ends(1.0, 0.5, 0.5) == pytest.approx(1 / 2, abs=1e-9)
    assert ends(0.4, 0.5, 0.75) == pytest.approx(1 / 3, abs=1e-9)
    assert ends(1.0, 0.5, 0.75) == pytest.approx(1 / 2, abs=1e-9)
    assert 0 < ends(0.4, 2.0, 0.5) < 1e-20


def test_error_rises_with_gamma_and_with_zeta(x64):
    gammas = np.array([1e-3, 1e-2, 1e-1, 1.0])
    shares = np.linspace(0, 1, 9)
    laws = spectra.Law(np.ones(9), shares, np.full(9, 0.5), np.full(9, 0.75))
    found = np.asarray(jax.vmap(spectra.training_error, (0, None))(laws, gammas))
    assert (np.diff(found, axis=0) > 0).all()
    assert (np.diff(found, axis=1) > 0).all()


def test_gradients_in_the_law_and_gamma(x64):
    at = (1.2, 0.5, 0.6, 1.3, 0.05)

    def error(eta, zeta, phi, psi, gamma):
        return spectra.training_error(spectra.Law(eta, zeta, phi, psi), gamma)

    found = jax.grad(error, (0, 1, 2, 3, 4))(*at)
    twice = jax.grad(jax.grad(error, 4), 4)(*at)
    for i, derivative in enumerate(found):
        h = 1e-5
        up, down = (tuple(v + s * h * (j == i) for j, v in enumerate(at)) for s in (1, -1))
        across = (float(error(*up)) - float(error(*down))) / (2 * h)
        assert float(derivative) == pytest.approx(across, rel=1e-7)
    h = 1e-4
    bend = (
        float(error(*at[:4], 0.05 + h)) + float(error(*at[:4], 0.05 - h)) - 2 * float(error(*at))
    ) / h**2
    assert float(twice) == pytest.approx(bend, rel=1e-5)


def test_gradient_through_the_activation(x64):
    act = jaxact.get("f_alpha", 0.3)
    error = functools.partial(spectra.training_error, gamma=0.01, phi=0.5, psi=0.75)
    found = jax.grad(error)(act).theta[0]
    h = 1e-6
    across = (float(error(act.replace(0.3 + h))) - float(error(act.replace(0.3 - h)))) / (2 * h)
    assert float(found) == pytest.approx(across, rel=1e-7)
    # A derived activation: the same function without closed forms, through the quadrature.
    bare = jaxact.Activation(act.fn, act.theta, "bare", act.kinks)
    assert float(jax.grad(error)(bare).theta[0]) == pytest.approx(float(found), rel=1e-10)


def test_no_retrace_over_theta_and_gamma():
    def cached():
        return spectra.ridge._memorisation._cache_size()

    spectra.training_error(jaxact.get("f_alpha", 0.1), 0.01, phi=0.5, psi=0.75)
    before = cached(), spectra.gaussian._moments._cache_size()
    for alpha, gamma, phi in ((0.2, 0.1, 0.5), (-1.0, 1.0, 0.7), (1.0, 3.0, 2.0)):
        value = spectra.training_error(jaxact.get("f_alpha", alpha), gamma, phi=phi, psi=0.75)
        assert 0 < float(value) < 1
    assert (cached(), spectra.gaussian._moments._cache_size()) == before


def test_float32():
    law = spectra.law(jaxact.get("relu"), phi=0.5, psi=0.5)
    gammas = np.array(GAMMAS, np.float32) * np.float32(law.eta)
    found = spectra.training_error(law, gammas)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, TABLE[10][2], atol=2e-5)


def test_bad_input():
    law = spectra.Law(eta=1.0, zeta=0.5, phi=0.5, psi=0.5)
    with pytest.raises(ValueError, match="gamma must be non-negative, got -0.1"):
        spectra.training_error(law, -0.1)
    with pytest.raises(ValueError, match="gamma must be non-negative, got -1 at index"):
        spectra.training_error(law, np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="noise must be non-negative, got -1"):
        spectra.training_error(law, 1.0, noise=-1.0)
    with pytest.raises(TypeError, match="needs phi= and psi="):
        spectra.training_error(jaxact.get("relu"), 0.1)
    with pytest.raises(TypeError, match="part of the law"):
        spectra.training_error(law, 0.1, phi=0.5)
    with pytest.raises(ValueError, match="phi must be positive, got -1"):
        spectra.training_error(jaxact.get("relu"), 0.1, phi=-1.0, psi=0.5)
    with pytest.raises(ValueError, match="act must not be constant on Gaussian input"):
        spectra.law(jaxact.activation(lambda x: 0 * x + 3.0), phi=0.5, psi=0.5)
