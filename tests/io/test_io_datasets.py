"""Data sets: shapes, ranges, a fixed split, and refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from jaxact import io


@pytest.mark.fast
def test_digits_are_whole_and_fixed():
    from sklearn.datasets import load_digits

    one, two, other = io.load_digits(), io.load_digits(), io.load_digits(seed=1)
    assert (one.x.dtype, one.y.dtype) == (np.float32, np.int32)
    assert one.x.min() == 0
    assert one.x.max() == 1
    np.testing.assert_array_equal(one.x, two.x)
    assert not np.array_equal(one.y, other.y)
    whole = np.concatenate([one.x, one.test_x])
    raw = load_digits(return_X_y=True)[0]
    assert sorted(map(tuple, (whole.reshape(-1, 64) * 16).tolist())) == sorted(
        map(tuple, raw.tolist())
    )


def test_digits_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxact\[data\]'"):
        io.load_digits()


def test_all_of_mnist_keeps_its_own_split(monkeypatch, rng, tmp_path):
    from sklearn import datasets

    pixels = np.zeros((70000, 784), np.uint8)
    pixels[[0, 59999, 60000]] = rng.integers(0, 256, (3, 784))
    labels = (np.arange(70000) % 10).astype(str)
    asked = {}
    monkeypatch.setattr(
        datasets, "fetch_openml", lambda *a, **k: asked.update(k, name=a[0]) or (pixels, labels)
    )
    data = io.fetch_mnist(folder=tmp_path)
    assert (asked["name"], asked["data_home"]) == ("mnist_784", str(tmp_path))
    assert (data.x.dtype, data.test_y.dtype) == (np.float32, np.int32)
    assert (data.x.shape, data.test_x.shape) == ((60000, 28, 28), (10000, 28, 28))
    np.testing.assert_allclose(data.x[59999].ravel() * 255, pixels[59999], atol=1e-4)
    np.testing.assert_allclose(data.test_x[0].ravel() * 255, pixels[60000], atol=1e-4)
    assert data.y[59999] == 9
    assert data.test_y[0] == 0


def test_bad_split():
    with pytest.raises(ValueError, match="train must leave test images, got 1797 of 1797"):
        io.load_digits(train=1797)


def _write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_mnist_checks(tmp_path, rng):
    images = rng.integers(0, 256, size=(10, 28, 28)).astype(np.uint8)
    labels = np.arange(10, dtype=np.uint8)
    data = io.load_mnist(_write(tmp_path / "good.npz", images=images, labels=labels))
    assert data.x.shape == (8, 28, 28)
    assert data.test_y.shape == (2,)
    back = np.zeros_like(images)
    back[np.concatenate([data.y, data.test_y])] = np.round(
        np.concatenate([data.x, data.test_x]) * 255
    )
    np.testing.assert_array_equal(back, images)
    with pytest.raises(FileNotFoundError, match="path must be an npz file"):
        io.load_mnist(tmp_path / "absent.npz")
    cases = {
        "must hold the arrays images, labels": {"images": images},
        "images must be uint8, got float64": {"images": images / 255, "labels": labels},
        r"images must have shape \(n, 28, 28\)": {"images": images[:, :20], "labels": labels},
        r"labels must have shape \(10,\)": {"images": images, "labels": labels[:4]},
        "labels must be integers": {"images": images, "labels": labels / 2},
        r"labels must be in \[0.0, 9.0\], got 10": {"images": images, "labels": labels + 1},
    }
    for i, (message, arrays) in enumerate(cases.items()):
        with pytest.raises(ValueError, match=message):
            io.load_mnist(_write(tmp_path / f"bad{i}.npz", **arrays))


def test_real_mnist(shared):
    data = io.load_mnist(shared / "data" / "mnist10k.npz")
    counts = np.bincount(np.concatenate([data.y, data.test_y]))
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
