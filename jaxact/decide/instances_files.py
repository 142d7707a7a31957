"""The files of a set: the list of instances, the rows of a run, the competition's results."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import pathlib
from typing import Any

from jaxact.numerics import checks, files

RESULTS = {"verified": "unsat", "falsified": "sat", "error": "error"}
"""Status -> the competition's word; an unknown is `timeout` or `unknown`."""

STATUSES = (*RESULTS, "unknown")


class Contradiction(RuntimeError):
    """A decision is the opposite of the known verdict."""


@dataclasses.dataclass(frozen=True)
class Instance:
    """One line of a list.

    Attributes:
        network: the path as the list writes it, relative to the list.
        prop: likewise, of the property.
        timeout: the list's limit in seconds, inf where it gives none.
    """

    network: str
    prop: str
    timeout: float


@dataclasses.dataclass(frozen=True)
class SetRow:
    """What is known of one instance: a line of results.jsonl.

    Attributes:
        network: as the list writes it.
        prop: likewise, of the property.
        digest: of the two files' contents; a changed file is another instance.
        limit: seconds that it was given.
        asked: the `method` of the call, with "+sound" where that was asked.
        status: "verified", "falsified", "unknown" or "error".
        method: what decided, as in `Decision`.
        margin: as in `Decision`; None where it is not finite.
        domains: as in `Decision`.
        prepare: wall seconds of reading the files.
        seconds: wall seconds of the decision.
        cpu: process seconds of both.
        timed_out: whether time ran out.
        resumed: whether a killed run had begun it, whose time is not in `seconds`.
        counterexample: its file within the folder, or "".
        message: of the error, or "".
    """

    network: str
    prop: str
    digest: str
    limit: float
    asked: str
    status: str
    method: str = ""
    margin: float | None = None
    domains: int = 0
    prepare: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    timed_out: bool = False
    resumed: bool = False
    counterexample: str = ""
    message: str = ""

    @property
    def result(self) -> str:
        """In the competition's words: sat, unsat, timeout, unknown or error."""
        return RESULTS.get(self.status, "timeout" if self.timed_out else "unknown")

    def answers(self, limit: float, asked: str) -> bool:
        """Whether the same files need no new run under this limit and method."""
        if self.status == "verified":
            return "sound" in self.asked or "sound" not in asked
        if self.status == "unknown":
            return self.asked == asked and (not self.timed_out or self.limit >= limit)
        return self.status == "falsified"  # an error may have been mended


_TYPES: tuple[tuple[str, Any], ...] = (
    *((k, str) for k in ("network", "prop", "digest", "asked", "method", "counterexample")),
    *((k, int | float) for k in ("limit", "domains", "prepare", "seconds", "cpu")),
    ("margin", int | float | None),
)
"""What a row's fields must be for the row to be believed."""


def read_instances(path: str | os.PathLike[str]) -> list[Instance]:
    r"""Read a list of instances: lines `network,property,timeout`.

    Args:
        path: the file; blank lines are skipped and the timeout may be missing.

    Returns:
        `Instance` a line, in order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a line of another form, with its number, or an empty list.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp(), "instances.csv")
        >>> _ = file.write_text("net.onnx,safe.vnnlib,60\n")
        >>> read_instances(file)
        [Instance(network='net.onnx', prop='safe.vnnlib', timeout=60.0)]

    Source: VNN-COMP 2022 rules, section on benchmarks.
    """
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"set must be a list of instances, got {file}")
    found = []
    for number, fields in _table(file):
        parts = [p.strip() for p in fields]
        if not any(parts):
            continue
        try:
            network, prop, *limit = parts
            (timeout,) = map(float, limit or ["inf"])
            if not (timeout >= 0 and network and prop):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{file.name}, line {number}: must be network,property,timeout, "
                f"got {','.join(fields)[:200]}"
            ) from None
        found.append(Instance(network, prop, timeout))
    if not found:
        raise ValueError(f"set must list at least one instance, got none in {file.name}")
    return found


def _table(file: pathlib.Path) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file with their numbers, or a `ValueError` that names it."""
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.reader(lines)
        try:
            return [(reader.line_num, fields) for fields in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            number = reader.line_num + 1
            raise ValueError(f"{file.name}, line {number}: not a CSV file: {error}") from error


def read_rows(path: str | os.PathLike[str]) -> list[SetRow]:
    """The rows of a results.jsonl; a line that a kill cut off, or is damaged, is left out.

    Args:
        path: the file, which need not exist.

    Returns:
        `SetRow` a line.

    Example:
        >>> read_rows("missing.jsonl")
        []
    """
    file, rows = checks.path("path", path), []
    for line in file.read_bytes().splitlines() if file.is_file() else ():
        try:
            values = json.loads(line.decode("utf-8"))
            limit = math.inf if values["limit"] is None else values["limit"]
            row = SetRow(**values | {"limit": limit})
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if row.status in STATUSES and all(isinstance(getattr(row, k), t) for k, t in _TYPES):
            rows.append(row)
    return rows


def append(path: pathlib.Path, row: SetRow) -> None:
    """One write at the end of the file, on the disk before it returns."""
    values = dataclasses.asdict(row) | {"limit": row.limit if row.limit < math.inf else None}
    line = json.dumps(values, allow_nan=False) + "\n"
    with path.open("a+b") as file:
        if file.tell() and not _ends_with_newline(file):
            line = "\n" + line  # a killed run left half a line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def write_results(path: pathlib.Path, name: str, rows: list[SetRow]) -> None:
    """The competition's results.csv, whole or as it was."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(
        (name, r.network, r.prop, r.prepare, r.result, r.seconds) for r in rows
    )
    files.write_text(path, table.getvalue())


def _key(network: str, prop: str) -> tuple[str, str]:
    names = [pathlib.PurePath(p.strip()).name.removesuffix(".gz") for p in (network, prop)]
    return names[0], names[1]


def read_verdicts(path: str | os.PathLike[str], name: str) -> dict[tuple[str, str], str]:
    """A set's verdicts by the names of the files, without folders and .gz."""
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"verdicts must be a CSV file, got {file}")
    lines = [(number, fields) for number, fields in _table(file) if fields]
    columns = {"set", "network", "property", "verdict"}
    if len(lines) < 2 or not columns <= set(lines[0][1]):
        raise ValueError(f"verdicts must have columns {', '.join(sorted(columns))}, got {file}")
    for number, fields in lines[1:]:
        if len(fields) != len(lines[0][1]):
            raise ValueError(f"{file.name}, line {number}: must have a value a column")
    table = [dict(zip(lines[0][1], fields, strict=True)) for _, fields in lines[1:]]
    own = [v for v in table if v["set"] == name]
    if not own:
        raise ValueError(
            f"verdicts must hold the set {name!r}, got {sorted({v['set'] for v in table})}"
        )
    return {_key(v["network"], v["property"]): v["verdict"] for v in own}


def confront(row: SetRow, truth: dict[tuple[str, str], str]) -> None:
    """Raise `Contradiction` if the verdict is known and the row says the opposite."""
    verdict = truth.get(_key(row.network, row.prop), "unknown")
    if (row.result, verdict) in (("sat", "unsat"), ("unsat", "sat")):
        raise Contradiction(
            f"{row.network} {row.prop} is {row.status} ({row.method}), but the verdict is {verdict}"
        )
