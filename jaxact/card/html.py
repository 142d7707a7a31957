"""Cards as one self-contained HTML page: no scripts, light and dark, readable on a phone."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from html import escape

from jaxact.card import plots, plots_lenses
from jaxact.card.compare import best, format_error, format_value, is_number, rows, tradeoffs
from jaxact.card.draw import strip
from jaxact.card.section import KINDS, Card, Value
from jaxact.card.terminal import TITLES

_PLOTS = {
    "spectra": (plots.eigenvalues, plots.memorisation),
    "bounds": (plots.accuracy, plots.relaxation),
    "memory": (plots_lenses.recall,),
    "inversion": (plots_lenses.calibration,),
    "geometry": (plots_lenses.divergence_curve, plots_lenses.signature_curve),
}
_PICTURES = {
    "memory": ("Digits recalled", "A tenth of the pixels is flipped, then the memory runs."),
    "inversion": (
        "Digits completed",
        "From the upper half alone; the last row is how uncertain each pixel is.",
    ),
}


def write_html(cards: Sequence[Card]) -> str:
    """The page as text.

    Args:
        cards: one card, or several to put side by side: the better value is marked, and what
            one pays for it is said.

    Returns:
        A whole HTML document. It loads nothing and runs nothing.

    Raises:
        ValueError: if there is no card.
    """
    if not cards:
        raise ValueError("cards must hold at least one card, got none")
    names = [card.title for card in cards]
    title = f"{names[0]} against {', '.join(names[1:])}" if len(names) > 1 else names[0]
    lenses = list(cards[0].sections)
    body = "".join(_section(cards, lens) for lens in lenses)
    head = _tradeoffs(cards) if len(cards) > 1 else _glance(cards[0])
    links = "".join(f'<li><a href="#{lens}">{lens}</a></li>' for lens in lenses)
    css = (importlib.resources.files("jaxact.card") / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)} · jaxact card</title>"
        # an icon of nothing: without it a browser asks the server for one
        f'<link rel="icon" href="data:,"><style>{css}</style></head><body>'
        '<a class="skip" href="#main">Skip to the numbers</a>'
        f"{_header(cards, title)}"
        f'<nav aria-label="Lenses"><ul>{links}</ul></nav>'
        f'<main id="main">{head}{body}</main>{_footer(cards[0])}</body></html>\n'
    )


def _header(cards: Sequence[Card], title: str) -> str:
    kinks = ", ".join(f"{k:.4g}" for k in cards[0].kinks[:6]) or "none: it is smooth"
    facts = [("data", cards[0].setting.get("data", "")), ("kinks", kinks)]
    if len(cards) > 1:
        facts = facts[:1]
    items = "".join(f"<div><dt>{k}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts)
    return (
        f"<header><div><h1>{escape(title)}</h1>"
        '<p class="lede">What five theories say about an activation function: computed, proved '
        "and measured on real handwritten digits.</p>"
        f'<dl class="facts">{items}</dl></div>{_figure(plots.activation_curve(cards))}</header>'
    )


def _glance(card: Card) -> str:
    """The first number of every lens."""
    tiles = []
    for lens, section in card.sections.items():
        link = f'<a href="#{lens}">{lens}</a>'
        if not section.values:
            reason = f'<span class="what">{escape(section.reason)}</span>'
            tiles.append(f'<li>{link}<span class="big">–</span>{reason}</li>')
            continue
        first = section.values[0]
        note = first.unit or first.kind
        tiles.append(
            f'<li>{link}<span class="big">{escape(format_value(first.value))}</span>'
            f'<span class="what">{escape(first.label)}</span>'
            f'<span class="unit">{escape(note)}</span></li>'
        )
    return f'<ul class="glance" aria-label="At a glance">{"".join(tiles)}</ul>'


def _tradeoffs(cards: Sequence[Card]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in tradeoffs(cards))
    return (
        '<section id="tradeoffs"><h2>Trade-offs</h2>'
        '<p class="paper">A value is marked better where it is so by two standard errors. The '
        "errors are those of the samples; every network was trained once.</p>"
        f'<ul class="trades">{items}</ul></section>'
    )


def _section(cards: Sequence[Card], lens: str) -> str:
    question = next((c[lens].question for c in cards), "")
    reasons = "".join(
        f'<p class="reason">{escape(c.title)}: {escape(c[lens].reason)}.</p>'
        for c in cards
        if c[lens].reason
    )
    drawn = [_figure(plot) for plot in (draw(cards) for draw in _PLOTS[lens]) if plot is not None]
    drawn += [_pictures(card, lens, alone=len(cards) == 1) for card in cards[:2]]
    figures = "".join(drawn)
    figures = f'<div class="plots">{figures}</div>' if figures else ""
    table = _table(cards[0], lens) if len(cards) == 1 else _side_by_side(cards, lens)
    return (
        f'<section id="{lens}" aria-labelledby="{lens}-title"><h2 id="{lens}-title">'
        f'{lens.capitalize()}</h2><p class="paper">{escape(TITLES[lens])}</p>'
        f'<p class="question">{escape(question)}</p>{reasons}{figures}{table}</section>'
    )


def _figure(plot: plots.Plot) -> str:
    return (
        f"<figure><figcaption><b>{escape(plot.title)}</b>{escape(plot.words)}</figcaption>"
        f"{plot.svg}</figure>"
    )


def _pictures(card: Card, lens: str, *, alone: bool) -> str:
    found = card[lens].data.get("pictures")
    if not found:
        return ""
    title, words = _PICTURES[lens]
    strips = "".join(
        f'<span aria-hidden="true">{escape(row["label"])}</span>'
        f'<img src="{strip(row["pixels"], row["map"])}" alt="{escape(row["alt"])}">'
        for row in found
    )
    whose = "" if alone else f": {card.title}"
    return (
        f"<figure><figcaption><b>{escape(title + whose)}</b>{escape(words)} "
        f'{escape(found[-1]["alt"].capitalize())}.</figcaption><div class="strips">{strips}</div>'
        "</figure>"
    )


def _table(card: Card, lens: str) -> str:
    """Label and meaning, value and unit, what stands behind it.

    The roles keep it a table where a phone shows its rows as blocks.
    """
    if not card[lens].values:
        return ""
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{escape(v.label)}{_small(v.meaning)}</th>'
        f'<td role="cell" class="num">{_number(v)}{_small(v.unit)}</td>'
        f'<td role="cell" class="trust">{_trust(v)}</td></tr>'
        for v in card[lens].values
    )
    head = "".join(
        f'<th scope="col" role="columnheader">{name}</th>'
        for name in ("what", "value", "how far to trust it")
    )
    return (
        f'<div class="alone"><table role="table" aria-label="{lens}: the numbers">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table></div>'
    )


def _side_by_side(cards: Sequence[Card], lens: str) -> str:
    """A column an activation; certificates and errors in words below."""
    found = rows(cards, lens)
    if not found:
        return ""
    body, behind = "", ""
    for name, values in found:
        winner = best(values)
        named = list(zip(cards, values, strict=True))
        cells = "".join(_cell(c, v, better=i == winner) for i, (c, v) in enumerate(named))
        note = name.meaning + (f" ({name.unit})" if name.unit else "")
        body += _row(name.label, note, cells)
        words = (
            f'<td role="cell" class="trust" data-name="{escape(c.title)}">'
            f"{'' if v is None else _trust(v)}</td>"
            for c, v in named
        )
        behind += _row(name.label, "", "".join(words))
    titles = "".join(f'<th scope="col" role="columnheader">{escape(c.title)}</th>' for c in cards)
    head = f'<thead role="rowgroup"><tr role="row"><td role="cell"></td>{titles}</tr></thead>'
    return (
        f"{_scroll(lens + ': the numbers', head, body)}"
        "<details><summary>What stands behind these numbers</summary>"
        f"{_scroll(lens + ': certificates and errors', head, behind)}</details>"
    )


def _row(label: str, note: str, cells: str) -> str:
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{escape(label)}{_small(note)}</th>'
        f"{cells}</tr>"
    )


def _scroll(label: str, head: str, body: str) -> str:
    """A table that scrolls inside itself where it is too wide, with the keyboard too."""
    return (
        f'<div class="scroll against" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table role="table">{head}<tbody role="rowgroup">{body}</tbody></table></div>'
    )


def _cell(card: Card, value: Value | None, *, better: bool) -> str:
    named = f'role="cell" data-name="{escape(card.title)}"'
    if value is None:
        return f'<td {named} class="num">–</td>'
    mark = '<span class="mark">✓ better</span>' if better else ""
    return f'<td {named} class="num{" better" if better else ""}">{_number(value)} {mark}</td>'


def _number(value: Value) -> str:
    error = format_error(value)
    shown = f"<strong>{escape(format_value(value.value))}</strong>"
    words = is_number(value.value) and error
    return f'{shown} <span class="pm">{escape(error)}</span>' if words else shown


def _trust(value: Value) -> str:
    if value.value is None:
        return escape(value.reason)
    kind = f'<span class="kind {value.kind}">{value.kind}</span>' if value.kind else ""
    return kind + escape(value.trust)


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _footer(card: Card) -> str:
    kinds = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in KINDS.items())
    facts = " · ".join(f"{k} {format_value(v)}" for k, v in card.setting.items())
    return (
        "<footer><p>How far to trust a number. What follows ± is in its own unit: a standard "
        "error of what is measured, the distance to a simulation or to a second formula else.</p>"
        f"<dl>{kinds}</dl><p>{escape(facts)}</p></footer>"
    )
