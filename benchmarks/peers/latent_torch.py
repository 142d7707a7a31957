"""The published demonstration's way: Adam on the latents of a batch; runs where torch is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch  # pyright: ignore[reportMissingImports]


def adam(
    w1: np.ndarray, w2: np.ndarray, y: np.ndarray, starts: np.ndarray, rate: float, steps: int
) -> Callable[[], np.ndarray]:
    """Latents after some steps; one thread, layers as einsums, the faster form here."""
    torch.set_num_threads(1)
    first, second, target, begin = map(torch.from_numpy, (w1, w2, y, starts))

    def work() -> np.ndarray:
        z = begin.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            hidden = torch.relu(torch.einsum("bc,cijd->bijd", z, first))
            out = torch.relu(torch.einsum("bhwc,cijd->bhiwjd", hidden, second))
            loss = 0.5 * ((out.reshape(target.shape) - target) ** 2).sum()
            loss.backward()
            optimiser.step()
        return z.detach().numpy()

    return work
