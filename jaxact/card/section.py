"""What a card is made of: values with their meaning, the arrays behind its plots, reasons."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Value:
    """One number of a card.

    Attributes:
        key: stable name in card.json.
        label: what the table calls it.
        value: a number, a flag or a word; None where the lens has no answer.
        note: the reason for a None, or how the number was got.
        better: "higher" or "lower" where one is better, else "".
    """

    key: str
    label: str
    value: float | int | bool | str | None
    note: str = ""
    better: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """What one lens says of one activation.

    Attributes:
        lens: spectra, bounds, memory, inversion or geometry.
        question: what the lens asks.
        values: its numbers.
        data: arrays behind the plots, by name.
        reason: why the lens has no answer, empty if it has one.
    """

    lens: str
    question: str
    values: tuple[Value, ...]
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""

    def __getitem__(self, key: str) -> Any:
        """The value of that key."""
        return {v.key: v.value for v in self.values}[key]


@dataclasses.dataclass(frozen=True)
class Card:
    """All that five lenses say of one activation.

    Attributes:
        name: the activation's name.
        theta: its parameters, as text.
        kinks: where it is not smooth.
        curve: x, f(x) and f'(x), for the picture at the head.
        sections: one a lens, by the lens's name.
        setting: data, seed, sizes and versions: what to repeat the run with.
    """

    name: str
    theta: str
    kinks: tuple[float, ...]
    curve: dict[str, Any]
    sections: dict[str, Section]
    setting: dict[str, Any]

    def __getitem__(self, lens: str) -> Section:
        """The section of that lens."""
        return self.sections[lens]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: every float finite, a non-finite one is None."""
        return _plain(dataclasses.asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return round_to(float(value), 7) if math.isfinite(value) else None
    if hasattr(value, "dtype"):
        return _plain(np.asarray(value).tolist())
    return value


def round_to(value: float, digits: int) -> float:
    """`value` with that many significant digits: what the file keeps, free of float noise."""
    return float(f"{value:.{digits}g}")
