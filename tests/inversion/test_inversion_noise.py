"""Noise models: one F for every solver, checked against NumPy, SciPy and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from jaxact import inversion
from jaxact.inversion.noise import as_noise

K = 3
TWINS = {
    "gaussian": (inversion.GaussianNoise(0.5), lambda a, y: (a - y) ** 2 / 0.5),
    "huber": (inversion.HuberNoise(0.7), lambda a, y: scipy.special.huber(0.7, a - y)),
    "l1": (inversion.L1Noise(0.2), lambda a, y: np.sqrt((a - y) ** 2 + 0.04) - 0.2),
    "poisson": (
        inversion.PoissonNoise(0.1),
        lambda a, y: scipy.special.kl_div(y, a + 0.1),
    ),
    "logistic": (inversion.LogisticNoise(0.8), lambda a, y: np.log1p(np.exp(-y * a / 0.8))),
    "cauchy": (lambda a, y: jnp.log1p((a - y) ** 2), lambda a, y: np.log1p((a - y) ** 2)),
}


def _data(name, rng, size=40):
    a = rng.uniform(0.2, 3, size)
    y = np.sign(rng.normal(size=size)) if name == "logistic" else rng.integers(0, 5, size)
    return a, y.astype(float)


@pytest.mark.fast
@pytest.mark.parametrize("name", TWINS)
def test_misfit_slope_and_weights_are_the_numpy_twins(name, rng, x64):
    noise, twin = TWINS[name]
    noise = as_noise(noise)
    a, y = _data(name, rng)
    assert float(noise.misfit(jnp.asarray(a), jnp.asarray(y))) == pytest.approx(
        twin(a, y).sum(), rel=1e-12
    )
    slope = (twin(a + 1e-6, y) - twin(a - 1e-6, y)) / 2e-6
    np.testing.assert_allclose(jax.grad(noise.misfit)(a, y), slope, rtol=1e-7, atol=1e-8)
    bend = (twin(a + 1e-4, y) - 2 * twin(a, y) + twin(a - 1e-4, y)) / 1e-8
    if name in ("huber", "l1"):  # iteratively reweighted: slope = weight * residual
        bend = slope / (a - y)
    elif name == "poisson":  # the Fisher information: its mean over y ~ Poisson(rate)
        bend = bend * (a + 0.1) / np.where(y > 0, y, np.inf)
        y = np.where(y > 0, y, 1)
        bend = np.where(bend > 0, bend, 1 / (a + 0.1))
    found = noise.weights(jnp.asarray(a), jnp.asarray(y))
    np.testing.assert_allclose(found, np.maximum(bend, 0), rtol=1e-5, atol=1e-5)


def _apply(weights, z):
    return jax.nn.softplus(weights[1] @ jnp.tanh(weights[0] @ z))


def _generator(rng, rows=40):
    w1, w2 = rng.normal(size=(8, K)), rng.normal(size=(rows, 8)) / 2
    return jax.tree_util.Partial(_apply, (jnp.asarray(w1), jnp.asarray(w2)))


def _noisy(name, a, rng):
    a = np.asarray(a)
    if name == "logistic":
        return np.sign(a + 0.3 * rng.normal(size=a.shape))
    return rng.poisson(5 * a) / 5 if name == "poisson" else a + 0.1 * rng.normal(size=a.shape)


@pytest.mark.parametrize("name", TWINS)
def test_every_solver_finds_scipys_minimum(name, rng, x64):
    generator = _generator(rng)
    noise, twin = TWINS[name]
    # Signs of a positive output would all be 1.
    see = (lambda x: x - 1) if name == "logistic" else (lambda x: x)
    y = _noisy(name, see(generator(jnp.array([0.5, -1.0, 0.3]))), rng)

    def objective(z):
        return twin(np.asarray(see(generator(jnp.asarray(z)))), y).sum() + 0.05 * z @ z

    start = np.array([0.4, -0.8, 0.2])
    expected = scipy.optimize.minimize(
        objective, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}
    )
    solvers = [inversion.LevenbergMarquardt(steps=100)]
    if name in ("huber", "poisson"):
        solvers += [inversion.GaussNewton(steps=100)]
    if name == "huber":
        solvers += [inversion.Adam(learning_rate=0.02, steps=3000, tol=1e-9)]
    for solver in solvers:
        found = inversion.invert(
            generator, jnp.asarray(y), latent=jnp.asarray(start), solver=solver, prior=0.1,
            noise=noise, operator=see,
        )  # fmt: skip
        assert bool(found.converged)
        assert float(found.loss) == pytest.approx(expected.fun, rel=1e-9)
        np.testing.assert_allclose(found.latent, expected.x, atol=2e-6)


def test_gross_outliers_move_least_squares_and_not_huber_or_l1(rng):
    generator = jax.tree.map(lambda w: w.astype(jnp.float32), _generator(rng, rows=80))
    z = jnp.array([0.5, -1.0, 0.3], jnp.float32)
    y = np.array(generator(z))
    y[rng.permutation(80)[:8]] += 5.0

    def error(noise):
        found = inversion.invert(
            generator, jnp.asarray(y), latent=K, restarts=4, key=jax.random.key(0), noise=noise,
            solver=inversion.LevenbergMarquardt(steps=200),
        )  # fmt: skip
        return float(jnp.linalg.norm(found.latent - z) / jnp.linalg.norm(z))

    assert error(None) > 0.1
    assert error(inversion.HuberNoise(1e-2)) < 5e-3
    assert error(inversion.L1Noise(1e-3)) < 1e-3


def test_signs_give_the_direction_and_the_prior_its_length(rng):
    weights = jnp.asarray(rng.normal(size=(10, K)), jnp.float32)
    see = jnp.asarray(rng.normal(size=(400, 10)), jnp.float32)
    generator = jax.tree_util.Partial(lambda w, z: jax.nn.relu(w @ z), weights)
    z = jnp.array([0.5, -1.0, 0.3], jnp.float32)
    y = jnp.sign(see @ generator(z))
    found = inversion.invert(
        generator, y, latent=K, operator=lambda x: see @ x, noise=inversion.LogisticNoise(),
        prior=1e-2, key=jax.random.key(0),
    )  # fmt: skip
    cosine = found.latent @ z / jnp.linalg.norm(found.latent) / jnp.linalg.norm(z)
    assert float(cosine) > 0.995
    assert bool(found.converged)
    assert bool(jnp.isfinite(found.latent).all())


def test_a_known_deviation_rescales_the_prior(rng, x64):
    generator = _generator(rng)
    y = jnp.asarray(_noisy("gaussian", generator(jnp.array([0.5, -1.0, 0.3])), rng))
    options = {"latent": jnp.array([0.4, -0.8, 0.2])}
    plain = inversion.invert(generator, y, prior=0.01, **options)
    scaled = inversion.invert(
        generator, y, prior=1.0, noise=inversion.GaussianNoise(0.1), **options
    )
    np.testing.assert_allclose(scaled.latent, plain.latent, rtol=1e-8)
    assert float(scaled.loss) == pytest.approx(float(plain.loss) / 0.01, rel=1e-10)
    each = jnp.where(jnp.arange(40) < 20, 0.1, 1e6)
    half = inversion.invert(generator, y, noise=inversion.GaussianNoise(each), **options)
    only = inversion.invert(generator, y[:20], operator=inversion.mask(np.arange(20)), **options)
    np.testing.assert_allclose(half.latent, only.latent, atol=1e-6)


@pytest.mark.parametrize("name", ["poisson", "cauchy"])
def test_implicit_derivative_in_data_and_in_the_noise_model(name, rng, x64):
    generator = _generator(rng)
    y = jnp.asarray(_noisy(name, generator(jnp.array([0.5, -1.0, 0.3])), rng))
    start = jnp.array([0.4, -0.8, 0.2])
    solver = inversion.LevenbergMarquardt(steps=200, tol=1e-14)

    def latent(y, width):
        noise = {
            "poisson": inversion.PoissonNoise(width),
            "cauchy": lambda a, y: jnp.log1p(((a - y) / width) ** 2),
        }[name]
        return inversion.invert(
            generator, y, latent=start, prior=0.1, noise=noise, solver=solver
        ).latent

    latent = jax.jit(latent)
    direction = jnp.where(y > 0, rng.normal(size=y.shape), 0)  # no count is below 0
    tangent = (direction, jnp.asarray(1.0))
    found = jax.jvp(latent, (y, jnp.asarray(0.1)), tangent)[1]
    h = 1e-5
    high, low = (latent(y + s * direction, jnp.asarray(0.1 + s)) for s in (h, -h))
    expected = (high - low) / (2 * h)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.fast
def test_other_values_of_a_noise_model_compile_nothing_new():
    traces = []

    def generator(z):
        traces.append(z)
        return jnp.tanh(z[0] * jnp.arange(1.0, 6.0))

    y = jnp.array([0.1, 0.6, 0.1, 0.6, 0.1])
    losses = []
    for delta in (0.1, 0.02):
        found = inversion.invert(
            generator, y, latent=jnp.ones(1), noise=inversion.HuberNoise(delta)
        )
        losses.append(float(found.loss))
        traces, count = [], len(traces)
    assert count == 0
    assert losses[1] < losses[0]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("noise", "y", "error", "message"),
    [
        (inversion.HuberNoise(0.0), np.ones(2), ValueError, "noise.delta must be positive, got 0"),
        (inversion.L1Noise(-1.0), np.ones(2), ValueError, "noise.smoothing must be positive"),
        (inversion.GaussianNoise(0.0), np.ones(2), ValueError, "noise.sigma must be positive"),
        (
            inversion.GaussianNoise(np.ones(3)), np.ones(2), ValueError,
            r"noise.sigma must have shape \(2,\)",
        ),
        (
            inversion.PoissonNoise(), np.array([1.0, -1.0]), ValueError,
            r"y \(counts\) must be non-negative, got -1 at index \(1,\)",
        ),
        (inversion.PoissonNoise(-0.1), np.ones(2), ValueError, "noise.background must be non-neg"),
        (
            inversion.LogisticNoise(), np.array([1.0, 0.0]), ValueError,
            r"y \(signs\) must be -1 or \+1",
        ),
        (inversion.LogisticNoise(0.0), np.ones(2), ValueError, "noise.scale must be positive"),
        (inversion.HuberNoise, np.ones(2), TypeError, "noise must be a GaussianNoise"),
        ("huber", np.ones(2), TypeError, "noise must be a GaussianNoise.* got 'huber'"),
        (None, np.ones(2) + 1j, TypeError, "y must be real, as operator"),
    ],
)  # fmt: skip
def test_bad_noise(noise, y, error, message):
    y = jnp.asarray(y, jnp.complex64 if y.dtype.kind == "c" else jnp.float32)
    with pytest.raises(error, match=message):
        inversion.invert(lambda z: jnp.tanh(z), y, latent=jnp.ones(2), noise=noise)
