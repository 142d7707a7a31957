"""Formulas of linear comparisons, and their disjunctive normal form."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from jaxact.bounds.regions import Box
from jaxact.bounds.unsafe import Unsafe
from jaxact.io.properties import Case, Property

LIMIT = 100_000
"""The largest number of disjuncts."""


@dataclasses.dataclass
class Term:
    """A conjunction: bounds of inputs by index, and half-spaces of outputs."""

    low: dict[int, float] = dataclasses.field(default_factory=dict)
    high: dict[int, float] = dataclasses.field(default_factory=dict)
    rows: list[tuple[tuple[tuple[int, float], ...], float]] = dataclasses.field(
        default_factory=list
    )

    def bound(self, index: int, value: float, *, above: bool) -> None:
        """X_index <= value, or >= value."""
        if above:
            self.high[index] = min(value, self.high.get(index, math.inf))
        else:
            self.low[index] = max(value, self.low.get(index, -math.inf))

    def join(self, other: Term) -> None:
        """And."""
        for index, value in other.low.items():
            self.bound(index, value, above=False)
        for index, value in other.high.items():
            self.bound(index, value, above=True)
        self.rows += other.rows


@dataclasses.dataclass(frozen=True)
class Linear:
    """A linear expression: coefficients by variable, and a constant."""

    terms: tuple[tuple[tuple[str, int], float], ...]
    constant: float

    def times(self, factor: float) -> Linear:
        """Scaled."""
        return Linear(tuple((v, factor * c) for v, c in self.terms), factor * self.constant)


def product(factors: list[list[Term]]) -> list[Term]:
    """And of disjunctions, as a disjunction."""
    common = Term()
    several = []
    for factor in factors:
        if len(factor) == 1:
            common.join(factor[0])
        else:
            several.append(factor)
    if math.prod(map(len, several)) > LIMIT:
        raise ValueError(f"more than {LIMIT} disjuncts")
    results = []
    for choice in itertools.product(*several):
        term = Term(dict(common.low), dict(common.high), list(common.rows))
        for factor in choice:
            term.join(factor)
        results.append(term)
    return results


def normal_form(
    common: Term, disjunctions: list[list[Term]], inputs: int, outputs: int
) -> Property:
    """Disjuncts of one box become one case; empty boxes are left out."""
    groups: dict[tuple[bytes, bytes], tuple[Box, list[Any]]] = {}
    base = _box((np.full(inputs, -np.inf), np.full(inputs, np.inf)), common)
    for term in product(disjunctions):
        lower, upper = _box(base, term)
        unbounded = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
        if unbounded.size:
            raise ValueError(f"X_{unbounded[0]} has no lower or no upper bound")
        if (lower > upper).any():
            continue
        key = lower.tobytes(), upper.tobytes()
        _, unsafe = groups.setdefault(key, (Box(lower, upper), []))
        unsafe.append(_half_spaces([*common.rows, *term.rows], outputs))
    cases = tuple(Case(box, Unsafe.of(unsafe)) for box, unsafe in groups.values())
    return Property(inputs, outputs, cases)


def _box(base: tuple[np.ndarray, np.ndarray], term: Term) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = base
    if term.low:
        lower, index = lower.copy(), list(term.low)
        lower[index] = np.maximum(lower[index], list(term.low.values()))
    if term.high:
        upper, index = upper.copy(), list(term.high)
        upper[index] = np.minimum(upper[index], list(term.high.values()))
    return lower, upper


def _half_spaces(rows: list[Any], outputs: int) -> tuple[np.ndarray, np.ndarray]:
    matrix, thresholds = np.zeros((len(rows), outputs)), np.zeros(len(rows))
    for at, (row, threshold) in enumerate(rows):
        for index, factor in row:
            matrix[at, index] = factor
        thresholds[at] = threshold
    return matrix, thresholds
