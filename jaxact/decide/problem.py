"""What is to be decided, in one form: boxes of inputs, each with a polyhedron not to be reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from jaxact.bounds.regions import Ball, Box
from jaxact.bounds.unsafe import Unsafe
from jaxact.numerics import checks
from jaxact.numerics.fingerprint import fingerprint


@dataclasses.dataclass(frozen=True)
class Pieces:
    """P separate questions: is there an x in a box with rows . f(x) <= thresholds?

    All float64 NumPy arrays. A polyhedron with fewer half-spaces than the others repeats one.

    Attributes:
        lower: shape (P, inputs).
        upper: shape (P, inputs).
        rows: shape (P, H, outputs).
        thresholds: shape (P, H).
    """

    lower: np.ndarray
    upper: np.ndarray
    rows: np.ndarray
    thresholds: np.ndarray

    def __len__(self) -> int:
        return len(self.lower)

    def take(self, which: np.ndarray) -> Pieces:
        """Some of them."""
        return Pieces(*(getattr(self, f.name)[which] for f in dataclasses.fields(self)))

    def padded(self, half_spaces: int) -> Pieces:
        """With so many half-spaces, the first one repeated: equal shapes compile once."""
        more = half_spaces - self.rows.shape[1]
        order = np.r_[np.arange(self.rows.shape[1]), np.zeros(max(more, 0), int)]
        return dataclasses.replace(
            self, rows=self.rows[:, order], thresholds=self.thresholds[:, order]
        )

    def check_exact(self) -> None:
        """Raise `ValueError` where float32 would round the rows: a proof would be of others."""
        if (self.rows.astype(np.float32) != self.rows).any():
            raise ValueError("sound=True needs rows that are exact in float32")

    def fingerprint(self, network: Callable[..., Any], shape: tuple[int, ...]) -> str:
        """Of these questions about a network, a callable pytree of one float32 input."""
        example = jax.ShapeDtypeStruct(shape, np.float32)
        return fingerprint(network, example, dataclasses.asdict(self))

    def margins(self, y: np.ndarray) -> np.ndarray:
        """The largest slack of each piece at outputs y: y is in its polyhedron where <= 0."""
        return (self.rows @ np.asarray(y, np.float64) - self.thresholds).max(axis=1)

    def reached(self, x: np.ndarray, y: np.ndarray) -> float:
        """The least margin of the pieces whose box holds x, at outputs y; inf if none does."""
        inside = ((x >= self.lower) & (x <= self.upper)).all(axis=1)
        return float(self.margins(y)[inside].min(initial=np.inf))

    def violated_by(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether input x with output y is a counterexample, without tolerance."""
        return self.reached(x, y) <= 0


def pieces_of(cases: Any, inputs: int, outputs: int) -> Pieces:
    """Every polyhedron of every case as a question of its own.

    Args:
        cases: a pair (region, `Unsafe`), several, or objects with `box` and `unsafe` as
            `jaxact.io.load_vnnlib(file).cases`; a region is a `Box` or a `Ball` of norm inf.
        inputs: the network's input size.
        outputs: its output size.

    Returns:
        `Pieces`; none where `cases` is empty.

    Raises:
        TypeError: for what is not such a pair.
        ValueError: for shapes that do not fit, or numbers that are not finite.
    """
    checks.integer("inputs", inputs, 1)
    checks.integer("outputs", outputs, 1)
    lower, upper, polyhedra = [], [], []
    for region, unsafe in pairs_of(cases):
        low, high = _ends(region, inputs)
        if not isinstance(unsafe, Unsafe):
            raise TypeError(f"a case must hold an Unsafe set of outputs, got {unsafe!r}")
        unsafe.check(outputs)
        for rows, thresholds in zip(unsafe.rows, unsafe.thresholds, strict=True):
            lower.append(low)
            upper.append(high)
            polyhedra.append((np.asarray(rows, np.float64), np.asarray(thresholds, np.float64)))
    if not polyhedra:
        none = np.zeros((0, inputs))
        return Pieces(none, none, np.zeros((0, 1, outputs)), np.zeros((0, 1)))
    together = Unsafe.of(polyhedra)
    return Pieces(np.stack(lower), np.stack(upper), together.rows, together.thresholds)


def pairs_of(cases: Any) -> list[tuple[Any, Any]]:
    """Cases as a list of (region, unsafe set)."""
    if isinstance(cases, tuple) and len(cases) == 2 and isinstance(cases[1], Unsafe):
        return [cases]
    if not isinstance(cases, Iterable):
        raise TypeError(f"cases must be a pair (region, Unsafe) or several, got {cases!r}")
    found = []
    for case in cases:
        if hasattr(case, "box") and hasattr(case, "unsafe"):
            found.append((case.box, case.unsafe))
        elif isinstance(case, tuple) and len(case) == 2:
            found.append(case)
        else:
            raise TypeError(f"a case must be a pair (region, Unsafe), got {case!r}")
    return found


def _ends(region: Any, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(region, Ball | Box):
        raise TypeError(f"a case's region must be a Box or a Ball, got {region!r}")
    if not region.is_box:
        raise ValueError(f"a case's region must be a Box or a Ball of norm inf, got {region!r}")
    region.check()
    if isinstance(region, Box):
        low, high = region.lower, region.upper
    else:
        center, eps = np.asarray(region.center, np.float64), np.float64(region.eps)
        clip = region.clip or (-np.inf, np.inf)
        low, high = np.maximum(center - eps, clip[0]), np.minimum(center + eps, clip[1])
    low, high = (np.asarray(v, np.float64).reshape(-1) for v in (low, high))
    checks.shape("a case's region", low, (inputs,))
    return low, high
