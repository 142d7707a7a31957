"""Every public instance of ../shared/vnncomp by bounds and attack alone, beside auto_LiRPA.

python -m benchmarks.scoreboard [--sets acasxu ...] [--limit 60] [--rows scoreboard.jsonl]

One JSON line an instance and method; a run that was stopped goes on where it was. The peer runs
where JAXACT_AUTO_LIRPA names its checkout and JAXACT_TORCH_PYTHON an interpreter with PyTorch,
onnx and numpy. A verdict that contradicts verdicts.csv stops the run.
"""

from __future__ import annotations

import argparse
import collections
import csv
import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from rich.progress import track

from benchmarks import harness, results
from jaxact import io
from jaxact.cli import cache_compilations

VNNCOMP = harness.ROOT.parent / "shared" / "vnncomp"
ROWS = harness.ROOT / "benchmarks" / "scoreboard.jsonl"
SETS = {
    "test": "test_instances.csv",
    "acasxu": "acasxu_instances.csv",
    "mnist_fc": "instances.csv",
    "eran": "eran_instances.csv",
    "reach_prob_density": "instances.csv",
    "rl_benchmarks": "instances.csv",
    "collins_rul_cnn": "instances.csv",
}
METHODS = ("attack", "ibp", "crown", "alpha")
SKIPPED = {
    ("eran", "alpha"),
    ("collins_rul_cnn", "alpha"),
}
"""Sets on which a method is left out: a minute an instance and more."""
PEER = ("auto_LiRPA IBP", "auto_LiRPA CROWN")
START, END = "<!-- scoreboard -->", "<!-- end of scoreboard -->"


@dataclasses.dataclass(frozen=True)
class Instance:
    """A network, a property and what the competition's tools agreed on."""

    set: str
    network: pathlib.Path
    property: pathlib.Path
    truth: str

    @property
    def name(self) -> str:
        """As in the rows."""
        return f"{self.set} {self.network.name} {self.property.name}"


def instances(name: str, root: pathlib.Path = VNNCOMP) -> list[Instance]:
    """The instances of a set, in the order of its list."""
    with (root / "verdicts.csv").open() as file:
        truth = {
            (row["set"], row["network"], row["property"]): row["verdict"]
            for row in csv.DictReader(file)
        }
    found = []
    with (root / name / SETS[name]).open() as file:
        for network, prop, *_ in csv.reader(file):
            paths = [_existing(root / name / p.strip()) for p in (network, prop)]
            key = name, pathlib.Path(network).name, pathlib.Path(prop.strip()).name
            found.append(Instance(name, *paths, truth.get(key, "unknown")))
    return found


def _existing(path: pathlib.Path) -> pathlib.Path:
    return path if path.is_file() else path.with_name(path.name + ".gz")


def decide(
    instance: Instance, method: str, network: io.OnnxNetwork, limit: float
) -> dict[str, Any]:
    """One row: what one method says of one instance."""
    began = time.process_time()
    outcome = io.check_property(
        network,
        io.load_vnnlib(instance.property),
        method=method,
        timeout=limit,
        restarts=32 if method == "attack" else 0,
        reference=io.onnxruntime_evaluation(instance.network, network)
        if method == "attack"
        else None,
    )
    margin = outcome.margin if np.isfinite(outcome.margin) else None
    return {
        "instance": instance.name, "set": instance.set, "network": instance.network.name,
        "method": method, "status": outcome.status, "margin": margin,
        "truth": instance.truth, "cpu": round(time.process_time() - began, 4),
        "late": outcome.timed_out,
    }  # fmt: skip


def contradiction(row: dict[str, Any]) -> bool:
    """Whether a row says the opposite of the competition's verdict."""
    return (row["status"], row["truth"]) in (("verified", "sat"), ("falsified", "unsat"))


class Peer:
    """auto_LiRPA in its own interpreter: JSON lines out and in."""

    def __init__(self) -> None:
        checkout, python = (os.environ.get(n) for n in ("JAXACT_AUTO_LIRPA", "JAXACT_TORCH_PYTHON"))
        self.process = None
        if not checkout or not python:
            print("no JAXACT_AUTO_LIRPA or JAXACT_TORCH_PYTHON: the peer is left out")
            return
        script = pathlib.Path(__file__).parent / "peers" / "auto_lirpa.py"
        environment = os.environ | harness.ONE_THREAD | {"PYTHONPATH": checkout}
        self.process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip

    def margin(self, instance: Instance, method: str) -> dict[str, Any]:
        """A row as `decide` makes it."""
        prop = io.load_vnnlib(instance.property)
        began, least, cpu = time.monotonic(), float("inf"), 0.0
        for case in prop.cases:
            with tempfile.TemporaryDirectory() as folder:
                np.savez(
                    f"{folder}/case.npz", lower=case.box.lower, upper=case.box.upper,
                    rows=case.unsafe.rows, thresholds=case.unsafe.thresholds,
                )  # fmt: skip
                question = {"network": str(instance.network), "case": f"{folder}/case.npz"}
                answer = self._ask(question | {"method": method.split()[-1]})
            least, cpu = min(least, answer["margin"]), cpu + answer["cpu"]
        return {
            "instance": instance.name, "set": instance.set, "network": instance.network.name,
            "method": method, "status": "verified" if least > 0 else "unknown", "margin": least,
            "truth": instance.truth, "cpu": round(cpu, 4), "late": False,
            "wall": round(time.monotonic() - began, 3),
        }  # fmt: skip

    def _ask(self, question: dict[str, str]) -> dict[str, float]:
        if self.process is None or self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the peer is not running")
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the peer stopped")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(timeout=10)


def run(names: list[str], rows: pathlib.Path, limit: float) -> list[dict[str, Any]]:
    """All rows of the sets, the missing ones computed and appended."""
    have = {(r["instance"], r["method"]): r for r in read(rows)}
    ours = [m for m in METHODS if m == "attack" or m in io.METHODS]
    peer = Peer()
    network: tuple[pathlib.Path, io.OnnxNetwork] | None = None
    try:
        for name in names:
            listed = instances(name)
            for instance in track(listed, description=f"{name:20s}"):
                for method in (*ours, *(PEER if peer.process else ())):
                    skipped = {(name, method), (instance.network.name, method)} & SKIPPED
                    if skipped or (instance.name, method) in have:
                        continue
                    if network is None or network[0] != instance.network:
                        network = instance.network, io.load_onnx(instance.network)
                    row = (
                        peer.margin(instance, method)
                        if method in PEER
                        else decide(instance, method, network[1], limit)
                    )
                    if contradiction(row) and method not in PEER:
                        raise AssertionError(f"contradicts verdicts.csv: {row}")
                    have[instance.name, method] = row
                    with rows.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    finally:
        peer.close()
    return list(have.values())


def read(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The rows of a file; a line that was cut off by a killed run is left out."""
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def table(rows: list[dict[str, Any]]) -> str:
    """Counts by set and method, as Markdown."""
    counts: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    for row in rows:
        counts[row["set"], row["method"]][row["status"]] += 1
    lines = ["| set | method | verified | falsified | unknown | of |", "|---|---|---|---|---|---|"]
    for name in SETS:
        for method in (*METHODS, *PEER):
            found = counts.get((name, method))
            if found:
                kinds = [found[k] for k in ("verified", "falsified", "unknown")]
                lines.append(
                    f"| {name} | {method} | {' | '.join(map(str, (*kinds, sum(kinds))))} |"
                )
    return "\n".join(lines)


def record(rows: list[dict[str, Any]], path: pathlib.Path = results.RESULTS) -> None:
    """Put the table into its section of RESULTS.md."""
    wrong = sum(map(contradiction, rows))
    text = path.read_text() if path.is_file() else "# Benchmarks\n"
    section = (
        f"{START}\n## Public verification problems, bounds and attack alone\n\n"
        "`python -m benchmarks.scoreboard`: no splitting; float32 bounds, counterexamples checked "
        f"in float64 and by onnxruntime. Contradictions with the competition's verdicts: {wrong}. "
        "Where a method has fewer instances than its set, `SKIPPED` in scoreboard.py says why. "
        f"{datetime.date.today().isoformat()}, {harness.machine()}.\n\n{table(rows)}\n{END}\n"
    )
    if START in text and END in text:
        before, rest = text.split(START, 1)
        text = before + section + rest.split(END, 1)[1].lstrip("\n")
    else:
        text = text.rstrip("\n") + "\n\n" + section
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def main(arguments: list[str] | None = None) -> None:
    """Run, print the table, write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoreboard", description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--limit", type=float, default=60.0, help="seconds an instance and method")
    parser.add_argument("--rows", type=pathlib.Path, default=ROWS)
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(arguments)
    if not VNNCOMP.is_dir():
        parser.error("needs ../shared/vnncomp")
    cache_compilations()
    rows = run(options.sets, options.rows, options.limit)
    print(table(rows), f"\n{jax.__version__=}")
    if not options.dry:
        record(rows)


if __name__ == "__main__":
    main()
