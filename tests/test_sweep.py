"""sweep: plain, sharded and chunked forms agree; a killed run resumes; another run is refused."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact.sweep import sweep

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEYED = {"x": np.arange(7.0, dtype=np.float32), "y": np.ones((7, 2), np.float32)}


def _kernel(sample):
    return {"sum": sample["x"] + sample["y"].sum(), "outer": sample["x"] * sample["y"]}


EXPECTED = {
    "sum": np.arange(7.0, dtype=np.float32) + 2,
    "outer": np.arange(7.0, dtype=np.float32)[:, None] * np.ones((7, 2), np.float32),
}


@pytest.mark.fast
def test_forms_agree(tmp_path):
    chex.assert_trees_all_close(sweep(_kernel, KEYED), EXPECTED)
    chex.assert_trees_all_close(sweep(_kernel, KEYED, chunk=3), EXPECTED)
    one_device = jax.make_mesh((1,), ("n",))
    chex.assert_trees_all_close(sweep(_kernel, KEYED, mesh=one_device), EXPECTED)
    seen = []
    out = sweep(
        _kernel, KEYED, chunk=3, folder=tmp_path / "run", progress=lambda *s: seen.append(s)
    )
    chex.assert_trees_all_close(out, EXPECTED)
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert sorted(os.listdir(tmp_path / "run")) == [
        "chunk-000000.npz", "chunk-000001.npz", "chunk-000002.npz", "sweep.json",
    ]  # fmt: skip


@pytest.mark.fast
def test_activations_sweep_without_retracing_and_differentiate():
    @chex.assert_max_traces(n=1)
    def apply(act, x):
        return act(x)

    def values(beta):
        return sweep(jax.tree_util.Partial(apply, ja.get("swish", beta)), jnp.arange(3.0))

    values(jnp.array(1.0))
    np.testing.assert_allclose(values(jnp.array(2.0))[1], 1 / (1 + np.exp(-2.0)), rtol=1e-6)
    slope = jax.grad(lambda b: sweep(ja.get("swish", b), jnp.arange(3.0)).sum())(2.0)
    assert float(slope) > 0
    assert float(jax.jit(lambda x: sweep(jnp.sin, x))(jnp.ones(2))[0]) == pytest.approx(np.sin(1.0))


def test_chunks_share_one_compilation():
    @chex.assert_max_traces(n=1)
    def once(x):
        return x * 3

    np.testing.assert_allclose(sweep(once, jnp.arange(10.0), chunk=4), 3 * np.arange(10.0))


def test_finished_chunks_are_not_computed_again(tmp_path):
    x = np.arange(8.0, dtype=np.float32)
    first = sweep(jnp.sin, x, chunk=2, folder=tmp_path)
    stored = tmp_path / "chunk-000001.npz"
    np.savez(stored, leaf0=np.array([-7.0, -8.0], np.float32))
    os.remove(tmp_path / "chunk-000003.npz")
    again = sweep(jnp.sin, x, chunk=2, folder=tmp_path)
    np.testing.assert_array_equal(again[2:4], [-7.0, -8.0])
    np.testing.assert_array_equal(again[4:], first[4:])


def test_small_floats_and_float64_survive_a_folder(tmp_path, x64):
    fn = lambda x: (x.astype(jnp.bfloat16), x / 3)  # noqa: E731
    for _ in range(2):
        half, third = sweep(fn, np.arange(3.0), folder=tmp_path)
        assert half.dtype == jnp.bfloat16
        np.testing.assert_array_equal(third, np.arange(3.0) / 3)


def test_keys_are_inputs():
    keys = jax.random.split(jax.random.key(0), 5)
    draw = lambda k: jax.random.normal(k, (2,))  # noqa: E731
    plain = sweep(draw, keys)
    np.testing.assert_array_equal(
        sweep(draw, jax.random.split(jax.random.key(0), 5), chunk=2), plain
    )
    with pytest.raises(TypeError, match="fn must return arrays, not random keys"):
        sweep(lambda k: k, jax.random.split(jax.random.key(1), 5), chunk=2)


def test_refusals(tmp_path):
    x = np.arange(4.0, dtype=np.float32)
    with pytest.raises(ValueError, match=r"same, non-zero number of samples .* got \[3, 4\]"):
        sweep(lambda s: s[0], (x, x[:3]))
    with pytest.raises(ValueError, match="got no arrays"):
        sweep(jnp.sin, ())
    with pytest.raises(ValueError, match=r"got \[0\]"):
        sweep(jnp.sin, x[:0])
    with pytest.raises(ValueError, match=r"got \['a scalar'\]"):
        sweep(jnp.sin, np.float32(1))
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        sweep(jnp.sin, x, chunk=0)
    with pytest.raises(TypeError, match="fn must be a function of one sample, got 3"):
        sweep(3, x)  # pyright: ignore[reportArgumentType]
    run = tmp_path / "run"
    sweep(ja.get("swish", 1.0), x, chunk=2, folder=run)
    sweep(ja.get("swish", 1.0), x, chunk=2, folder=run)
    others = [
        (ja.get("swish", 2.0), x, 2, "function or other inputs"),
        (jnp.sin, x, 2, "function or other inputs"),
        (ja.get("swish", 1.0), x + 1, 2, "function or other inputs"),
        (ja.get("swish", 1.0), x, 3, "another chunk size"),
    ]
    for fn, inputs, chunk, message in others:
        with pytest.raises(ValueError, match=message):
            sweep(fn, inputs, chunk=chunk, folder=run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="folder must be new, empty or of an earlier sweep"):
        sweep(jnp.sin, x, folder=tmp_path / "mine")


DEVICES = """
import sys, json
import jax
jax.config.update("jax_num_cpu_devices", 4)
import jax.numpy as jnp, numpy as np
import jaxact as ja
from jax.sharding import AxisType
from jaxact.sweep import sweep
assert jax.device_count() == 4

def kernel(sample):
    # A loop whose first value does not come from the data, and whose length depends on them.
    body = lambda s: (s[0] + 1, s[1] + jnp.tanh(s[1]))
    steps, value = jax.lax.while_loop(lambda s: s[1] < sample, body, (jnp.array(0), jnp.array(1.0)))
    return {"steps": steps, "value": value}

out = []
for n in (1, 4, 7, 13):
    x = np.linspace(1.0, 30.0, n, dtype=np.float32)
    plain = sweep(kernel, x)
    for kinds in (None, (AxisType.Auto,) * 2, (AxisType.Explicit,) * 2):
        mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=kinds)
        for chunk in (None, 5):
            split = sweep(kernel, x, mesh=mesh, chunk=chunk)
            jax.tree.map(np.testing.assert_array_equal, split, plain)
    weighted = jax.tree_util.Partial(lambda w, s: w @ jnp.array([s, 1.0]), jnp.array([2.0, 3.0]))
    np.testing.assert_allclose(sweep(weighted, x, mesh=mesh), 2 * x + 3, rtol=1e-6)
    folder = f"{sys.argv[1]}/{n}"
    split = sweep(kernel, x, mesh=mesh, chunk=3, folder=folder)
    # Written by four devices, read by a run without a mesh.
    jax.tree.map(np.testing.assert_array_equal, sweep(kernel, x, chunk=3, folder=folder), plain)
    out.append(n)
print(json.dumps(out))
"""


def _environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def test_four_devices_with_uneven_sizes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DEVICES, str(tmp_path)],
        capture_output=True, text=True, env=_environment(), timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [1, 4, 7, 13]


WORKER = """
import sys, time
import jax, numpy as np
from jaxact.sweep import sweep

def tell(done, total):
    print(done, flush=True)
    time.sleep(float(sys.argv[2]))

# custom_jvp functions print with their addresses: the fingerprint must not depend on them.
out = sweep(lambda x: jax.nn.relu(jax.nn.silu(x)), np.arange(40.0, dtype=np.float32), chunk=4,
            folder=sys.argv[1], progress=tell)
np.save(sys.argv[1] + ".npy", out)
"""


def test_a_killed_run_resumes(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", WORKER, str(folder)]
    worker = subprocess.Popen(
        [*command, "0.2"], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    assert worker.stdout is not None
    try:
        for _ in range(3):
            assert worker.stdout.readline()
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("chunk-*.npz")}
    assert 3 <= len(kept) < 10
    time.sleep(0.02)
    done = subprocess.run(
        [*command, "0"], capture_output=True, text=True, env=_environment(), timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in kept.items())
    x = np.arange(40.0, dtype=np.float32)
    np.testing.assert_allclose(np.load(f"{folder}.npy"), x / (1 + np.exp(-x)), rtol=1e-5)


KILLED = """
import os, pathlib, random, signal, sys, time
import jax, numpy as np
from jaxact import sweep as module
from jaxact.numerics import files

folder, log = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
x = np.arange(120.0, dtype=np.float32)
write, sync = module._Store.write, os.fsync

def run(slow):
    def logged(self, number, part):
        with open(log, "a") as file:
            file.write(f"{number}\\n")
        write(self, number, part)
    def slow_sync(handle):
        sync(handle)
        time.sleep(slow)  # between the bytes and their name
    module._Store.write, os.fsync = logged, slow_sync
    return module.sweep(lambda v: v * v, x, chunk=2, folder=folder,
                        progress=lambda *_: time.sleep(slow / 2))

def lines():
    return log.read_text().split() if log.exists() else []

chance = random.Random(0)
kills = again = 0
while kills < 10:
    before = len(lines())
    done = {int(p.name[6:12]) for p in folder.glob("chunk-*.npz")}
    child = os.fork()
    if not child:
        run(0.006)
        os._exit(0)
    while len(lines()) == before:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the run ended before it was killed"
    kills += 1
    computed = [int(n) for n in lines()[before:]]
    assert not done & set(computed), "a finished chunk was computed again"
    kept = {int(p.name[6:12]) for p in folder.glob("chunk-*.npz")}
    assert done <= kept and len(set(computed) - kept) <= 1, "more than the chunk in flight is lost"
    for number in kept:
        found = files.read_arrays(folder / f"chunk-{number:06d}.npz")["leaf0"]
        assert (found == x[2 * number : 2 * number + 2] ** 2).all()
out = run(0)
assert (out == x * x).all()
assert len(lines()) <= 60 + kills, lines()
print(kills, len(lines()))
"""


def test_ten_kills_lose_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path / "run", tmp_path / "log"],
        capture_output=True, text=True, env=_environment(), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    kills, computed = map(int, done.stdout.split())
    assert kills == 10
    assert 60 <= computed <= 70


PROCESS = """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, int(sys.argv[3]))
import numpy as np
from jaxact.sweep import sweep
assert jax.process_count() == 2
x = np.arange(7.0, dtype=np.float32)
mesh = jax.make_mesh((jax.device_count(),), ("n",))
square = lambda v: v**2
for _ in range(8):
    out = sweep(square, x, mesh=mesh, chunk=4, folder=sys.argv[1])
    np.testing.assert_allclose(out, x**2)
"""


def test_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path / "run"), str(port), str(rank)],
            stderr=subprocess.PIPE, text=True, env=_environment(),
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=120)[1] for process in pair]
    finally:
        for process in pair:
            process.kill()
            process.communicate()
    assert [process.returncode for process in pair] == [0, 0], errors[0][-2000:] + errors[1][-2000:]
    assert len(list((tmp_path / "run").glob("chunk-*.npz"))) == 2


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    from jaxact.sweep import _plain

    traced = _plain.trace(jax.tree_util.Partial(jnp.sin), jnp.ones(4))
    assert traced.lower(lowering_platforms=(platform,)).as_text()
