"""The variational autoencoder: its bound in closed form, digits, checkpoints, and inversion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import inversion, nets
from jaxact.nets.vae import negative_elbo


@pytest.fixture(scope="module")
def digits():
    return ja.io.load_digits()


def _fit(images, **options):
    options = {
        "latent": 6, "features": (64,), "encoder": (64,), "batch": 64, "epochs": 12,
        "rate": 4e-3, "act": ja.get("gelu"), "key": jax.random.key(0),
    } | options  # fmt: skip
    return nets.train_vae(images, **options)


@pytest.mark.fast
def test_the_bound_is_its_numpy_twin(rng):
    mean, log_variance = rng.normal(size=3), rng.normal(size=3)
    weights, x = rng.normal(size=(5, 3)), rng.uniform(size=5)
    arrays = [jnp.asarray(v, jnp.float32) for v in (mean, log_variance, weights, x)]
    key = jax.random.key(3)
    found = negative_elbo(
        (arrays[0], arrays[1], jax.tree_util.Partial(jnp.matmul, arrays[2])),
        arrays[3], key, jnp.int32(7),
    )  # fmt: skip
    noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 7), (3,)))
    p = 1 / (1 + np.exp(-weights @ (mean + np.exp(log_variance / 2) * noise)))
    miss = -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p))
    variance = np.exp(log_variance)
    divergence = np.sum(variance + mean**2 - 1 - np.log(variance)) / 2
    assert float(found) == pytest.approx(miss + divergence, rel=1e-5)


def test_digits_are_generated_inverted_and_saved(digits, tmp_path):
    encoder, generator, fit = _fit(digits.x, test=digits.test_x)
    losses = np.asarray(fit.losses).reshape(12, -1).mean(1)
    assert losses[-1] < 27.5 < 35 < losses[0]
    assert float(fit.test_accuracy) > 0.42
    shown = np.asarray(jax.vmap(lambda x: generator(encoder(x)))(digits.test_x))
    spread = np.mean((digits.test_x - digits.test_x.mean(0, keepdims=True)) ** 2)
    explained = 1 - np.mean((shown - digits.test_x) ** 2) / spread
    assert float(fit.test_accuracy) == pytest.approx(explained, abs=1e-4)
    # The prior is what the encoder's posteriors make up: no latent lies far outside N(0, I).
    codes = jax.vmap(encoder)(digits.x)
    assert float(jnp.abs(codes).max()) < 6
    assert float(jnp.std(codes)) > 0.4

    path = ja.io.save_checkpoint(tmp_path / "vae", {"encoder": encoder, "generator": generator})
    blank = jax.tree.map(jnp.zeros_like, {"encoder": encoder, "generator": generator})
    loaded = ja.io.load_checkpoint(path, blank)
    z = jnp.array([0.5, -1.0, 0.3, 0.2, -0.4, 1.1])
    np.testing.assert_array_equal(loaded["generator"](z), generator(z))
    np.testing.assert_array_equal(loaded["encoder"](shown[0]), encoder(shown[0]))

    see = inversion.mask(inversion.half_mask((8, 8)))
    found = inversion.invert(
        loaded["generator"], see(generator(z)), latent=6, operator=see, key=jax.random.key(1)
    )
    assert bool(found.identifiable)
    np.testing.assert_allclose(found.output, generator(z), atol=1e-3)
    np.testing.assert_allclose(found.latent, z, atol=1e-2)


def test_any_activation_and_colour(rng):
    images = rng.uniform(size=(20, 4, 6, 3)).astype(np.float32)
    options = {
        "act": lambda x: x * jnp.tanh(x), "latent": 2, "features": (8, 4), "encoder": (5,),
        "kernels": ((1, 1), (2, 3)), "batch": 10, "epochs": 1,
    }  # fmt: skip
    encoder, generator, fit = _fit(images, **options)
    assert generator(encoder(images[0])).shape == (4, 6, 3)
    assert bool(jnp.isfinite(fit.losses).all())


def test_mnist_in_a_short_run(shared):
    mnist = ja.io.load_mnist(shared / "data" / "mnist10k.npz", train=9500)
    _, _, fit = _fit(
        mnist.x[:4000], act=ja.get("relu"), latent=20, features=(128, 16),
        kernels=((1, 1), (7, 7)), encoder=(128,), batch=125, epochs=3,
    )  # fmt: skip
    losses = np.asarray(fit.losses).reshape(3, -1).mean(1)
    assert losses[-1] < 200 < 230 < losses[0]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        (np.full((2, 4, 4), 2.0), {}, ValueError, r"images must be in \[0.0, 1.0\], got 2"),
        (np.ones((2, 4)), {}, ValueError, r"images must be \(samples, h, w\)"),
        (np.ones((2, 4, 4)), {"kernels": ((3, 1),)}, ValueError, "kernels must divide the image"),
        (np.ones((2, 4, 4)), {"latent": 0}, ValueError, "latent must be at least 1"),
        (np.ones((2, 4, 4)), {"epochs": 0}, ValueError, "epochs must be at least 1"),
        (np.ones((2, 4, 4)), {"rate": 0.0}, ValueError, "rate must be positive"),
        (np.ones((2, 4, 4)), {"key": 0}, TypeError, "key must be a typed key"),
        (np.ones((2, 4, 4)), {"features": ()}, ValueError, "one entry a layer"),
    ],
)
def test_bad_input(images, options, error, message):
    with pytest.raises(error, match=message):
        _fit(images.astype(np.float32), **options)
