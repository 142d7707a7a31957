"""A variational autoencoder: a trained generator with a N(0, I) latent and any activation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxact.catalog import get
from jaxact.nets.fits import Fit, Reshaped, explained, fold_input, fresh, moments, on_flat
from jaxact.nets.generator import ConvGenerator
from jaxact.nets.mlp import MLP
from jaxact.nets.training import default_optimizer, train
from jaxact.numerics import checks


def train_vae(
    images: Float[ArrayLike, " samples *shape"],
    *,
    act: Callable[..., Any],
    latent: int = 20,
    features: Sequence[int] = (256,),
    kernels: Sequence[tuple[int, int]] = ((1, 1),),
    encoder: Sequence[int] = (256,),
    test: Any | None = None,
    epochs: int = 20,
    batch: int = 125,
    rate: float = 2e-3,
    key: PRNGKeyArray,
) -> tuple[Callable[..., Any], Callable[..., Any], Fit]:
    """Fit a generator to images by the evidence lower bound, its latent prior N(0, I).

    -ELBO = E_q[-sum_i (x_i log p_i + (1 - x_i) log(1 - p_i))] + KL(q(z|x) || N(0, I)), in nats a
    image, with p = G(z), q a diagonal Gaussian from the encoder, one sample of z a step. The
    decoder is a `ConvGenerator` with biases, whose last layer, stride = kernel, makes up the
    image's sides, then a sigmoid; the encoder is an MLP of the flat image. The whole run is one
    compiled scan.

    Args:
        images: values in [0, 1], (samples, h, w) or (samples, h, w, c).
        act: activation of the hidden layers of both, an `Activation` or any elementwise function.
        latent: length k of the latent vector.
        features: channels of the decoder's hidden layers; a kernel (1, 1) first is a dense layer.
        kernels: (height, width) of these layers; their products must divide the image's sides.
        encoder: widths of the encoder's hidden layers.
        test: held-out images, scored at the end.
        epochs: passes over the data.
        batch: samples a step.
        rate: Adam's first rate, > 0; it decays by a cosine.
        key: random key of the weights, of the order of the samples and of z.

    Returns:
        (encoder, generator, fit): encoder(image) of shape (k,), the mean of q; generator(z) of
        one image's shape; both callable pytrees whose arrays `jaxact.io.save_checkpoint` saves
        and `load_checkpoint` brings back. fit.losses is -ELBO of each step's batch; its
        accuracies are the share of variance explained.

    Raises:
        ValueError: for images outside [0, 1] or not images, or kernels that do not divide them.
        TypeError: for an untyped key.

    Differentiation: not through the training; encoder and generator are ordinary functions.

    Example:
        >>> import jaxact, numpy as np
        >>> images = np.random.default_rng(0).uniform(size=(60, 4, 4)).astype(np.float32)
        >>> encoder, generator, fit = train_vae(
        ...     images, act=jaxact.get("relu"), latent=3, features=(8,), kernels=((2, 2),),
        ...     encoder=(8,), batch=20, epochs=2, key=jax.random.key(0))
        >>> encoder(images[0]).shape, generator(jnp.zeros(3)).shape, fit.losses.shape
        ((3,), (4, 4), (6,))

    Source: Kingma & Welling 2014; Bora et al. 2017 invert such a decoder on MNIST.
    """
    checks.key("key", key)
    checks.integer("latent", latent, 1)
    checks.integer("epochs", epochs, 1)
    checks.integer("batch", batch, 1)
    checks.positive("rate", rate)
    checks.sizes("encoder", encoder, least=0)
    checks.between("images", images, 0.0, 1.0)
    images = jnp.asarray(images, float)
    shape = images.shape[1:]
    count, pixels = images.shape[0], math.prod(shape)
    layers = _decoder(shape, features, kernels)
    flat = images.reshape(count, -1)
    center, spread = moments(flat)
    seeds = jax.random.split(key, 4)
    encode, inner = fresh(functools.partial(MLP, (pixels, *encoder, 2 * latent), act), seeds[0])
    build = functools.partial(
        ConvGenerator, latent, layers[0], act, kernels=layers[1], output=get("identity"), bias=True
    )
    decode, outer = fresh(build, seeds[1])
    steps = epochs * (count // min(batch, count))
    params, losses = train(
        Partial(_posterior, encode, decode), {"encoder": inner, "decoder": outer},
        ((flat - center) / spread, flat, jax.random.split(seeds[2], count)),
        loss=negative_elbo, optimizer=default_optimizer(rate, steps, 100.0), steps=steps,
        batch=batch, schedule=_step, key=seeds[3],
    )  # fmt: skip
    inner = params["encoder"]
    inner["layers"][0] = fold_input(inner["layers"][0], center, spread)
    to_code = Partial(_Mean(latent), encode, inner)
    to_image = Partial(_pixels, Partial(Reshaped(shape), decode, params["decoder"]))
    held_out = None if test is None else explained(to_code, to_image, jnp.asarray(test, float))
    return to_code, to_image, Fit(losses, explained(to_code, to_image, images), held_out)


def _decoder(
    shape: tuple[int, ...], features: Sequence[int], kernels: Sequence[tuple[int, int]]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Channels and kernels of all layers, the last one found from the image's shape."""
    if len(shape) not in (2, 3):
        raise ValueError(f"images must be (samples, h, w) or (samples, h, w, c), got {shape}")
    high, wide = math.prod([a for a, _ in kernels]), math.prod([b for _, b in kernels])
    if min(high, wide) < 1 or shape[0] % high or shape[1] % wide:
        raise ValueError(f"kernels must divide the image's sides {shape[:2]}, got {tuple(kernels)}")
    last = (shape[0] // high, shape[1] // wide)
    return (*features, *(shape[2:] or (1,))), (*kernels, last)


def _posterior(encode: Any, decode: Any, params: Any, x: Any) -> Any:
    """The mean and log variance of q(z|x), and the decoder."""
    mean, log_variance = jnp.split(encode(params["encoder"], x), 2)
    return mean, log_variance, Partial(decode, params["decoder"])


def negative_elbo(posterior: Any, pixels: Array, key: Any, step: Any) -> Float[Array, ""]:
    """-ELBO of one image in nats, with one sample of the latent."""
    mean, log_variance, decode = posterior
    noise = jax.random.normal(jax.random.fold_in(key, step), mean.shape, mean.dtype)
    logits = decode(mean + jnp.exp(log_variance / 2) * noise).reshape(-1)
    miss = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, pixels))
    divergence = jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance) / 2
    return miss + divergence


def _step(number: Any) -> Any:
    return number


class _Mean:
    """The mean of q for a raw image; equal for equal lengths."""

    def __init__(self, latent: int) -> None:
        self.latent = latent

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mean) and self.latent == other.latent

    def __hash__(self) -> int:
        return hash(self.latent)

    def __call__(self, encode: Any, params: Any, image: Any) -> Any:
        return on_flat(encode, params, image)[: self.latent]


def _pixels(logits: Any, z: Any) -> Any:
    return jax.nn.sigmoid(logits(z))
