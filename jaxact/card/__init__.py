"""The card: the five lenses composed on real data, as a table, a JSON file and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxact.card.compare import tradeoffs as tradeoffs
from jaxact.card.files import dump as dump
from jaxact.card.files import load as load
from jaxact.card.files import schema as schema
from jaxact.card.measure import measure as measure
from jaxact.card.resolve import resolve as resolve
from jaxact.card.section import Card as Card
from jaxact.card.section import Section as Section
from jaxact.card.section import Value as Value
from jaxact.card.several import measure_all as measure_all

if TYPE_CHECKING:
    from jaxact.card.html import write_html as write_html


def __getattr__(name: str) -> Any:
    if name == "write_html":  # the only part that needs matplotlib
        from jaxact.card.html import write_html

        return write_html
    raise AttributeError(f"module 'jaxact.card' has no attribute {name!r}")
