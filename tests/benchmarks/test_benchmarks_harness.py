"""The harness on a toy pair, its table, and the stieltjes peer against the moments of the law."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import harness, run, stieltjes

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


def _result(name, ratio):
    return harness.Result(
        name, "a", "b", 1.0, ratio, 1.0, ratio, ratio, 2.0, 0.0, 1e-12, 3, "cpu, 2 cores", "today"
    )


def test_rows_are_replaced_not_repeated(tmp_path):
    path = tmp_path / "RESULTS.md"
    for name, ratio in (("one", 2.0), ("two", 3.0), ("one", 4.0)):
        harness.record(_result(name, ratio), path)
    text = path.read_text()
    assert text.startswith("# Benchmarks\n\n" + harness.HEADER)
    rows = [line for line in text.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 2
    assert "| 4 | 4 |" in rows[1]
    path.write_text("# Mine\n\nwords\n")
    harness.record(_result("one", 2.0), path)
    assert path.read_text().startswith("# Mine\n\nwords\n\n| benchmark")


def test_errors():
    one = np.array([1.0, 2.0])
    assert harness.relative_error(one, one) == 0
    assert harness.relative_error(one, one[:1]) == np.inf
    assert harness.relative_error(np.array([np.nan, 1.0]), one) == np.inf


def test_the_command_lists_what_there_is():
    assert {"stieltjes", "interval_mlp"} <= set(run.find())
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "nothing"],
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
    harness.record_section("## One", "new\n", path)
    assert path.read_text() == "# Benchmarks\n\n## One\n\nnew\n\n## Two\n\nkept\n"
    harness.record_section("## Three", "last\n", path)
    assert path.read_text().endswith("## Two\n\nkept\n\n## Three\n\nlast\n")
