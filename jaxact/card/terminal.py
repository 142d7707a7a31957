"""Cards as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxact.card.compare import best, format_error, format_value, rows, tradeoffs
from jaxact.card.section import Card, Value

TITLES = {
    "spectra": "random features (Pennington & Worah 2017)",
    "bounds": "certified robustness (CROWN, Zhang et al. 2018)",
    "memory": "associative recall (Krotov & Hopfield 2016)",
    "inversion": "latent recovery (Ma, Ayaz & Karaman 2018)",
    "geometry": "deformed families (Nock et al. 2017)",
}


def print_cards(cards: Sequence[Card], console: Console) -> None:
    """Print one table: a block a lens, a row a value, a column an activation."""
    alone = len(cards) == 1
    table = Table(title=None, header_style="bold", pad_edge=False, expand=False)
    table.add_column("", no_wrap=False)
    for card in cards:
        table.add_column(escape(card.title), justify="right")
    if alone:
        table.add_column("how far to trust it", style="dim")
    for lens in cards[0].sections:
        table.add_section()
        table.add_row(f"[bold]{lens} · {TITLES[lens]}[/bold]")
        for name, values in rows(cards, lens):
            winner = best(values)
            cells = [_cell(v, better=i == winner) for i, v in enumerate(values)]
            table.add_row(escape(name.label), *cells, *([escape(trust(name))] if alone else []))
        for card in cards:
            if card[lens].reason:
                table.add_row(f"[dim]{escape(card.title)}: {escape(card[lens].reason)}[/dim]")
    console.print(table)
    for sentence in tradeoffs(cards):
        console.print(escape(sentence), highlight=False)


def trust(value: Value) -> str:
    """Kind, error and what stands behind a value, in one line; the reason where there is none."""
    if value.value is None:
        return value.reason
    return "; ".join(part for part in (value.kind, format_error(value), value.trust) if part)


def _cell(value: Value | None, *, better: bool) -> str:
    text = format_value(None if value is None else value.value)
    return f"[green]✓ {escape(text)}[/green]" if better else escape(text)
