"""Ready fits for the card: a classifier and a decoder with any activation, quick and never NaN."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial
from jaxtyping import ArrayLike, Float, Integer, PRNGKeyArray

from jaxact.nets.functional import Apply, functional
from jaxact.nets.mlp import MLP
from jaxact.nets.training import cross_entropy, mse, train
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Fit:
    """How a fit went.

    Attributes:
        losses: the loss of each step, shape (steps,); inf where a step was left out.
        accuracy: share of training samples classified rightly (a classifier), or the share of
            variance explained, 1 - MSE / variance (an autoencoder).
        test_accuracy: the same on the held-out samples, NaN-free: None where none were given.
    """

    losses: Leaf
    accuracy: Leaf
    test_accuracy: Leaf


def train_classifier(
    x: Float[ArrayLike, " samples *shape"],
    y: Integer[ArrayLike, " samples"],
    act: Callable[..., Any],
    *,
    widths: Sequence[int] = (64,),
    test: tuple[Any, Any] | None = None,
    epochs: int = 40,
    batch: int = 64,
    trainable: bool = False,
    key: PRNGKeyArray,
) -> tuple[Callable[..., Any], Fit]:
    """Fit an MLP with this activation to labelled samples.

    Inputs are standardised by one mean and one deviation, which are then folded into the first
    layer: the result takes raw inputs and is affine steps and activations only. An activation
    without a useful gradient (sign, step) still trains its readout.

    Args:
        x: samples, flattened by the network.
        y: labels 0, 1, ...
        act: an `Activation`, or any elementwise function.
        widths: of the hidden layers.
        test: held-out (x, y), scored at the end.
        epochs: passes over the data.
        batch: samples a step.
        trainable: whether the activation's theta is trained too.
        key: random key of the weights and of the order of the samples.

    Returns:
        (f, fit): f(sample) gives the logits, a callable pytree whose leaves are the weights.

    Raises:
        ValueError: for samples that are not finite, or labels that do not match or are negative.

    Example:
        >>> import jaxact, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
        >>> y = (x[:, 0] * x[:, 1] > 0).astype(np.int32)
        >>> f, fit = train_classifier(x, y, jaxact.get("tanh"), key=jax.random.key(0))
        >>> f(x[0]).shape, bool(fit.accuracy > 0.8)
        ((2,), True)
    """
    start = new_classifier(x, y, act, widths=widths, trainable=trainable, key=key)
    _check_test(test)
    params, losses = train(
        start.apply, start.params, start.data, loss=cross_entropy,
        epochs=epochs, batch=batch, key=start.key,
    )  # fmt: skip
    return finished_classifier(start, params, losses, x, y, test)


def train_autoencoder(
    images: Float[ArrayLike, " samples *shape"],
    *,
    latent: int = 8,
    act: Callable[..., Any],
    hidden: Sequence[int] = (64,),
    output: Callable[..., Any] | None = jax.nn.sigmoid,
    test: Any | None = None,
    epochs: int = 60,
    batch: int = 64,
    key: PRNGKeyArray,
) -> tuple[Callable[..., Any], Callable[..., Any], Fit]:
    """Fit an encoder and a decoder whose hidden layers have this activation.

    Latents of the training images have mean 0 and deviation 1 in every coordinate, so that
    N(0, 1) is a fair start for inverting the decoder. The encoder is a tanh network of the
    mirrored widths.

    Args:
        images: values in [0, 1], any shape of one image.
        latent: length k of the latent vector.
        act: the decoder's activation, an `Activation` or any elementwise function.
        hidden: widths of the decoder's hidden layers.
        output: applied to the decoder's last layer; None for a linear one.
        test: held-out images, scored at the end.
        epochs: passes over the data.
        batch: samples a step.
        key: random key of the weights and of the order of the samples.

    Returns:
        (encoder, generator, fit): encoder(image) of shape (k,) and generator(z) of one image's
        shape, both callable pytrees; the fit's accuracy is the share of variance explained.

    Raises:
        ValueError: for images outside [0, 1].

    Example:
        >>> import jaxact, numpy as np
        >>> images = np.random.default_rng(0).uniform(size=(64, 4, 4)).astype(np.float32)
        >>> encoder, generator, fit = train_autoencoder(
        ...     images, latent=3, act=jaxact.get("gelu"), epochs=2, key=jax.random.key(0))
        >>> encoder(images[0]).shape, generator(jnp.zeros(3)).shape
        ((3,), (4, 4))
    """
    checks.key("key", key)
    checks.key("key", key)
    checks.integer("latent", latent, 1)
    checks.integer("epochs", epochs, 1)
    checks.integer("batch", batch, 1)
    checks.sizes("hidden", hidden, least=0)
    checks.between("images", images, 0.0, 1.0)
    images = jnp.asarray(images)
    shape, flat = images.shape[1:], images.reshape(images.shape[0], -1)
    center, spread = moments(flat)
    pixels = flat.shape[1]
    seeds = jax.random.split(key, 3)
    widths = (pixels, *reversed(hidden), latent)
    encode, inner = fresh(functools.partial(MLP, widths, jnp.tanh), seeds[0])
    decode, outer = fresh(functools.partial(MLP, widths[::-1], act, output=output), seeds[1])
    pair = Partial(_autoencode, encode, decode)
    params, losses = train(
        pair, {"encoder": inner, "decoder": outer}, ((flat - center) / spread, flat),
        loss=mse, epochs=epochs, batch=batch, key=seeds[2],
    )  # fmt: skip
    inner, outer = params["encoder"], params["decoder"]
    inner["layers"][0] = fold_input(inner["layers"][0], center, spread)
    codes = jax.vmap(functools.partial(encode, inner))(flat)
    middle, width = jnp.mean(codes, 0), jnp.std(codes, 0)
    width = jnp.where(width > 1e-6, width, jnp.ones_like(width))
    last = len(inner["layers"]) - 1
    inner["layers"][last] = _fold_output(inner["layers"][last], middle, width)
    outer["layers"][0] = fold_input(outer["layers"][0], -middle / width, 1 / width)
    to_code = Partial(on_flat, encode, inner)
    to_image = Partial(Reshaped(shape), decode, outer)
    held_out = None if test is None else explained(to_code, to_image, jnp.asarray(test))
    return to_code, to_image, Fit(losses, explained(to_code, to_image, images), held_out)


class Start(NamedTuple):
    """A classifier before its training, on standardised flat samples."""

    apply: Apply
    params: dict[str, Any]
    data: tuple[Any, Any]
    center: Any
    spread: Any
    key: Any


def new_classifier(
    x: Any, y: Any, act: Callable[..., Any], *, widths: Sequence[int], trainable: bool, key: Any
) -> Start:
    """Check the samples, standardise them and draw an MLP."""
    checks.key("key", key)
    checks.finite("x", x)
    checks.non_negative("y", y)
    checks.sizes("widths", widths, least=0)
    x, y = jnp.asarray(x), jnp.asarray(y)
    checks.shape("y", y, x.shape[:1] or (1,))
    flat = x.reshape(x.shape[0], -1)
    center, spread = moments(flat)
    seeds = jax.random.split(key)
    sizes = (flat.shape[1], *widths, int(y.max()) + 1)
    apply, params = fresh(functools.partial(MLP, sizes, act, trainable=trainable), seeds[0])
    return Start(apply, params, ((flat - center) / spread, y), center, spread, seeds[1])


def _check_test(test: Any) -> None:
    """Raise unless it is None or (x, y) of finite numbers."""
    if test is not None:
        if len(checks.sequence("test", test)) != 2:
            raise ValueError(f"test must be (x, y), got {len(test)} entries")
        checks.finite("test x", test[0])
        checks.non_negative("test y", test[1])


def finished_classifier(
    start: Start, params: Any, losses: Any, x: Any, y: Any, test: tuple[Any, Any] | None
) -> tuple[Callable[..., Any], Fit]:
    """The classifier of raw inputs, and its scores."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    params["layers"][0] = fold_input(params["layers"][0], start.center, start.spread)
    f = Partial(on_flat, start.apply, params)
    score = accuracy(f, x, y)
    held_out = None
    if test is not None:
        test_x, test_y = jnp.asarray(test[0]), jnp.asarray(test[1])
        checks.shape("test x", test_x, ("n", *x.shape[1:]))
        held_out = accuracy(f, test_x, test_y)
    return f, Fit(losses, score, held_out)


def fresh(build: Callable[..., nnx.Module], key: Any) -> tuple[Apply, dict[str, Any]]:
    """`functional` of a new module, drawn in one compiled call; of many modules for many keys."""
    found: list[Any] = []

    def draw(key: Any) -> Any:
        apply, params = functional(build(rngs=nnx.Rngs(key)))
        found.append(apply.graph)
        return apply.fixed, params

    fixed, params = jax.jit(draw if key.ndim == 0 else jax.vmap(draw, out_axes=(None, 0)))(key)
    return Apply(found[0], fixed), params


def moments(flat: Any) -> tuple[Any, Any]:
    """One mean and one deviation of all entries; 1 where they are all the same."""
    spread = jnp.std(flat)
    return jnp.mean(flat), jnp.where(spread > 0, spread, jnp.ones_like(spread))


def fold_input(layer: dict[str, Any], center: Any, spread: Any) -> dict[str, Any]:
    """W ((x - center) / spread) + b, written as a layer of x; center and spread broadcast to x."""
    kernel = layer["kernel"]
    spread = jnp.broadcast_to(spread, kernel.shape[:1])
    folded = kernel / spread[:, None]
    return {
        "kernel": folded,
        "bias": layer["bias"] - jnp.broadcast_to(center, spread.shape) @ folded,
    }


def _fold_output(layer: dict[str, Any], center: Any, spread: Any) -> dict[str, Any]:
    """(W x + b - center) / spread, written as a layer of x."""
    return {"kernel": layer["kernel"] / spread[None, :], "bias": (layer["bias"] - center) / spread}


def _autoencode(encode: Any, decode: Any, params: Any, x: Any) -> Any:
    return decode(params["decoder"], encode(params["encoder"], x))


def on_flat(apply: Any, params: Any, x: Any) -> Any:
    """Apply to a sample of any shape, flattened."""
    return apply(params, jnp.asarray(x).reshape(-1))


class Reshaped:
    """apply(params, z) in the shape of an image; equal for equal shapes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reshaped) and self.shape == other.shape

    def __hash__(self) -> int:
        return hash(self.shape)

    def __call__(self, apply: Any, params: Any, z: Any) -> Any:
        """Apply and reshape."""
        return apply(params, z).reshape(self.shape)


@jax.jit
def accuracy(f: Any, x: Any, y: Any) -> Any:
    """The share of samples whose largest output is at their label."""
    hits = jnp.argmax(jax.vmap(f)(x), axis=-1) == y
    return jnp.mean(hits.astype(jnp.result_type(float)))


@jax.jit
def explained(encoder: Any, generator: Any, images: Any) -> Any:
    """The share of the images' variance that their reconstructions explain."""
    shown = jax.vmap(lambda image: generator(encoder(image)))(images)
    spread = jnp.mean((images - jnp.mean(images, 0, keepdims=True)) ** 2)
    return 1 - jnp.mean((shown - images) ** 2) / jnp.where(spread > 0, spread, 1)
