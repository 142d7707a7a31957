"""f-GAN steps beside PyTorch's, and the paper's protocol: python -m benchmarks.geometry_game.

The comparison is of the CPU times of the same steps, one game and six divergences at once
(JAXACT_TORCH_PYTHON names an interpreter with torch).
`--digits` plays the paper's grid of generator activations and links on 8x8 digits, `--mnist FILE`
on 28x28 ones, and prints the kernel-density log-likelihood of the test digits; finished rows are
kept in `--out`, so a run that was killed goes on. `--ring` plays every divergence and link.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

from benchmarks.harness import Benchmark

TORCH_PYTHON = "JAXACT_TORCH_PYTHON"
STEPS, BATCH, LATENT, HIDDEN = 20, 128, 16, 64
DIVERGENCES = ["kl", "reverse_kl", "pearson", "squared_hellinger", "jensen_shannon", "gan"]
LINKS = ["nowozin", "logistic", "matsushita"]
# Means and deviations over 3 seeds of the official repository's raw values, MLP on 32x32 MNIST.
PUBLISHED = {
    "relu, logistic": "457.25 ± 35.52",
    "softplus, logistic": "127.56 ± 11.74",
    "lsu, logistic": "197.47 ± 27.97",
    "relu, matsushita": "498.30 ± 26.23",
}


def _inputs() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The weights, the data of every step and its latents, the same for both sides."""
    rng = np.random.default_rng(0)
    weights = []
    for widths in ((LATENT, HIDDEN, HIDDEN, 2), (2, HIDDEN, HIDDEN, 1)):
        for n, m in zip(widths[:-1], widths[1:], strict=True):
            weights += [rng.normal(size=(n, m)) * np.sqrt(2 / n), np.zeros(m)]
    angle = 2 * np.pi * rng.integers(0, 8, (STEPS, BATCH)) / 8
    real = 2 * np.stack([np.cos(angle), np.sin(angle)], -1)
    real += 0.1 * rng.normal(size=real.shape)
    noise = rng.normal(size=(STEPS, BATCH, LATENT))
    f32 = lambda a: np.ascontiguousarray(a, np.float32)  # noqa: E731
    return [f32(w) for w in weights], f32(real), f32(noise)


def _forward(p: Any, x: Any) -> Any:
    import jax

    for kernel, bias in zip(p[:-2:2], p[1:-2:2], strict=True):
        x = jax.nn.relu(x @ kernel + bias)
    return x @ p[-2] + p[-1]


def make_ours(names: str) -> Any:
    """`STEPS` steps of every named divergence in one compiled run."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxact import geometry

    weights, real, noise = _inputs()
    wanted = names.split(",")
    adam = optax.adam(1e-3, b1=0.5)
    # The step's key carries its number: both sides see the same latents.
    drawn = jnp.asarray(noise)
    rules = geometry.game(
        _forward, _forward, [geometry.ProperComposite(n) for n in wanted],
        latent=lambda number, count: drawn[number], optimizers=(adam, adam), limit=1e30,
    )  # fmt: skip
    start = rules.init, weights[:6], weights[6:]

    @jax.jit
    def play(generator: Any, judge: Any, x: Any) -> Any:
        def one(which: Any) -> Any:
            state = rules.init(generator, judge, which)
            turn = lambda held, part: (rules.step(held, *part)[0], None)  # noqa: E731
            state, _ = jax.lax.scan(turn, state, (x, jnp.arange(STEPS)))
            return jax.vmap(lambda z: rules.generator(state.generator, z))(drawn[0]).ravel()

        count = len(wanted)
        return one(0)[None] if count == 1 else jax.vmap(one)(jnp.arange(count))

    parts = [jnp.asarray(w) for w in start[1]], [jnp.asarray(w) for w in start[2]]
    samples = jnp.asarray(real)
    return lambda: np.asarray(play(*parts, samples))


def make_peer(names: str) -> Any:
    """The same steps, one divergence after the other."""
    from benchmarks.peers.gan import torch_steps

    return torch_steps(*_inputs(), names.split(","))


def _pair(names: list[str]) -> Benchmark:
    many = f", {len(names)} divergences at once" if len(names) > 1 else ""
    return Benchmark(
        f"f-GAN steps, batch {BATCH}, MLP 64x64, Adam{many}", "geometry.game", "torch",
        "benchmarks.geometry_game", repetitions=5, arguments=(",".join(names),),
        python=(sys.executable, os.environ.get(TORCH_PYTHON, sys.executable)),
        requires=TORCH_PYTHON, imports=("torch",),
    )  # fmt: skip


BENCHMARKS = {"geometry_game": _pair(["gan"]), "geometry_game_all": _pair(DIVERGENCES)}


def ring(options: argparse.Namespace) -> None:
    """Every divergence x link x seed on the ring of Gaussians, in one compiled run."""
    import jax

    import jaxact as ja
    from jaxact import geometry, nets

    law, seeds = geometry.ring(), options.seeds
    pool = [geometry.ProperComposite(d, k) for d in DIVERGENCES for k in LINKS]
    lanes = len(pool) * seeds
    keys = jax.vmap(jax.random.key)(np.arange(lanes) % seeds)
    duo = nets.mlp_players(LATENT, 2, ja.get("relu"), key=keys)
    rules = geometry.game(
        duo.generator[0], duo.discriminator[0], pool, latent=LATENT, loss=options.loss
    )
    start = jax.vmap(rules.init)(duo.generator[1], duo.discriminator[1], np.arange(lanes) // seeds)
    show = lambda m: print(f"  part {int(m.parts)}", file=sys.stderr, flush=True)  # noqa: E731
    every = max(options.steps // 5, 1)
    match = geometry.play(
        rules, start, law, steps=every * 5, every=every, key=jax.random.key(7), save=show
    )
    z = rules.latent(jax.random.key(8), 2000)
    fakes = jax.jit(jax.vmap(lambda p: jax.vmap(lambda one: rules.generator(p, one))(z)))(
        match.state.generator
    )
    print("| divergence x link | modes | quality | mode KL | estimate | stopped |")
    print("|---|---|---|---|---|---|")
    for i, composite in enumerate(pool):
        mine = range(i * seeds, (i + 1) * seeds)
        seen = [geometry.ring_coverage(fakes[j], law) for j in mine]
        stopped = int(np.sum(np.asarray(match.state.diverged.term)[list(mine)] > 0))
        print(
            f"| {composite.name} | {', '.join(str(int(c.modes)) for c in seen)} | "
            f"{np.mean([float(c.quality) for c in seen]):.2f} | "
            f"{np.mean([float(c.kl) for c in seen]):.3f} | "
            f"{np.mean(np.asarray(match.trace.estimate)[list(mine), -1]):.3g} | "
            f"{stopped} of {seeds} |"
        )


def _grid(step: float) -> list[tuple[str, str, Any]]:
    """(row, link, activation): mu-ReLU over mu, softplus, LSU, and ReLU with either link."""
    import jaxact as ja

    mus = np.arange(0, 1 - 1e-9, step)
    rows = [(f"mu_relu {mu:.1f}, logistic", "logistic", ja.get("mu_relu", float(mu))) for mu in mus]
    rows += [(f"{n}, logistic", "logistic", ja.get(n)) for n in ("relu", "softplus", "lsu")]
    return [*rows, ("relu, matsushita", "matsushita", ja.get("relu"))]


def digits(options: argparse.Namespace) -> None:
    """The paper's grid: test log-likelihood of a kernel density on generated digits."""
    import jax

    from jaxact import geometry, io

    data = io.load_mnist(options.mnist) if options.mnist else io.load_digits()
    x, test = (a.reshape(len(a), -1) for a in (data.x, data.test_x))
    width = float(geometry.kde_bandwidth(x[:2000]).value)
    best = geometry.kde_log_likelihood(x, test, bandwidth=width).mean()
    print(
        f"{len(x)} training and {len(test)} test digits of {x.shape[1]} pixels, bandwidth "
        f"{width:.4f}; density of the training digits themselves: {float(best):.2f} nats"
    )
    out = pathlib.Path(options.out)
    kept = json.loads(out.read_text()) if out.is_file() else {}
    print("| generator's activation, link | log-likelihood, nats | published (MLP, MNIST 32x32) |")
    print("|---|---|---|")
    for name, link, act in _grid(options.mu_step):
        setting = f"{name}|{options.mnist}|{options.steps}|{options.hidden}|{options.seeds}"
        if setting not in kept:
            began = time.process_time()
            kept[setting] = _digit_row(x, test, act, link, width, options)
            out.write_text(json.dumps(kept))
            print(f"  {name}: {time.process_time() - began:.0f} CPU s", file=sys.stderr, flush=True)
        found = np.asarray(kept[setting])
        print(f"| {name} | {found.mean():.2f} ± {found.std():.2f} | {PUBLISHED.get(name, '')} |")
    print(
        "The published runs differ: 32x32 pixels, hidden layers of 1024 with batch normalisation, "
        "uniform latents, Adam at 2e-4, 100 epochs, the best epoch by validation, 3 seeds."
    )
    jax.clear_caches()


def _digit_row(
    x: Any, test: Any, act: Any, link: str, width: float, options: argparse.Namespace
) -> list[float]:
    """All seeds of one row at once."""
    import jax
    import optax

    import jaxact as ja
    from jaxact import geometry, nets

    keys = jax.vmap(jax.random.key)(np.arange(options.seeds))
    duo = nets.mlp_players(
        32, x.shape[1], act, hidden=(options.hidden,) * 2, output=jax.nn.sigmoid,
        critic_act=ja.get("elu"), key=keys,
    )  # fmt: skip
    adam = optax.adam(5e-4, b1=0.5)
    rules = geometry.game(
        duo.generator[0], duo.discriminator[0], geometry.ProperComposite("gan", link), latent=32,
        optimizers=(adam, adam),
    )  # fmt: skip
    start = jax.vmap(rules.init)(duo.generator[1], duo.discriminator[1])
    match = geometry.play(
        rules, start, x, steps=options.steps, batch=64, check=64, key=jax.random.key(7)
    )
    z = rules.latent(jax.random.key(8), 2000)
    make = jax.jit(jax.vmap(lambda p: jax.vmap(lambda one: rules.generator(p, one))(z)))
    fakes = make(match.state.generator)
    score = lambda s: geometry.kde_log_likelihood(s, test, bandwidth=width).mean()  # noqa: E731
    return [float(score(sample)) for sample in fakes]


def main() -> None:
    """Read the options and run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ring", action="store_true")
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--mnist", help="an npz file of MNIST, in place of the 8x8 digits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--hidden", type=int, default=128, help="of the players on digits")
    parser.add_argument("--mu-step", type=float, default=0.1)
    parser.add_argument("--loss", default="non-saturating", help="on the ring, or theory")
    parser.add_argument("--out", default="geometry_game.json", help="finished rows")
    options = parser.parse_args()
    if options.ring:
        ring(options)
    elif options.digits or options.mnist:
        digits(options)
    else:
        parser.error("--ring, --digits or --mnist must be given")


if __name__ == "__main__":
    main()
