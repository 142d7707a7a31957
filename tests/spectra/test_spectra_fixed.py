"""Ridge regression on given data: the prediction against draws, a NumPy twin and exact cases."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra import fixed

GAMMAS = np.array([1e-3, 1e-2, 1e-1, 1.0])


def split(found, m, k):
    """Real digits: centred, scaled to norm sqrt(n0), with one-hot labels."""
    flat = found.x.reshape(len(found.x), -1).astype(np.float64)
    mean = flat.mean(0)
    sets = []
    for x, y in ((found.x[:m], found.y[:m]), (found.test_x[:k], found.test_y[:k])):
        x = x.reshape(len(x), -1) - mean
        x *= np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)
        sets.append((x, np.eye(10)[y]))
    return sets


def small(rng, m=12, k=5, outputs=2):
    x, fresh = (rng.normal(size=(n, 4)) for n in (m, k))
    x, fresh = (2 * v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, fresh))
    return (x, rng.normal(size=(m, outputs))), (fresh, rng.normal(size=(k, outputs)))


def check_against_draws(act, train, test, n1, *, centred):
    arguments = {"n1": n1, "test": test, "gamma": GAMMAS, "centred": centred}
    found = spectra.fixed_data(act, *train, **arguments)
    assert bool(found.converged.all())
    keys = jax.random.split(jax.random.key(0), 4)
    draws = [spectra.simulate_fixed_data(key, act, *train, **arguments) for key in keys]
    training, test_error = (np.mean(v, axis=0) for v in zip(*draws, strict=True))
    for mean, expected in ((training, found.training_error), (test_error, found.test_error)):
        np.testing.assert_allclose(mean[1:], expected[1:], rtol=0.05)
        np.testing.assert_allclose(mean[0], expected[0], rtol=0.12)  # near interpolation


def test_real_digits(x64):
    train, test = split(jaxact.io.load_digits(), 200, 150)
    check_against_draws(jaxact.get("tanh"), train, test, 150, centred=False)


def test_real_mnist_and_a_centred_function_of_ones_own(shared, x64):
    mnist = jaxact.io.load_mnist(shared / "data" / "mnist10k.npz")
    train, test = split(mnist, 200, 150)
    check_against_draws(lambda x: jnp.sin(2 * x) + 0.3 * x**2, train, test, 150, centred=True)


def louart(k, cross, corner, labels, wanted, n1, gamma):
    """Theorem 1 and Conjecture 1 as they are written, with inverses and traces."""
    m = len(k)
    delta = 0.0
    for _ in range(2000):
        q = np.linalg.inv(n1 / m * k / (1 + delta) + gamma * np.eye(m))
        delta = np.trace(k @ q) / m
    factor = n1 / m / (1 + delta)
    psi, psi_cross, psi_corner = factor * k, factor * cross, factor * corner
    q = np.linalg.inv(psi + gamma * np.eye(m))
    gram = labels @ labels.T
    room = 1 - np.trace(psi @ q @ psi @ q) / n1
    middle = np.trace(psi @ q @ q) / n1 / room * psi + np.eye(m)
    training = gamma**2 / m * np.trace(gram @ q @ middle @ q)
    bias = ((wanted - psi_cross.T @ q @ labels) ** 2).sum()
    rest = np.trace(psi_corner) - np.trace((np.eye(m) + gamma * q) @ psi_cross @ psi_cross.T @ q)
    test = (bias + np.trace(gram @ q @ psi @ q) / n1 / room * rest) / len(wanted)
    return training, test, delta


def arc_cosine(x, y):
    """The kernel of relu."""
    a, b = (np.sqrt((v**2).sum(1) / v.shape[1]) for v in (x, y))
    t = np.arccos(np.clip(x @ y.T / x.shape[1] / np.outer(a, b), -1, 1))
    return np.outer(a, b) * (np.sin(t) + (np.pi - t) * np.cos(t)) / (2 * np.pi)


def predicted(train, test, n1, gammas):
    """Of relu, at the same shapes everywhere: one compilation."""
    n1, gammas = (np.broadcast_to(v, (3, 4)) for v in (n1, gammas))
    return spectra.fixed_data(jaxact.get("relu"), *train, n1=n1, gamma=gammas, test=test)


def test_the_formulas_of_the_paper(rng, x64):
    (x, labels), (fresh, wanted) = small(rng)
    sizes = (6.0, 12.0, 30.0)
    found = predicted((x, labels), (fresh, wanted), np.array(sizes)[:, None], GAMMAS)
    blocks = arc_cosine(x, x), arc_cosine(x, fresh), arc_cosine(fresh, fresh)
    expected = np.array([[louart(*blocks, labels, wanted, n1, g) for g in GAMMAS] for n1 in sizes])
    values = (found.training_error, found.test_error, found.delta)
    np.testing.assert_allclose(np.stack(values, axis=-1), expected, rtol=1e-8)


def test_many_neurons_are_kernel_ridge_regression(rng, x64):
    (x, labels), (fresh, wanted) = small(rng)
    ridge = 0.2
    found = predicted((x, labels), (fresh, wanted), 1e9, ridge * 1e9 / 12)
    alpha = np.linalg.solve(arc_cosine(x, x) + ridge * np.eye(12), labels)
    training = ridge**2 * (alpha**2).sum() / 12
    missed = ((wanted - arc_cosine(x, fresh).T @ alpha) ** 2).sum() / 5
    np.testing.assert_allclose(found.training_error, training, rtol=1e-7)
    np.testing.assert_allclose(found.test_error, missed, rtol=1e-7)


def test_limits_and_order(rng, x64):
    (x, labels), test = small(rng)
    n1, gammas = np.array([[3.0], [12.0], [40.0]]), np.array([1e-9, 1e-2, 1.0, 1e9])
    found = predicted((x, labels), test, n1, gammas)
    assert bool(found.converged.all())
    error = np.asarray(found.training_error)
    assert (np.diff(error, axis=1) > 0).all()
    assert (np.diff(error, axis=0) < 0).all()
    np.testing.assert_allclose(error[:, -1], (labels**2).sum() / 12, rtol=1e-6)
    np.testing.assert_allclose(found.test_error[:, -1], (test[1] ** 2).sum() / 5, rtol=1e-6)
    np.testing.assert_allclose(found.degrees_of_freedom[:, 0], [3, 12, 12], rtol=1e-3)


def test_derivatives_where_the_kernel_is_degenerate(rng, x64):
    # f = a x has a kernel of rank 4 on 12 samples, and E(a, gamma) = E(1, gamma / a^2).
    (x, labels), test = small(rng)

    def error(a, gamma):
        act = jaxact.activation(lambda v, a: a * v, theta=(a,), kinks=())
        found = spectra.fixed_data(act, x, labels, n1=9, gamma=gamma, test=test)
        return jnp.stack([found.training_error, found.test_error])

    a, gamma = jnp.asarray(1.3), jnp.asarray(0.2)
    by_a, by_gamma = jax.jit(jax.jacfwd(error, (0, 1)))(a, gamma)
    np.testing.assert_allclose(by_a, -2 * gamma / a * by_gamma, rtol=1e-9)


def test_gradients_against_finite_differences(rng, x64):
    (x, labels), test = small(rng)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2, 3))
    def error(slope, n1, gamma, scale):
        act = jaxact.get("leaky_relu", slope)
        found = spectra.fixed_data(
            act, x, labels, n1=n1, gamma=gamma, test=test, scale=scale, centred=True
        )
        return found.training_error + 0.7 * found.test_error

    at = (0.2, 9.0, 0.05, 1.1)
    found = error(*at)[1]
    for i, derivative in enumerate(found):
        h = 1e-5
        up, down = (tuple(v + s * h * (j == i) for j, v in enumerate(at)) for s in (1, -1))
        across = (float(error(*up)[0]) - float(error(*down)[0])) / (2 * h)
        assert float(derivative) == pytest.approx(across, rel=2e-6)


def test_the_draw_is_ridge_regression(rng, x64):
    (x, labels), (fresh, wanted) = small(rng)
    key = jax.random.key(4)
    for n1 in (8, 20):
        training, test = spectra.simulate_fixed_data(
            key, jnp.tanh, x, labels, n1=n1, gamma=0.1, test=(fresh, wanted), scale=1.5
        )
        w = np.asarray(jax.random.normal(jax.random.clone(key), (n1, 4))) * 1.5 / 2
        key = jax.random.clone(key)
        y = np.tanh(w @ x.T)
        beta = np.linalg.solve(y @ y.T / 12 + 0.1 * np.eye(n1), y @ labels / 12)
        missed = wanted - np.tanh(w @ fresh.T).T @ beta
        assert float(training) == pytest.approx(((labels - y.T @ beta) ** 2).sum() / 12, rel=1e-9)
        assert float(test) == pytest.approx((missed**2).sum() / 5, rel=1e-9)


def test_float32_vectors_and_no_retrace(rng):
    (x, labels), _ = small(rng, outputs=1)
    x, labels = x.astype(np.float32), labels[:, 0].astype(np.float32)
    at = functools.partial(spectra.fixed_data, x=x, labels=labels)
    found = at(jaxact.get("leaky_relu", 0.1), n1=9.0, gamma=0.1)
    assert found.training_error.dtype == jnp.float32
    assert found.training_error.shape == ()
    assert found.test_error is None
    assert bool(found.converged)
    before = fixed._fixed_data._cache_size()
    for slope, n1, gamma in ((0.2, 5.0, 0.3), (0.5, 50.0, 1e-3)):
        found = at(jaxact.get("leaky_relu", slope), n1=n1, gamma=gamma)
        assert 0 < float(found.training_error) < float(np.mean(labels**2))
    assert fixed._fixed_data._cache_size() == before


def test_bad_input(rng):
    (x, labels), (fresh, wanted) = small(rng)
    good = {"n1": 5, "gamma": 0.1}
    relu = jaxact.get("relu")
    with pytest.raises(ValueError, match="gamma must be positive, got 0"):
        spectra.fixed_data(relu, x, labels, n1=5, gamma=0.0)
    with pytest.raises(ValueError, match="n1 must be positive, got -1"):
        spectra.fixed_data(relu, x, labels, n1=-1, gamma=0.1)
    with pytest.raises(ValueError, match=r"labels must have shape \(12, outputs\)"):
        spectra.fixed_data(relu, x, labels[:3], **good)
    with pytest.raises(ValueError, match=r"test\[0\] must have shape \(k, 4\)"):
        spectra.fixed_data(relu, x, labels, test=(fresh[:, :3], wanted), **good)
    with pytest.raises(ValueError, match=r"test\[1\] must have shape \(5, 2\)"):
        spectra.fixed_data(relu, x, labels, test=(fresh, wanted[:, 0]), **good)
    with pytest.raises(TypeError, match="key must be a typed key"):
        spectra.simulate_fixed_data(0, relu, x, labels, **good)
    with pytest.raises(TypeError, match="n1 must be an integer"):
        spectra.simulate_fixed_data(jax.random.key(0), relu, x, labels, n1=5.0, gamma=0.1)
