"""Certificates against the SVD, the noise bound and the ReLU expansion threshold."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import inversion, io, nets
from jaxact.inversion.certificate import _certify


def layer(weights, z):
    return jax.nn.relu(weights @ z)


@pytest.mark.fast
def test_singular_values_are_those_of_the_jacobian(x64, rng):
    weights = rng.normal(size=(15, 4))
    z = rng.normal(size=4)
    found = inversion.certificate(jax.tree_util.Partial(layer, jnp.asarray(weights)), z)
    active = weights @ z > 0
    expected = np.linalg.svd(weights[active], compute_uv=False)
    np.testing.assert_allclose(found.singular_values, expected, rtol=1e-10)
    assert float(found.condition) == pytest.approx(expected[0] / expected[-1])
    assert int(found.active_rows) == active.sum()
    assert bool(found.identifiable)


@pytest.mark.fast
def test_a_tiny_singular_value_survives_float32(rng):
    # sigma_min / sigma_max = 8e-6: its square is below float32's rounding
    expected = np.geomspace(1.0, 8e-6, 6)
    left, right = (np.linalg.qr(rng.normal(size=(n, 6)))[0] for n in (300, 6))
    matrix = jnp.asarray((left * expected) @ right.T, jnp.float32)
    found = jax.jit(
        lambda w: inversion.certificate(jax.tree_util.Partial(layer, w), jnp.ones(6, w.dtype))
    )(jnp.where((matrix.sum(axis=1) > 0)[:, None], matrix, -matrix))
    np.testing.assert_allclose(found.singular_values, expected, rtol=0.05)
    assert not bool(found.identifiable)


@pytest.mark.fast
def test_the_largest_singular_value_is_differentiable_without_full_rank(x64, rng):
    matrix = jnp.asarray(np.outer(rng.normal(size=7), [1.0, 0.0, -2.0]))

    def largest(w):
        return inversion.certificate(lambda z: w @ z, jnp.ones(3)).sigma_max

    u, _, v = np.linalg.svd(matrix)
    np.testing.assert_allclose(jax.grad(largest)(matrix), np.outer(u[:, 0], v[0]), atol=1e-12)


@pytest.mark.fast
def test_fewer_measurements_than_latents_are_never_identifiable(rng):
    weights = jnp.asarray(rng.normal(size=(15, 6)), jnp.float32)
    see = inversion.mask(np.array([0, 4, 7, 9]))
    found = inversion.certificate(lambda z: jnp.tanh(weights @ z), jnp.ones(6), operator=see)
    assert found.singular_values.shape == (6,)
    assert float(found.sigma_min) == 0.0
    assert np.isinf(found.condition)
    assert not bool(found.identifiable)
    assert int(found.active_rows) == 4


def test_relu_needs_an_expansion_above_two(rng):
    k = 32
    singular, smallest = {}, {}
    for expansion in (1.5, 2, 4):
        m = int(expansion * k)
        weights = jnp.asarray(rng.normal(size=(200, m, k)), jnp.float32)
        z = jnp.asarray(rng.normal(size=(200, k)), jnp.float32)
        found = jax.jit(
            jax.vmap(lambda w, z: inversion.certificate(jax.tree_util.Partial(layer, w), z))
        )(weights, z)
        singular[expansion] = float(jnp.mean(~found.identifiable))
        smallest[expansion] = float(jnp.min(found.sigma_min)) / k**0.5
        assert (np.asarray(found.active_rows < k) <= ~np.asarray(found.identifiable)).all()
    assert singular[1.5] > 0.9
    assert 0.2 < singular[2] < 0.6
    assert singular[4] == 0
    assert smallest[4] > 0.15


@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_noise_moves_the_latent_within_the_bound(noise, x64, rng):
    k, m = 6, 60
    w1 = jnp.asarray(rng.normal(size=(30, k)))
    w2 = jnp.asarray(rng.normal(size=(m, 30)) / 5)

    def generator(z):
        return jax.nn.leaky_relu(w2 @ jnp.tanh(w1 @ z), 0.2)

    z = jnp.asarray(rng.normal(size=(8, k)) / 2)
    e = noise * jnp.asarray(rng.normal(size=(8, m)))
    y = jax.vmap(generator)(z) + e
    starts = z[:, None]
    found = jax.vmap(lambda y, s: inversion.invert(generator, y, latent=s))(y, starts)
    at = jax.jit(jax.vmap(lambda v: inversion.certificate(generator, v)))(z)
    moved = jnp.linalg.norm(found.latent - z, axis=1)
    assert (moved > 0).all()
    assert (moved <= 1.05 * jnp.linalg.norm(e, axis=1) / at.sigma_min).all()
    # Cramer-Rao: the root mean square shift is noise sqrt(tr (J^T J)^-1)
    bound = noise * jnp.sqrt(jnp.sum(at.singular_values**-2.0, axis=1))
    assert 0.75 < float(jnp.sqrt(jnp.mean((moved / bound) ** 2))) < 1.3


@pytest.mark.fast
def test_bad_certificate_input():
    with pytest.raises(ValueError, match=r"z must be finite, got nan at index \(0,\)"):
        inversion.certificate(jnp.tanh, jnp.array([jnp.nan, 1.0]))
    with pytest.raises(ValueError, match="tolerance must be non-negative, got -1"):
        inversion.certificate(jnp.tanh, jnp.ones(2), tolerance=-1.0)


def test_the_nearest_kink_of_a_layer_is_where_its_pattern_changes(x64, rng):
    weights, z = rng.normal(size=(12, 3)), rng.normal(size=3)
    found = inversion.certificate(jax.tree_util.Partial(layer, jnp.asarray(weights)), z)
    distances = np.abs(weights @ z) / np.linalg.norm(weights, axis=1)
    assert float(found.kink_margin) == pytest.approx(np.abs(weights @ z).min())
    assert float(found.kink_distance) == pytest.approx(distances.min())
    nearest = weights[distances.argmin()]
    step = -np.sign(nearest @ z) * nearest / np.linalg.norm(nearest) * distances.min()
    for share, changed in ((0.99, False), (1.01, True)):
        moved = weights @ (z + share * step) > 0
        assert (moved != (weights @ z > 0)).any() == changed


def test_kinks_behind_a_layer_of_any_activation_and_in_the_operator(x64, rng):
    w1, w2 = rng.normal(size=(8, 3)), rng.normal(size=(5, 8))
    z = rng.normal(size=3)

    def hidden(z):
        return w2 @ jnp.tanh(w1 @ z)

    a = np.asarray(hidden(z))
    speed = np.linalg.norm(jax.jacfwd(hidden)(z), axis=1)
    bent = inversion.certificate(lambda z: jnp.abs(hidden(z) - 0.25), z)
    assert float(bent.kink_margin) == pytest.approx(np.abs(a - 0.25).min())
    assert float(bent.kink_distance) == pytest.approx((np.abs(a - 0.25) / speed).min())
    seen = inversion.certificate(hidden, z, operator=lambda x: jnp.maximum(x[1:], x[:-1]))
    assert float(seen.kink_margin) == pytest.approx(np.abs(np.diff(a)).min())
    smooth = inversion.certificate(hidden, z)
    assert np.isinf([smooth.kink_margin, smooth.kink_distance]).all()


def test_unknown_kinks_are_nan_and_theta_does_not_compile_again(rng):
    weights = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)
    z = jnp.asarray(rng.normal(size=2), jnp.float32)
    unreadable = inversion.certificate(lambda z: jnp.sort(weights @ z), z)
    assert np.isnan([unreadable.kink_margin, unreadable.kink_distance]).all()
    assert float(unreadable.sigma_min) > 0

    def bent(theta, z):
        a = weights @ z
        return jnp.where(a > theta, a, theta + 0.1 * (a - theta))

    compiled = _certify
    found = [inversion.certificate(jax.tree_util.Partial(bent, t), z) for t in (0.1, 0.3)]
    before = compiled._cache_size()
    found.append(inversion.certificate(jax.tree_util.Partial(bent, 0.7), z))
    assert compiled._cache_size() == before
    for theta, one in zip((0.1, 0.3, 0.7), found, strict=True):
        margin = np.abs(np.asarray(weights @ z) - theta).min()
        assert float(one.kink_margin) == pytest.approx(margin, rel=1e-4)


def test_few_pixels_of_a_trained_generator_are_not_identifiable():
    images = io.load_digits(train=600).x
    encoder, generator, _ = nets.train_autoencoder(
        images, latent=16, act=ja.get("relu"), epochs=8, key=jax.random.key(0)
    )
    # one pixel more than unknowns: counting does not tell; noise of 1/500 of the pixels' range
    chosen = np.random.default_rng(0).permutation(64).reshape(8, 8)
    z = jnp.asarray(encoder(images[4]))
    noise = 2e-3 * jax.random.normal(jax.random.key(2), (8, 8))
    errors = {}
    solver = inversion.LevenbergMarquardt(steps=100)  # 17 pixels, ill-conditioned: about 48
    for pixels, identifiable in ((64, True), (17, False)):
        see = inversion.mask(chosen < pixels)
        found = inversion.certificate(generator, z, operator=see, tolerance=1e-2)
        assert bool(found.identifiable) == identifiable
        assert found.active_rows >= 16
        y = see(generator(z) + noise)
        solved = inversion.invert(generator, y, latent=z, operator=see, solver=solver)
        assert float(solved.loss) < 2e-4
        errors[pixels] = float(jnp.linalg.norm(solved.latent - z) / jnp.linalg.norm(z))
    assert errors[64] < 0.1
    assert errors[17] > 0.2
