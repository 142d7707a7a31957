"""Checkpoints: a round trip, an atomic replacement, and refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import io


def test_round_trip(tmp_path):
    tree = {
        "layers": {0: {"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}, 1: {"n": jnp.array(3)}},
        "key": jax.random.key(7),
        "pair": (np.arange(2.0), 1.5),
    }
    like = jax.tree.map(lambda leaf: leaf, tree) | {"key": jax.random.key(0)}
    path = io.save_checkpoint(tmp_path / "deep" / "run", tree)
    back = io.load_checkpoint(path, like)
    chex.assert_trees_all_equal(
        jax.random.key_data(back.pop("key")), jax.random.key_data(tree.pop("key"))
    )
    chex.assert_trees_all_equal(back, tree)
    io.save_checkpoint(path, {"w": jnp.ones(2)})
    chex.assert_trees_all_equal(io.load_checkpoint(path, {"w": jnp.zeros(2)}), {"w": jnp.ones(2)})
    assert os.listdir(path.parent) == ["run"]


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="tree must have at least one array"):
        io.save_checkpoint(tmp_path / "a", {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="path must be free or a checkpoint"):
        io.save_checkpoint(tmp_path / "mine", {"w": jnp.ones(2)})
    assert (tmp_path / "mine" / "thesis.txt").exists()
    with pytest.raises(FileNotFoundError, match="path must be a checkpoint folder"):
        io.load_checkpoint(tmp_path / "absent", {"w": jnp.ones(2)})
    path = io.save_checkpoint(tmp_path / "b", {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match="like must have the structure and shapes"):
        io.load_checkpoint(path, {"w": jnp.ones(3)})
    with pytest.raises(ValueError, match="like must have the structure and shapes"):
        io.load_checkpoint(path, {"v": jnp.ones(2)})


WRITER = """
import sys
import numpy as np
from jaxact import io
n = 0
while True:
    n += 1
    io.save_checkpoint(sys.argv[1], {"w": np.full(200_000, float(n)), "n": np.array(float(n))})
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "run"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    try:
        for _ in range(3):
            assert writer.stdout.readline()
        time.sleep(0.03)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    back = io.load_checkpoint(path, {"w": np.zeros(200_000), "n": np.array(0.0)})
    assert float(back["n"]) >= 3
    np.testing.assert_array_equal(back["w"], back["n"])
