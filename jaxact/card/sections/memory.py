"""The memory section: capacity in theory and by simulation, and real digits recalled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import memory as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value, attempt, number, pixels, share
from jaxact.io import Images

QUESTION = (
    "How many patterns does an associative memory with this activation hold (F is its "
    "primitive), and how does it recall corrupted digits?"
)
_STORED = (5, 10, 20, 40)
_FLIP = 0.1
_ERROR = 0.005
_BASIN = 5


def memory(
    act: Activation, digits: Images, key: Any, *, probes: int, memories: int, mesh: Any = None
) -> Section:
    """Store binarised digits, equally many a class, and recall them with a tenth flipped."""
    size = int(np.prod(digits.x.shape[1:]))
    # sqrt(N): a hidden unit sees an unrelated pattern as N(0, 1), as in the spectra section
    made, why = attempt(lambda: lens.from_activation(act).scaled(size**0.5))
    if made is None:
        return Section("memory", QUESTION, (), reason=f"no interaction function: {why}")
    drawn, measured, shown, *keys = jax.random.split(key, 2 * len(_STORED) + 3)
    values = _capacity(made, size, measured, memories)
    patterns = jnp.asarray(_binary(digits, max(_STORED)))
    random = jax.random.rademacher(drawn, patterns.shape, patterns.dtype)
    found = {
        name: [
            lens.measure_recall(
                k, _repeated(of, count), made, flips=_FLIP, probes=probes, mesh=mesh
            )
            for count, k in zip(_STORED, part, strict=True)
        ]
        for name, of, part in (
            ("digits", patterns, keys[: len(_STORED)]),
            ("random", random, keys[len(_STORED) :]),
        )
    }
    values += _recalls(found, probes)
    data = {
        "stored": _STORED,
        "flips": _FLIP,
        **{f"overlap_{name}": [float(r.overlap) for r in runs] for name, runs in found.items()},
        "pictures": _pictures(shown, patterns[: _STORED[0]], made, digits),
    }
    return Section("memory", QUESTION, tuple(values), data)


def _capacity(made: Any, size: int, key: Any, memories: int) -> list[Value]:
    """The finite-N capacity, a simulation at it, and how much of a pattern may be flipped."""
    capacity = number(lens.finite_capacity(size, made, _ERROR))
    quadratic = float(lens.finite_capacity(size, 2, _ERROR, rectified=True))
    words, off = "", None
    if capacity is not None and 4 <= capacity <= 4096:
        count = int(capacity)
        run = lens.measure_capacity(key, size, count, made, memories=memories, probes=count)
        words = (
            f"{float(run.bit_error):.2%} of the bits fail in a simulation with {count} patterns "
            f"(standard error {float(run.bit_error_se):.2%})"
        )
        # what the formula would give for the rate at which bits were seen to fail
        off = _capacity_of(made, size, float(run.bit_error), capacity)
    basin = number(lens.basin_radius(size, made, _BASIN, _ERROR))
    return [
        Value(
            "capacity",
            f"random patterns that {size} spins hold",
            capacity,
            f"until {_ERROR:.1%} of the bits of a stored pattern are unstable",
            "patterns",
            "exact",
            off,
            f"mean and variance exact at this size, crosstalk Gaussian; {words}".rstrip("; "),
            "higher",
            "" if capacity is not None else "F is too flat or too steep for this size",
        ),
        Value(
            "capacity_ratio",
            "the same, against relu",
            None if capacity is None else capacity / quadratic,
            "relu's F is the rectified square, the classical Hopfield network's",
            "",
            "exact",
            reason="" if capacity is not None else "there is no capacity",
        ),
        Value(
            "basin",
            f"flipped bits that one update repairs, {_BASIN} patterns",
            basin,
            f"to at most {_ERROR:.1%} wrong ones; random patterns",
            "share of the bits",
            "exact",
            None,
            "mean and variance exact at this size, crosstalk Gaussian",
            "higher",
            "" if basin is not None else "F is too flat or too steep for this size",
        ),
    ]


def _capacity_of(made: Any, size: int, error: float, capacity: float) -> float | None:
    """How far the capacity is off if its bits fail at the rate that was counted."""
    if not 0 < error < 0.5:
        return None
    return number(abs(float(lens.finite_capacity(size, made, error)) - capacity))


def _recalls(found: dict[str, Any], probes: int) -> list[Value]:
    values = []
    for name, words in (
        ("digits", "digits resemble each other, so they are harder than random patterns"),
        ("random", "unrelated patterns of as many pixels"),
    ):
        for i in (0, 2):
            run, count = found[name][i], _STORED[i]
            exact, error = share(np.arange(probes) < round(float(run.exact) * probes))
            what = "digits" if name == "digits" else "random patterns"
            values.append(
                Value(
                    f"recall_{name}_{count}",
                    f"{count} {what} recalled exactly, {_FLIP:.0%} flipped",
                    exact,
                    words,
                    f"share of {probes} probes",
                    "measured",
                    error,
                    f"mean overlap {float(run.overlap):.3f}; "
                    f"{float(run.converged):.0%} reached a fixed point",
                    "higher",
                )
            )
    return values


def _repeated(patterns: Any, count: int) -> Any:
    """The first `count`, again and again: the same dynamics, at one compiled shape."""
    return jnp.tile(patterns[:count], (len(patterns) // count, 1))


def _binary(digits: Images, stored: int) -> np.ndarray:
    """The first digits of each class in turn, +1 where a pixel has more ink than on average."""
    x, y = np.asarray(digits.x).reshape(len(digits.y), -1), np.asarray(digits.y)
    order = np.concatenate([np.flatnonzero(y == c)[: -(-stored // 10)] for c in range(10)])
    order = order.reshape(10, -1).T.reshape(-1)[:stored]
    return np.where(x[order] > x.mean(0), 1.0, -1.0).astype(np.float32)


def _pictures(key: Any, shown: Any, made: Any, digits: Images) -> list[dict[str, Any]]:
    flip = jax.random.bernoulli(key, _FLIP, shown.shape)
    corrupted = jnp.where(flip, -shown, shown)
    recalled = lens.retrieve(shown, corrupted, made).state
    right = int((np.asarray(recalled) == np.asarray(shown)).all(1).sum())
    rows = (
        ("stored", f"{len(shown)} digits in black and white", shown),
        (f"{_FLIP:.0%} flipped", "the same with a tenth of the pixels turned", corrupted),
        ("recalled", f"what the memory makes of them: {right} of {len(shown)} exactly", recalled),
    )
    return [
        {
            "label": label,
            "alt": alt,
            "map": "gray",
            "pixels": pixels(_square(batch, digits), low=-1),
        }
        for label, alt, batch in rows
    ]


def _square(batch: Any, digits: Images) -> np.ndarray:
    return np.asarray(batch, float).reshape(-1, *digits.x.shape[1:])
