"""Every public instance of ../shared/vnncomp decided completely.

python -m benchmarks.decide_sets [--sets acasxu ...] [--limit 60] [--method auto] [--rows FOLDER]

One JSON line an instance in FOLDER/SET/results.jsonl, with its process CPU seconds (the first
instance of an architecture compiles, and counts so); a run that was stopped goes on where it was.
A verdict that contradicts verdicts.csv stops the run.
"""

from __future__ import annotations

import argparse
import datetime
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import harness, results, scoreboard
from jaxact.cli import cache_compilations
from jaxact.decide import SetRow, decide_set, read_instances, read_rows

TITLE = "## Public verification problems, decided"
ROWS = harness.ROOT / "build" / "decide_sets"
HEADER = (
    "| set | decided | of | verified | falsified | open to every tool of the competition, decided "
    "| median CPU s | total CPU s | largest CPU s | domains |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
Pair = tuple[SetRow, str]
"""A row and the competition's verdict: sat, unsat or unknown."""


def run(names: list[str], rows: pathlib.Path, progress: Any, **options: Any) -> dict[str, Any]:
    """All pairs by set; what is in the folder is not decided again."""
    found: dict[str, list[Pair]] = {}
    for name in names:
        task = progress.add_task(name, total=None)

        def report(index: int, of: int, instance: Any, status: Any, name=name, task=task) -> None:
            standing = "" if status is None else f": {status.domains} domains, {status.left} open"
            text = f"{name} {index + 1}/{of} {pathlib.PurePath(instance.prop).name}{standing}"
            progress.update(task, description=text)

        decided = decide_set(
            scoreboard.VNNCOMP / name / scoreboard.SETS[name],
            out=rows / name,
            verdicts=scoreboard.VNNCOMP / "verdicts.csv" if known(name) else None,
            progress=report,
            **options,
        )
        truths = [instance.truth for instance in scoreboard.instances(name)]
        found[name] = list(zip(decided, truths, strict=True))
    return found


def stored(name: str, rows: pathlib.Path) -> list[Pair]:
    """The pairs of a set that an earlier run left in the folder."""
    have = {(row.network, row.prop): row for row in read_rows(rows / name / "results.jsonl")}
    listed = read_instances(scoreboard.VNNCOMP / name / scoreboard.SETS[name])
    truths = [instance.truth for instance in scoreboard.instances(name)]
    pairs = [
        (have.get((instance.network, instance.prop)), truth)
        for instance, truth in zip(listed, truths, strict=True)
    ]
    return [(row, truth) for row, truth in pairs if row is not None]


def known(name: str) -> bool:
    """Whether verdicts.csv has the set."""
    return any(instance.truth != "unknown" for instance in scoreboard.instances(name))


def line(name: str, pairs: Sequence[Pair]) -> str:
    """A set's line: instances as the list counts them, CPU seconds of each question once."""
    once = {row.digest: row for row, _ in pairs}.values()
    decided = [(row, truth) for row, truth in pairs if row.status in ("verified", "falsified")]
    counts = [len(decided), len(pairs)]
    counts += [sum(row.status == s for row, _ in decided) for s in ("verified", "falsified")]
    counts.append(sum(truth == "unknown" for _, truth in decided))
    cpu = [row.cpu for row in once]
    numbers = [f"{v:.3g}" for v in (statistics.median(cpu), math.fsum(cpu), max(cpu))]
    domains = sum(row.domains for row in once)
    return f"| {' | '.join(map(str, (name, *counts, *numbers, domains)))} |"


def table(found: dict[str, Any]) -> str:
    """A line a set, as Markdown."""
    return "\n".join((HEADER, *(line(name, pairs) for name, pairs in found.items() if pairs)))


def record(found: dict[str, Any], options: dict[str, Any], path: pathlib.Path) -> None:
    """Put the table into its section of RESULTS.md."""
    limit = options["timeout"]
    limits = "the sets' own limits" if limit == math.inf else f"at most {limit:g} s an instance"
    body = (
        f"`python -m benchmarks.decide_sets`: method {options['method']}, {limits}. Process CPU "
        "seconds with reading of the files and, at the first instance of an architecture, "
        "compilation. None contradicts the competition's verdicts, else there were no table. "
        f"{datetime.date.today().isoformat()}, {harness.machine()}.\n\n{table(found)}\n"
    )
    results.record_section(TITLE, body, path)


def undecided(found: dict[str, Any]) -> list[str]:
    """What is left, for the terminal."""
    return [
        f"{name} {row.network} {row.prop}: {row.result} ({truth}) {row.message}"
        for name, pairs in found.items()
        for row, truth in pairs
        if row.status not in ("verified", "falsified")
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run, print the table, write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide_sets", description=__doc__)
    sets = list(scoreboard.SETS)
    parser.add_argument("--sets", nargs="*", default=sets, choices=sets)
    parser.add_argument("--limit", type=float, default=math.inf, help="caps the sets' own limits")
    parser.add_argument("--method", default="auto", help="of jaxact.decide.decide_set")
    parser.add_argument("--rows", type=pathlib.Path, default=ROWS, help="a folder")
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    given = parser.parse_args(arguments)
    if not scoreboard.VNNCOMP.is_dir():
        parser.error("needs ../shared/vnncomp")
    cache_compilations()
    options = {"timeout": given.limit, "method": given.method}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        fresh = run(given.sets, given.rows, progress, **options)
    found = {name: fresh.get(name) or stored(name, given.rows) for name in sets}
    print("\n".join((*undecided(found), table(found))))
    if not given.dry:
        record(found, options, results.RESULTS)


if __name__ == "__main__":
    main()
