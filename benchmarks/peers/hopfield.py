"""What one writes without a library: the dense memory's updates in NumPy and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def numpy_spins(patterns: np.ndarray, probes: np.ndarray, spins: int) -> Callable[[], np.ndarray]:
    """The first spins of an asynchronous sweep of rectified n = 3, as one writes it.

    Overlaps are kept and updated, so that a spin costs O(K).
    """
    columns = np.ascontiguousarray(patterns.T)
    start = probes @ columns

    def F(h: np.ndarray) -> np.ndarray:
        return np.maximum(h, 0) ** 3

    def work() -> np.ndarray:
        s, h = probes.copy(), start.copy()
        for i in range(spins):
            x = columns[i]
            h -= s[:, i, None] * x
            gap = (F(h + 1) - F(h - 1)) @ x
            s[:, i] = np.where(gap == 0, s[:, i], np.sign(gap))
            h += s[:, i, None] * x
        return s[:, :spins]

    return work


def tuned_numpy_spins(
    patterns: np.ndarray, probes: np.ndarray, spins: int, chunk: int
) -> Callable[[], np.ndarray]:
    """The same, tuned: no temporaries, no powers, and `chunk` probes at a time in the cache."""
    columns = np.ascontiguousarray(patterns.T)
    start = probes @ columns
    states, h = probes.copy(), start.copy()
    up, down, square = (np.empty((chunk, len(patterns)), np.float32) for _ in range(3))

    def cube(a: np.ndarray) -> None:
        np.maximum(a, 0, out=a)
        np.multiply(a, a, out=square)
        np.multiply(a, square, out=a)

    def visit(i: int, s: np.ndarray, h: np.ndarray) -> None:
        np.multiply(s[:, i, None], columns[i], out=up)
        np.subtract(h, up, out=h)
        np.add(h, 1, out=up)
        np.subtract(h, 1, out=down)
        cube(up)
        cube(down)
        np.subtract(up, down, out=up)
        gap = up @ columns[i]
        s[:, i] = np.where(gap == 0, s[:, i], np.sign(gap))
        np.multiply(s[:, i, None], columns[i], out=up)
        np.add(h, up, out=h)

    def work() -> np.ndarray:
        np.copyto(states, probes)
        np.copyto(h, start)
        for low in range(0, len(probes), chunk):
            for i in range(spins):
                visit(i, states[low : low + chunk], h[low : low + chunk])
        return states[:, :spins]

    return work


def torch_spins(patterns: np.ndarray, probes: np.ndarray, spins: int) -> Callable[[], np.ndarray]:
    """The same in PyTorch, the whole batch at once."""
    import torch

    torch.set_num_threads(1)
    columns = torch.from_numpy(np.ascontiguousarray(patterns.T))
    first = torch.from_numpy(probes)
    start = first @ columns

    def work() -> np.ndarray:
        s, h = first.clone(), start.clone()
        for i in range(spins):
            x = columns[i]
            h -= s[:, i, None] * x
            gap = (torch.relu(h + 1) ** 3 - torch.relu(h - 1) ** 3) @ x
            s[:, i] = torch.where(gap == 0, s[:, i], torch.sign(gap))
            h += s[:, i, None] * x
        return s[:, :spins].numpy()

    return work


def gaps(patterns: Any, states: Any, relu: Callable[[Any], Any]) -> Any:
    """All energy differences of rectified n = 3 from two matmuls, overlaps in units of 1024."""

    def F(h: Any) -> Any:
        return relu(h / 1024) ** 3

    h = states @ patterns.T
    low, here, high = F(h - 2), F(h), F(h + 2)
    field = (high - low) / 2
    return field @ patterns + states * (here - (high + low) / 2).sum(1)[:, None]


def numpy_gaps(patterns: np.ndarray, states: np.ndarray) -> Callable[[], np.ndarray]:
    """`gaps` in NumPy."""
    return lambda: gaps(patterns, states, lambda h: np.maximum(h, 0))


def torch_gaps(patterns: np.ndarray, states: np.ndarray) -> Callable[[], np.ndarray]:
    """`gaps` in PyTorch."""
    import torch

    torch.set_num_threads(1)
    tensors = torch.from_numpy(patterns), torch.from_numpy(states)
    return lambda: gaps(*tensors, torch.relu).numpy()
