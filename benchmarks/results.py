"""What was measured: results.json keeps the rows, the first table of RESULTS.md shows them.

Two runs are compared by their ratios, not by their seconds: both sides of a ratio were measured
on the same machine in turns.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable

from benchmarks.harness import ROOT, Result

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
JSON = RESULTS.with_name("results.json")
QUICK_JSON = RESULTS.with_name("quick.json")
"""What `--quick --check` compares with: `--quick --json benchmarks/quick.json` makes it anew."""
HEADER = (
    "| benchmark | ours | peer | ours, CPU s | peer, CPU s | peer / ours | first call, s | "
    "error | of the limit | machine | date |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
)
TOLERANCE = 0.4
"""A ratio may fall by this share before `check` calls it worse: runs of one machine scatter by
a tenth or two, and another machine's caches and cores move a ratio further."""
_TIMES = 10.0  # an error may grow by this factor


def row(result: Result) -> str:
    """One line of the table in RESULTS.md."""
    limit = "" if result.limit is None else f"{result.limit:.0%}"
    return (
        f"| {result.name} | {result.ours} | {result.peer} | {result.ours_cpu:.3g} | "
        f"{result.peer_cpu:.3g} | {result.ratio:.3g} | {result.ours_first_call:.2g} | "
        f"{result.error:.1e} | {limit} | {result.machine} | {result.date} |"
    )


def read(path: pathlib.Path = JSON) -> list[Result]:
    """The rows of a JSON file that `write` or `record` made; none if there is no file."""
    if not path.is_file():
        return []
    return [Result(**values) for values in json.loads(path.read_text())["rows"]]


def write(results: Iterable[Result], path: pathlib.Path, skipped: Iterable[dict] = ()) -> None:
    """Write rows as JSON, and the names and reasons of what gave no row."""
    rows = [{k: v for k, v in dataclasses.asdict(r).items() if v is not None} for r in results]
    values = {"schema": 1, "rows": rows} | ({"skipped": list(skipped)} if skipped else {})
    _replace(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def record(result: Result, path: pathlib.Path = RESULTS) -> None:
    """Put a row into results.json, in place of an earlier one, and show all in the table."""
    if result.quick:
        raise ValueError(f"{result.name}: a quick run must not be recorded")
    kept = {r.name: r for r in read(path.with_name(JSON.name))} | {result.name: result}
    write(kept.values(), path.with_name(JSON.name))
    show(kept.values(), path)


def show(results: Iterable[Result], path: pathlib.Path = RESULTS) -> None:
    """Write the table of these rows into the file, in place of the one that is there."""
    text = path.read_text() if path.is_file() else "# Benchmarks\n"
    if HEADER not in text:
        text = text.rstrip("\n") + "\n\n" + HEADER
    before, _, rest = text.partition(HEADER)
    lines = rest.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = "".join(row(r) + "\n" for r in results)
    _replace(path, before + HEADER + rows + "".join(lines[end:]))


def record_section(title: str, body: str, path: pathlib.Path = RESULTS) -> None:
    """Write the section under a title ("## ..."), in place of an earlier one."""
    before, _, rest = path.read_text().partition(title)
    after = rest[rest.index("\n## ") :] if "\n## " in rest else ""
    _replace(path, before.rstrip("\n") + f"\n\n{title}\n\n{body}" + after)


def _replace(path: pathlib.Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


@dataclasses.dataclass(frozen=True)
class Worse:
    """A row that fell behind the committed one, and by what."""

    name: str
    what: str
    committed: float
    now: float

    def line(self) -> str:
        """One line of the table of what got worse."""
        return f"| {self.name} | {self.what} | {self.committed:.3g} | {self.now:.3g} |"


def check(
    fresh: Iterable[Result], committed: Iterable[Result], tolerance: float = TOLERANCE
) -> tuple[list[Worse], list[str]]:
    """What got worse, and the names of the fresh rows that have no committed one.

    A row is worse whose ratio is below (1 - tolerance) times the committed one, or whose error
    is above ten times the committed one's size. A quick row is compared with a quick one only.
    """
    known = {(r.name, r.quick): r for r in committed}
    worse, unknown = [], []
    for now in fresh:
        before = known.get((now.name, now.quick))
        if before is None:
            unknown.append(now.name)
            continue
        if now.ratio < (1 - tolerance) * before.ratio:
            worse.append(Worse(now.name, "peer / ours", before.ratio, now.ratio))
        if now.error > _TIMES * abs(before.error):
            worse.append(Worse(now.name, "error", before.error, now.error))
    return worse, unknown
