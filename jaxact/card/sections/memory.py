"""The memory section: real digits stored as +-1 patterns, corrupted and recalled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import memory as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value
from jaxact.io import Images

QUESTION = (
    "How many patterns does an associative memory with this activation hold (F is its "
    "primitive), and how does it recall corrupted digits?"
)
_FLIPS = (0.0, 0.05, 0.1, 0.2, 0.3)


def memory(
    act: Activation, digits: Images, key: Any, *, stored: int, probes: int, mesh: Any = None
) -> Section:
    """Store binarised digits, equally many a class, and recall them at each corruption."""
    patterns = jnp.asarray(_binary(digits, stored))
    pixels = patterns.shape[1]
    # sqrt(N): a hidden unit sees an unrelated pattern as N(0, 1), as in the spectra section
    interaction = lens.from_activation(act).scaled(pixels**0.5)
    drawn, probed, shown, *keys = jax.random.split(key, len(_FLIPS) + 3)
    found = [
        lens.measure_recall(k, patterns, interaction, flips=f, probes=probes, mesh=mesh)
        for f, k in zip(_FLIPS, keys, strict=True)
    ]
    random = jax.random.rademacher(drawn, patterns.shape, patterns.dtype)
    unrelated = lens.measure_recall(
        probed, random, interaction, flips=0.1, probes=probes, mesh=mesh
    )
    overlap = [float(r.overlap) for r in found]
    exact = [float(r.exact) for r in found]
    capacity = float(lens.finite_capacity(pixels, interaction))
    values = [
        Value(
            "capacity",
            f"patterns at 0.5 % bit error, N = {pixels}",
            capacity,
            "random patterns, exact finite-N mean and variance",
            "higher",
        ),
        Value(
            "capacity_ratio",
            "the same, against relu's n = 2 rectified",
            capacity / float(lens.finite_capacity(pixels, 2, rectified=True)),
            "",
            "higher",
        ),
    ]
    values.append(
        Value(
            "recall_random",
            f"{stored} random patterns recalled exactly, 10% flipped",
            float(unrelated.exact),
            f"mean overlap {float(unrelated.overlap):.3f}",
            "higher",
        )
    )
    values += [
        Value(
            f"recall_{f:g}",
            f"{stored} digits recalled exactly, {f:.0%} flipped",
            e,
            f"mean overlap {o:.3f}; digits resemble each other, random patterns do not",
            "higher",
        )
        for f, e, o in zip(_FLIPS, exact, overlap, strict=True)
        if f in (0.0, 0.1, 0.2)
    ]
    converged = float(np.mean([float(r.converged) for r in found]))
    values.append(Value("converged", "probes that reached a fixed point", converged, "", "higher"))
    data = {"flips": _FLIPS, "overlap": overlap, "images": _pictures(shown, patterns, interaction)}
    return Section("memory", QUESTION, tuple(values), data)


def _binary(digits: Images, stored: int) -> np.ndarray:
    """The first digits of each class in turn, +1 where a pixel has more ink than on average."""
    x, y = np.asarray(digits.x).reshape(len(digits.y), -1), np.asarray(digits.y)
    order = np.concatenate([np.flatnonzero(y == c)[: -(-stored // 10)] for c in range(10)])
    order = order.reshape(10, -1).T.reshape(-1)[:stored]
    return np.where(x[order] > x.mean(0), 1.0, -1.0)


def _pictures(key: Any, patterns: Any, interaction: Any) -> dict[str, Any]:
    shown = patterns[:8]
    flip = jax.random.bernoulli(key, 0.1, shown.shape)
    corrupted = jnp.where(flip, -shown, shown)
    recalled = lens.retrieve(patterns, corrupted, interaction).state
    return {
        name: np.asarray(batch, float).reshape(-1, 8, 8)
        for name, batch in (("stored", shown), ("10 % flipped", corrupted), ("recalled", recalled))
    }
