"""Interval bounds of a 784-1024-1024-1024-10 relu network: ours against a NumPy twin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark

WIDTHS, EPS = (784, 1024, 1024, 1024, 10), 0.01

BENCHMARK = Benchmark(
    name="interval bounds, 784-1024x3-10 relu, one image, float32",
    ours="jaxact.bounds.ibp",
    peer=f"NumPy interval loop (numpy {np.__version__})",
    module="benchmarks.interval_mlp",
    # W and |W| are read once
    moved=2.0 * 4 * sum(n * m for n, m in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)),
)


def _data() -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    rng = np.random.default_rng(0)
    layers = [
        (
            rng.normal(scale=(2 / n) ** 0.5, size=(n, m)).astype(np.float32),
            rng.normal(scale=0.1, size=m).astype(np.float32),
        )
        for n, m in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]
    return layers, rng.uniform(size=WIDTHS[0]).astype(np.float32)


def make_ours() -> Callable[[], np.ndarray]:
    """The public call on a traced JAX function of the same weights, prepared once as |W| is."""
    import jax
    import jax.numpy as jnp

    from jaxact.bounds import Ball, ibp
    from jaxact.tracing import trace

    layers, x = _data()

    def apply(params: list[tuple[jax.Array, jax.Array]], v: jax.Array) -> jax.Array:
        for weight, bias in params[:-1]:
            v = jnp.maximum(v @ weight + bias, 0)
        weight, bias = params[-1]
        return v @ weight + bias

    f = jax.tree_util.Partial(apply, jax.tree.map(jnp.asarray, layers))
    center = jnp.asarray(x)
    network = trace(f, center)

    def work() -> np.ndarray:
        bounds = ibp(network, Ball(center, eps=EPS))
        return np.stack([np.asarray(bounds.lower), np.asarray(bounds.upper)])

    return work


def make_peer() -> Callable[[], np.ndarray]:
    """Centre and radius through each layer, |W| prepared once."""
    layers, x = _data()
    sizes = [np.abs(weight) for weight, _ in layers]

    def work() -> np.ndarray:
        low, high = x - np.float32(EPS), x + np.float32(EPS)
        for i, ((weight, bias), size) in enumerate(zip(layers, sizes, strict=True)):
            middle, radius = (low + high) / 2 @ weight + bias, (high - low) / 2 @ size
            low, high = middle - radius, middle + radius
            if i < len(layers) - 1:
                low, high = np.maximum(low, 0), np.maximum(high, 0)
        return np.stack([low, high])

    return work
