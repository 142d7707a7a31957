"""Certificates against the SVD, the noise bound and the ReLU expansion threshold."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import inversion


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
