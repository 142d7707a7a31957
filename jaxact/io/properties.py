"""A property in normal form: boxes of inputs, and the outputs that they must not reach."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxact.bounds.regions import Box
from jaxact.bounds.unsafe import Unsafe


@dataclasses.dataclass(frozen=True)
class Case:
    """A box of inputs and the outputs that they must not reach.

    Attributes:
        box: float64 bounds of the flattened input.
        unsafe: the outputs.
    """

    box: Box
    unsafe: Unsafe


@dataclasses.dataclass(frozen=True)
class Property:
    """A VNN-LIB property in normal form: it holds if no case has a counterexample.

    Attributes:
        inputs: how many X were declared.
        outputs: how many Y.
        cases: the disjunction; boxes that are empty are left out.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def violated_by(self, x: Any, y: Any) -> bool:
        """Whether input x with output y is a counterexample, in float64 and without tolerance."""
        x, y = (np.asarray(v, np.float64).reshape(-1) for v in (x, y))
        for case in self.cases:
            if (x >= case.box.lower).all() and (x <= case.box.upper).all():
                slacks = case.unsafe.rows @ y - case.unsafe.thresholds
                if (slacks.max(axis=1) <= 0).any():
                    return True
        return False
