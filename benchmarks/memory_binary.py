"""Binary recall: 1,000 spins, 10,000 patterns, 256 probes with 20 % flipped, rectified n = 3.

`python -m benchmarks.memory_binary` says how far an asynchronous sweep is from the machine's
arithmetic limit and what memory it takes. PyTorch is found through JAXACT_TORCH_PYTHON, an
interpreter. The peers' sweeps would take minutes: a few of their 1,000 spins are timed and their
times scaled, as the rows say.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import Benchmark
from benchmarks.peers import hopfield

N, K, B = 1000, harness.size(10_000, 2_000), harness.size(256, 64)
SPINS = 4
TORCH = "JAXACT_TORCH_PYTHON"
ELEMENTWISE = 12  # operations per pattern and visit: 2 for h, 9 for F(h + 1) - F(h - 1), 1 dot


def _different(ours: np.ndarray, peer: np.ndarray) -> float:
    return float(np.mean(ours != peer))


def _benchmark(name: str, what: str, peer: str, how: str, **options: Any) -> Benchmark:
    pythons = (sys.executable, os.environ.get(TORCH, sys.executable))
    torch = {"requires": TORCH, "imports": ("torch",), "python": pythons} if "torch" in how else {}
    return Benchmark(
        name=name, ours=what, peer=peer, module="benchmarks.memory_binary", arguments=(how,),
        **torch, **options,
    )  # fmt: skip


_SWEEP = {"error": _different, "repetitions": 5, "peer_share": SPINS / N}
_OURS = f"retrieve, one sweep with its checks (equal: first {SPINS} spins of each probe)"
_FROM = f"from {SPINS} of {N} spins"
BENCHMARKS = {
    "memory_async_numpy": _benchmark(
        "async sweep, NumPy", _OURS, f"NumPy incremental, {_FROM}", "async-numpy", **_SWEEP
    ),
    "memory_async_tuned": _benchmark(
        "async sweep, tuned NumPy", _OURS,
        f"NumPy incremental, buffers, no powers, chunks of 32, {_FROM}", "async-tuned", **_SWEEP,
    ),
    "memory_async_torch": _benchmark(
        "async sweep, torch", _OURS, f"torch incremental, {_FROM}", "async-torch", **_SWEEP
    ),
    "memory_gaps_numpy": _benchmark(
        "all gaps, NumPy", "gaps, packed patterns", "NumPy, two matmuls", "gaps-numpy"
    ),
    "memory_gaps_torch": _benchmark(
        "all gaps, torch", "gaps, packed patterns", "torch, two matmuls", "gaps-torch"
    ),
    "memory_overlaps": _benchmark(
        "overlaps", "overlaps, packed patterns", "float32 matmul (XLA)", "overlaps-matmul"
    ),
}  # fmt: skip


def _data() -> tuple[np.ndarray, np.ndarray]:
    """Patterns (K, N) and probes (B, N)."""
    rng = np.random.default_rng(0)
    patterns = rng.choice(np.float32([-1, 1]), (K, N))
    probes = patterns[:B].copy()
    for probe in probes:
        probe[rng.choice(N, N // 5, replace=False)] *= -1
    return patterns, probes


def make_ours(how: str) -> Callable[[], np.ndarray]:
    """The public call on patterns that were packed once."""
    import jax.numpy as jnp

    from jaxact import memory

    patterns, probes = _data()
    stored, states, F = memory.pack(patterns), jnp.asarray(probes), memory.rectified(3)
    works = {
        "async": lambda: memory.retrieve(stored, states, F, max_sweeps=1).state[:, :SPINS],
        "gaps": lambda: memory.gaps(stored, states, F.normalised(N)),
        "overlaps": lambda: memory.overlaps(stored, states).block_until_ready(),
    }
    return lambda: np.asarray(works[how.split("-")[0]]())


def make_peer(how: str) -> Callable[[], np.ndarray]:
    """The peer on float32 patterns that lie as it likes them."""
    patterns, probes = _data()
    if how == "overlaps-matmul":
        import jax
        import jax.numpy as jnp

        product = jax.jit(lambda p, s: jnp.matmul(s, p.T, precision="highest"))
        arrays = jnp.asarray(patterns), jnp.asarray(probes)
        return lambda: np.asarray(product(*arrays))
    peers = {
        "async-numpy": lambda: hopfield.numpy_spins(patterns, probes, SPINS),
        "async-tuned": lambda: hopfield.tuned_numpy_spins(patterns, probes, SPINS, 32),
        "async-torch": lambda: hopfield.torch_spins(patterns, probes, SPINS),
        "gaps-numpy": lambda: hopfield.numpy_gaps(patterns, probes),
        "gaps-torch": lambda: hopfield.torch_gaps(patterns, probes),
    }
    return peers[how]()


def make_limit() -> Callable[[], np.ndarray]:
    """Measure, on one thread: the sweep, a large matmul, and multiply-adds in the first cache."""
    import jax
    import jax.numpy as jnp

    from jaxact import memory
    from jaxact.memory.dynamics import run

    patterns, probes = _data()
    stored, states, F = memory.pack(patterns), jnp.asarray(probes), memory.rectified(3)
    a, cached = jnp.ones((2000, 2000)), jnp.ones(4096)

    def chain(x: Any) -> Any:
        for _ in range(32):
            x = x * 0.999 + 0.001
        return x

    cases = {
        "sweep": lambda: memory.retrieve(stored, states, F, max_sweeps=1),
        "matmul": jax.jit(lambda: a @ a),
        "fma": jax.jit(lambda: jax.lax.fori_loop(0, 20_000, lambda _, x: chain(x), cached)),
    }
    best = dict.fromkeys(cases, np.inf)
    for _ in range(4):
        for name, case in cases.items():
            began = time.process_time()
            jax.block_until_ready(case())
            best[name] = min(best[name], time.process_time() - began)

    def scratch(batch: int) -> int:
        many = jax.ShapeDtypeStruct((batch, N), jnp.float32)
        options = {"mode": "async", "max_sweeps": 1, "chunk": 32}
        made = run.lower(stored, many, F.normalised(N), None, **options).compile()
        return made.memory_analysis().temp_size_in_bytes

    flop = {"sweep": ELEMENTWISE * N * K * B, "matmul": 2 * 2000**3, "fma": 2 * 32 * 4096 * 20_000}
    rates = [flop[name] / best[name] / 1e9 for name in cases]
    values = np.array([*rates, best["sweep"], scratch(B) / 2**20, scratch(8 * B) / 2**20])
    return lambda: values


def limit() -> dict[str, float]:
    """How far the sweep is from what the machine can do, on one thread."""
    found = harness.value_of("benchmarks.memory_binary", "make_limit")
    sweep, matmul, fma, seconds, few, many = found
    return {
        "sweep, CPU s": seconds, "sweep, G operations/s": sweep, "matmul, GFLOP/s": matmul,
        "multiply-add, GFLOP/s": fma,
        # A multiply-add is two of these in one instruction; most of the sweep's are single.
        "share of the elementwise limit": sweep / (max(matmul, fma) / 2),
        f"scratch, {B} probes, MiB": few, f"scratch, {8 * B} probes, MiB": many,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(limit()))
