"""The test error: the sheet's table and derivation, limits, extremes, gradients, simulation."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra

PHI, PSI, NOISE = 500 / 1000, 500 / 750, 0.25
RIDGES = np.array([1e-3, 0.1, 1.0])  # in units of eta
TABLE = {
    "relu": ((2.1392, 0.9858, 0.8528), (0.1401, 0.2059, 0.4594)),
    "tanh": ((1.2795, 0.6220, 0.7294), None),
}


@pytest.mark.fast
@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_the_sheet(name, x64):
    law = spectra.law(jaxact.get(name), phi=PHI, psi=PSI)
    test, train = TABLE[name]
    gammas = RIDGES * float(law.eta)
    found = spectra.test_error(law, gammas, noise=NOISE)
    np.testing.assert_allclose(found, test, atol=6e-5)
    if train is not None:
        found = spectra.training_error(law, gammas, noise=NOISE)
        np.testing.assert_allclose(found, train, atol=6e-5)


def by_the_traces(law, gamma, noise):
    """(E_train, E_test) from tr Q and tr(X^T X Q), through the complex branch and its slope."""
    c = law.phi / law.psi

    def taus(g):
        first = -spectra.companion(law, -g).real
        delta = (1 - g * first) / (c - 1 + g * first)
        return first, (delta - (law.eta - law.zeta) * first) / law.zeta

    (first, _), slopes = jax.jvp(taus, (gamma,), (jnp.ones_like(gamma),))
    train = -(gamma**2) * (noise * slopes[0] + slopes[1])
    return train, train / (gamma * first) ** 2


def test_it_is_the_derivative_of_the_traces(rng, x64):
    n = 24
    phi, psi, eta = np.exp(rng.uniform(-1.5, 1.5, (3, n)))
    laws = spectra.Law(eta, rng.uniform(0.05, 1, n) * eta, phi, psi)
    gammas, noise = jnp.asarray(10 ** rng.uniform(-2, 1, n)), jnp.asarray(rng.uniform(0, 2, n))
    expected = jax.vmap(by_the_traces)(laws, gammas, noise)

    def ours(law, gamma, noise):
        train = spectra.training_error(law, gamma, noise=noise)
        return train, spectra.test_error(law, gamma, noise=noise)

    found = jax.vmap(ours)(laws, gammas, noise)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-8)


@pytest.mark.fast
def test_without_a_linear_part_the_teacher_is_noise(x64):
    gammas = np.array([1e-6, 0.1, 10.0])
    law = spectra.Law(eta=1.3, zeta=0.0, phi=0.4, psi=0.7)
    noise_alone = np.asarray(spectra.training_error(law, gammas))
    taught = spectra.training_error(law, gammas, noise=1.25)
    np.testing.assert_allclose(taught, 2.25 * noise_alone, rtol=1e-12)
    alone = spectra.test_error(law, gammas, noise=1.25)
    shifted = spectra.test_error(law, gammas, noise=0.0)
    np.testing.assert_allclose(alone, 2.25 * np.asarray(shifted), rtol=1e-12)
    # And the limit of small linear parts.
    near = spectra.Law(eta=1.3, zeta=1e-9, phi=0.4, psi=0.7)
    np.testing.assert_allclose(spectra.test_error(near, gammas, noise=1.25), alone, rtol=1e-8)


@pytest.mark.fast
def test_no_ridge_is_the_limit(x64):
    def both(zeta, phi, psi, noise, gamma=0.0):
        law = spectra.Law(1.0, zeta, phi, psi)
        return [
            float(spectra.training_error(law, gamma)),
            float(spectra.training_error(law, gamma, noise=noise)),
            float(spectra.test_error(law, gamma, noise=noise)),
        ]

    # Fewer neurons than samples: E_test = (noise + u) / (1 - n1 / m), y = psi's positive root.
    s, phi, psi = 0.6, 0.4, 0.8
    y = ((psi - s) + np.sqrt((psi - s) ** 2 + 4 * psi * s * (1 - s))) / 2
    u = y / (y + s)
    c = phi / psi
    expected = 1 - c, (0.3 + u) * (1 - c), (0.3 + u) / (1 - c)
    np.testing.assert_allclose(both(s, phi, psi, 0.3), expected, rtol=1e-12)
    # A linear network with n0 < n1, m learns the teacher: only noise is left.
    np.testing.assert_allclose(both(1.0, 0.4, 0.8, 0.3), (0.6, 0.3 * 0.6, 0.3 / 0.6), rtol=1e-12)
    # More neurons than samples interpolate, with a finite test error.
    train, taught, test = both(0.6, 0.8, 0.4, 0.3)
    assert train == taught == 0
    np.testing.assert_allclose(test, both(0.6, 0.8, 0.4, 0.3, 1e-11)[2], rtol=1e-9)
    # n1 = m: the peak is infinite.
    assert both(0.6, 0.5, 0.5, 0.3) == [0.0, 0.0, np.inf]
    assert not np.isnan(both(1.0, 1.0, 1.0, 0.3)).any()


def test_extreme_sizes_in_both_precisions(x64):
    corners = np.array([1e-4, 1.0, 1e4])
    grids = np.meshgrid([0.0, 1e-3, 0.5, 1.0], corners, corners, [1e-8, 1e-3, 1.0, 1e4])
    s, phi, psi, gamma = (g.reshape(-1) for g in grids)

    def errors(s, phi, psi, gamma):
        law = spectra.Law(jnp.ones_like(s), s, phi, psi)
        noise = jnp.asarray(0.25, s.dtype)
        taught = spectra.training_error(law, gamma, noise=noise)
        return (
            spectra.training_error(law, gamma),
            taught,
            spectra.test_error(law, gamma, noise=noise),
        )

    wide = jax.vmap(errors)(*map(jnp.asarray, (s, phi, psi, gamma)))
    narrow = jax.vmap(errors)(*(jnp.asarray(v, jnp.float32) for v in (s, phi, psi, gamma)))
    for a, b in zip(wide, narrow, strict=True):
        assert b.dtype == jnp.float32
        assert (np.asarray(a) > 0).all()
        np.testing.assert_allclose(b, a, rtol=2e-3, atol=1e-37)
    # Between the floor and 1; the test error ends at 1 + noise.
    assert (np.asarray(wide[0]) <= 1 + 1e-12).all()
    late = np.asarray(errors(*map(jnp.asarray, (0.5, 1.0, 1.0, 1e12))))
    np.testing.assert_allclose(late, (1, 1.25, 1.25), rtol=1e-9)


def test_gradients_in_everything(x64):
    @jax.jit
    def error(v):
        return spectra.test_error(spectra.Law(*v[:4]), v[4], noise=v[5])

    slope = jax.jit(jax.grad(error))
    bend = jax.jit(lambda v, d: jax.jvp(slope, (v,), (d,))[1])
    h = 1e-5
    for phi in (0.6, 0.5):  # 0.5 = zeta / eta, where the roots change their form
        at = jnp.array([1.2, 0.6, phi, 1.3, 0.05, 0.25])
        across = [(float(error(at + d)) - float(error(at - d))) / (2 * h) for d in h * np.eye(6)]
        np.testing.assert_allclose(slope(at), across, rtol=1e-7)
        along = jnp.array([0.3, -0.2, 0.5, 0.7, 0.02, 0.1])
        curved = (slope(at + h * along) - slope(at - h * along)) / (2 * h)
        np.testing.assert_allclose(bend(at, along), curved, rtol=1e-6)


def test_derivatives_at_no_ridge(x64):
    law = spectra.Law(1.0, 0.6, 0.8, 0.4)
    error = functools.partial(spectra.test_error, noise=0.3)

    @jax.jit
    def slopes(gamma, phi):
        return jax.jacfwd(lambda g, p: error(spectra.Law(1.0, 0.6, p, 0.4), g), (0, 1))(gamma, phi)

    found = slopes(0.0, 0.8)
    h = 1e-6
    across = (-3 * error(law, 0.0) + 4 * error(law, h) - error(law, 2 * h)) / (2 * h)
    assert float(found[0]) == pytest.approx(float(across), rel=1e-6)
    up, down = (error(spectra.Law(1.0, 0.6, 0.8 + d, 0.4), 0.0) for d in (h, -h))
    assert float(found[1]) == pytest.approx(float(up - down) / (2 * h), rel=1e-7)


@pytest.mark.parametrize(("n1", "m", "shape"), [(9, 12, (2, 1)), (12, 9, ())])
def test_the_simulation_is_ridge_regression(n1, m, shape, x64):
    act, n0, tests, gamma, noise = jaxact.get("relu"), 7, 15, 0.2, 0.3
    # The same draw in NumPy; the averages over beta and label noise are traces.
    keys = jax.random.split(jax.random.key(1), 3)
    w, x, fresh = (
        np.asarray(jax.random.normal(k, size))
        for k, size in zip(keys, [(n1, n0), (n0, m), (n0, tests)], strict=True)
    )
    mean = 1 / np.sqrt(2 * np.pi)
    y, z = (np.maximum(w @ v / np.sqrt(n0), 0) - mean for v in (x, fresh))
    fit = np.linalg.solve(y @ y.T / m + gamma * np.eye(n1), y / m)  # labels -> coefficients

    def left(points, features, labels):
        by_teacher = points.T - features.T @ fit @ x.T
        return ((by_teacher**2).sum() / n0 + noise * labels) / len(by_teacher)

    on_test = left(fresh, z, tests + ((z.T @ fit) ** 2).sum())
    on_train = left(x, y, ((np.eye(m) - y.T @ fit) ** 2).sum())
    found = spectra.simulate_test_error(
        jax.random.key(1), act, n0=n0, n1=n1, m=m, tests=tests,
        gamma=np.full(shape, gamma), noise=noise,
    )  # fmt: skip
    np.testing.assert_allclose(found.test, np.full(shape, on_test), rtol=1e-12)
    np.testing.assert_allclose(found.train, np.full(shape, on_train), rtol=1e-12)


def test_simulation():
    n0, n1, m = 120, 180, 240
    act = jaxact.get("tanh")
    law = spectra.law(act, phi=n0 / m, psi=n0 / n1)
    gammas = np.array([0.03, 0.3], np.float32) * np.float32(law.eta)
    noise = np.float32(0.25)

    @jax.vmap
    def draw(key):
        return spectra.simulate_test_error(key, act, n0=n0, n1=n1, m=m, gamma=gammas, noise=noise)

    found = draw(jax.random.split(jax.random.key(7), 6))
    assert found.test.shape == (6, 2)
    expected = spectra.test_error(law, gammas, noise=noise)
    np.testing.assert_allclose(found.test.mean(0), expected, rtol=0.03)
    expected = spectra.training_error(law, gammas, noise=noise)
    np.testing.assert_allclose(found.train.mean(0), expected, rtol=0.03)


def test_no_retrace_over_law_gamma_and_noise():
    traces = []

    @jax.jit
    def error(law, gamma, noise):
        traces.append(0)
        return spectra.test_error(law, gamma, noise=noise)

    for zeta, gamma, noise in ((0.1, 0.1, 0.0), (0.9, 2.0, 1.0)):
        assert error(spectra.Law(1.0, zeta, 0.5, 0.75), gamma, noise) > 0
        spectra.test_error(spectra.Law(1.0, zeta, 0.5, 0.75), gamma, noise=noise)
    assert len(traces) == 1
    before = spectra.ridge._teacher._cache_size()
    spectra.test_error(spectra.Law(1.5, 0.2, 0.3, 2.0), 0.7, noise=0.4)
    assert spectra.ridge._teacher._cache_size() == before


def test_bad_input():
    law = spectra.Law(eta=1.0, zeta=0.5, phi=0.5, psi=0.5)
    with pytest.raises(ValueError, match="gamma must be non-negative, got -1"):
        spectra.test_error(law, -1.0, noise=0.0)
    with pytest.raises(ValueError, match="noise must be non-negative, got -0.5"):
        spectra.test_error(law, 1.0, noise=-0.5)
    with pytest.raises(ValueError, match=r"noise must have shape \(\), got \(2,\)"):
        spectra.test_error(law, 1.0, noise=np.zeros(2))
    for call in (
        spectra.optimal_gamma,
        lambda law, noise: spectra.test_error(law, 1.0, noise=noise),
    ):
        with pytest.raises(TypeError, match="law must be a jaxact.spectra.Law"):
            call(jaxact.get("relu"), noise=0.0)
    draw = functools.partial(
        spectra.simulate_test_error, jax.random.key(0), jaxact.get("tanh"), n0=3, n1=2, noise=0.0
    )
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        draw(m=0, gamma=1.0)
    with pytest.raises(ValueError, match="gamma must be positive, got 0"):
        draw(m=4, gamma=0.0)
