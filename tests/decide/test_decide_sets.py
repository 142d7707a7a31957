"""Whole sets: what each member becomes, resume after a kill, the competition's files, the CLI."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from jaxact import cli, decide, io
from jaxact.bounds import Box
from jaxact.decide import Decision, Status, instances, instances_files, instances_property
from tests.conftest import ROOT
from tests.io.onnx_nets import build, mlp, runtime, save

X = "".join(f"(declare-const X_{i} Real)\n" for i in range(3))
HEAD = X + "".join(f"(declare-const Y_{i} Real)\n" for i in range(2))
BOX = "".join(f"(assert (>= X_{i} -1)) (assert (<= X_{i} 1))\n" for i in range(3))
SAFE, UNSAFE = "(assert (>= Y_0 60))", "(assert (>= Y_0 -60))"


def vnnlib(folder, name, text):
    (folder / name).write_text(HEAD + BOX + text)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Networks and properties: sound ones, gzipped ones and broken ones."""
    folder = tmp_path_factory.mktemp("members")
    model = mlp((3, 8, 8, 2), rng=np.random.default_rng(5))
    save(model, folder / "a.onnx")
    save(mlp((3, 8, 8, 2), rng=np.random.default_rng(6)), folder / "b.onnx.gz")
    save(build([("Hardmax", ["x"], ["y"], {})], {}, [1, 3]), folder / "odd.onnx")
    (folder / "broken.onnx").write_bytes(b"no network")
    vnnlib(folder, "safe.vnnlib", SAFE)
    vnnlib(folder, "unsafe.vnnlib", UNSAFE)
    vnnlib(folder, "cut.vnnlib", "(assert (<= Y_0 1)")
    ends = np.ones(3, np.float32)
    crown = io.METHODS["crown"](io.load_onnx(folder / "a.onnx"), Box(-ends, ends))
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 1, 3)).astype(np.float32)
    least = min(runtime(model, {"x": v})[0, 0] for v in x)
    level = 0.9 * float(crown.lower[0]) + 0.1 * float(least)
    vnnlib(folder, "hard.vnnlib", f"(assert (<= Y_0 {level}))")  # not reached, CROWN cannot tell
    text = (folder / "safe.vnnlib").read_text() + "; packed\n"
    (folder / "packed.vnnlib.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def listed(folder, members, *lines, name="instances.csv"):
    """A list in a folder of its own, whose members are linked into it."""
    folder.mkdir(exist_ok=True)
    for file in members.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


class Search:
    """In place of `decide`: evaluates the middle of the box, and verifies what is safe there."""

    def __init__(self):
        self.calls = []

    def __call__(self, f, cases, *, timeout, progress, reference, sound, state=None):
        self.calls.append((timeout, sorted(p.name for p in state.iterdir()) if state else None))
        if progress is not None:
            progress(Status(0.1, 5, 2, -0.5))
        if timeout <= 0:
            return Decision("unknown", float("-inf"), "", None, None, 0, 0.0, timed_out=True)
        if state:
            (state / "queue").write_text("left behind")
        x = (cases[0].box.lower + cases[0].box.upper) / 2
        y = np.asarray(reference(x), np.float64)
        margin = float((cases[0].unsafe.rows @ y - cases[0].unsafe.thresholds).max(1).min())
        status, by = ("falsified", "attack") if margin <= 0 else ("verified", "input splitting")
        point = (x, y) if margin <= 0 else (None, None)
        return Decision(status, margin, by, *point, 7, 0.1, timed_out=False)


@pytest.fixture
def search(monkeypatch):
    fake = Search()
    monkeypatch.setattr(instances_property, "decide", fake)
    return fake


def lines_of(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_verified_falsified_unknown_broken_and_gzipped_members(members, tmp_path, search):
    file = listed(
        tmp_path / "little", members,
        "a.onnx,safe.vnnlib,60", "b.onnx,unsafe.vnnlib.gz,60", "a.onnx,hard.vnnlib,60", "",
        "b.onnx.gz, packed.vnnlib ,0", "broken.onnx,safe.vnnlib,60", "odd.onnx,safe.vnnlib,60",
        "none.onnx,safe.vnnlib,60", "a.onnx,cut.vnnlib,60",
    )  # fmt: skip
    seen = []
    rows = decide.decide_set(file, out=tmp_path / "out", progress=lambda *s: seen.append(s))
    found = [(r.status, r.result, r.method) for r in rows]
    assert found[:4] == [
        ("verified", "unsat", "input splitting"), ("falsified", "sat", "attack"),
        ("verified", "unsat", "input splitting"), ("unknown", "timeout", ""),
    ]  # fmt: skip
    assert found[4:] == [("error", "error", "")] * 4
    for row, text in zip(
        rows[4:],
        (
            "broken.onnx is not an ONNX file",
            "Hardmax",
            "there is no none.onnx",
            "line 9: the file ends",
        ),
        strict=True,
    ):
        assert text in row.message
    assert rows[2].domains == 7
    assert [c[0] for c in search.calls] == [60, 60, 60, 0]
    assert [s[0] for s in seen if s[3] is None] == list(range(8))
    assert [(s[0], s[1], s[2].prop, s[3].left) for s in seen if s[3]] == [
        (k, 8, row.prop, 2) for k, row in enumerate(rows[:4])
    ]
    assert len(lines_of(tmp_path / "out")) == 8
    x, y = io.read_counterexample(tmp_path / "out" / rows[1].counterexample)
    assert rows[1].counterexample == "counterexamples/b_unsafe.counterexample"
    assert io.load_vnnlib(members / "unsafe.vnnlib").violated_by(x, y)
    assert not any((tmp_path / "out" / "state").iterdir())
    with (tmp_path / "out" / "results.csv").open(newline="") as lines:
        table = list(csv.reader(lines))
    assert [(t[0], t[1], t[4]) for t in table] == [
        ("little", row.network, row.result) for row in rows
    ]
    assert table[1][2] == "unsafe.vnnlib.gz"
    assert all(len(t) == 6 and float(t[3]) >= 0 and float(t[5]) >= 0 for t in table)


def test_a_second_run_decides_nothing_again(members, tmp_path, search, monkeypatch):
    file = listed(
        tmp_path / "s", members,
        "a.onnx,safe.vnnlib,60", "b.onnx,unsafe.vnnlib,60", "a.onnx,packed.vnnlib,0",
        "a.onnx,safe.vnnlib,60", "broken.onnx,safe.vnnlib,60",
    )  # fmt: skip
    loaded = []
    load = io.load_onnx
    monkeypatch.setattr(io, "load_onnx", lambda path: loaded.append(path) or load(path))
    rows = decide.decide_set(file, out=tmp_path / "out")
    assert len(search.calls) == 3  # the fourth line is the first one again
    assert [p.name for p in loaded] == ["a.onnx", "b.onnx.gz", "broken.onnx"]
    assert [r.status for r in rows] == ["verified", "falsified", "unknown", "verified", "error"]
    search.calls.clear()
    again = decide.decide_set(file, out=tmp_path / "out")
    assert not search.calls
    assert again[:4] == rows[:4]
    assert again[4].message == rows[4].message
    assert len(loaded) == 4  # tried again: it may have been mended
    (file.parent / "broken.onnx").unlink()
    save(mlp((3, 4, 2), rng=np.random.default_rng(0)), file.parent / "broken.onnx")
    assert decide.decide_set(file, out=tmp_path / "out")[4].status == "verified"


def test_what_needs_a_new_run(members, tmp_path, search):
    folder = tmp_path / "s"
    file = listed(folder, members, "a.onnx,safe.vnnlib,60", "b.onnx,safe.vnnlib")

    def statuses(**options):
        search.calls.clear()
        rows = decide.decide_set(file, out=tmp_path / "out", **options)
        return [r.status for r in rows], len(search.calls)

    assert statuses(timeout=0) == (["unknown"] * 2, 2)
    assert statuses(timeout=0) == (["unknown"] * 2, 0)
    assert statuses(timeout=5) == (["verified"] * 2, 2)
    assert [c[0] for c in search.calls] == [5, 5]
    assert statuses() == (["verified"] * 2, 0)
    assert statuses(sound=True) == (["verified"] * 2, 2)
    assert statuses() == (["verified"] * 2, 0)
    (folder / "safe.vnnlib").unlink()
    vnnlib(folder, "safe.vnnlib", UNSAFE)  # the same name, another property
    assert statuses() == (["falsified"] * 2, 2)
    assert search.calls[1][0] == float("inf")
    assert statuses(sound=True) == (["falsified"] * 2, 0)  # a counterexample needs no bound


def test_killed_in_the_middle(members, tmp_path, search):
    """SIGKILL during the third; the same command then decides the third and fourth only."""
    file = listed(
        tmp_path / "s", members,
        *(f"{n}.onnx,{p}.vnnlib,60" for n in "ab" for p in ("safe", "unsafe")),
    )  # fmt: skip
    out = tmp_path / "out"
    (tmp_path / "child.py").write_text(
        "import sys, time\n"
        "from jaxact import cli\n"
        "from jaxact.decide import Decision, instances_property\n"
        "calls = []\n"
        "def search(f, cases, *, state, **rest):\n"
        "    calls.append(0)\n"
        "    if len(calls) < 3:\n"
        "        return Decision('verified', 1.0, 'bounds', None, None, 1, 0.0, False)\n"
        "    (state / 'half').write_text('a queue')\n"
        "    time.sleep(600)\n"
        "instances_property.decide = search\n"
        f"sys.argv = ['jaxact', 'certify', '--set', {str(file)!r}, '--out', {str(out)!r}]\n"
        "cli.main()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    child = subprocess.Popen([sys.executable, tmp_path / "child.py"], env=environment)
    try:
        limit = time.monotonic() + 90
        while not list(out.glob("state/*/half")):
            assert child.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(lines_of(out)) == 2
    with (out / "results.jsonl").open("a") as log:
        log.write('{"network": "b.on')  # as if it had been killed in the write
    rows = decide.decide_set(file, out=out)
    assert [c[1] for c in search.calls] == [["half"], []]
    assert [r.status for r in rows] == ["verified", "verified", "verified", "falsified"]
    assert [r.resumed for r in rows] == [False, False, True, False]
    assert [r.method for r in rows[:2]] == ["bounds"] * 2
    assert not list(out.glob("state/*"))
    search.calls.clear()
    assert decide.decide_set(file, out=out) == rows
    assert not search.calls


def verdict_file(folder, *lines):
    file = folder / "verdicts.csv"
    file.write_text("\n".join(("set,network,property,verdict,votes", *lines)) + "\n")
    return file


def test_a_contradiction_stops_the_run(members, tmp_path, search):
    file = listed(
        tmp_path / "s", members, "a.onnx,safe.vnnlib", "a.onnx,unsafe.vnnlib", "b.onnx,safe.vnnlib"
    )
    options = {"out": tmp_path / "out"}
    good = ("s,a.onnx,safe.vnnlib,unsat,unsat:3", "s,a.onnx,unsafe.vnnlib.gz,sat,")
    agreed = verdict_file(tmp_path, *good, "s,b.onnx,safe.vnnlib,unknown,", "t,b.onnx,p,sat,")
    decide.decide_set(file, verdicts=agreed, **options)
    wrong = verdict_file(tmp_path, good[0], "s,a.onnx,unsafe.vnnlib,unsat,", "t,a.onnx,q,sat,")
    search.calls.clear()
    fresh = options | {"out": tmp_path / "fresh"}
    for calls in (2, 0):  # and it is not forgotten
        with pytest.raises(decide.Contradiction, match=r"unsafe.vnnlib is falsified .* unsat"):
            decide.decide_set(file, verdicts=wrong, **fresh)
        assert len(search.calls) == calls
        search.calls.clear()
    assert len(lines_of(tmp_path / "fresh")) == 2
    assert len((tmp_path / "fresh" / "results.csv").read_text().splitlines()) == 2
    with pytest.raises(decide.Contradiction, match=r"safe.vnnlib is verified .* sat"):
        decide.decide_set(
            file, verdicts=verdict_file(tmp_path, "s,b.onnx,safe.vnnlib,sat,"), **options
        )
    with pytest.raises(ValueError, match=r"verdicts must hold the set 's', got \['t'\]"):
        decide.decide_set(file, verdicts=verdict_file(tmp_path, "t,a,b,sat,"), **options)
    (tmp_path / "verdicts.csv").write_text("network,property\n1,2\n")
    with pytest.raises(ValueError, match="verdicts must have columns"):
        decide.decide_set(file, verdicts=tmp_path / "verdicts.csv", **options)


def test_networks_of_one_architecture_compile_once(members, tmp_path):
    file = listed(tmp_path / "s", members, "c.onnx,safe.vnnlib", "d.onnx,safe.vnnlib")
    for seed, name in enumerate("cd"):  # an architecture that no other test compiles
        save(mlp((3, 5, 2), rng=np.random.default_rng(seed)), file.parent / f"{name}.onnx")
    compiled, begun = [], []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(len(begun))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        rows = decide.decide_set(
            file, out=tmp_path / "out", method="crown", progress=lambda *s: begun.append(s)
        )
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert [r.method for r in rows] == ["crown", "crown"]
    assert set(compiled) == {1}


def test_networks_are_let_go_when_they_take_too_much(members, tmp_path, search, monkeypatch):
    file = listed(tmp_path / "s", members, *(f"{n}.onnx,safe.vnnlib" for n in "abab"))
    (file.parent / "b.onnx").symlink_to(members / "b.onnx.gz")  # a gzipped file of any name
    loaded = []
    load = io.load_onnx
    monkeypatch.setattr(io, "load_onnx", lambda path: loaded.append(path.name) or load(path))
    monkeypatch.setattr(instances, "CACHED_BYTES", 1)
    monkeypatch.setattr(instances_files.SetRow, "answers", lambda *_: False)
    decide.decide_set(file, out=tmp_path / "out")
    assert loaded == ["a.onnx", "b.onnx", "a.onnx", "b.onnx"]


def test_counterexamples_of_equal_names_are_kept_apart(members, tmp_path, search):
    file = listed(tmp_path / "s", members, "a.onnx,unsafe.vnnlib", "sub/a.onnx,unsafe.vnnlib")
    (tmp_path / "s" / "sub").mkdir()
    save(mlp((3, 4, 2), rng=np.random.default_rng(0)), tmp_path / "s" / "sub" / "a.onnx")
    first, second = decide.decide_set(file, out=tmp_path / "out")
    assert first.counterexample != second.counterexample
    for row in (first, second):
        assert (tmp_path / "out" / row.counterexample).read_text().startswith("sat\n")


def test_rows_survive_the_file(tmp_path):
    row = decide.SetRow("n", "p", "d", float("inf"), "auto", "verified", margin=0.1)
    late = dataclasses.replace(row, limit=3.0, status="unknown", margin=None, timed_out=True)
    for r in (row, late):
        instances_files.append(tmp_path / "r.jsonl", r)
    with (tmp_path / "r.jsonl").open("a") as log:
        log.write('{"other": 1}\n[1, 2]\nnothing')
    assert decide.read_rows(tmp_path / "r.jsonl") == [row, late]
    assert late.answers(3.0, "auto")
    assert not late.answers(4.0, "auto")
    assert not late.answers(3.0, "crown")
    assert dataclasses.replace(late, timed_out=False).answers(4.0, "auto")  # nothing left to split
    assert row.answers(9.0, "auto")
    assert not row.answers(9.0, "auto+sound")


@pytest.mark.parametrize(
    "line", ["only.onnx", "a,b,c", "a,b,-1", ",b,1", "a,b,nan", "a,b,1,2", "a,,1"]
)
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "set.csv").write_text(f"a.onnx,b.vnnlib,1\n\n{line}\n")
    with pytest.raises(ValueError, match="line 3: must be network,property,timeout, got "):
        decide.read_instances(tmp_path / "set.csv")


def certify(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["jaxact", "certify", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr()
    return stopped.value.code, shown.out, shown.err


def test_the_command_line_prints_a_table(members, tmp_path, search, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "150")
    file = listed(tmp_path / "s", members, "a.onnx,safe.vnnlib,9", "b.onnx,unsafe.vnnlib,9")
    options = ("--set", file, "--out", tmp_path / "out")
    code, out, err = certify(monkeypatch, capsys, *options)
    assert code == 0, err
    assert "2 instances: 1 verified, 1 falsified, 0 unknown, 0 error; " in out
    assert any(
        all(word in line for word in ("│ a ", "│ safe ", "verified", "input splitting"))
        for line in out.splitlines()
    )
    code, again, _ = certify(monkeypatch, capsys, *options)
    assert (code, again, len(search.calls)) == (0, out, 2)
    wrong = verdict_file(tmp_path, "s,a.onnx,safe.vnnlib,sat,")
    code, _, err = certify(monkeypatch, capsys, *options, "--verdicts", wrong)
    assert code == 1
    assert "contradiction: a.onnx safe.vnnlib is verified" in err
    file.write_text("a.onnx,safe.vnnlib,9\nbroken.onnx,safe.vnnlib,9\nb.onnx,hard.vnnlib,0\n")
    code, out, _ = certify(monkeypatch, capsys, *options)
    assert code == 20
    assert "1 verified, 0 falsified, 1 unknown, 1 error" in out
    assert "out of time" in out


def test_bad_usage_is_one_line(members, tmp_path, monkeypatch, capsys):
    file = listed(tmp_path / "s", members, "a.onnx,safe.vnnlib,9")
    (tmp_path / "empty.csv").write_text("\n")
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        ((), "NET must be given without --set"),
        (("a.onnx",), "PROPERTY must be given without --set"),
        (("a.onnx", "p", "--out", "o"), "--out must not be given without --set, got o"),
        (("a.onnx", "p", "--shard", "1/2"), "--shard must not be given without --set, got 1/2"),
        (("--set", file, *out, "--shard", "half"), "--shard must be k/n, such as 1/4, got half"),
        (("--set", file), "--out must be given with --set"),
        (("n", "--set", file, *out), "NET must not be given with --set, got n"),
        (("--set", file, *out, "--method", "magic"), "method must be one of 'auto', 'attack'"),
        (("--set", file, *out, "--timeout", "-1"), "timeout must be at least 0, got -1"),
        (("--set", file, *out, "--sound", "--method", "ibp"), "method must be auto, attack"),
        (("--set", "none.csv", *out), "set must be a list of instances, got none.csv"),
        (("--set", tmp_path / "empty.csv", *out), "set must list at least one instance"),
        (("--set", file, *out, "--verdicts", "v.csv"), "verdicts must be a CSV file, got v.csv"),
    ):
        code, _, err = certify(monkeypatch, capsys, *arguments)
        assert code == 2
        assert message in " ".join(err.split())
        assert "Traceback" not in err


def test_one_property_by_splitting(members, search, monkeypatch, capsys):
    arguments = (members / "a.onnx", members / "hard.vnnlib")
    code, out, _ = certify(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.startswith("verified\n")
    assert "(input splitting)" in out
    assert ", 7 domains" in out
    assert certify(monkeypatch, capsys, *arguments, "--method", "crown")[0] == 20
    assert certify(monkeypatch, capsys, *arguments, "--timeout", "0")[0] == 20
    assert [c[0] == 0 for c in search.calls] == [False, True]


def test_the_benchmarks_table_counts_the_list_and_times_each_question_once(tmp_path):
    from benchmarks import decide_sets

    row = decide.SetRow("n", "p", "d", 9.0, "auto", "verified", cpu=1.0, domains=3)
    bad = dataclasses.replace(row, digest="e", status="falsified", cpu=4.0)
    late = dataclasses.replace(row, digest="f", status="unknown", cpu=10.0)
    pairs = [(row, "unsat"), (row, "unsat"), (bad, "unknown"), (late, "sat")]
    assert decide_sets.line("s", pairs) == "| s | 3 | 4 | 2 | 1 | 1 | 4 | 15 | 10 | 9 |"
    path = tmp_path / "RESULTS.md"
    path.write_text("# Benchmarks\n\n## Another\n\ntext\n")
    for _ in range(2):
        decide_sets.record({"s": pairs, "t": []}, {"timeout": 60, "method": "auto"}, path)
    text = path.read_text()
    assert text.count(decide_sets.TITLE) == text.count("| s | 3 |") == 1
    assert "at most 60 s an instance" in text
    assert "## Another\n\ntext\n" in text
    assert decide_sets.undecided({"s": pairs}) == ["s n p: unknown (sat) "]


def test_the_peers_table_compares_what_every_side_decides(shared):
    from benchmarks import decide_peer

    listed = decide_peer.chosen(20)
    assert len({i.name for i in listed}) == 20
    assert sum(i.truth == "sat" for i in listed) == 3
    times = {"peer": 12.0, "first": 5.0, "warm": 0.25, "cold": 3.0}
    rows = [
        {"instance": i.name, "side": side, "truth": i.truth, "verdict": i.truth, "cpu": cpu}
        for i in listed[:3]
        for side, cpu in times.items()
    ]
    rows[8] |= {"verdict": "timeout"}  # the peer on the third
    lines = decide_peer.table(rows).splitlines()
    assert lines[2] == "| 1_1 prop_3 | unsat | unsat | unsat | 12 | 5 | 0.25 | 3 | 48 | 4 |  |"
    assert lines[-1] == "| the 2 that all decide |  |  |  | 24 | 10 | 0.5 | 6 | 48 | 4 |  |"


def test_shards_take_their_part_and_the_call_without_one_merges(
    members, tmp_path, search, monkeypatch, capsys
):
    lines = [f"{n}.onnx,{p}.vnnlib,60" for n in "ab" for p in ("safe", "unsafe")]
    file = listed(tmp_path / "s", members, *lines, lines[0])
    out = tmp_path / "out"
    options = {"out": out}
    parts = [decide.decide_set(file, shard=(k, 2), **options) for k in (1, 2)]
    assert [[r.status for r in part] for part in parts] == [["verified"] * 3, ["falsified"] * 2]
    assert len(search.calls) == 4  # the fifth line is the first one again
    names = sorted(p.name for p in out.iterdir() if p.is_file())
    assert names == ["results-1-of-2.jsonl", "results-2-of-2.jsonl"]
    assert [len(decide.read_rows(out / name)) for name in names] == [2, 2]
    assert len({r.counterexample for r in parts[1]}) == 2
    search.calls.clear()
    rows = decide.decide_set(file, **options)
    assert rows[::2] == parts[0]
    assert rows[1::2] == parts[1]
    assert not search.calls
    assert len((out / "results.csv").read_text().splitlines()) == 5
    # Another number of processes goes on in the same folder, and an unknown does not hide a
    # decision of another process.
    late = dataclasses.replace(rows[0], status="unknown", asked="auto", timed_out=False)
    instances_files.append(out / "results.jsonl", late)
    assert decide.decide_set(file, shard=(1, 3), **options) == [rows[0], rows[3]]
    assert not search.calls
    with pytest.raises(ValueError, match=r"shard must be \(k, n\) with k <= n, got 3/2"):
        decide.decide_set(file, shard=(3, 2), **options)
    certain = ("--set", str(file), "--out", str(out), "--shard", "2/2")
    code, text, _ = certify(monkeypatch, capsys, *certain)
    assert code == 0
    assert "without --shard merges" in " ".join(text.split())
    assert not search.calls
