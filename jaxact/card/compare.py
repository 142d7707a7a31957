"""Several cards beside each other: which value is better, and what one pays for it, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jaxact.card.section import Card, Value, cards_of

_SHOWN = 3
_ROUNDING = 1e-14


def best(values: Sequence[Value | None]) -> int | None:
    """Which of several values is the better one; None where none is, or the errors hide it.

    What is measured must be better than every other by two standard errors of the difference,
    anything else in the digits that are shown.

    Example:
        >>> one, two = (Value("k", "l", v, better="higher") for v in (1.0, 2.0))
        >>> best([one, two])
        1
    """
    known = [(i, v) for i, v in enumerate(values) if v is not None and is_number(v.value)]
    if len(known) < 2 or not known[0][1].better:
        return None
    sign = 1 if known[0][1].better == "higher" else -1
    known.sort(key=lambda pair: -sign * float(pair[1].value or 0))
    (index, first), rest = known[0], known[1:]
    if any(not _clearly(first, other, sign) for _, other in rest):
        return None
    return index


def tradeoffs(cards: Sequence[Card]) -> list[str]:
    """A sentence for each card after the first: where the first is better, and where it pays.

    Args:
        cards: any number; a value counts as better as `best` says.

    Example:
        >>> tradeoffs([])
        []
    """
    cards = cards_of(cards)
    return [_sentence(cards[0], other) for other in cards[1:]]


def rows(cards: Sequence[Card], lens: str) -> list[tuple[Value, list[Value | None]]]:
    """One row a key that any card has: a value that names it, and that of every card."""
    keyed = [{v.key: v for v in card[lens].values} for card in cards]
    names: dict[str, Value] = {}
    for values in keyed:
        for key, value in values.items():
            names.setdefault(key, value)
    return [(first, [values.get(key) for values in keyed]) for key, first in names.items()]


def format_value(value: Any) -> str:
    """A number as a person writes it: four digits, no noise, and what is rounding is 0.

    Example:
        >>> [format_value(v) for v in (0.34084505, 1234567.0, 2e-17, True, None, float("inf"))]
        ['0.3408', '1.235e+06', '0', 'yes', '–', '∞']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return "∞" if value > 0 else "−∞"
        value = value if abs(value) > _ROUNDING else 0.0
        return f"{value:.4g}".replace("-", "−") if "e" not in f"{value:.4g}" else f"{value:.4g}"
    return str(value)


def format_error(value: Value) -> str:
    """What follows the number: its standard error, or its distance to the other side.

    Example:
        >>> format_error(Value("k", "l", 1.0, kind="measured", error=0.0123))
        '± 0.012'
    """
    if value.error is None or value.value is None:
        return ""
    return f"± {value.error:.2g}"


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be compared."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _clearly(first: Value, second: Value, sign: int) -> bool:
    """Whether the digits that are shown differ, and by more than the errors."""
    if format_value(first.value) == format_value(second.value):
        return False
    gap = sign * (float(first.value or 0) - float(second.value or 0))
    noise = 0.0
    if first.kind in ("measured", "certified"):
        noise = 2 * math.hypot(first.error or 0, second.error or 0)
    return gap > noise


def _sentence(one: Card, two: Card) -> str:
    won: list[tuple[float, str]] = []
    lost: list[tuple[float, str]] = []
    ties = 0
    for lens in one.sections:
        for name, (mine, other) in rows([one, two], lens):
            if not name.better or mine is None or other is None:
                continue
            if not (is_number(mine.value) and is_number(other.value)):
                continue
            winner = best([mine, other])
            if winner is None:
                ties += 1
                continue
            values = f"({format_value(mine.value)} against {format_value(other.value)})"
            (lost if winner else won).append((_gap(mine, other), f"{name.label} {values}"))
    if not won and not lost:
        return (
            f"{one.title} and {two.title} cannot be told apart: all {ties} numbers that can be "
            "compared agree within their errors."
        )
    text = f"{one.title} against {two.title}: better on {len(won)}, worse on {len(lost)}, "
    text += f"within the errors on {ties}. "
    if won and lost:
        return text + f"It gains {_some(won)}, and pays with {_some(lost)}."
    if won:
        return text + f"It gains {_some(won)}, and pays with nothing that is measured here."
    return text + f"It gains nothing that is measured here, and pays with {_some(lost)}."


def _gap(one: Value, two: Value) -> float:
    """The difference as a share of the larger one: what orders the words."""
    first, second = float(one.value or 0), float(two.value or 0)
    return abs(first - second) / max(abs(first), abs(second))


def _some(found: list[tuple[float, str]]) -> str:
    """The largest differences first."""
    names = [name for _, name in sorted(found, key=lambda pair: -pair[0])]
    shown, more = names[:_SHOWN], len(names) - _SHOWN
    if more > 0:
        return ", ".join(shown) + f" and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
