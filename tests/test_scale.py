"""Every `mesh=` on four devices and on two processes: the results of one device, early stops."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxact import bounds, memory
from jaxact.numerics.shards import sharded

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What each entry point gives for a batch that four devices do not divide; run with and without.
CASES = """
import jax, jax.numpy as jnp, numpy as np
from jaxact import bounds, memory
from jaxact.sweep import sweep

rng = np.random.default_rng(0)
W = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((4, 6), (6, 3))]
net = jax.tree_util.Partial(lambda w, x: jnp.tanh(x @ w[0]) @ w[1], W)
X = jnp.asarray(rng.normal(size=(7, 4)), jnp.float32)
LABELS = jnp.argmax(jax.vmap(net)(X), axis=1)
PATTERNS = jnp.where(jnp.asarray(rng.random((12, 32))) < 0.5, -1.0, 1.0).astype(jnp.float32)
PROBES = PATTERNS[:7] * jnp.where(jnp.asarray(rng.random((7, 32))) < 0.15, -1.0, 1.0)
CUBIC = memory.rectified(3)
KEY = jax.random.key(3)
search = {"tolerance": 0.05, "evaluations": 12}

def lenses(mesh):
    return {
        "certified_radius": bounds.certified_radius(
            net, X, LABELS, method="ibp", target="top2", mesh=mesh, **search),
        "attack": bounds.attack(net, X, LABELS, 0.3, steps=4, restarts=2, key=KEY, mesh=mesh),
        "attack_radius": bounds.attack_radius(
            net, X, LABELS, clip=(-9.0, 9.0), steps=3, restarts=2, mesh=mesh, **search),
        "certified_margins": bounds.certified_margins(
            net, X, LABELS, 0.1, method="ibp", mesh=mesh),
        "retrieve": memory.retrieve(PATTERNS, PROBES, CUBIC, max_sweeps=5, mesh=mesh),
        "random order": memory.retrieve(
            memory.pack(PATTERNS), PROBES, CUBIC, order="random", key=KEY, max_sweeps=5, mesh=mesh),
        "softmax": memory.retrieve(PATTERNS, PROBES, memory.softmax(0.5), max_sweeps=5, mesh=mesh),
        "measure_recall": memory.measure_recall(KEY, PATTERNS, CUBIC, probes=7, mesh=mesh),
        "sweep": sweep(lambda x: bounds.ibp(net, bounds.Ball(x, 0.1)).lower, X, mesh=mesh),
    }

def agree(found, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), found, expected
    )
"""

FOUR = (
    CASES
    + """
from jax.sharding import AxisType
from jaxact.numerics.shards import sharded
assert jax.device_count() == 4
expected = lenses(None)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(kind,) * 2)
    found = lenses(mesh)
    agree(found, expected)
assert isinstance(found["attack"].margin, jax.Array)

# Where no mesh is needed: computation follows the data.
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((4,), ("n",), axis_types=(AxisType.Auto,))
along = NamedSharding(mesh, PartitionSpec("n"))
spread = jax.device_put(jnp.concatenate([PROBES, PROBES[:1]]), along)
gaps = memory.gaps(PATTERNS, spread, CUBIC)
np.testing.assert_allclose(gaps[:7], memory.gaps(PATTERNS, PROBES, CUBIC), rtol=1e-5)
assert len(gaps.sharding.device_set) == 4

# Each shard stops early: how often a device runs its loop is the longest of its own samples.
def count(limits):
    def body(state):
        turn, rounds = state
        return turn + 1, rounds + 1  # not masked: all samples of a device share the loop
    start = jnp.int32(0), jnp.zeros_like(limits)
    return jax.lax.while_loop(lambda s: jnp.any(s[0] < limits), body, start)[1]

limits = np.array([1, 2, 3, 3, 50, 7, 9, 8], np.int32)
rounds = sharded(count, (limits,), (True,), mesh=mesh)
np.testing.assert_array_equal(rounds, [2, 2, 3, 3, 50, 50, 9, 9])
print("ok")
"""
)

TWO = (
    CASES
    + """
import sys
from jaxact.bounds.labelled import Labelled
mesh = jax.make_mesh((jax.device_count(),), ("n",))
assert (jax.process_count(), jax.device_count()) == (2, 2)
found = lenses(mesh)
if jax.process_index() == 0:
    agree(found, lenses(None))
print("ok")
"""
)
START = """
import sys, jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
"""


def _environment():
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache")}
    return cache | os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def test_four_devices_give_the_results_of_one():
    code = 'import jax\njax.config.update("jax_num_cpu_devices", 4)\n' + FOUR
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, env=_environment(), timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def free_port():
    """A port of localhost, or a skip where sockets are forbidden."""
    try:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            return free.getsockname()[1]
    except OSError as error:
        pytest.skip(f"needs sockets on localhost: {error}")


def test_two_processes_give_the_results_of_one():
    port = free_port()
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", START + TWO, str(port), str(rank)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(),
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=240) for process in pair]
    finally:
        for process in pair:
            process.kill()
            process.communicate()
    assert [p.returncode for p in pair] == [0, 0], said[0][1][-2000:] + said[1][1][-2000:]
    # the collectives may say on the same stream that they are connected
    assert [out.split()[-1] for out, _ in said] == ["ok", "ok"]


def test_what_a_mesh_refuses():
    mesh = jax.make_mesh((1,), ("n",))
    patterns = jnp.ones((2, 4))
    with pytest.raises(ValueError, match=r"probe must be a batch \(B, N\) with a mesh, got .*\(4,"):
        memory.retrieve(patterns, patterns[0], memory.rectified(2), mesh=mesh)
    with pytest.raises(ValueError, match=r"probe must be a batch \(B, N\) with a mesh, got .*\(4,"):
        memory.retrieve(patterns, patterns[0], memory.softmax(), mesh=mesh)
    with pytest.raises(ValueError, match="label must have one axis of samples with a mesh"):
        bounds.certified_margins(lambda x: x, jnp.ones(2), 0, 0.1, mesh=mesh)
    with pytest.raises(TypeError, match=r"mesh must be a jax.sharding.Mesh, got 4"):
        bounds.certified_margins(lambda x: x, jnp.ones((1, 2)), jnp.zeros(1, int), 0.1, mesh=4)
    with pytest.raises(TypeError, match="mesh must not be given inside jit"):
        jax.jit(lambda x: sharded(jnp.sin, (x,), (True,), mesh=mesh))(jnp.ones(2))
    with pytest.raises(
        ValueError, match=r"one, non-zero number of samples, got \[\(2,\), \(3,\)\]"
    ):
        sharded(jnp.add, (jnp.ones(2), jnp.ones(3)), (True, True), mesh=mesh)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_shards_lower_for_accelerators(platform):
    mesh = jax.sharding.AbstractMesh((4,), ("n",))
    along = jax.sharding.PartitionSpec("n")
    share = jax.shard_map(jnp.sin, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)
    text = jax.jit(share).trace(jnp.ones(8)).lower(lowering_platforms=(platform,)).as_text()
    assert "tensor<2xf32>" in text  # of eight, two a device
