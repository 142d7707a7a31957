"""`jaxact certify`, one property or a set: what is printed, and the exit code."""

from __future__ import annotations

import pathlib
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

COLOURS = {"verified": "green", "falsified": "red", "unknown": "yellow", "error": "magenta"}
"""Status -> its colour, in the order of the summary."""


def check_usage(needed: dict[str, Any], foreign: dict[str, Any], kind: str) -> None:
    """Raise `ValueError` for an argument that is missing, or belongs to the other kind of call."""
    for name, value in foreign.items():
        if value is not None:
            raise ValueError(f"{name} must not be given {kind}, got {value}")
    for name, value in needed.items():
        if value is None:
            raise ValueError(f"{name} must be given {kind}")


def one(
    network: Any, prop: Any, file: pathlib.Path | None, progress: Progress, options: dict[str, Any]
) -> int:
    """Decide one property, print what is known, write the counterexample to `file`."""
    from jaxact import io
    from jaxact.decide import decide_property

    console = Console()
    loaded = io.load_onnx(network)
    reference = io.onnxruntime_evaluation(network, loaded)
    task = progress.add_task(escape(network.name), total=None)
    found = decide_property(
        loaded,
        io.load_vnnlib(prop),
        reference=reference,
        progress=lambda status: progress.update(task, description=_standing(status)),
        **options,
    )
    progress.stop()
    colour = COLOURS[found.status]
    console.print(f"[{colour}]{found.status}[/{colour}]", highlight=False)
    if found.x is not None and found.y is not None:
        _print_counterexample(console, found.x, found.y, confirmed=reference is not None)
        if file is not None:
            io.write_counterexample(file, found.x, found.y)
            console.print(f"written: {file}", highlight=False)
    by = f" ({found.method})" if found.method else ""
    kind = "margin of the counterexample" if found.status == "falsified" else "certified margin"
    console.print(f"{kind}: {found.margin:.6g}{by}", highlight=False)
    late = ", out of time" if found.timed_out else ""
    domains = f", {found.domains} domains" if found.domains else ""
    console.print(f"{found.seconds:.2f} s{domains}{late}", highlight=False)
    return {"verified": 0, "falsified": 10, "unknown": 20}[found.status]


def several(
    instances: Any,
    out: Any,
    verdicts: Any,
    shard: str | None,
    progress: Progress,
    options: dict[str, Any],
) -> int:
    """Decide a set and print its table."""
    from jaxact.decide import Contradiction, decide_set

    console = Console()
    task = progress.add_task("", total=None)
    part = None if shard is None else read_shard(shard)

    def report(index: int, of: int, instance: Any, status: Any) -> None:
        names = [pathlib.PurePath(p).name for p in (instance.network, instance.prop)]
        standing = f"  {_standing(status)}" if status is not None else ""
        text = f"{index + 1}/{of} {' '.join(names)}{standing}"
        progress.update(task, description=escape(text))

    try:
        rows = decide_set(
            instances, out=out, verdicts=verdicts, progress=report, shard=part, **options
        )
    except Contradiction as error:
        progress.stop()
        text = f"[red]contradiction:[/red] {escape(str(error))}"
        Console(stderr=True, soft_wrap=True).print(text, highlight=False)
        return 1
    progress.stop()
    _print_set(console, rows)
    files = ["results.csv", "results.jsonl"]
    if part is not None:
        files = [f"results-{part[0]}-of-{part[1]}.jsonl"]
    written = ", ".join(str(out / file) for file in files)
    merge = "" if part is None else " (the same command without --shard merges)"
    console.print(f"written: {written}{merge}", highlight=False)
    return 0 if all(r.status in ("verified", "falsified") for r in rows) else 20


def read_shard(text: str) -> tuple[int, int]:
    """(k, n) of "k/n"."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard must be k/n, such as 1/4, got {text}")
    return int(number), int(count)


def _print_set(console: Console, rows: Any) -> None:
    """A line an instance, and how many of each status."""
    table = Table()
    for heading in ("network", "property", "status", "by", "domains", "margin", "seconds"):
        right = heading in ("domains", "margin", "seconds")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        colour = COLOURS[row.status]
        margin = "" if row.margin is None else f"{row.margin:.4g}"
        files = (row.network, row.prop)
        by = row.method or ("out of time" if row.timed_out else row.message)
        table.add_row(
            *(escape(pathlib.PurePath(p.removesuffix(".gz")).stem) for p in files),
            f"[{colour}]{row.status}[/{colour}]", escape(by), str(row.domains), margin,
            f"{row.seconds:.2f}",
        )  # fmt: skip
    console.print(table)
    counts = [f"{sum(r.status == s for r in rows)} {s}" for s in COLOURS]
    seconds = sum(r.seconds for r in rows)
    text = f"{len(rows)} instances: {', '.join(counts)}; {seconds:.1f} s"
    console.print(text, highlight=False)


def _standing(status: Any) -> str:
    return f"{status.domains} domains, {status.left} open, worst margin {status.margin:.4g}"


def _print_counterexample(console: Console, x: Any, y: Any, *, confirmed: bool) -> None:
    """The counterexample, long ones shortened, and who evaluated it."""
    for name, values in (("X", x), ("Y", y)):
        shown = " ".join(f"{v:.6g}" for v in values[:10])
        rest = f" ... ({len(values)} in all)" if len(values) > 10 else ""
        console.print(f"{name}: {shown}{rest}", highlight=False)
    by = "float64 and onnxruntime" if confirmed else "float64 (onnxruntime is not installed)"
    console.print(f"checked by {by}", highlight=False)
