"""Twenty ACAS Xu instances beside alpha,beta-CROWN, one thread on one core, by turns.

python -m benchmarks.decide_peer [--sides warm peer cold] [--first 20] [--limit 60] [--rows FILE]

JAXACT_ABCROWN names the peer's checkout and JAXACT_TORCH_PYTHON an interpreter with PyTorch and
what the checkout needs. The peer runs as a whole process an instance, as it does in the
competition. Ours runs three ways: "first" and then "warm" in one process, reading the files each
time, where "first" pays for the compilation; and "cold", a whole process with the persistent
compilation cache that an uncounted process has filled. One JSON line a run; a run that was
stopped goes on where it was. Numbers are process CPU seconds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import harness, results, scoreboard

TITLE = "## ACAS Xu beside alpha,beta-CROWN"
NETS = ("1_1", "1_2", "2_1", "3_3", "4_5")
PROPERTIES = (3, 4, 1, 2)
ROWS = harness.ROOT / "build" / "decide_peer.jsonl"
SIDES = ("warm", "peer", "cold")
WORDS = {"verified": "unsat", "falsified": "sat", "unknown": "timeout"}
Row = dict[str, Any]


def chosen(first: int) -> list[scoreboard.Instance]:
    """The instances of the decision sheet's sections B and C."""
    listed = {
        (i.network.name, i.property.stem): i
        for i in scoreboard.instances("acasxu")
    }  # fmt: skip
    names = [(f"ACASXU_run2a_{n}_batch_2000.onnx", f"prop_{p}") for p in PROPERTIES for n in NETS]
    return [listed[name] for name in names][:first]


def ours(instance: scoreboard.Instance, limit: float) -> Row:
    """One run in this process, from the files to the verdict."""
    from jaxact import io
    from jaxact.decide import decide_property

    cpu, wall = time.process_time(), time.monotonic()
    network = io.load_onnx(instance.network)
    found = decide_property(
        network,
        io.load_vnnlib(instance.property),
        method="auto",
        timeout=limit,
        reference=io.onnxruntime_evaluation(instance.network, network),
    )
    return {
        "verdict": WORDS[found.status], "cpu": time.process_time() - cpu,
        "wall": time.monotonic() - wall, "domains": found.domains,
    }  # fmt: skip


def process(command: list[str], environment: dict[str, str], limit: float) -> tuple[Row, str, int]:
    """A whole process: its CPU seconds with its children's, its output and its exit code."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=4 * limit + 120,
        check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": time.monotonic() - wall}, done.stdout + done.stderr, done.returncode


def cold(instance: scoreboard.Instance, limit: float) -> Row:
    """`jaxact certify` as a whole process."""
    code = "from jaxact.cli import main; main()"
    command = [sys.executable, "-c", code, "certify", str(instance.network)]
    command += [str(instance.property), "--method", "auto", "--timeout", str(limit)]
    environment = os.environ | {"PYTHONPATH": str(harness.ROOT)}
    row, output, exit_code = process(command, environment, limit)
    words = {0: "unsat", 10: "sat", 20: "timeout"}
    if exit_code not in words:
        raise RuntimeError(f"jaxact certify failed: {output[-500:]}")
    return row | {"verdict": words[exit_code]}


def peer(instance: scoreboard.Instance, limit: float) -> Row:
    """alpha,beta-CROWN as a whole process."""
    checkout, python = (os.environ.get(n) for n in ("JAXACT_ABCROWN", "JAXACT_TORCH_PYTHON"))
    if not checkout or not python:
        raise RuntimeError("the peer needs JAXACT_ABCROWN and JAXACT_TORCH_PYTHON")
    script = pathlib.Path(__file__).parent / "peers" / "abcrown.py"
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result"
        files = [str(instance.network), str(instance.property), str(limit), str(result)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        row, output, _ = process([python, str(script), checkout, *files], environment, limit)
        if not result.is_file():
            raise RuntimeError(f"the peer left no verdict: {output[-500:]}")
        return row | {"verdict": result.read_text().split()[0]}


def run(sides: list[str], first: int, limit: float, rows: pathlib.Path) -> list[Row]:
    """All rows, the missing ones measured and appended; the sides take turns."""
    have = {(r["instance"], r["side"]): r for r in scoreboard.read(rows)}
    listed = chosen(first)
    rows.parent.mkdir(parents=True, exist_ok=True)

    def measure(side: str, instance: scoreboard.Instance, work: Any) -> None:
        if (instance.name, side) in have:
            return
        row = {"instance": instance.name, "side": side, "truth": instance.truth}
        row |= work(instance, limit)
        if (row["verdict"], row["truth"]) in (("sat", "unsat"), ("unsat", "sat")):
            raise AssertionError(f"contradicts verdicts.csv: {row}")
        have[instance.name, side] = row
        with rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{instance.name} {side}: {row['verdict']} {row['cpu']:.3f} CPU s", flush=True)

    if "warm" in sides and any((i.name, "warm") not in have for i in listed):
        for instance in listed:  # compiles, in this process
            if (instance.name, "first") in have:
                ours(instance, limit)
            else:
                measure("first", instance, ours)
    if "cold" in sides and any((i.name, "cold") not in have for i in listed):
        for instance in listed[:: len(NETS)]:  # a network of each property fills the cache
            cold(instance, limit)
    for turn, instance in enumerate(listed):
        order = [("warm", ours), ("peer", peer), ("cold", cold)]
        for side, work in order if turn % 2 == 0 else order[::-1]:
            if side in sides:
                measure(side, instance, work)
    return list(have.values())


def table(rows: list[Row]) -> str:
    """A line an instance, and the totals of those that every side decided."""
    sides = ("peer", "first", "warm", "cold")
    have = {(r["instance"], r["side"]): r for r in rows}
    names = [i.name for i in chosen(20) if any((i.name, s) in have for s in sides)]
    lines = [
        "| instance | truth | peer | ours | peer, CPU s | ours first | ours warm | ours cold "
        "| peer / warm | peer / cold | domains |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    common = [
        n for n in names
        if all(have.get((n, s), {}).get("verdict") in ("sat", "unsat") for s in sides)
    ]  # fmt: skip
    for name in names:
        of = {s: have.get((name, s), {}) for s in sides}
        lines.append(_line(name, {s: of[s].get("cpu") for s in sides}, of))
    total = {s: sum(have[n, s]["cpu"] for n in common) if common else None for s in sides}
    lines.append(_line(f"the {len(common)} that all decide", total, {}))
    return "\n".join(lines)


def _line(name: str, cpu: dict[str, Any], of: dict[str, Row]) -> str:
    def ratio(side: str) -> str:
        return f"{cpu['peer'] / cpu[side]:.3g}" if cpu["peer"] and cpu[side] else ""

    short = name.removeprefix("acasxu ACASXU_run2a_").replace("_batch_2000.onnx", "")
    known = next((of[s]["truth"] for s in of if of[s]), "")
    said = [of.get(s, {}).get("verdict", "") for s in ("peer", "warm")]
    times = ["" if cpu[s] is None else f"{cpu[s]:.3g}" for s in ("peer", "first", "warm", "cold")]
    parts = [short.removesuffix(".vnnlib"), known, *said, *times, ratio("warm"), ratio("cold")]
    return f"| {' | '.join(map(str, (*parts, of.get('warm', {}).get('domains', ''))))} |"


def record(rows: list[Row], limit: float, path: pathlib.Path = results.RESULTS) -> None:
    """Put the table into its section of RESULTS.md."""
    body = (
        f"`python -m benchmarks.decide_peer`: process CPU seconds, one thread on one core, the "
        f"sides by turns, {limit:g} s each. The peer is a whole process with its CPU configuration "
        "(its attack before the search). Ours reads the files each time; first: with compilation; "
        "warm: the same process again; cold: a whole process with the compilation cache. "
        f"{datetime.date.today().isoformat()}, {harness.machine()}.\n\n{table(rows)}\n"
    )
    results.record_section(TITLE, body, path)


def main(arguments: list[str] | None = None) -> None:
    """Run, print the table, write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide_peer", description=__doc__)
    parser.add_argument("--sides", nargs="*", default=list(SIDES), choices=SIDES)
    parser.add_argument("--first", type=int, default=20, help="so many instances")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds an instance")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--rows", type=pathlib.Path, default=ROWS)
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    given = parser.parse_args(arguments)
    if not scoreboard.VNNCOMP.is_dir():
        parser.error("needs ../shared/vnncomp")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.core})
    if any(os.environ.get(k) != v for k, v in harness.ONE_THREAD.items()):
        # thread pools are sized when they start: begin again with the limits set
        code = [sys.executable, "-m", "benchmarks.decide_peer", *(arguments or sys.argv[1:])]
        os.execve(sys.executable, code, os.environ | harness.ONE_THREAD)
    rows = run(given.sides, given.first, given.limit, given.rows)
    print(table(rows))
    if not given.dry:
        record(rows, given.limit)


if __name__ == "__main__":
    main()
