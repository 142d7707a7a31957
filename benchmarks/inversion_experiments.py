"""Success of latent recovery against the pixels observed, for every activation of the catalogue.

Random generators (12 latents -> 4x4x16 -> 16x16x3, stride = kernel, Gaussian weights) with each
activation, then decoders trained on 8x8 digits: recovery of latents in range, and held-out digits
with their reconstruction error. A cell of the first two tables is "best of the restarts / single
restarts": the share of problems whose latent comes within 1e-3 of the true one. A problem whose
certificate says "not identifiable" counts like any other.

    python -m benchmarks.inversion_experiments [--state FILE] [--quick] [--only NAME ...]

prints Markdown tables; progress goes to stderr. With --state finished rows are kept in a JSON
file, and a stopped run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

K, PROBLEMS, RESTARTS = 12, 4, 4
TRAINED = ("relu", "leaky_relu", "tanh", "softplus")
LATENT, PRIOR = 8, 0.05
STEPS = 40


def observed(side: int) -> dict[str, np.ndarray]:
    """The masks of the paper's and of later experiments, (side, side), 1 where observed."""
    order = np.random.default_rng(0).permutation(side * side).reshape(side, side)
    masks = {"full": np.ones((side, side))}
    for share in (25, 10, 5):
        masks[f"{share} %"] = order < round(share / 100 * side * side)
    rows, columns = np.indices((side, side))
    masks["half"] = rows < side // 2
    quarter = side // 4
    inner = (rows >= quarter) & (rows < side - quarter)
    inner &= (columns >= quarter) & (columns < side - quarter)
    masks["centre hidden"] = ~inner
    masks["checkerboard"] = (rows + columns) % 2 == 0
    return {name: np.asarray(m, np.float32) for name, m in masks.items()}


def random_generator(name: str) -> Any:
    """A two-layer generator with zero-mean Gaussian weights that keep the variance."""
    from flax import nnx

    import jaxact as ja
    from jaxact import nets

    model = nets.ConvGenerator(K, (16, 3), ja.get(name), kernels=((4, 4), (4, 4)), rngs=nnx.Rngs(0))
    return nets.as_function(model)


def solver_of(generator: Any, prior: float) -> Callable[..., Any]:
    """Compiled: masks, images and starts, one a problem -> `Inversion`s."""
    import jax
    import jax.numpy as jnp
    from jax.tree_util import Partial

    from jaxact import inversion

    solver = inversion.LevenbergMarquardt(steps=STEPS)

    @jax.jit
    def solve(masks: Any, images: Any, starts: Any) -> Any:
        def one(mask: Any, image: Any, start: Any) -> Any:
            see = Partial(jnp.multiply, jnp.broadcast_to(mask, image.shape))
            return inversion.invert(
                generator, see(image), latent=start, operator=see, solver=solver, prior=prior
            )

        return jax.vmap(one)(masks, images, starts)

    return solve


def in_range(generator: Any, side: int, latent: int) -> list[str]:
    """One cell a mask: the share of latents recovered."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0))
    truth = jax.random.normal(keys[0], (PROBLEMS, latent))
    images = jax.vmap(generator)(truth)
    shape = (side, side) + (1,) * (images.ndim - 3)
    masks = [m.reshape(shape) for m in observed(side).values()]
    count = len(masks)
    many = jnp.repeat(jnp.asarray(np.stack(masks)), PROBLEMS, axis=0)
    tiled = jnp.tile(images, (count,) + (1,) * (images.ndim - 1))
    starts = jax.random.normal(keys[1], (count * PROBLEMS, RESTARTS, latent))
    found = solver_of(generator, 0.0)(many, tiled, starts)
    truth = np.tile(np.asarray(truth), (count, 1))
    size = np.linalg.norm(truth, axis=1)
    best = np.linalg.norm(np.asarray(found.latent) - truth, axis=1) / size
    each = np.linalg.norm(np.asarray(found.latents) - truth[:, None], axis=2) / size[:, None]
    best, each = best.reshape(count, -1), each.reshape(count, -1)
    pairs = zip(best, each, strict=True)
    return [f"{np.mean(b < 1e-3):.2f} / {np.mean(e < 1e-3):.2f}" for b, e in pairs]


def random_row(name: str) -> list[str]:
    """An activation's row of the table of random generators."""
    return in_range(random_generator(name), 16, K)


def trained_rows(name: str, *, quick: bool) -> dict[str, list[str]]:
    """Recovery in the range of a decoder trained on digits, and held-out digits' errors."""
    import jax
    import jax.numpy as jnp

    import jaxact as ja
    from jaxact import io, nets

    digits = io.load_digits()
    _, decoder, _ = nets.train_autoencoder(
        digits.x, latent=LATENT, act=ja.get(name), epochs=10 if quick else 60,
        key=jax.random.key(0),
    )  # fmt: skip
    cells = in_range(decoder, 8, LATENT)
    masks = observed(8)
    images = jnp.asarray(digits.test_x[: 8 if quick else 32])
    many = jnp.repeat(jnp.asarray(np.stack(list(masks.values()))), len(images), axis=0)
    tiled = jnp.tile(images, (len(masks), 1, 1))
    starts = jax.random.normal(jax.random.key(1), (len(many), RESTARTS, LATENT))
    found = solver_of(decoder, PRIOR)(many, tiled, starts)
    off = np.asarray(found.output - tiled) ** 2
    held_out = []
    for i, mask in enumerate(masks.values()):
        part = off[i * len(images) : (i + 1) * len(images)]
        hidden = f" ({part[:, mask == 0].mean():.3f})" if (mask == 0).any() else ""
        held_out.append(f"{part.mean():.3f}{hidden}")
    agreement = np.asarray(found.agreement).reshape(len(masks), -1).mean(1)
    return {"in range": cells, "held out": held_out, "agreement": [f"{a:.2f}" for a in agreement]}


def table(title: str, rows: dict[str, list[str]]) -> str:
    """A Markdown table with one column a mask."""
    names = list(observed(8))
    head = f"| {title} | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1)
    return "\n".join([head, *(f"| {n} | " + " | ".join(c) + " |" for n, c in rows.items())])


def main(arguments: list[str] | None = None) -> None:
    """Run what the state file does not hold yet, then print the tables."""
    import jaxact as ja

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=pathlib.Path, help="JSON file of finished rows")
    parser.add_argument("--quick", action="store_true", help="four activations, short training")
    parser.add_argument("--only", nargs="+", help="names of activations")
    options = parser.parse_args(arguments)
    names = options.only or (TRAINED if options.quick else ja.catalog.names())
    jobs: dict[str, Callable[[], Any]] = {f"random {n}": lambda n=n: random_row(n) for n in names}
    for name in TRAINED:
        if name in names:
            jobs[f"trained {name}"] = lambda name=name: trained_rows(name, quick=options.quick)
    done: dict[str, Any] = {}
    if options.state and options.state.is_file():
        done = json.loads(options.state.read_text())
    began = time.perf_counter()
    for i, (job, work) in enumerate(jobs.items()):
        if job not in done:
            done[job] = work()
            if options.state:
                fresh = options.state.with_suffix(".new")
                fresh.write_text(json.dumps(done))
                os.replace(fresh, options.state)
        spent = time.perf_counter() - began
        print(f"\r{i + 1}/{len(jobs)} {job} ({spent:.0f} s)".ljust(60), end="", file=sys.stderr)
    print(file=sys.stderr)
    print(table("random generator", {n: done[f"random {n}"] for n in names}))
    trained = [n for n in TRAINED if f"trained {n}" in jobs]
    if trained:
        for key, title in (
            ("in range", "trained decoder, latents in range"),
            ("held out", "held-out digits, MSE (of the hidden pixels)"),
            ("agreement", "held-out digits, agreement of the restarts"),
        ):
            print("\n" + table(title, {n: done[f"trained {n}"][key] for n in trained}))


if __name__ == "__main__":
    main()
