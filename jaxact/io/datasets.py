"""Labelled images with a fixed split: scikit-learn's digits, and MNIST from a file."""

from __future__ import annotations

import os

import numpy as np

from jaxact.numerics import checks, files
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Images:
    """Images in [0, 1] with labels, split into training and test samples.

    Attributes:
        x: training images, float32 (n, height, width).
        y: training labels, int32 (n,).
        test_x: test images, float32 (m, height, width).
        test_y: test labels, int32 (m,).
    """

    x: Leaf
    y: Leaf
    test_x: Leaf
    test_y: Leaf


def load_digits(*, train: int = 1437, seed: int = 0) -> Images:
    """The 1797 handwritten digits of 8x8 pixels that scikit-learn carries; no network needed.

    Args:
        train: number of training images, 1 to 1796; the rest are the test images.
        seed: of the permutation that splits them; the same seed is the same split everywhere.

    Returns:
        `Images` with pixels in [0, 1], multiples of 1/16.

    Raises:
        ImportError: without scikit-learn.
        ValueError: for a split that leaves one side empty.

    Example:
        >>> digits = load_digits()
        >>> digits.x.shape, digits.test_x.shape
        ((1437, 8, 8), (360, 8, 8))
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("load_digits needs scikit-learn: pip install 'jaxact[data]'") from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    return _split(np.asarray(pixels).reshape(-1, 8, 8) / 16, np.asarray(labels), train, seed)


def load_mnist(path: str | os.PathLike[str], *, train: int | None = None, seed: int = 0) -> Images:
    """MNIST digits from an npz file that holds `images` and `labels`.

    Args:
        path: file with `images` uint8 (n, 28, 28) and `labels` integer (n,) in 0..9.
        train: number of training images; four fifths by default.
        seed: of the permutation that splits them.

    Returns:
        `Images` with pixels in [0, 1], multiples of 1/255.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an array is missing or has another dtype, shape or range.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/digits.npz"
        >>> np.savez(file, images=np.zeros((5, 28, 28), np.uint8), labels=np.arange(5))
        >>> load_mnist(file, train=4).x.shape
        (4, 28, 28)
    """
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"path must be an npz file with images and labels, got {file}")
    stored = files.read_arrays(file, ("images", "labels"))
    images, labels = stored["images"], stored["labels"]
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype}")
    checks.shape("images", images, ("n", 28, 28))
    checks.shape("labels", labels, (len(images),))
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    checks.between("labels", labels, 0.0, 9.0)
    return _split(images / 255, labels, len(images) * 4 // 5 if train is None else train, seed)


def fetch_mnist(*, folder: str | os.PathLike[str] | None = None) -> Images:
    """All of MNIST in its own split, 60,000 and 10,000 images, from openml.org.

    The first call needs a network; scikit-learn keeps the file for the next ones.

    Args:
        folder: where the file is kept; scikit-learn's data folder by default.

    Returns:
        `Images` with pixels in [0, 1], multiples of 1/255.

    Raises:
        ImportError: without scikit-learn.
        OSError: without a network and without the file.

    Example:
        >>> fetch_mnist().x.shape  # doctest: +SKIP
        (60000, 28, 28)
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("fetch_mnist needs scikit-learn: pip install 'jaxact[data]'") from error
    pixels, labels = datasets.fetch_openml(
        "mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff",
        data_home=None if folder is None else os.fspath(folder),
    )  # fmt: skip
    images = (np.asarray(pixels).reshape(-1, 28, 28) / 255).astype(np.float32)
    classes = np.asarray(labels).astype(np.int32)
    return Images(images[:60000], classes[:60000], images[60000:], classes[60000:])


def _split(images: np.ndarray, labels: np.ndarray, train: int, seed: int) -> Images:
    checks.integer("train", train, 1)
    checks.integer("seed", seed, 0)
    if train >= len(images):
        raise ValueError(f"train must leave test images, got {train} of {len(images)}")
    order = np.random.default_rng(seed).permutation(len(images))
    x, y = images.astype(np.float32)[order], labels.astype(np.int32)[order]
    return Images(x[:train], y[:train], x[train:], y[train:])
