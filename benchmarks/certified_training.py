"""Certified against standard training on digits: python -m benchmarks.certified_training.

Trains the same network both ways from several seeds, certifies the held-out digits by CROWN at a
fixed eps, attacks them there too, and writes the section "Certified training" of RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime

import jax
import jax.numpy as jnp
import numpy as np

import jaxact
from benchmarks.harness import machine
from benchmarks.results import record_section
from jaxact.bounds import attack, certified_margins
from jaxact.nets import train_certified, train_classifier

TITLE = "## Certified training"
HEADER = (
    "| activation | training | clean accuracy | certified by CROWN | withstand the attack | "
    "machine | date |\n|---|---|---|---|---|---|---|\n"
)


def scores(f, digits, eps: float) -> tuple[float, float, float]:
    """Share of the held-out digits that are right, certified, and not broken by the attack."""
    x, y = jnp.asarray(digits.test_x), jnp.asarray(digits.test_y)
    right = jnp.argmax(jax.vmap(f)(x), axis=1) == y
    certified = (certified_margins(f, x, y, eps) > 0).all(axis=1)
    broken = attack(f, x, y, eps).success
    if bool((certified & broken).any()):
        raise AssertionError("a certified digit was broken by the attack")
    return tuple(float(jnp.mean(v.astype(float))) for v in (right, certified, right & ~broken))


def measure(name: str, eps: float, seeds: int, epochs: int, methods: tuple[str, ...]) -> list[str]:
    """One row for each way of training: mean and spread over the seeds."""
    digits, act, rows = jaxact.io.load_digits(), jaxact.get(name), []
    data = {"x": digits.x, "y": digits.y, "act": act, "widths": (64, 64), "epochs": epochs}
    for method in ("standard", *methods):
        found = []
        for seed in range(seeds):
            key = jax.random.key(seed)
            if method == "standard":
                f, _ = train_classifier(**data, key=key)
            else:
                f, _ = train_certified(**data, eps=eps, method=method, key=key)
            found.append(scores(f, digits, eps))
        mean, spread = np.mean(found, 0), np.std(found, 0)
        cells = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))
        day = datetime.date.today().isoformat()
        rows.append(f"| {name} | {method} | {cells} | {machine()} | {day} |")
        print(rows[-1], flush=True)
    return rows


def record(rows: list[str], eps: float, seeds: int) -> None:
    """Write the section, in place of an earlier one."""
    intro = (
        f"360 held-out 8x8 digits, pixels in [0, 1], max-norm eps = {eps:g}, MLP 64-64-64-10, "
        f"float32, mean ± deviation over {seeds} seeds: `python -m benchmarks.certified_training`."
    )
    record_section(TITLE, f"{intro}\n\n{HEADER}" + "\n".join(rows) + "\n")


def main() -> None:
    """Read the options, measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--activations", nargs="+", default=["relu"])
    parser.add_argument("--methods", nargs="+", default=["ibp"])
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    rows = []
    for name in options.activations:
        rows += measure(name, options.eps, options.seeds, options.epochs, tuple(options.methods))
    if not options.dry:
        record(rows, options.eps, options.seeds)


if __name__ == "__main__":
    main()
