"""Run the comparisons and put their rows in RESULTS.md: python -m benchmarks.run [name ...]."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import pkgutil

import benchmarks
from benchmarks import harness


def find() -> dict[str, harness.Benchmark]:
    """Every module of this folder that defines `BENCHMARK`, by its file's name."""
    found = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        if info.name not in ("harness", "run"):
            module = importlib.import_module(f"benchmarks.{info.name}")
            if hasattr(module, "BENCHMARK"):
                found[info.name] = module.BENCHMARK
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
        result = harness.measure(known[name])
        print(json.dumps(dataclasses.asdict(result)), flush=True)
        if not options.dry:
            harness.record(result)


if __name__ == "__main__":
    main()
