"""Cards as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxact.card.section import Card, Value

_TITLES = {
    "spectra": "spectra · random features (Pennington & Worah 2017)",
    "bounds": "bounds · certified robustness (CROWN 2018)",
    "memory": "memory · associative recall (Krotov & Hopfield 2016)",
    "inversion": "inversion · latent recovery (Ma, Ayaz & Karaman 2018)",
    "geometry": "geometry · deformed families (Nock et al. 2017)",
}


def format_value(value: Any) -> str:
    """A number as a person writes it: four digits, no noise.

    Example:
        >>> [format_value(v) for v in (0.34084505, 1234567.0, True, None, 12, float("inf"))]
        ['0.3408', '1.235e+06', 'yes', '–', '12', '∞']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return "∞" if value > 0 else "-∞"
        return f"{value:.4g}"
    return str(value)


def best(values: Sequence[Value]) -> int | None:
    """Which of several values is the better one, where one is and they differ."""
    direction = values[0].better
    numbers = [v.value for v in values]
    if not direction or len(numbers) < 2 or len(set(numbers)) == 1:
        return None
    known = [(float(v), i) for i, v in enumerate(numbers) if isinstance(v, int | float)]
    if len(known) < 2:
        return None
    return (max if direction == "higher" else min)(known)[1]


def print_cards(cards: Sequence[Card], console: Console) -> None:
    """Print one table: a block a lens, a row a value, a column an activation."""
    table = Table(title=None, header_style="bold", pad_edge=False, expand=False)
    table.add_column("", no_wrap=False)
    for card in cards:
        table.add_column(card.name + (f"({card.theta})" if card.theta else ""), justify="right")
    if len(cards) == 1:
        table.add_column("", style="dim")
    for lens in cards[0].sections:
        table.add_section()
        table.add_row(f"[bold]{_TITLES[lens]}[/bold]")
        for row, first in enumerate(cards[0][lens].values):
            values = [card[lens].values[row] for card in cards]
            winner = best(values)
            cells = [
                f"[green]{format_value(v.value)}[/green]" if i == winner else format_value(v.value)
                for i, v in enumerate(values)
            ]
            table.add_row(first.label, *cells, *([first.note] if len(cards) == 1 else []))
        for card in cards:
            if card[lens].reason:
                table.add_row(f"[dim]{card.name}: {card[lens].reason}[/dim]")
    console.print(table)
