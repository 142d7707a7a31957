"""What there is to run: the comparisons of this folder's modules, and the long studies."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import subprocess
import sys

import benchmarks
from benchmarks import harness

STUDIES = {
    "certified_training": "certified against standard training, a section of RESULTS.md",
    "memory_digits": "dense memories on MNIST beside an MLP, a section",
    "scoreboard": "public verification problems by bounds alone, a section",
    "decide_sets": "public verification problems decided, a section",
    "decide_peer": "ACAS Xu beside alpha,beta-CROWN, a section",
    "inversion_experiments": "recovery against observed pixels, printed",
}
"""Modules that are programs of their own, minutes to hours each -> what they measure."""
_NOT = {"__main__", "harness", "limits", "results", "suite", "reference_nets", *STUDIES}


@functools.cache
def find() -> dict[str, harness.Benchmark]:
    """The `BENCHMARK` of every module of this folder, by its file's name, and its `BENCHMARKS`."""
    found = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if info.name in _NOT or info.ispkg:
            continue
        module = importlib.import_module(f"benchmarks.{info.name}")
        if hasattr(module, "BENCHMARK"):
            found[info.name] = module.BENCHMARK
        found.update(getattr(module, "BENCHMARKS", {}))
    return found


def by_rounds(pairs: dict[str, harness.Benchmark]) -> dict[str, harness.Benchmark]:
    """The first comparison of every module, then the second of each: no lens comes last."""
    seen: dict[str, int] = {}
    rounds = {}
    for name, benchmark in pairs.items():
        rounds[name] = seen[benchmark.module] = seen.get(benchmark.module, -1) + 1
    return dict(sorted(pairs.items(), key=lambda pair: rounds[pair[0]]))


def missing(benchmark: harness.Benchmark) -> str | None:
    """Why a comparison cannot run here, or None: its peer is not installed."""
    variable = benchmark.requires
    if variable is None:
        return None
    needs, how = harness.PEERS[variable]
    if not os.environ.get(variable):
        return f"needs {needs} (set {variable} {how})"
    absent = [m for m in benchmark.imports if not _has(benchmark.python[1], m)]
    if absent:
        return f"needs {' and '.join(absent)}, which the peer's interpreter does not have"
    return None


@functools.cache
def _has(python: str, module: str) -> bool:
    look = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        return subprocess.run([python, "-c", look], capture_output=True).returncode == 0
    except OSError:
        return False


def study(name: str) -> int:
    """Run a study as a program of its own; its exit code."""
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode
