"""Two lines around tanh on 100000 intervals: ours against auto_LiRPA's relaxation of BoundTanh.

The peer's checkout is found through JAXACT_AUTO_LIRPA, an interpreter with PyTorch through
JAXACT_TORCH_PYTHON. The peer needs its table of
tangents, which it builds once, outside the time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark

COUNT = 100_000


def _excess_area(ours: np.ndarray, peer: np.ndarray) -> float:
    """Our area between the lines over the peer's, minus 1: negative where ours is tighter."""
    low, high = _intervals()
    middle = (low + high) / 2
    gaps = []
    for flat in (ours, peer):
        s, t, p, q = flat.reshape(4, COUNT)
        gaps.append((p - s) * middle + q - t)
    return float((gaps[0] * (high - low)).sum() / (gaps[1] * (high - low)).sum() - 1)


def _intervals() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centre, width = rng.normal(0, 2, COUNT), 10 ** rng.uniform(-2, np.log10(8), COUNT)
    return (centre - width / 2).astype(np.float32), (centre + width / 2).astype(np.float32)


def make_ours() -> Callable[[], np.ndarray]:
    """The public call on arrays that are on the device already."""
    import jax
    import jax.numpy as jnp

    from jaxact.bounds import relax_unit

    low, high = (jnp.asarray(v) for v in _intervals())
    lines = jax.jit(lambda a, b: relax_unit(jnp.tanh, a, b))

    def work() -> np.ndarray:
        return np.stack([np.asarray(v) for v in jax.tree.leaves(lines(low, high))])

    return work


def make_peer() -> Callable[[], np.ndarray]:
    """bound_relax of the operator, its default options."""
    sys.path.insert(0, os.environ["JAXACT_AUTO_LIRPA"])
    import torch
    from auto_LiRPA.operators.s_shaped import BoundTanh  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    node = BoundTanh(attr={"device": torch.device("cpu")}, inputs=[], output_index=0, options={})
    low, high = (torch.from_numpy(v)[None] for v in _intervals())

    class Input:
        lower, upper = low, high

    def work() -> np.ndarray:
        node.bound_relax(Input(), init=True)
        parts = (node.lw, node.lb, node.uw, node.ub)
        return np.stack([v.detach().numpy().reshape(-1) for v in parts])

    return work


BENCHMARK = Benchmark(
    name="lines of tanh, 1e5 intervals, float32",
    ours="jaxact.bounds.relax_unit",
    peer="auto_LiRPA BoundTanh.bound_relax",
    module="benchmarks.relax_lines",
    error=_excess_area,
    python=(sys.executable, os.environ.get("JAXACT_TORCH_PYTHON", sys.executable)),
    requires="JAXACT_AUTO_LIRPA",
    imports=("torch",),
)
