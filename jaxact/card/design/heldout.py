"""The held-out check: fresh networks on real digits, several seeds, against known activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import bounds, inversion, memory
from jaxact.activation import Activation
from jaxact.card.design.frozen import frozen
from jaxact.card.design.verdicts import Comparison, compare
from jaxact.catalog import get
from jaxact.io import Images
from jaxact.nets import train_autoencoder, train_classifier
from jaxact.numerics import checks

AGAINST = ("relu", "gelu", "tanh")
METRICS = {
    "accuracy": "higher",
    "certified accuracy": "higher",
    "inversion error": "lower",
    "memory overlap": "higher",
}
"""Metric -> which is better."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work a check is.

    Attributes:
        widths: hidden layers of the classifier.
        epochs: of the classifier and the decoder.
        certified: test images that are certified.
        eps: max-norm radius of the certified accuracy, pixels in [0, 1].
        latent: latents of the decoder.
        inversions: test images inverted from their upper half.
        restarts: starts of each inversion.
        stored: images in the memory.
        probes: images recalled.
        flips: share of pixels flipped.
    """

    widths: tuple[int, ...] = (48, 48)
    epochs: int = 40
    certified: int = 200
    eps: float = 0.03
    latent: int = 8
    inversions: int = 24
    restarts: int = 4
    stored: int = 20
    probes: int = 64
    flips: float = 0.1


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What the check measured.

    Attributes:
        data: which images.
        names: activations, the found one first.
        metrics: names of the metrics.
        values: (activations, metrics, seeds).
        comparisons: the found one against each other one, in each metric.
        sizes: how much work it was.
    """

    data: str
    names: tuple[str, ...]
    metrics: tuple[str, ...]
    values: np.ndarray
    comparisons: tuple[Comparison, ...]
    sizes: Sizes

    @property
    def mean(self) -> np.ndarray:
        """Over the seeds, (activations, metrics)."""
        return self.values.mean(-1)

    @property
    def error(self) -> np.ndarray:
        """The standard error of the mean, (activations, metrics)."""
        return self.values.std(-1, ddof=1) / np.sqrt(self.values.shape[-1])


def held_out(
    act: Activation,
    load: Callable[[int], Images],
    *,
    data: str = "digits",
    against: Sequence[str | Activation] = AGAINST,
    seeds: int = 5,
    sizes: Sizes = Sizes(),  # noqa: B008
    progress: Callable[[str], Any] | None = None,
) -> HeldOut:
    """Train fresh networks with an activation and with others, and compare them in pairs.

    A seed fixes the split of the images, the initial weights and the order of the samples, the
    same for every activation: differences are paired. Each network is one that the design has
    not seen; neither are the images. Metrics: test accuracy; the share of test images whose
    answer CROWN certifies within eps; the error (root mean square) of the lower half of test
    images after inverting a decoder from the upper half; the mean overlap of stored images with
    what a dense memory recalls from flipped ones.

    Args:
        act: the found activation.
        load: load(seed) gives the images, split by that seed.
        data: what to call them.
        against: the others.
        seeds: at least 2.
        sizes: how much work.
        progress: progress(words), before each network.

    Returns:
        A `HeldOut`, whose comparisons are paired t-tests with Holm's correction.

    Raises:
        ValueError: for fewer than two seeds.

    Example:
        >>> from jaxact.io import load_digits
        >>> found = held_out(my_act, lambda s: load_digits(seed=s))  # doctest: +SKIP
        >>> print(found.comparisons[0])  # doctest: +SKIP
    """
    checks.integer("seeds", seeds, 2)
    others = [get(a) if isinstance(a, str) else a for a in against]
    acts = [frozen(a) for a in (act, *others)]
    values = np.zeros((len(acts), len(METRICS), seeds))
    for seed in range(seeds):
        images = load(seed)
        for i, one in enumerate(acts):
            if progress is not None:
                progress(f"{data}, seed {seed + 1} of {seeds}: {one.name}")
            values[i, :, seed] = measure_one(one, images, sizes, jax.random.key(seed))
    names = tuple(one.name for one in acts)
    comparisons = compare(names, METRICS, values)
    return HeldOut(data, names, tuple(METRICS), values, comparisons, sizes)


def measure_one(act: Activation, images: Images, sizes: Sizes, key: Any) -> list[float]:
    """The metrics of one activation and one seed."""
    keys = jax.random.split(key, 4)
    return [
        *_classifier(act, images, sizes, keys[0]),
        _inversion_error(act, images, sizes, keys[1], keys[2]),
        _overlap(act, images, sizes, keys[3]),
    ]


def _classifier(act: Activation, images: Images, sizes: Sizes, key: Any) -> list[float]:
    test = images.test_x, images.test_y
    model, fit = train_classifier(
        images.x, images.y, act, widths=sizes.widths, test=test, epochs=sizes.epochs, key=key
    )
    x, y = (jnp.asarray(part[: sizes.certified]) for part in test)
    margins = bounds.certified_margins(model, x, y, sizes.eps)
    return [float(fit.test_accuracy), float(np.mean(np.asarray(margins).min(-1) > 0))]


def _inversion_error(act: Activation, images: Images, sizes: Sizes, train: Any, key: Any) -> float:
    """The hidden half of held-out images, seen through a decoder with this activation."""
    _, generator, _ = train_autoencoder(
        images.x, latent=sizes.latent, act=act, epochs=sizes.epochs, key=train
    )
    truth = jnp.asarray(images.test_x[: sizes.inversions])
    height, width = truth.shape[1:]
    rows = height // 2
    see = inversion.mask(np.repeat(np.arange(height) < rows, width).reshape(height, width))

    def solve(y: Any, start: Any) -> Any:
        return inversion.invert(
            generator, y, latent=sizes.latent, operator=see, restarts=sizes.restarts,
            prior=1e-2, key=start,
        ).output  # fmt: skip

    starts = jax.random.split(key, len(truth))
    found = jax.jit(jax.vmap(solve))(jax.vmap(see)(truth), starts)
    return float(jnp.sqrt(jnp.mean((found[:, rows:] - truth[:, rows:]) ** 2)))


def _overlap(act: Activation, images: Images, sizes: Sizes, key: Any) -> float:
    """Recall of stored images, each pixel +1 where it has more ink than on average."""
    flat = np.asarray(images.x).reshape(len(images.x), -1)
    patterns = jnp.asarray(np.where(flat[: sizes.stored] > flat.mean(0), 1.0, -1.0), flat.dtype)
    interaction = memory.from_activation(act).scaled(flat.shape[1] ** 0.5)
    found = memory.measure_recall(
        key, patterns, interaction, flips=sizes.flips, probes=sizes.probes
    )
    return float(found.overlap)
