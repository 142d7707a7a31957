"""What a card is made of: values with their meaning, the arrays behind its plots, reasons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from jaxact.numerics import checks

R = TypeVar("R")

KINDS = {
    "exact": "a closed form or a quadrature: right to rounding",
    "certified": "proved: the true value is at least as good",
    "measured": "counted in runs from the card's seed: it has a standard error",
    "tested": "read off samples of the function",
}
"""Kind of a value -> how far it can be trusted."""


@dataclasses.dataclass(frozen=True)
class Value:
    """One number of a card.

    Attributes:
        key: stable name in card.json.
        label: what the table calls it.
        value: a number, a flag or a word; None where the lens has no answer.
        meaning: what it says, in words.
        unit: of the value, in words; "" for a pure number.
        kind: one of `KINDS`, or "" for a value that needs none.
        error: how far it may be off, in its own unit: one standard error of what is measured,
            the distance to a simulation or to a second formula else; None where there is none.
        trust: in words what stands behind it: the certificate, the flag, the other side.
        better: "higher" or "lower" where one is better, else "".
        reason: why there is no value, "" if there is one.
    """

    key: str
    label: str
    value: float | int | bool | str | None
    meaning: str = ""
    unit: str = ""
    kind: str = ""
    error: float | None = None
    trust: str = ""
    better: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """What one lens says of one activation.

    Attributes:
        lens: spectra, bounds, memory, inversion or geometry.
        question: what the lens asks.
        values: its numbers; the first is the one for the head of the page.
        data: arrays behind the plots, by name.
        reason: why the lens has no (full) answer, empty if it has one.
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

    @property
    def title(self) -> str:
        """The name, with the parameters where there are some."""
        return f"{self.name}({self.theta})" if self.theta else self.name

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: every float finite, a non-finite one is None."""
        return _plain(dataclasses.asdict(self))


def cards_of(cards: Sequence[Card]) -> list[Card]:
    """The cards as a list, or a `TypeError` that names `cards`."""
    found = checks.sequence("cards", cards)
    for card in found:
        checks.instance("every entry of cards", card, Card)
    return found


def attempt(fn: Callable[..., R], *args: Any, **kwargs: Any) -> tuple[R | None, str]:
    """What fn returns and "", or None and why it refused.

    A lens refuses an activation that it has no theory for by these errors; others are defects.
    """
    try:
        return fn(*args, **kwargs), ""
    except (ValueError, NotImplementedError, OverflowError) as error:
        lines = str(error).strip().splitlines()
        return None, lines[0] if lines else type(error).__name__


def settled(section: Section) -> Section:
    """The section with a reason beside every value that does not exist or is not finite."""

    def settle(value: Value) -> Value:
        kept = number(value.value) if isinstance(value.value, float) else value.value
        error = None if value.error is None or kept is None else number(value.error)
        reason = value.reason or "not finite here" if kept is None else ""
        return dataclasses.replace(value, value=kept, error=error, reason=reason)

    return dataclasses.replace(section, values=tuple(settle(v) for v in section.values))


def number(value: Any) -> float | None:
    """A float, or None where it is not finite: a card has no NaN."""
    value = float(value)
    return value if math.isfinite(value) else None


def standard_error(samples: Any) -> float | None:
    """Of the mean of independent samples; None of fewer than two."""
    samples = np.asarray(samples, float)
    if samples.size < 2:
        return None
    return float(samples.std(ddof=1) / math.sqrt(samples.size))


def share(hits: Any) -> tuple[float, float]:
    """The share of hits, and its standard error with one hit and one miss added.

    (Agresti-Coull's: the plain one would be 0 for 24 of 24.)
    """
    hits = np.asarray(hits, float).ravel()
    middle = (hits.sum() + 1) / (hits.size + 2)
    return float(hits.mean()), math.sqrt(middle * (1 - middle) / (hits.size + 2))


def pixels(images: Any, *, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Pictures as whole numbers from 0 (low) to 255 (high): what the file keeps of them."""
    scaled = (np.asarray(images, float) - low) / (high - low)
    return np.round(255 * np.clip(np.nan_to_num(scaled), 0, 1)).astype(int)


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
