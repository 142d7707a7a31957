"""What this machine can do on one thread: large matrix products and copies, measured once a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import harness

SIDE = harness.size(2000, 1000)
BYTES = harness.size(2**28, 2**26)  # larger than any cache


@dataclasses.dataclass(frozen=True)
class Limits:
    """Rates of one thread.

    Attributes:
        gemm: float32 additions and multiplications a second of a large product, the better of
            NumPy's and XLA's.
        copy: bytes a second, read and written, of a large copy.
    """

    gemm: float
    copy: float

    def share(self, benchmark: harness.Benchmark, seconds: float) -> float | None:
        """The time that the products or the traffic of a call need at least, over its seconds."""
        least = [
            amount / rate
            for amount, rate in ((benchmark.flop, self.gemm), (benchmark.moved, self.copy))
            if amount is not None
        ]
        return max(least) / max(seconds, 1e-12) if least else None


def measure() -> Limits:
    """The rates, from a child with one thread."""
    return Limits(*harness.value_of("benchmarks.limits", "make_rates"))


def make_rates() -> Callable[[], np.ndarray]:
    """In the child: the best of five for each, in CPU seconds."""
    import jax
    import jax.numpy as jnp

    a = np.ones((SIDE, SIDE), np.float32)
    here = jnp.asarray(a)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    source, target = np.ones(BYTES // 4, np.float32), np.empty(BYTES // 4, np.float32)

    def work() -> np.ndarray:
        gemm = min(_best(lambda: a @ a), _best(lambda: product(here).block_until_ready()))
        copy = _best(lambda: np.copyto(target, source))
        return np.array([2 * SIDE**3 / gemm, 2 * BYTES / copy])

    return work


def _best(work: Callable[[], Any]) -> float:
    work()
    found = []
    for _ in range(5):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return max(min(found), 1e-9)
