"""Run the comparisons and put their rows in RESULTS.md: python -m benchmarks.run [name ...]."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import pkgutil

import benchmarks
from benchmarks import harness


def find() -> dict[str, harness.Benchmark]:
    """The `BENCHMARK` of every module of this folder, by its file's name, and its `BENCHMARKS`."""
    found = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if info.name not in ("harness", "run"):
            module = importlib.import_module(f"benchmarks.{info.name}")
            if hasattr(module, "BENCHMARK"):
                found[info.name] = module.BENCHMARK
            found.update(getattr(module, "BENCHMARKS", {}))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run the named comparisons, or all of them; print JSON, one line each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    known = find()
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}")
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    for name in options.names or known:
        if (variable := known[name].requires) is not None and variable not in os.environ:
            print(json.dumps({"name": name, "skipped": f"{variable} is not set"}), flush=True)
            continue
        result = harness.measure(known[name])
        print(json.dumps(dataclasses.asdict(result)), flush=True)
        if not options.dry:
            harness.record(result)


if __name__ == "__main__":
    main()
