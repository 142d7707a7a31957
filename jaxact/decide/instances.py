"""A whole set of properties: the competition's lists in, its results out, resumed after a kill."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxact import io
from jaxact.decide import instances_files as files_of
from jaxact.decide.decision import Decision, Status
from jaxact.decide.instances_files import Instance, SetRow, read_instances
from jaxact.decide.instances_property import check_options, decide_property
from jaxact.numerics import checks

CACHED_BYTES = 256 * 2**20
"""Network files, together, that are held in memory during a set."""


def decide_set(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    timeout: float | int = math.inf,
    method: str = "auto",
    sound: bool = False,
    restarts: int = 32,
    progress: Callable[[int, int, Instance, Status | None], Any] | None = None,
    verdicts: str | os.PathLike[str] | None = None,
    name: str | None = None,
    shard: tuple[int, int] | None = None,
) -> list[SetRow]:
    r"""Decide every instance of a list; the same call after a kill goes on from there.

    The folder gets results.jsonl, one `SetRow` a line, appended as each instance ends;
    results.csv in the competition's format (set, network, property, seconds of preparation,
    sat | unsat | timeout | unknown | error, seconds), when the run ends; and
    counterexamples/. An instance that raises is recorded as an error and the run goes on.

    A decided instance is not run again as long as its two files are the same; an unknown one is
    if it now gets more time or another method, an error always is. A killed one goes on from the
    search's last checkpoint. Equal architectures compile once, and a network that many
    instances share is read once.

    Several processes, on one machine or on many that share the folder, take a shard each:
    shard=(k, n) decides every n-th instance from the k-th on and appends to
    results-k-of-n.jsonl, so that no two processes write one file. The call without a shard
    reads all of these, decides what is missing and writes results.csv: it is the merge.

    Args:
        path: the list, see `read_instances`; its paths are relative to its folder, and a file
            may be gzipped whether the list says .gz or not.
        out: the folder; made if absent.
        timeout: no instance gets more seconds than this, whatever the list allows.
        method: see `decide_property`.
        sound: whether certificates must allow for their own rounding.
        restarts: see `decide_property`.
        progress: called (index, number of instances, `Instance`, None) before each instance and
            with the search's `Status` during it.
        verdicts: a CSV file with columns set, network, property, verdict (sat or unsat).
        name: of the set, in results.csv and among the verdicts; the list's folder by default.
        shard: (k, n), 1 <= k <= n: this process decides only its part.

    Returns:
        `SetRow` an instance, of the shard if there is one, in the order of the list.

    Raises:
        FileNotFoundError: if the list or the verdicts are not there.
        ValueError: for bad arguments or a bad list.
        Contradiction: as soon as a decision is the opposite of the verdict.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "instances.csv").write_text("missing.onnx,missing.vnnlib,60\n")
        >>> (row,) = decide_set(folder / "instances.csv", out=folder / "out")
        >>> row.status, row.message
        ('error', 'FileNotFoundError: there is no missing.onnx')
    """
    check_options(method, timeout, sound=sound)
    checks.integer("restarts", restarts, 0)
    folder = checks.path("out", out)
    listed = _part(read_instances(path), shard)
    source = pathlib.Path(path).absolute()
    name = source.parent.name if name is None else name
    truth = files_of.read_verdicts(verdicts, name) if verdicts is not None else {}
    run = _Run(source.parent, folder, method, shard, sound=sound, restarts=restarts)
    rows: list[SetRow] = []
    try:
        for index, instance in enumerate(listed):
            report = _reporter(progress, index, len(listed), instance)
            row = run.row(instance, min(instance.timeout, float(timeout)), report)
            rows.append(row)
            files_of.confront(row, truth)
    finally:
        if shard is None:
            files_of.write_results(run.out / "results.csv", name, rows)
    return rows


def _part(listed: list[Instance], shard: tuple[int, int] | None) -> list[Instance]:
    """The shard's instances: neighbours in a list are alike, so every n-th one is a fair part."""
    if shard is None:
        return listed
    number, count = shard
    checks.integer("shard", number, 1)
    checks.integer("shard", count, 1)
    if number > count:
        raise ValueError(f"shard must be (k, n) with k <= n, got {number}/{count}")
    return listed[number - 1 :: count]


def _reporter(progress: Any, *place: Any) -> Callable[[Status], Any] | None:
    if progress is None:
        return None
    progress(*place, None)
    return lambda status: progress(*place, status)


class _Run:
    """The folder's rows, the networks at hand, and one instance after the other."""

    def __init__(
        self, base: pathlib.Path, out: pathlib.Path, method: str,
        shard: tuple[int, int] | None, *, sound: bool, restarts: int,
    ) -> None:  # fmt: skip
        self.base, self.out = base, out
        self.method, self.sound, self.restarts = method, sound, restarts
        self.asked = method + ("+sound" if sound else "")
        self.networks: dict[pathlib.Path, tuple[io.OnnxNetwork, Any, int]] = {}
        out.mkdir(parents=True, exist_ok=True)
        # What a process appends to, and its checkpoints, are its own.
        self.suffix = "" if shard is None else f"-{shard[0]}-of-{shard[1]}"
        self.log = out / f"results{self.suffix}.jsonl"
        self.known: dict[str, list[SetRow]] = {}
        for log in sorted(out.glob("results*.jsonl")):
            for row in files_of.read_rows(log):
                self.known.setdefault(row.digest, []).append(row)

    def row(self, instance: Instance, limit: float, report: Any) -> SetRow:
        """The instance's row, from the folder or decided now."""
        blank = SetRow(instance.network, instance.prop, "", limit, self.asked, "error")
        began, cpu = time.monotonic(), time.process_time()
        try:
            files = [_existing(self.base, p) for p in (instance.network, instance.prop)]
            blank = dataclasses.replace(blank, digest=_digest(files))
            before = self._before(blank.digest, limit)
            if before is not None:
                return dataclasses.replace(before, network=instance.network, prop=instance.prop)
            row = self._decide(blank, files, report)
        except Exception as error:  # whatever it is, the other instances are to be decided
            text = " ".join(str(error).split())
            row = dataclasses.replace(blank, message=f"{type(error).__name__}: {text}"[:500])
            row = dataclasses.replace(row, seconds=round(time.monotonic() - began, 4))
        row = dataclasses.replace(row, cpu=round(time.process_time() - cpu, 4))
        self.known.setdefault(row.digest, []).append(row)
        files_of.append(self.log, row)
        shutil.rmtree(self._state(row), ignore_errors=True)
        return row

    def _before(self, digest: str, limit: float) -> SetRow | None:
        """The last row that answers, a decision before an unknown."""
        rows = [r for r in reversed(self.known.get(digest, ())) if r.answers(limit, self.asked)]
        return min(rows, key=lambda row: row.status == "unknown", default=None)

    def _decide(self, row: SetRow, files: list[pathlib.Path], report: Any) -> SetRow:
        began = time.monotonic()
        network, reference = self._network(files[0])
        prop = io.load_vnnlib(files[1])
        prepared = time.monotonic()
        state = self._state(row)
        resumed = state.is_dir() and any(state.iterdir())
        state.mkdir(parents=True, exist_ok=True)
        found = decide_property(
            network, prop, method=self.method, timeout=row.limit, restarts=self.restarts,
            reference=reference, sound=self.sound, state=state, progress=report,
        )  # fmt: skip
        row = dataclasses.replace(
            row, status=found.status, method=found.method, domains=int(found.domains),
            margin=float(found.margin) if np.isfinite(found.margin) else None,
            prepare=round(prepared - began, 4), seconds=round(time.monotonic() - prepared, 4),
            timed_out=bool(found.timed_out), resumed=resumed,
        )  # fmt: skip
        if found.x is None or found.y is None:
            return row
        return dataclasses.replace(row, counterexample=self._write(row, found))

    def _write(self, row: SetRow, found: Decision) -> str:
        stems = [p.removesuffix(".gz").rsplit(".", 1)[0] for p in (row.network, row.prop)]
        stem = "_".join(pathlib.PurePath(s).name for s in stems)
        name = f"counterexamples/{stem}.counterexample"
        others = (r for d, rows in self.known.items() if d != row.digest for r in rows)
        # Other processes write here, too, and files of one name may lie in two folders.
        if self.suffix or any(r.counterexample == name for r in others):
            name = f"counterexamples/{stem}-{row.digest}.counterexample"
        (self.out / "counterexamples").mkdir(exist_ok=True)
        io.write_counterexample(self.out / name, found.x, found.y)
        return name

    def _network(self, file: pathlib.Path) -> tuple[io.OnnxNetwork, Any]:
        if file not in self.networks:
            network = io.load_onnx(file)
            reference = io.onnxruntime_evaluation(file, network)
            self.networks[file] = network, reference, file.stat().st_size
            while len(self.networks) > 1 and self._held() > CACHED_BYTES:
                del self.networks[next(iter(self.networks))]
        return self.networks[file][:2]

    def _held(self) -> int:
        return sum(size for *_, size in self.networks.values())

    def _state(self, row: SetRow) -> pathlib.Path:
        return self.out / "state" / f"{row.digest or 'none'}-{self.asked}{self.suffix}"


def _existing(base: pathlib.Path, path: str) -> pathlib.Path:
    for text in (path, path + ".gz", path.removesuffix(".gz")):
        if (base / text).is_file():
            return base / text
    raise FileNotFoundError(f"there is no {path}")


def _digest(files: Iterable[pathlib.Path]) -> str:
    parts = [hashlib.sha256(file.read_bytes()).digest() for file in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
