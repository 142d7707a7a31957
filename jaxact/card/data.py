"""Which digits a card is measured on: scikit-learn's embedded ones, MNIST, or a file."""

from __future__ import annotations

import os
import pathlib

from jaxact.io import Images, load_digits, load_mnist

DIGITS = "digits"
MNIST = "mnist"
_MOST = 8000
"""Training images a card uses of a large file: the networks of a card are small."""


def load_images(data: str, *, seed: int) -> tuple[Images, str]:
    """The digits that `data` names, and what they are in words.

    Args:
        data: "digits": scikit-learn's 1,797 digits of 8 x 8 pixels, embedded. "mnist": MNIST from
            the first file that exists of $JAXACT_MNIST, mnist10k.npz or mnist.npz in the
            current folder, and the same in jaxact's folder of the user's cache. Else the path of
            an npz file with `images` uint8 (n, 28, 28) and `labels` (n,).
        seed: of the split into training and test images.

    Raises:
        FileNotFoundError: where there is no such file, with the places that were looked at.
        ValueError: for a file of another content.
        ImportError: for "digits" without scikit-learn.

    Example:
        >>> images, words = load_images("digits", seed=0)
        >>> images.x.shape, words
        ((1437, 8, 8), 'scikit-learn digits, 8 x 8')
    """
    if data == DIGITS:
        return load_digits(seed=seed), "scikit-learn digits, 8 x 8"
    file = _mnist() if data == MNIST else pathlib.Path(data)
    if not file.is_file():
        raise FileNotFoundError(
            f"data must be {DIGITS!r}, {MNIST!r} or an npz file with images and labels, got {data}"
        )
    found = load_mnist(file, seed=seed)
    few = Images(found.x[:_MOST], found.y[:_MOST], found.test_x, found.test_y)
    return few, f"{file.name}, 28 x 28, {len(few.y)} to learn from"


def _mnist() -> pathlib.Path:
    named = os.environ.get("JAXACT_MNIST")
    if named:
        if not pathlib.Path(named).is_file():
            raise FileNotFoundError(f"JAXACT_MNIST must be an npz file, got {named}")
        return pathlib.Path(named)
    places = [
        folder / name
        for folder in (pathlib.Path(), _cache())
        for name in ("mnist10k.npz", "mnist.npz")
    ]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        "MNIST is not here: give a file by JAXACT_MNIST=FILE or --data FILE, or put it at "
        f"{places[-1]}. It is an npz with images uint8 (n, 28, 28) and labels (n,); "
        "docs/card.md has three lines that make one (with a network)"
    )


def _cache() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "jaxact"
