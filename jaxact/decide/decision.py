"""The answer, and what every search tells on its way."""

from __future__ import annotations

import dataclasses
import time

import numpy as np


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether an unsafe output is reached, and why that is known.

    Attributes:
        status: "verified" (it is not), "falsified" (it is, at `x`) or "unknown".
        margin: a certified lower bound, over everything, of the distance to the unsafe set: the
            largest slack of the nearest polyhedron. Positive: verified. Of a counterexample its
            own margin, <= 0.
        method: what decided: "attack", "bounds", "input splitting" or "neuron splitting"; ""
            for unknown.
        x: the counterexample, flattened, float64; None unless falsified.
        y: the outputs there, evaluated in float64.
        domains: how many boxes or subdomains were bounded.
        seconds: wall time.
        timed_out: whether time ran out; an unknown that did not has run out of what to split.
    """

    status: str
    margin: float
    method: str
    x: np.ndarray | None
    y: np.ndarray | None
    domains: int
    seconds: float
    timed_out: bool


@dataclasses.dataclass(frozen=True)
class Status:
    """Where a search stands, for `progress`.

    Attributes:
        seconds: wall time so far.
        domains: boxes or subdomains bounded so far.
        left: how many wait.
        margin: the least certified margin among those that wait.
    """

    seconds: float
    domains: int
    left: int
    margin: float


class Clock:
    """Wall time since the start, and whether the limit is passed."""

    def __init__(self, timeout: float) -> None:
        self.start, self.timeout = time.monotonic(), timeout

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start

    @property
    def late(self) -> bool:
        """Whether the limit is passed."""
        return self.seconds > self.timeout
