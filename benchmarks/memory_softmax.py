"""One softmax step of N = 1000, K = 10,000, B = 256 against plain PyTorch and hflayers, on a CPU.

Three cases. "recall": +-1 patterns, 20 % of the probes' bits flipped, beta = 0.1, the task of an
associative memory, in which few weights matter. "attention": normal patterns and states,
beta = 1 / sqrt(N), in which all of them do and both sides make the same two products. "retrieve"
is the first task to the fixed point: `retrieve`, which also gives the energies, against the
peer's own iteration (update_steps_max = -1).

Both peers are optional: JAXACT_TORCH_PYTHON is an interpreter that has PyTorch, JAXACT_HFLAYERS a
checkout of github.com/ml-jku/hopfield-layers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark, size

N, K, B = 1000, size(10_000, 2_000), size(256, 64)
CASES = (
    ("recall", "torch"), ("recall", "hflayers"), ("retrieve", "hflayers"),
    ("attention", "torch"), ("attention", "hflayers"),
)  # fmt: skip
PEERS = {"torch": "plain PyTorch softmax", "hflayers": "hflayers 1.0.2 Hopfield"}
_NEEDS = {"torch": "JAXACT_TORCH_PYTHON", "hflayers": "JAXACT_HFLAYERS"}


def _benchmark(case: str, peer: str) -> Benchmark:
    return Benchmark(
        name=f"softmax, {case}, N = {N}, K = {K}, B = {B}, against {peer}",
        ours=f"jaxact.memory.{'retrieve' if case == 'retrieve' else 'update'}",
        peer=PEERS[peer],
        module="benchmarks.memory_softmax",
        python=(sys.executable, os.environ.get("JAXACT_TORCH_PYTHON", sys.executable)),
        arguments=(case, peer),
        requires=_NEEDS[peer],
        imports=("torch",),
        flop=4.0 * N * K * B if case == "attention" else None,
    )


BENCHMARKS = {f"memory_softmax_{case}_{peer}": _benchmark(case, peer) for case, peer in CASES}


def data(case: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Patterns, states and beta."""
    rng = np.random.default_rng(0)
    if case == "attention":
        return _normal(rng, K), _normal(rng, B), N**-0.5
    patterns = np.where(rng.random((K, N)) < 0.5, -1, 1).astype(np.float32)
    flips = np.where(rng.random((B, N)) < 0.2, -1, 1).astype(np.float32)
    return patterns, patterns[:B] * flips, 0.1


def _normal(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.standard_normal((rows, N)).astype(np.float32)


def make_ours(case: str, peer: str) -> Callable[[], np.ndarray]:
    """The call as a user makes it, its checks of the input included."""
    del peer
    import jax

    from jaxact import memory

    patterns, states, beta = data(case)
    patterns, states = jax.device_put(patterns), jax.device_put(states)
    F = memory.softmax(beta)
    if case == "retrieve":
        return lambda: np.asarray(memory.retrieve(patterns, states, F).state)
    return lambda: np.asarray(memory.update(patterns, states, F))


def make_peer(case: str, peer: str) -> Callable[[], np.ndarray]:
    """The peer without gradients, on one thread."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    patterns, states, beta = data(case)
    X, q = torch.from_numpy(patterns), torch.from_numpy(states)
    steps = -1 if case == "retrieve" else 0
    step = _plain(torch, X, q, beta) if peer == "torch" else _hflayers(X, q, beta, steps)

    def work() -> np.ndarray:
        with torch.inference_mode():
            return step().numpy()  # pyright: ignore

    return work


def _plain(torch: object, X: object, q: object, beta: float) -> Callable[[], object]:
    return lambda: torch.softmax(beta * (q @ X.T), dim=-1) @ X  # pyright: ignore


def _hflayers(X: object, q: object, beta: float, steps: int) -> Callable[[], object]:
    """The retrieval recipe of its documentation: everything static, no projection, no norm."""
    sys.path.insert(0, os.environ["JAXACT_HFLAYERS"])
    from hflayers import Hopfield  # pyright: ignore[reportMissingImports]

    layer = Hopfield(
        scaling=beta, update_steps_max=steps, batch_first=True, disable_out_projection=True,
        stored_pattern_as_static=True, state_pattern_as_static=True,
        pattern_projection_as_static=True, normalize_stored_pattern=False,
        normalize_stored_pattern_affine=False, normalize_state_pattern=False,
        normalize_state_pattern_affine=False, normalize_pattern_projection=False,
        normalize_pattern_projection_affine=False,
    ).eval()  # fmt: skip
    return lambda: layer((X[None], q[None], X[None]))[0]  # pyright: ignore
