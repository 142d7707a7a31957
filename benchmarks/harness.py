"""A named peer against ours: alternating repetitions, one thread each, process CPU time, medians.

Each side runs in its own child process, which is started with every thread pool set to one
thread before anything is imported (a pool cannot be shrunk reliably afterwards) and may use its
own interpreter where dependencies clash. The parent asks the two children in turn for one
repetition, so that both see the same machine.

A child speaks JSON lines: it answers ["setup", module, factory, ...] with the time of the first
call (for ours, with the compilation in it), ["run"] with the CPU and wall seconds of one more call,
and ["value"] with the numbers to compare, as a flat list of floats. A call of less than a tenth of
a second is repeated within its repetition, and the mean counts.

A quick run keeps its children from one comparison to the next, so that imports are paid once, and
sets both sides up at the same time, each on a core of its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_LAP = 0.1  # seconds of repeated calls, about
QUICK = os.environ.get("JAXACT_QUICK") == "1"
ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = {
    "JAXACT_TORCH_PYTHON": ("torch", "to an interpreter that has it"),
    "JAXACT_OPTIMISTIX_PYTHON": ("optimistix", "to an interpreter that has it"),
    "JAXACT_RMT_PYTHON": ("freealg and scikit-rmt", "to an interpreter that has them"),
    "JAXACT_AUTO_LIRPA": ("auto_LiRPA and torch", "to a checkout of it"),
    "JAXACT_HFLAYERS": ("hflayers and torch", "to a checkout of it"),
    "JAXACT_ABCROWN": ("alpha,beta-CROWN and torch", "to a checkout of it"),
}
"""An environment variable that says where a peer is -> what the peer needs, how it is set."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Two ways to the same numbers.

    The two factories are called in the child with `arguments`, build their data, and return a
    function of no arguments that does the work once and returns an array on the host.

    Attributes:
        name: the row's name in RESULTS.md.
        ours: what we call our side.
        peer: the peer's name, with its version where it has one.
        module: the module that defines `make_ours()` and `make_peer()`.
        error: (ours, peer) arrays -> one number; by default the largest absolute difference
            over the largest absolute value of the peer's.
        repetitions: of each side.
        python: interpreters of (ours, peer); this one by default.
        arguments: passed to both factories.
        requires: an environment variable of `PEERS` without which the comparison is skipped.
        imports: modules that the peer's interpreter must have, else it is skipped, too.
        peer_share: the part of the work that the peer does in a repetition; its times are divided
            by it. The peer's label says so where it is below 1.
        flop: additions and multiplications of the matrix products in one call of ours, where
            they are counted and are what the call consists of.
        moved: bytes that one call of ours must read and write, likewise.
    """

    name: str
    ours: str
    peer: str
    module: str
    error: Callable[[np.ndarray, np.ndarray], float] | None = None
    repetitions: int = 7
    python: tuple[str, str] = (sys.executable, sys.executable)
    arguments: tuple[str, ...] = ()
    requires: str | None = None
    imports: tuple[str, ...] = ()
    peer_share: float = 1.0
    flop: float | None = None
    moved: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured; seconds are medians over the repetitions.

    Attributes:
        ratio: peer's CPU seconds over ours.
        ours_first_call: CPU seconds, with the compilation in it.
        limit: seconds that this machine needs for the products or the traffic alone, over ours;
            None where neither was counted.
        quick: whether sizes and repetitions were those of a quick run.
    """

    name: str
    ours: str
    peer: str
    ours_cpu: float
    peer_cpu: float
    ratio: float
    ours_first_call: float
    error: float
    machine: str
    date: str
    limit: float | None = None
    quick: bool = False
    ours_wall: float | None = None
    peer_wall: float | None = None
    peer_first_call: float | None = None
    repetitions: int | None = None


def size(full: int, quick: int) -> int:
    """How much of something a benchmark takes: less of it in a quick run."""
    return quick if QUICK else full


def measure(benchmark: Benchmark, limits: Any = None, kept: Children | None = None) -> Result:
    """Run a benchmark: both children set up, then repetitions by turns, then the comparison.

    Args:
        benchmark: what to run.
        limits: a `benchmarks.limits.Limits`, to say how far ours is from them; or None.
        kept: children of earlier comparisons, for a quick run; fresh ones that end with this
            comparison by default.

    Raises:
        RuntimeError: if a side stops, or the sides' numbers cannot be compared.
    """
    repetitions = min(benchmark.repetitions, size(benchmark.repetitions, 2))
    pool = Children() if kept is None else kept
    try:
        children = pool.pair(benchmark)
        setups = [
            ("setup", benchmark.module, f"make_{side}", *benchmark.arguments)
            for side in ("ours", "peer")
        ]
        if kept is None:
            first = [child.ask(*setup) for child, setup in zip(children, setups, strict=True)]
        else:
            for child, setup in zip(children, setups, strict=True):
                child.send(*setup)
            first = [child.answer() for child in children]
        laps: list[list[dict[str, float]]] = [[], []]
        for lap in range(repetitions):
            # The side that goes first changes every time.
            for side in (0, 1) if lap % 2 == 0 else (1, 0):
                laps[side].append(children[side].ask("run"))
        values = [np.asarray(child.ask("value")["value"]) for child in children]
    except BaseException:
        pool.close()
        raise
    if kept is None:
        pool.close()
    cpu = [statistics.median(lap["cpu"] for lap in side) for side in laps]
    wall = [statistics.median(lap["wall"] for lap in side) for side in laps]
    cpu[1], wall[1] = cpu[1] / benchmark.peer_share, wall[1] / benchmark.peer_share
    error = (benchmark.error or relative_error)(*values)
    if not np.isfinite(error):
        raise RuntimeError("the two sides' numbers differ in shape or are not finite")
    return Result(
        name=benchmark.name,
        ours=benchmark.ours,
        peer=benchmark.peer,
        ours_cpu=cpu[0],
        peer_cpu=cpu[1],
        ratio=cpu[1] / max(cpu[0], 1e-12),
        ours_first_call=first[0]["cpu"],
        error=error,
        machine=machine(),
        date=datetime.date.today().isoformat(),
        limit=limits.share(benchmark, cpu[0]) if limits is not None else None,
        quick=QUICK,
        ours_wall=wall[0],
        peer_wall=wall[1],
        peer_first_call=first[1]["cpu"],
        repetitions=repetitions,
    )


def relative_error(ours: np.ndarray, peer: np.ndarray) -> float:
    """Largest |ours - peer| / max |peer|; inf where shapes differ or a value is not finite."""
    if ours.shape != peer.shape:
        return float("inf")
    gap = float(np.max(np.abs(ours - peer)) / max(float(np.max(np.abs(peer))), 1e-300))
    return gap if np.isfinite(gap) else float("inf")


def machine() -> str:
    """The processor's model and the number of its cores that this process may use."""
    model = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        lines = [v for v in info.read_text().splitlines() if v.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


class Children:
    """The two sides' processes: an interpreter that is asked for again is the one that runs."""

    def __init__(self) -> None:
        self._running: dict[tuple[int, str], Child] = {}

    def pair(self, benchmark: Benchmark) -> list[Child]:
        """The children of (ours, peer), started where they do not run yet."""
        for side, python in enumerate(benchmark.python):
            if (side, python) not in self._running:
                self._running[side, python] = Child(python, side if QUICK else 0)
        return [self._running[key] for key in enumerate(benchmark.python)]

    def close(self) -> None:
        """Let all of them end."""
        for child in self._running.values():
            child.close()
        self._running.clear()


class Child:
    """One side, in its own process with one thread on the core-th core from the last."""

    def __init__(self, python: str, core: int) -> None:
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.harness", str(core)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip
        self._last: tuple[str, ...] = ()

    def ask(self, *question: str) -> dict[str, Any]:
        """Its answer to "setup" with a module, a factory and its arguments, "run" or "value"."""
        self.send(*question)
        return self.answer()

    def send(self, *question: str) -> None:
        """Ask; `answer` waits for what it says."""
        if self.process.stdin is None:
            raise RuntimeError("the child has no pipes")
        self._last = self._last if len(question) == 1 else question
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it says to the question sent."""
        if self.process.stdout is None:
            raise RuntimeError("the child has no pipes")
        answer = self.process.stdout.readline()
        if not answer:
            module, factory = self._last[1:3]
            raise RuntimeError(f"{factory} of {module} stopped, see its error above")
        return json.loads(answer)

    def close(self) -> None:
        """Let it end."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def value_of(module: str, factory: str) -> list[float]:
    """The numbers that the work of one factory returns, from a child with one thread."""
    child = Child(sys.executable, 0)
    try:
        child.ask("setup", module, factory)
        return child.ask("value")["value"]
    finally:
        child.close()


def _serve(core: int) -> None:
    """The child's loop on one core; whatever the work prints goes to stderr."""
    if hasattr(os, "sched_setaffinity"):  # XLA's thread pool counts the cores it may use
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[-1 - core % len(cores)]})
    answers, sys.stdout = sys.stdout, sys.stderr
    work: Any = None
    value: Any = None
    calls = 1
    for question, *what in map(json.loads, sys.stdin):
        if question == "value":
            reply: dict[str, Any] = {"value": np.asarray(value, float).ravel().tolist()}
        else:
            if question == "setup":
                module, factory, *arguments = what
                work, value, calls = None, None, 1
                work = getattr(importlib.import_module(module), factory)(*arguments)
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(calls):
                value = work()
            reply = {
                "cpu": (time.process_time() - cpu) / calls,
                "wall": (time.perf_counter() - wall) / calls,
            }
            if question == "setup":  # a lap of a short call is many calls, so that it is warm
                began = time.perf_counter()
                work()
                calls = min(100, 1 + int(_LAP / max(time.perf_counter() - began, 1e-6)))
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
