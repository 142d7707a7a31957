"""Which digits: embedded, MNIST from a known place, a file; errors that say where it was looked."""

import numpy as np
import pytest

from jaxact.card.data import load_images

pytestmark = pytest.mark.fast


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "few.npz"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(20) % 10)
    return path


def test_a_file_by_its_path_and_by_the_environment(file, monkeypatch):
    found, words = load_images(str(file), seed=0)
    assert found.x.shape == (16, 28, 28)
    assert words == "few.npz, 28 x 28, 16 to learn from"
    monkeypatch.setenv("JAXACT_MNIST", str(file))
    again, _ = load_images("mnist", seed=0)
    assert np.array_equal(found.x, again.x)
    monkeypatch.setenv("JAXACT_MNIST", "nowhere.npz")
    with pytest.raises(FileNotFoundError, match=r"JAXACT_MNIST must be an npz file, got nowhere"):
        load_images("mnist", seed=0)


def test_the_users_cache_and_the_folder_are_looked_at(file, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXACT_MNIST", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"MNIST is not here: .*cache.jaxact.mnist\.npz"):
        load_images("mnist", seed=0)
    (tmp_path / "cache" / "jaxact").mkdir(parents=True)
    file.rename(tmp_path / "cache" / "jaxact" / "mnist10k.npz")
    assert load_images("mnist", seed=0)[1].startswith("mnist10k.npz")


def test_what_is_no_file_and_what_is_another_one_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="data must be 'digits', 'mnist' or an npz file"):
        load_images("fashion", seed=0)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="must hold the arrays images, labels"):
        load_images(str(tmp_path / "other.npz"), seed=0)


def test_the_shared_mnist_gives_eight_thousand(shared):
    found, _ = load_images(str(shared / "data" / "mnist10k.npz"), seed=0)
    assert found.x.shape == (8000, 28, 28)
    assert len(found.test_y) == 2000
