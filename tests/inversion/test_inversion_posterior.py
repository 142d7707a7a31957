"""Noise bounds, the Laplace posterior and Langevin samples, against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import inversion
from jaxact.inversion.langevin import diagnose

K, M = 3, 24


def net(weights, z):
    h = weights[0] @ z
    return weights[1] @ (h + 0.3 * jnp.tanh(h))


def random_weights(rng, dtype=float):
    return tuple(jnp.asarray(rng.normal(size=s) / 3, dtype) for s in ((12, K), (M, 12)))


def test_noise_bounds_hold_in_200_random_cases(x64, rng):
    weights = random_weights(rng)
    generator = jax.tree_util.Partial(net, weights)
    z = jnp.asarray(rng.normal(size=(200, K)))
    e = 10 ** jnp.asarray(rng.uniform(-4, -2, size=(200, 1))) * jnp.asarray(
        rng.normal(size=(200, M))
    )
    y = jax.vmap(generator)(z) + e
    latent = jax.vmap(lambda y, s: inversion.invert(generator, y, latent=s).latent)(y, z[:, None])
    found = jax.vmap(lambda z, e: inversion.noise_bound(generator, z, error=e))(z, e)
    moved = np.linalg.norm(latent - z, axis=1)
    assert (moved > 0).all()
    assert (moved <= 1.01 * np.asarray(found.projected)).all()
    assert (np.asarray(found.projected) <= np.asarray(found.worst)).all()
    np.testing.assert_allclose(moved, found.first_order, rtol=0.02)
    assert (np.asarray(found.first_order) <= np.asarray(found.projected) * (1 + 1e-12)).all()


def test_the_rigorous_bound_is_never_beaten_in_its_box(rng):
    generator = jax.tree_util.Partial(net, random_weights(rng, jnp.float32))
    z = jnp.asarray(rng.normal(size=K), jnp.float32)
    other = z[None] + jnp.asarray(rng.uniform(-0.2, 0.2, size=(60, K)), jnp.float32)
    e = jax.vmap(generator)(other) - generator(z)[None]
    bound = jax.vmap(lambda e: inversion.noise_bound(generator, z, error=e, radius=0.2))(e)
    size = np.linalg.norm(other - z[None], axis=1)
    assert np.isfinite(bound.rigorous).all()
    assert (size <= np.asarray(bound.rigorous)).all()
    assert (np.asarray(bound.rigorous) < 3 * size).all()
    assert not np.isfinite(inversion.noise_bound(generator, z, error=e[0]).rigorous)
    level = inversion.noise_bound(generator, z, level=0.01, radius=0.2)
    assert float(level.first_order) < float(level.rigorous) < np.inf


def test_a_level_is_kept_with_its_confidence(x64, rng):
    w = rng.normal(size=(M, K))
    found = inversion.noise_bound(lambda z: w @ z, jnp.ones(K), level=0.1, confidence=0.9)
    e = 0.1 * rng.normal(size=(20000, M))
    values = np.linalg.svd(w, compute_uv=False)
    shift = np.linalg.norm(e @ np.linalg.pinv(w).T, axis=1)
    assert float(found.first_order) == pytest.approx(np.sqrt(np.mean(shift**2)), rel=0.02)
    inside = np.linalg.norm(e @ np.linalg.svd(w, full_matrices=False)[0], axis=1) / values[-1]
    outside = np.linalg.norm(e, axis=1) / values[-1]
    for bound, sample in ((found.projected, inside), (found.worst, outside)):
        assert 0.9 <= np.mean(sample <= float(bound)) < 1
        assert float(bound) < 1.6 * np.quantile(sample, 0.9)


def test_laplace_of_a_linear_generator_is_the_exact_posterior(x64, rng):
    w, prior = rng.normal(size=(M, K)), 0.7
    s = rng.uniform(0.1, 0.3, size=M)
    y = w @ rng.normal(size=K) + s * rng.normal(size=M)
    precision = w.T @ np.diag(s**-2) @ w + prior * np.eye(K)
    mean = np.linalg.solve(precision, w.T @ (y / s**2))

    def generator(z):
        return jnp.concatenate([w @ z, 2.0 * z])

    see = inversion.mask(np.arange(M))
    found = inversion.laplace(generator, jnp.asarray(mean), noise=s, prior=prior, y=y, operator=see)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9)
    wide = np.concatenate([w, 2 * np.eye(K)])
    np.testing.assert_allclose(found.variance, np.diag(wide @ covariance @ wide.T), rtol=1e-9)
    full = w @ w.T / prior + np.diag(s**2)
    evidence = -(y @ np.linalg.solve(full, y) + np.linalg.slogdet(2 * np.pi * full)[1]) / 2
    assert float(found.log_evidence) == pytest.approx(evidence, rel=1e-9)
    draws = np.asarray(found.sample(jax.random.key(0), 4000))
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * np.sqrt(covariance.max() / 4000))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.1 * covariance.max())
    assert np.isnan(inversion.laplace(generator, jnp.asarray(mean), noise=0.1).log_evidence)


def test_the_posterior_is_differentiable(x64, rng):
    generator = jax.tree_util.Partial(net, random_weights(rng))
    z, y = jnp.asarray(rng.normal(size=K)), jnp.asarray(rng.normal(size=M))

    @jax.jit
    def value(z, noise, prior):
        found = inversion.laplace(generator, z, noise=noise, prior=prior, y=y)
        return found.variance.sum() + found.log_evidence

    at = (z, jnp.asarray(0.3), jnp.asarray(0.5))
    gradient = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*at)
    h = 1e-6
    for i in range(3):
        step = jnp.zeros(K).at[0].set(h) if i == 0 else jnp.asarray(h)
        high, low = list(at), list(at)
        high[i], low[i] = at[i] + step, at[i] - step
        expected = (value(*high) - value(*low)) / (2 * h)
        got = gradient[0][0] if i == 0 else gradient[i]
        assert float(got) == pytest.approx(float(expected), rel=1e-6)


def test_langevin_samples_the_exact_posterior_of_a_linear_generator(rng):
    w = rng.normal(size=(M, K)) * np.array([3.0, 1.0, 0.1])
    y = w @ rng.normal(size=K)
    precision = w.T @ w / 0.25 + np.eye(K)
    covariance = np.linalg.inv(precision)
    mean = covariance @ (w.T @ y) / 0.25
    generator = jax.tree_util.Partial(lambda w, z: w @ z, jnp.asarray(w, jnp.float32))

    def run(seed):
        return inversion.langevin(
            generator, y, jnp.asarray(mean, jnp.float32) + 0.1, noise=0.5, chains=8,
            warmup=300, draws=600, key=jax.random.key(seed),
        )  # fmt: skip

    found = run(0)
    assert found.converged
    assert (0.4 < np.asarray(found.acceptance)).all()
    assert (np.asarray(found.acceptance) < 0.75).all()
    draws = np.asarray(found.latents, float).reshape(-1, K)
    error = np.sqrt(np.diag(covariance) / np.asarray(found.effective))
    assert (np.asarray(found.effective) > 400).all()
    assert (np.abs(draws.mean(0) - mean) < 4.5 * error).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(draws.T) - covariance) < 0.15 * scale).all()
    np.testing.assert_array_equal(run(0).latents, found.latents)
    assert not np.array_equal(run(1).latents, found.latents)


def test_metropolis_is_right_where_laplace_is_not(rng):
    # p(z | y = 0) ~ exp(-z^4 / (2 s^2) - z^2 / 2) with s = 0.1, from a start off its centre
    found = inversion.langevin(
        lambda z: z * jnp.abs(z), jnp.zeros(1), jnp.full(1, 0.3), noise=0.1, chains=8,
        warmup=300, draws=800, key=jax.random.key(0),
    )  # fmt: skip
    grid = np.linspace(-3, 3, 20001)
    density = np.exp(-(grid**4) / 0.02 - grid**2 / 2)
    variance = np.sum(grid**2 * density) / np.sum(density)
    draws = np.asarray(found.latents).ravel()
    assert np.var(draws) == pytest.approx(variance, rel=0.1)
    assert abs(np.mean(draws)) < 5 * np.sqrt(variance / float(found.effective[0]))


def test_effective_size_and_r_hat_of_known_chains(rng):
    n, phi = 4000, 0.8
    noise = rng.normal(size=(4, n, 2))
    chain = np.zeros((4, n, 2))
    for t in range(1, n):
        chain[:, t] = np.array([phi, 0.0]) * chain[:, t - 1] + noise[:, t]
    effective, r_hat = diagnose(jnp.asarray(chain, jnp.float32))
    expected = 4 * n * np.array([(1 - phi) / (1 + phi), 1.0])
    np.testing.assert_allclose(effective, expected, rtol=0.2)
    assert (np.asarray(r_hat) < 1.01).all()
    apart = jnp.asarray(chain + np.arange(4.0)[:, None, None], jnp.float32)
    assert (np.asarray(diagnose(apart)[1]) > 1.1).all()
    effective, r_hat = diagnose(jnp.ones((4, n, 2), jnp.float32))
    assert (np.asarray(effective) == 0).all()
    assert np.isinf(r_hat).all()


def test_bad_input():
    z, y = jnp.ones(2), jnp.ones(2)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="error or level must be given"):
        inversion.noise_bound(jnp.tanh, z)
    with pytest.raises(ValueError, match="error or level must be given"):
        inversion.noise_bound(jnp.tanh, z, error=y, level=0.1)
    with pytest.raises(ValueError, match=r"error must have shape \(2,\)"):
        inversion.noise_bound(jnp.tanh, z, error=jnp.ones(3))
    with pytest.raises(ValueError, match="noise must be positive, got 0"):
        inversion.laplace(jnp.tanh, z, noise=0.0)
    with pytest.raises(ValueError, match=r"noise.sigma must have shape \(2,\)"):
        inversion.laplace(jnp.tanh, z, noise=jnp.ones(3))
    with pytest.raises(ValueError, match="prior must be non-negative, got -1"):
        inversion.laplace(jnp.tanh, z, noise=0.1, prior=-1.0)
    with pytest.raises(ValueError, match="prior must be positive, got 0"):
        inversion.langevin(jnp.tanh, y, z, noise=0.1, prior=0.0, key=key)
    with pytest.raises(ValueError, match="chains must be at least 2, got 1"):
        inversion.langevin(jnp.tanh, y, z, noise=0.1, chains=1, key=key)
    with pytest.raises(ValueError, match=r"y must have shape \(2,\)"):
        inversion.langevin(jnp.tanh, jnp.ones(3), z, noise=0.1, key=key)
