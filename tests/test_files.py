"""Files that were cut off or have wrong bytes: an error that names the file, or a right answer."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import random
import shutil
import traceback

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxact
from jaxact import decide, io
from jaxact.decide import neuron_state
from jaxact.decide.instances_files import append, read_verdicts
from jaxact.decide.queue import Boxes, Stack, read_boxes, write_boxes
from jaxact.numerics import files
from jaxact.sweep import sweep

HOME = str(pathlib.Path(jaxact.__file__).parent)
FEW = settings(
    max_examples=25, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
DAMAGE = st.tuples(st.sampled_from(("cut", "flip", "random")), st.floats(0, 1), st.integers(1, 255))

PROPERTY = """(declare-const X_0 Real)
(declare-const Y_0 Real)
(assert (>= X_0 -1.5)) ; a comment
(assert (<= X_0 1e0))
(assert (or (and (<= Y_0 2)) (>= (+ Y_0 (* 2 Y_0)) 5)))
"""
ROW = decide.SetRow("a.onnx", "p.vnnlib", "00ff", 60.0, "auto", "verified", "crown", 0.5, 3)


def damaged(data: bytes, how: tuple[str, float, int]) -> bytes:
    """The bytes, cut off or with one of them changed."""
    kind, share, mask = how
    place = min(int(share * len(data)), len(data) - 1)
    if kind == "cut":
        return data[:place]
    if kind == "flip":
        return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
    return random.Random(place * 256 + mask).randbytes(mask)


def read(path: pathlib.Path, reader) -> None:
    """An answer, or an error that jaxact raises itself and that names the file."""
    found: Exception | None = None
    try:
        reader(path)
    except (ValueError, NotImplementedError) as error:
        found = error
    if found is not None:
        last = traceback.extract_tb(found.__traceback__)[-1]
        assert last.filename.startswith(HOME), f"from {last.filename}: {found}"
        assert (last.line or "").startswith("raise"), f"{last.line}: {found}"
        assert path.name in str(found), found


def onnx_file(path: pathlib.Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, arrays = onnx.helper, onnx.numpy_helper
    nodes = [
        ("Flatten", ["x"], ["f"]), ("Gemm", ["f", "w", "b"], ["h"]), ("Relu", ["h"], ["r"]),
        ("Reshape", ["r", "s"], ["y"]),
    ]  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "net",
        [value("x", 1, [1, 2])],
        [value("y", 1, [1, 3])],
        [
            arrays.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "w"),
            arrays.from_array(np.ones(3, np.float32), "b"),
            arrays.from_array(np.array([1, 3]), "s"),
        ],
    )
    onnx.save(helper.make_model(graph), path)


def csv(path: pathlib.Path) -> None:
    path.write_text("net.onnx,safe.vnnlib,60\nother.onnx,safe.vnnlib,116.5\n")


def verdicts(path: pathlib.Path) -> None:
    path.write_text(
        "set,network,property,verdict\ns,a.onnx,p.vnnlib,sat\ns,b.onnx,p.vnnlib,unsat\n"
    )


def boxes(count: int) -> Boxes:
    ends = np.arange(2.0 * count).reshape(count, 2)
    return Boxes(ends, ends + 1, np.arange(count), np.full(count, 0.5))


def domains() -> list[neuron_state.Domain]:
    f = np.float32
    return [neuron_state.Domain(0, np.zeros(2, f), np.ones(2, f), *(np.zeros(2, f),) * 3)]


def neuron(path: pathlib.Path) -> None:
    neuron_state.save(path.parent, "name", domains(), {"goal": np.zeros(2), "domains": 3})


WRITERS = {
    "net.onnx": (onnx_file, io.load_onnx),
    "p.vnnlib": (lambda p: p.write_text(PROPERTY), io.load_vnnlib),
    "p.vnnlib.gz": (lambda p: p.write_bytes(gzip.compress(PROPERTY.encode())), io.load_vnnlib),
    "instances.csv": (csv, decide.read_instances),
    "verdicts.csv": (verdicts, lambda p: read_verdicts(p, "s")),
    "c.txt": (lambda p: io.write_counterexample(p, [0.25, -3.0], [1.0]), io.read_counterexample),
    "boxes.npz": (lambda p: write_boxes(p, boxes(3)), read_boxes),
    "neuron.npz": (neuron, lambda p: neuron_state.load(p.parent, "name")),
    "mnist.npz": (
        lambda p: np.savez(p, images=np.zeros((5, 28, 28), np.uint8), labels=np.arange(5)),
        lambda p: io.load_mnist(p, train=4),
    ),
    "rows.jsonl": (lambda p: append(p, ROW), decide.read_rows),
}


def every_damage(path, whole, reader):
    """Whatever happened to the bytes, what is read is right or the error names the file."""

    @FEW
    @given(DAMAGE)
    def damage(how):
        path.write_bytes(damaged(whole, how))
        read(path, reader)

    damage()


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_named(tmp_path, name):
    write, reader = WRITERS[name]
    path = tmp_path / name
    write(path)
    reader(path)
    every_damage(path, path.read_bytes(), reader)


@pytest.mark.parametrize("name", ["boxes.npz", "neuron.npz", "mnist.npz"])
def test_damaged_arrays_never_pass_for_others(tmp_path, name):
    """A wrong byte in an array is noticed, not only one that breaks the reader."""
    write, reader = WRITERS[name]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    right = {k: v.tobytes() for k, v in files.read_arrays(path).items()}
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(damaged(whole, ("flip", place / len(whole), 0x40)))
        try:
            found = files.read_arrays(path, tuple(right))
        except ValueError:
            continue
        assert {k: v.tobytes() for k, v in found.items()} == right, place


def test_rows_that_a_kill_cut_off_are_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    for _ in range(3):
        append(path, ROW)
    whole = path.read_bytes()
    line = len(whole) // 3
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        assert decide.read_rows(path) == [ROW] * ((cut + 1) // line)
        append(path, ROW)
        assert decide.read_rows(path)[-1] == ROW


def test_a_cut_counterexample_is_not_a_shorter_one(tmp_path):
    path = tmp_path / "c.txt"
    io.write_counterexample(path, [0.25, -3.0], [1.0, 22.0])
    whole = path.read_bytes()
    for cut in range(len(whole) - 1):
        path.write_bytes(whole[:cut])
        if whole[:cut].rstrip().endswith(b"))"):
            continue  # all of it but white space
        with pytest.raises(ValueError, match="c.txt"):
            io.read_counterexample(path)


def test_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "mnist.npz"
    np.savez(path, images=np.array([Trap()], object), labels=np.zeros(1, int), allow_pickle=True)
    with pytest.raises(ValueError, match="mnist.npz is damaged: Object arrays cannot be loaded"):
        io.load_mnist(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["sweep.json", "chunk-000001.npz"])
def test_a_damaged_sweep_says_what_to_remove(tmp_path, name):
    square = lambda x: x * x  # noqa: E731
    x = np.arange(6.0, dtype=np.float32)
    right = sweep(square, x, chunk=2, folder=tmp_path / "run")
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    for how in (("cut", 0.0, 1), ("cut", 0.5, 1), ("cut", 0.99, 1), ("flip", 0.4, 64)):
        path.write_bytes(damaged(whole, how))
        with pytest.raises(ValueError, match=r"remove it|remove its folder|run with another"):
            sweep(square, x, chunk=2, folder=tmp_path / "run")
    path.unlink()
    if name.startswith("chunk"):
        np.testing.assert_array_equal(sweep(square, x, chunk=2, folder=tmp_path / "run"), right)


def fail_half_way(path):
    with files.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError("half-way")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    files.write_text(path, "old")

    def broken(*_):
        raise OSError("no space left on device")

    for spoil in ("fsync", "replace"):
        monkeypatch.setattr(os, spoil, broken)
        with pytest.raises(OSError, match="no space"):
            files.write_text(path, "new")
        monkeypatch.undo()
        assert os.listdir(tmp_path) == ["results.csv"]
        assert path.read_text() == "old"
    with pytest.raises(RuntimeError, match="half"):
        fail_half_way(path)
    assert os.listdir(tmp_path) == ["results.csv"]
    assert path.read_text() == "old"


def test_boxes_of_a_save_that_was_killed_are_not_taken_for_new_ones(tmp_path):
    """A kill between the boxes and search.json leaves boxes that no checkpoint names."""
    from jaxact.decide.decide import decide as run

    f = lambda x: x[:1] * x[1:]  # noqa: E731
    box = jaxact.bounds.Box(np.full(2, -1, np.float32), np.ones(2, np.float32))
    unsafe = jaxact.bounds.Unsafe.of([([[-1.0]], [-1.0001])])  # f >= 1.0001, never
    state = tmp_path / "state"
    state.mkdir()
    write_boxes(state / "boxes-000000.npz", boxes(3))
    found = run(f, (box, unsafe), state=state)
    assert found.status == "verified"
    assert not (state / "boxes-000000.npz").exists()


def test_a_stack_is_copied_whole_to_another_file_system(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("another file system")

    stack = Stack(limit=2)
    stack.push(boxes(5))
    monkeypatch.setattr(os, "link", refused)
    names = stack.save(tmp_path, 7)
    stack.close()
    other = Stack(limit=100)
    other.load(tmp_path, names)
    assert len(other) == 5
    np.testing.assert_array_equal(
        Boxes.joined([other.pop(1) for _ in range(5)]).lower, boxes(5).lower[::-1]
    )
    other.close()


def test_a_search_is_not_continued_for_another_function_or_promise(tmp_path):
    """Equal weights and shapes, another activation, or certified: the folder is refused."""
    import jax
    import jax.numpy as jnp

    w = jnp.eye(2)
    box = jaxact.bounds.Box(-jnp.ones(2), jnp.ones(2))
    cases = box, jaxact.bounds.Unsafe.of([([[1.0, 0.0]], [-3.0])])
    state = tmp_path / "state"

    def net(act):
        return lambda x: act(jnp.matmul(w, x, precision="highest"))

    decide.decide(net(jnp.tanh), cases, state=state)
    decide.decide(net(jnp.tanh), cases, state=state)
    with pytest.raises(ValueError, match="state must be the folder of this problem"):
        decide.decide(net(jax.nn.relu), cases, state=state)
    with pytest.raises(ValueError, match="state must be the folder of this problem"):
        decide.decide(net(jnp.tanh), cases, state=state, sound=True)


def test_checkpoints_that_were_damaged(tmp_path):
    like = {"w": np.zeros((3, 4), np.float32), "n": np.int32(0)}
    tree = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "n": np.int32(5)}
    made = io.save_checkpoint(tmp_path / "saved", tree)
    parts = sorted(p for p in made.rglob("*") if p.is_file())
    assert parts
    for number, part in enumerate(parts):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(made, copy)
        target = copy / part.relative_to(made)
        whole = target.read_bytes()
        for how in (("cut", 0.5, 1), ("flip", 0.6, 64)):
            target.write_bytes(damaged(whole, how) if whole else b"x")
            try:
                found = io.load_checkpoint(copy, like)
            except (ValueError, FileNotFoundError) as error:
                assert copy.name in str(error)  # noqa: PT017
            else:
                np.testing.assert_array_equal(found["w"], tree["w"])
        shutil.rmtree(copy)


@pytest.mark.parametrize("pattern", ["test/**/*.onnx*", "acasxu/**/*.vnnlib*"])
def test_public_files_cut_at_random(tmp_path, shared, pattern):
    sources = sorted((shared / "vnncomp").glob(pattern))
    if not sources:
        pytest.skip("no such files")
    source = min(sources, key=lambda p: p.stat().st_size)
    reader = io.load_onnx if ".onnx" in source.name else io.load_vnnlib
    every_damage(tmp_path / source.name, source.read_bytes(), reader)


def test_the_manifest_of_a_sweep_is_data(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps([1, 2]))
    with pytest.raises(ValueError, match=r"sweep.json is damaged"):
        sweep(lambda x: x, np.arange(3.0, dtype=np.float32), folder=tmp_path)
