"""The harness on a toy pair, its table, and the stieltjes peer against the moments of the law."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import harness, limits, results, stieltjes, suite

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return harness.Benchmark(name="toy", ours="fast", peer="slow", module="toy_pair", repetitions=3)


def test_a_toy_pair(toy):
    result = harness.measure(toy)
    assert 0.004 < result.ours_cpu < 0.02 < result.peer_cpu
    assert result.ratio > 2
    assert result.ours_first_call > 3 * result.ours_cpu
    assert result.error == pytest.approx(0.002 / 2.002)
    assert result.machine.endswith("cores")


def test_a_side_that_fails_stops_the_run(toy):
    with pytest.raises((RuntimeError, BrokenPipeError)):
        harness.measure(dataclasses.replace(toy, module="no_such_module"))


def _result(name, ratio, **options):
    return harness.Result(
        name, "a", "b", 1.0, ratio, ratio, 2.0, 1e-12, "cpu, 2 cores", "today", **options
    )


def test_rows_are_replaced_not_repeated(tmp_path):
    path = tmp_path / "RESULTS.md"
    for name, ratio in (("one", 2.0), ("two", 3.0), ("one", 4.0)):
        results.record(_result(name, ratio, limit=0.5), path)
    text = path.read_text()
    assert text.startswith("# Benchmarks\n\n" + results.HEADER)
    rows = [line for line in text.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 2
    assert "| 4 | 4 | 2 | 1.0e-12 | 50% |" in rows[0]
    kept = results.read(tmp_path / "results.json")
    assert [results.row(r) for r in kept] == rows
    path.write_text("# Mine\n\nwords\n")
    results.record(_result("one", 2.0), path)
    assert path.read_text().startswith("# Mine\n\nwords\n\n| benchmark")
    with pytest.raises(ValueError, match="a quick run must not be recorded"):
        results.record(_result("one", 2.0, quick=True), path)


def test_the_committed_table_shows_the_committed_rows():
    kept = results.read()
    assert len(kept) >= 50
    assert len({r.name for r in kept}) == len(kept)
    table = results.HEADER + "".join(results.row(r) + "\n" for r in kept)
    assert table + "\n" in results.RESULTS.read_text()
    assert not any(r.quick for r in kept)


@pytest.mark.skipif(harness.QUICK, reason="names say the sizes")
def test_every_committed_row_is_of_a_benchmark():
    assert {r.name for r in results.read()} <= {b.name for b in suite.find().values()}


def test_the_committed_quick_rows_are_quick():
    kept = results.read(results.QUICK_JSON)
    assert len(kept) >= 50
    assert all(r.quick for r in kept)


def test_a_quick_run_keeps_its_children_and_takes_every_module_first(toy, monkeypatch):
    monkeypatch.setattr(harness, "QUICK", True)
    kept = harness.Children()
    try:
        first = kept.pair(toy)
        assert harness.measure(toy, kept=kept).ratio > 2
        other = dataclasses.replace(toy, name="second")
        assert harness.measure(other, kept=kept).error == pytest.approx(0.002 / 2.002)
        assert kept.pair(other) == first
        assert first[0].process.poll() is None
        with pytest.raises(RuntimeError, match="make_ours of no_such_module stopped"):
            harness.measure(dataclasses.replace(toy, module="no_such_module"), kept=kept)
        assert harness.measure(toy, kept=kept).ratio > 2  # with new ones
    finally:
        kept.close()
    assert first[0].process.poll() is not None
    pairs = {n: dataclasses.replace(toy, module=n[0]) for n in ("a1", "a2", "a3", "b1", "b2")}
    assert list(suite.by_rounds(pairs)) == ["a1", "b1", "a2", "b2", "a3"]


def test_what_got_worse_is_found():
    committed = [_result("one", 10.0), _result("two", 3.0), _result("quick", 1.0, quick=True)]
    worse, unknown = results.check([_result("one", 6.1), _result("new", 1.0)], committed)
    assert (worse, unknown) == ([], ["new"])
    loud = dataclasses.replace(_result("two", 3.0), error=2e-11)
    worse, _ = results.check([_result("one", 5.9), loud], committed)
    assert [(w.name, w.what) for w in worse] == [("one", "peer / ours"), ("two", "error")]
    assert worse[0].line() == "| one | peer / ours | 10 | 5.9 |"
    assert results.check([_result("quick", 1.0)], committed)[1] == ["quick"]
    assert not results.check([_result("one", 5.9)], committed, tolerance=0.5)[0]


def test_a_share_of_the_machines_limit():
    rates = limits.Limits(gemm=1e9, copy=1e8)
    bench = harness.Benchmark("n", "a", "b", "m", flop=5e8, moved=1e7)
    assert rates.share(bench, 1.0) == pytest.approx(0.5)
    assert rates.share(dataclasses.replace(bench, flop=None), 1.0) == pytest.approx(0.1)
    assert rates.share(dataclasses.replace(bench, flop=None, moved=None), 1.0) is None


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    bench = harness.Benchmark("n", "a", "b", "m", requires="JAXACT_HFLAYERS", imports=("torch",))
    monkeypatch.delenv("JAXACT_HFLAYERS", raising=False)
    assert (
        suite.missing(bench) == "needs hflayers and torch (set JAXACT_HFLAYERS to a checkout of it)"
    )
    monkeypatch.setenv("JAXACT_HFLAYERS", "somewhere")
    bench = dataclasses.replace(bench, imports=("no_such_module", "json"))
    assert suite.missing(bench).startswith("needs no_such_module, which the peer's interpreter")
    bench = dataclasses.replace(bench, imports=("json",), python=(sys.executable, "/no/python"))
    assert "needs json" in suite.missing(bench)
    assert suite.missing(dataclasses.replace(bench, python=(sys.executable,) * 2)) is None


def test_the_command_goes_on_and_checks(toy, tmp_path, monkeypatch, capsys):
    toy = dataclasses.replace(toy, repetitions=1, flop=1e6)
    known = {
        "toy": toy,
        "absent": dataclasses.replace(toy, name="absent", requires="JAXACT_HFLAYERS"),
        "broken": dataclasses.replace(toy, name="broken", module="no_such_module"),
    }
    monkeypatch.delenv("JAXACT_HFLAYERS", raising=False)
    monkeypatch.setattr(suite, "find", lambda: known)
    rates = types.SimpleNamespace(gemm=1e9, copy=1e9, share=lambda *_: 0.25)
    monkeypatch.setattr(limits, "measure", lambda: rates)
    recorded = []
    monkeypatch.setattr(results, "record", recorded.append)
    monkeypatch.setattr(harness, "QUICK", True)
    file = tmp_path / "rows.json"
    assert command.main(["--json", str(file)]) == 1
    out = capsys.readouterr().out
    assert "| absent | skipped: needs hflayers and torch" in out
    assert "| broken | failed: make_ours of no_such_module stopped" in out
    assert "1 measured, 1 skipped, 1 failed" in out
    assert not recorded
    (row,) = results.read(file)
    assert row.quick
    assert row.limit == 0.25
    assert command.main(["--only", "toy", "--check", str(file), "--tolerance", "0.9"]) == 0
    assert "1 compared with earlier rows, 0 worse" in capsys.readouterr().out
    results.write([dataclasses.replace(row, ratio=1e6)], file)
    assert command.main(["--only", "toy", "--check", str(file)]) == 1
    assert "| toy | peer / ours | 1e+06 |" in capsys.readouterr().out
    monkeypatch.setattr(command, "QUICK_SECONDS", -1)
    assert command.main(["--only", "toy"]) == 0
    assert "| toy | skipped: -1 s of a quick run are over |" in capsys.readouterr().out
    monkeypatch.setattr(harness, "QUICK", False)
    assert command.main(["--only", "toy"]) == 0
    assert [r.name for r in recorded] == ["toy"]
    assert command.main(["--list"]) == 0
    assert "absent: absent [skipped: needs hflayers" in capsys.readouterr().out


def test_errors():
    one = np.array([1.0, 2.0])
    assert harness.relative_error(one, one) == 0
    assert harness.relative_error(one, one[:1]) == np.inf
    assert harness.relative_error(np.array([np.nan, 1.0]), one) == np.inf


def test_the_command_lists_what_there_is():
    assert {"stieltjes", "interval_mlp", "relax_lines"} <= set(suite.find())
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "nothing"],
        capture_output=True, text=True, cwd=HERE.parent.parent, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 2
    assert "no benchmark nothing" in done.stderr


def test_the_stieltjes_peer_is_right():
    # G(z) = sum_k m_k / z^(k+1), with the law's moments 1, 1.78666667, 4.09244444 (m_0 = 1).
    z = 200.0 + 1e-6j
    series = sum(
        m / z ** (k + 1) for k, m in enumerate((1, 1, 1.78666667, 4.09244444, 10.67016296))
    )
    assert stieltjes.by_roots(z, *stieltjes.LAW) == pytest.approx(series, rel=1e-9)


def test_a_section_replaces_the_earlier_one_and_no_other(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Benchmarks\n\n## One\n\nold\n\n## Two\n\nkept\n")
    results.record_section("## One", "new\n", path)
    assert path.read_text() == "# Benchmarks\n\n## One\n\nnew\n\n## Two\n\nkept\n"
    results.record_section("## Three", "last\n", path)
    assert path.read_text().endswith("## Two\n\nkept\n\n## Three\n\nlast\n")
