"""Dense associative memories on MNIST beside an MLP: python -m benchmarks.memory_digits.

Every recipe is trained from several seeds on the same split; the errors on the held-out digits and
the measures of the feature-to-prototype transition go to the section "Memory on digits" of
RESULTS.md. `--validate` holds out a thousand of the training digits instead (another thousand for
each seed) and never looks at the test digits: the recipes below were chosen so.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

import jaxact
from benchmarks.harness import ROOT, machine
from benchmarks.results import record_section
from jaxact import io, memory, nets

TITLE = "## Memory on digits"
HEADER = (
    "| network | error, % | training error, % | one strong memory | strong memories | "
    "participation | one-class memories | CPU s a run |\n|---|---|---|---|---|---|---|---|\n"
)
SHARED = ROOT.parent / "shared" / "data" / "mnist10k.npz"
HELD_OUT = 1000


def dam(n: int, rule: Any, **fit: Any) -> Any:
    """A dense associative memory with F = max(h, 0)^n."""

    def train(x: Any, y: Any, key: Any) -> Any:
        return nets.train_memory(x, y, memory.rectified(n), rule=rule, key=key, **fit)[0]

    return train


def mlp(x: Any, y: Any, key: Any) -> Any:
    """The baseline: 784-300-10, Adam, cross-entropy, 25 epochs."""
    fit = {"widths": (300,), "epochs": 25, "batch": 100}
    return nets.train_classifier(x, y, jaxact.get("relu"), key=key, **fit)[0]


def mlp_dropout(x: Any, y: Any, key: Any) -> Any:
    """The MLP with what the memories get: as many hidden units, and inputs left out."""
    flat, epochs, batch = x.reshape(len(x), -1), 25, 100
    center, spread = flat.mean(), flat.std()
    seeds = jax.random.split(key, 3)
    model = nets.MLP((flat.shape[1], 1000, 10), jaxact.get("relu"), rngs=nnx.Rngs(seeds[0]))
    apply, params = nets.functional(model)

    def ask(noise: Any, p: Any, sample: Any) -> Any:
        return Partial(apply, p), *sample, noise

    def loss(question: Any, label: Any, step: Any) -> Any:
        f, v, index, noise = question
        here = jax.random.fold_in(jax.random.fold_in(noise, step), index)
        return nets.cross_entropy(f(v * jax.random.bernoulli(here, 0.8, v.shape) / 0.8), label)

    samples = ((flat - center) / spread, np.arange(len(flat), dtype=np.int32))
    steps = epochs * (len(flat) // batch)
    decay = optax.cosine_decay_schedule(1e-3, steps, alpha=0.02)
    fitted, _ = nets.train(
        Partial(ask, seeds[1]), params, (samples, y), loss=loss, epochs=epochs, batch=batch,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(decay)),
        schedule=lambda step: step, key=seeds[2],
    )  # fmt: skip
    return Partial(lambda p, x: apply(p, (x.reshape(-1) - center) / spread), fitted)


PAPER = {"rate": 0.04, "decay": 0.96, "m": 30}
RECIPES = {
    "MLP relu 300": mlp,
    "MLP relu 1000, dropout": mlp_dropout,
    "DAM n = 2": dam(2, nets.CrossEntropyRule(temperature=2.0), memories=1000),
    "DAM n = 3": dam(3, nets.CrossEntropyRule(temperature=3.0), memories=1000),
    "DAM n = 20": dam(
        20, nets.PaperRule(temperature=(520.0, 520.0), **PAPER), memories=500, epochs=60, batch=70
    ),
    "DAM n = 30": dam(
        30, nets.PaperRule(temperature=(540.0, 540.0), **PAPER), memories=500, epochs=60, batch=70
    ),
}


def load(source: str) -> io.Images:
    """The digits: `mnist` for all of it from the network, or an npz file."""
    return io.fetch_mnist() if source == "mnist" else io.load_mnist(source)


def validation(digits: io.Images, seed: int) -> io.Images:
    """The training digits with the seed's thousand held out, in place of the test digits."""
    start = HELD_OUT * seed % (len(digits.x) - HELD_OUT + 1)
    out = np.zeros(len(digits.x), bool)
    out[start : start + HELD_OUT] = True
    return io.Images(digits.x[~out], digits.y[~out], digits.x[out], digits.y[out])


@jax.jit
def error(f: Any, x: Any, y: Any) -> Any:
    """Per cent of the samples that are not classified rightly."""
    wrong = jax.lax.map(lambda s: jnp.argmax(f(s[0])) != s[1], (x, y), batch_size=500)
    return 100 * jnp.mean(wrong.astype(jnp.float32))


def run(name: str, digits: io.Images, seed: int) -> list[float]:
    """Train once: test error, training error, the four measures, and CPU seconds."""
    start = time.process_time()
    f = RECIPES[name](digits.x, digits.y, jax.random.key(seed))
    found = [float(error(f, digits.test_x, digits.test_y)), float(error(f, digits.x, digits.y))]
    used = time.process_time() - start
    measures = [np.nan] * 4
    if isinstance(f, nets.MemoryClassifier):
        seen = jax.vmap(f.encode)(jnp.asarray(digits.test_x))
        regime = memory.measure_regime(f.memories, seen, f.F, temperature=f.temperature)
        measures = [float(v) for v in jax.tree.leaves(regime)]
    return [*found, *measures, used]


def measure(name: str, digits: io.Images, options: argparse.Namespace) -> str:
    """One row: mean and deviation over the seeds."""
    found = []
    for seed in range(options.first, options.first + options.seeds):
        part = validation(digits, seed) if options.validate else digits
        found.append(run(name, part, seed))
        print(f"  {name}, seed {seed}: {found[-1][0]:.2f} %, {found[-1][-1]:.0f} s", flush=True)
    mean, spread = np.mean(found, 0), np.std(found, 0)
    cells = [f"{mean[0]:.2f} ± {spread[0]:.2f}", f"{mean[1]:.2f}"]
    cells += ["" if np.isnan(m) else f"{m:.3g}" for m in mean[2:6]]
    row = f"| {name} | " + " | ".join([*cells, f"{mean[6]:.0f}"]) + " |"
    print(row, flush=True)
    return row


def record(rows: list[str], digits: io.Images, seeds: int) -> None:
    """Write the section, in place of an earlier one."""
    day = datetime.date.today().isoformat()
    intro = (
        f"MNIST, {len(digits.x)} training and {len(digits.test_x)} test digits, float32, mean ± "
        f"deviation over {seeds} seeds, recipes chosen on validation digits, no augmentation: "
        f"`python -m benchmarks.memory_digits`, {machine()}, {day}."
    )
    record_section(TITLE, f"{intro}\n\n{HEADER}" + "\n".join(rows) + "\n")


def main() -> None:
    """Read the options, measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(SHARED), help="an npz file, or mnist for all of it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--networks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--validate", action="store_true", help="hold out training digits")
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    if options.data != "mnist" and not pathlib.Path(options.data).is_file():
        print(f"skipped: no file {options.data} (--data mnist fetches all of MNIST)")
        return
    digits = load(options.data)
    print(HEADER, end="")
    rows = [measure(name, digits, options) for name in options.networks]
    if not (options.dry or options.validate):
        record(rows, digits, options.seeds)


if __name__ == "__main__":
    main()
