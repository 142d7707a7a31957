"""All comparisons with named peers: python -m benchmarks [--only NAME ...] [--quick] [--check].

A finished row goes to results.json and RESULTS.md at once. A peer that is not installed is
skipped by name, a side that fails is reported and the run goes on. --quick takes smaller sizes
and two repetitions, records nothing, and begins no comparison after four minutes. --check
compares the ratios with the committed ones, those of a quick run with quick.json. The long
studies run with --studies, or by name.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.harness import Benchmark, Result
    from benchmarks.results import Worse

QUICK_SECONDS = 240
"""After these a quick run begins no further comparison: it is to end within five minutes."""


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code: 0, 1 if a comparison failed or got worse, 2 for wrong options."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.quick:
        os.environ["JAXACT_QUICK"] = "1"  # sizes are read when the benchmarks are imported
    from benchmarks import harness, results, suite

    known = suite.find()
    wanted = options.only or [*known, *(suite.STUDIES if options.studies else ())]
    if unknown := sorted(set(wanted) - set(known) - set(suite.STUDIES)):
        parser.error(f"no benchmark {', '.join(unknown)}; --list names them")
    if options.list:
        return _list(known, suite.STUDIES)
    committed = results.QUICK_JSON if harness.QUICK else results.JSON
    baseline = results.read(pathlib.Path(options.check or committed))
    if options.check is not None and not baseline:
        parser.error(f"--check must name a file of earlier rows, got {options.check}")

    pairs = {name: known[name] for name in wanted if name in known}
    if harness.QUICK:
        pairs = suite.by_rounds(pairs)
    fresh, skipped, failed = _measure(pairs, keep=not (options.dry or harness.QUICK))
    for name in (n for n in wanted if n in suite.STUDIES):
        if suite.study(name):
            failed.append(name)
    if options.json:
        notes = [{"name": n, "reason": reason} for n, reason in skipped]
        notes += [{"name": n, "reason": "failed"} for n in failed]
        results.write(fresh, options.json, notes)
    print(f"{len(fresh)} measured, {len(skipped)} skipped, {len(failed)} failed")
    tolerance = results.TOLERANCE if options.tolerance is None else options.tolerance
    worse = options.check is not None and _judge(fresh, baseline, tolerance)
    return 1 if failed or worse else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these benchmarks or studies")
    parser.add_argument("--list", action="store_true", help="name what there is, and stop")
    parser.add_argument("--quick", action="store_true", help="small sizes, within 5 minutes")
    parser.add_argument("--studies", action="store_true", help="the long ones too: hours")
    parser.add_argument("--dry", action="store_true", help="record nothing")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the run's rows")
    parser.add_argument(
        "--check", nargs="?", const="", metavar="FILE",
        help="compare with the rows of a file that --json wrote; the committed ones by default",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=float, help="the share of its ratio that a row may lose (0.4)",
    )  # fmt: skip
    return parser


def _list(known: dict[str, Benchmark], studies: dict[str, str]) -> int:
    from benchmarks.suite import missing

    for name, benchmark in known.items():
        reason = missing(benchmark)
        print(f"{name}: {benchmark.name}" + (f" [skipped: {reason}]" if reason else ""))
    for name, what in studies.items():
        print(f"{name}: study, {what}")
    return 0


def _measure(
    pairs: dict[str, Benchmark], *, keep: bool
) -> tuple[list[Result], list[tuple[str, str]], list[str]]:
    """The rows, (name, reason) of what was skipped, and the names of what failed."""
    from benchmarks import harness, limits, results, suite

    rows, skipped, failed = [], [], []
    rates, began = None, time.monotonic()
    kept = harness.Children() if harness.QUICK else None
    print(results.HEADER, end="", flush=True)
    for name, benchmark in pairs.items():
        reason = suite.missing(benchmark)
        if harness.QUICK and time.monotonic() - began > QUICK_SECONDS:
            reason = reason or f"{QUICK_SECONDS} s of a quick run are over"
        if reason is not None:
            skipped.append((name, reason))
            print(f"| {benchmark.name} | skipped: {reason} |", flush=True)
            continue
        try:
            if rates is None and (benchmark.flop or benchmark.moved):
                rates = limits.measure()
            result = harness.measure(benchmark, rates, kept)
        except (RuntimeError, OSError, ValueError) as error:
            failed.append(name)
            print(f"| {benchmark.name} | failed: {error} |", flush=True)
            continue
        rows.append(result)
        print(results.row(result), flush=True)
        if keep:
            results.record(result)
    if kept is not None:
        kept.close()
    if rates is not None:
        print(f"limits of one thread: {rates.gemm / 1e9:.0f} GFLOP/s in float32 products, "
              f"{rates.copy / 1e9:.1f} GB/s in copies")  # fmt: skip
    return rows, skipped, failed


def _judge(fresh: list[Result], baseline: list[Result], tolerance: float) -> bool:
    """Print what got worse; whether anything did, or nothing could be compared."""
    from benchmarks import results

    worse: list[Worse]
    worse, unknown = results.check(fresh, baseline, tolerance)
    for name in unknown:
        print(f"not compared, no earlier row: {name}")
    compared = len(fresh) - len(unknown)
    if worse:
        print("\n| worse | what | committed | now |\n|---|---|---|---|")
        print("\n".join(w.line() for w in worse))
    lost = f"a ratio may lose {tolerance:.0%}, an error may grow tenfold"
    print(f"{compared} compared with earlier rows, {len(worse)} worse ({lost})")
    return bool(worse) or compared == 0


if __name__ == "__main__":
    sys.exit(main())
