"""The scoreboard: its gates on one public net, its table, and going on where it stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from benchmarks import harness, results, scoreboard
from jaxact import io

FIRST = tuple(f" prop_{k}_0.03.vnnlib.gz" for k in range(5))
ROW = {"set": "test", "network": "n", "margin": 1.0, "cpu": 0.1, "late": False}


def row(status, truth, method="crown", instance="test n p"):
    return ROW | {"instance": instance, "method": method, "status": status, "truth": truth}


def test_margins_and_counts_of_the_smallest_mnist_net(shared):
    """Counts and margins of the decision sheet, section A: auto_LiRPA's CROWN, float32."""
    listed = [i for i in scoreboard.instances("mnist_fc") if "256x2" in i.network.name]
    assert len(listed) == 30
    network = io.load_onnx(listed[0].network)
    rows = [scoreboard.decide(i, "crown", network, limit=60) for i in listed]
    margins = [r["margin"] for r in rows if r["instance"].endswith(FIRST)]
    # ours also intersects with interval arithmetic, which the sheet's CROWN does not
    sheet = np.array([0.3408, -2.70977, -0.89391, 0.97649, -0.31896])
    np.testing.assert_allclose(margins, np.maximum(margins, sheet), atol=1e-4)
    np.testing.assert_allclose(margins, sheet, rtol=0.07)
    np.testing.assert_allclose(margins[::3], sheet[::3], rtol=1e-3)
    assert sum(r["status"] == "verified" for r in rows) >= 10
    assert not any(map(scoreboard.contradiction, rows))


def test_every_instance_has_its_files_and_most_a_verdict(shared):
    listed = [i for name in scoreboard.SETS for i in scoreboard.instances(name)]
    assert len(listed) == 747
    assert all(i.network.is_file() and i.property.is_file() for i in listed)
    assert sum(i.truth != "unknown" for i in listed) >= 720
    assert len({i.name for i in listed}) >= 740


def test_the_table_counts_and_contradictions_are_seen(tmp_path):
    rows = [
        row("verified", "unsat"), row("unknown", "sat", instance="test n q"),
        row("falsified", "sat", "attack"),
    ]  # fmt: skip
    assert "| test | crown | 1 | 0 | 1 | 2 |" in scoreboard.table(rows)
    assert "| test | attack | 0 | 1 | 0 | 1 |" in scoreboard.table(rows)
    assert not any(map(scoreboard.contradiction, rows))
    assert scoreboard.contradiction(row("verified", "sat"))
    assert scoreboard.contradiction(row("falsified", "unsat"))
    path = tmp_path / "RESULTS.md"
    path.write_text("# Benchmarks\n\n| other |\n")
    scoreboard.record(rows, path)
    once = path.read_text()
    scoreboard.record(rows, path)
    assert path.read_text() == once
    assert once.startswith("# Benchmarks\n\n| other |\n")


def test_a_row_of_the_harness_stays_out_of_the_scoreboards_table(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Benchmarks\n\n" + results.HEADER)
    scoreboard.record([row("verified", "unsat")], path)
    numbers = dict.fromkeys(("ours_cpu", "peer_cpu", "ratio", "ours_first_call", "error"), 1.0)
    text = {"name": "new", "ours": "a", "peer": "b", "machine": "m", "date": "d"}
    results.record(harness.Result(**text, **numbers), path)
    lines = path.read_text().splitlines()
    assert lines[4].startswith("| new |")
    assert lines.index(scoreboard.START) > 4


def test_a_stopped_run_goes_on_and_a_contradiction_stops_it(shared, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXACT_AUTO_LIRPA", raising=False)
    asked = []

    def fake(instance, method, network, limit):
        asked.append((instance.name, method))
        return row("unknown", instance.truth, method, instance.name)

    monkeypatch.setattr(scoreboard, "decide", fake)
    rows = tmp_path / "rows.jsonl"
    scoreboard.run(["test"], rows, 1.0)
    every = len(asked)
    assert every == 5 * len(set(m for _, m in asked))
    lines = rows.read_text().splitlines()
    # killed while it wrote the last line
    rows.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:10])
    asked.clear()
    scoreboard.run(["test"], rows, 1.0)
    assert len(asked) == 1
    monkeypatch.setattr(
        scoreboard, "decide", lambda i, m, n, limit: row("verified", "sat", m, i.name)
    )
    with pytest.raises(AssertionError, match="contradicts verdicts.csv"):
        scoreboard.run(["test"], tmp_path / "new.jsonl", 1.0)
    assert json.loads(lines[0])["set"] == "test"
