"""The best ridge against a scan, its two ends and its gradients; and double descent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra


def best_of(laws, noise):
    return jax.vmap(lambda law, n: spectra.optimal_gamma(law, noise=n))(laws, noise)


def test_no_ridge_of_a_scan_is_better(rng, x64):
    n = 100
    phi, psi, eta = np.exp(rng.uniform(-3, 3, (3, n)))
    share = rng.choice([1e-6, 1e-2, 0.3, 0.9, 1.0], n)
    noise = jnp.asarray(rng.choice([0.0, 1e-4, 0.25, 4.0], n))
    laws = spectra.Law(eta, share * eta, phi, psi)
    best = best_of(laws, noise)
    assert np.asarray(best.converged).all()
    assert np.isfinite(np.asarray(best.gamma)).all()
    gammas = np.concatenate([[0.0], np.logspace(-9, 9, 145)])
    scan = jax.vmap(lambda law, n: spectra.test_error(law, gammas * law.eta, noise=n))(laws, noise)
    assert (np.asarray(best.error) <= np.asarray(scan).min(1) * (1 + 1e-13) + 1e-30).all()
    inside = np.asarray(best.gamma) > 0
    assert 0.5 < inside.mean() < 1  # both kinds are seen
    # It is the error of that ridge, and the error's slope is 0 there or, at no ridge, positive.
    at = jax.vmap(lambda law, g, n: spectra.test_error(law, g, noise=n))
    np.testing.assert_allclose(at(laws, best.gamma, noise), best.error, rtol=1e-12, atol=1e-30)
    slope = jax.vmap(jax.grad(lambda g, law, n: spectra.test_error(law, g, noise=n)))
    slopes = np.asarray(slope(best.gamma, laws, noise))
    assert (np.abs(slopes * best.gamma) < 1e-9 * np.asarray(best.error))[inside].all()
    assert (slopes[~inside] > -1e-9).all()


@pytest.mark.fast
def test_the_two_ends(x64):
    useless = spectra.optimal_gamma(spectra.Law(1.0, 0.0, 0.5, 0.75), noise=0.25)
    assert (float(useless.gamma), float(useless.error)) == (np.inf, 1.25)
    assert bool(useless.converged)
    # A linear network that sees every direction, and no noise: least squares is exact.
    exact = spectra.optimal_gamma(spectra.Law(1.0, 1.0, 0.5, 0.75), noise=0.0)
    assert float(exact.gamma) == 0
    assert 0 <= float(exact.error) < 1e-300
    assert bool(exact.converged)
    # Little use of a small linear part: gamma = (1 + noise) phi eta / zeta, to first order.
    small = spectra.optimal_gamma(spectra.Law(2.0, 2e-7, 0.5, 0.75), noise=0.25)
    assert float(small.gamma) == pytest.approx(2.0 * 1.25 * 0.5 / 1e-7, rel=1e-4)


def test_gradients_of_the_optimum(x64):
    at = jnp.array([1.2, 0.6, 0.5, 0.75, 0.25])

    @jax.jit
    def best(v):
        found = spectra.optimal_gamma(spectra.Law(*v[:4]), noise=v[4])
        return jnp.stack([found.gamma, found.error])

    found = jax.jit(jax.jacfwd(best))(at)
    h = 1e-4
    across = np.stack([(best(at + d) - best(at - d)) / (2 * h) for d in h * np.eye(5)], 1)
    np.testing.assert_allclose(found, across, rtol=1e-6)
    # Envelope: the error's derivative in the ridge does not count.
    with_gamma = jax.grad(lambda n: spectra.test_error(spectra.Law(*at[:4]), best(at)[0], noise=n))(
        at[4]
    )
    assert float(found[1, 4]) == pytest.approx(float(with_gamma), rel=1e-9)


def test_the_best_ridge_in_float32():
    law = spectra.Law(*(jnp.asarray(v, jnp.float32) for v in (1.2, 0.6, 0.5, 0.75)))
    found = spectra.optimal_gamma(law, noise=jnp.asarray(0.25, jnp.float32))
    wide = jaxact.numerics.double(spectra.optimal_gamma)(law, noise=np.float32(0.25))
    assert found.gamma.dtype == jnp.float32
    assert wide.gamma.dtype == jnp.float64
    assert float(found.gamma) == pytest.approx(float(wide.gamma), rel=1e-4)
    assert float(found.error) == pytest.approx(float(wide.error), rel=1e-5)


def test_double_descent(x64):
    widths = np.array([0.1, 0.3, 0.9, 1.0, 1.1, 3.0, 30.0])
    relu = jaxact.get("relu")
    kept = {"phi": 0.5, "gamma": 1e-6, "noise": 0.25}
    found = spectra.double_descent(relu, widths.reshape(7, 1), **kept)
    assert found.test.shape == found.train.shape == (7, 1)
    test, train = np.asarray(found.test)[:, 0], np.asarray(found.train)[:, 0]
    assert test.argmax() == 3
    assert test[3] > 50 * test[1]
    assert test[-1] < test[1]  # the second descent goes lower here
    assert (np.diff(train) < 0).all()
    assert train[-1] < 1e-9
    for i in (1, 5):
        law = spectra.law(relu, phi=0.5, psi=0.5 / widths[i])
        expected = spectra.test_error(law, 1e-6, noise=0.25)
        assert test[i] == pytest.approx(float(expected), rel=1e-12)
    by_moments = spectra.double_descent(spectra.moments(relu), widths, **kept)
    np.testing.assert_allclose(by_moments.test, test, rtol=1e-12)
    # Without a ridge the peak is infinite, and nothing is NaN.
    sharp = spectra.double_descent(relu, widths, **(kept | {"gamma": 0.0}))
    assert np.isinf(np.asarray(sharp.test)).tolist() == [i == 3 for i in range(7)]
    assert float(sharp.train[4]) == 0


def test_gradients_of_double_descent(x64):
    at = jnp.array([0.3, 0.5, 1e-3, 0.25, 1.7])  # alpha, phi, gamma, noise, n1 / m

    @jax.jit
    def errors(v):
        act = jaxact.get("f_alpha", v[0])
        found = spectra.double_descent(act, v[4], phi=v[1], gamma=v[2], noise=v[3])
        return jnp.stack([found.train, found.test])

    h = 1e-6
    across = np.stack([(errors(at + d) - errors(at - d)) / (2 * h) for d in h * np.eye(5)], 1)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(errors))(at), across, rtol=1e-6, atol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="widths must be positive, got 0 at index"):
        spectra.double_descent(jaxact.get("relu"), [1.0, 0.0], phi=0.5, gamma=1.0, noise=0.0)
    with pytest.raises(ValueError, match=r"gamma must have shape \(\)"):
        spectra.double_descent(jaxact.get("relu"), [1.0, 2.0], phi=0.5, gamma=np.ones(2), noise=0.0)
    with pytest.raises(ValueError, match="noise must be non-negative"):
        spectra.optimal_gamma(spectra.Law(1.0, 0.5, 0.5, 0.5), noise=-1.0)
