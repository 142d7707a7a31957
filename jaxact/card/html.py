"""Cards as one self-contained HTML page: no scripts, light and dark, readable on a phone."""

from __future__ import annotations

import html
from collections.abc import Sequence

from jaxact.card import plots
from jaxact.card.section import Card
from jaxact.card.terminal import best, format_value

_PAPERS = {
    "spectra": "Pennington & Worah 2017",
    "bounds": "Zhang et al. 2018 (CROWN)",
    "memory": "Krotov & Hopfield 2016",
    "inversion": "Ma, Ayaz & Karaman 2018",
    "geometry": "Nock et al. 2017",
}

_CSS = """
:root{color-scheme:light dark;--paper:#fbfaf7;--card:#fff;--ink:#1c2024;--faint:#8b929a;
--rule:#e4e2dc;--c1:#0b6bcb;--c2:#c2410c;--c3:#15803d;--c4:#7e3af2;--good:#15803d}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1b1f23;--ink:#e8eaed;--faint:#8a939c;
--rule:#2d333a;--c1:#5aa9ff;--c2:#ff9a5c;--c3:#5fd38a;--c4:#b794ff;--good:#5fd38a}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}main{max-width:64rem;margin:auto;padding:1.2rem}
h1{font-size:1.7rem;margin:.4rem 0}h2{font-size:1.15rem;margin:0}p{margin:.3rem 0 .7rem}
.lede,.paper,.note,footer{color:var(--faint)}.note,.paper,footer{font-size:.85rem}
section{background:var(--card);border:1px solid var(--rule);border-radius:.6rem;padding:1rem 1.1rem;
margin:1rem 0}table{border-collapse:collapse;width:100%;margin:.4rem 0 .8rem}
th,td{text-align:left;padding:.28rem .6rem .28rem 0;border-bottom:1px solid var(--rule);
vertical-align:top;font-weight:400}td{font-variant-numeric:tabular-nums;white-space:nowrap}
td.note{white-space:normal}td.best{color:var(--good);font-weight:600}thead th{font-weight:600}
.plots{display:flex;flex-wrap:wrap;gap:.5rem}.plots figure{flex:1 1 17rem}
.wide{overflow-x:auto}figure{margin:.5rem 0;overflow-x:auto}svg{width:100%;height:auto;
display:block;min-width:17rem}.reason{border-left:3px solid var(--c2);padding-left:.7rem}
nav a{color:var(--c1);margin-right:.9rem}a:focus-visible{outline:2px solid var(--c1)}
@media(max-width:36rem){body{font-size:15px}main{padding:.7rem}td.note{display:none}}
"""

_BEST = ' class="best"'


def write_html(cards: Sequence[Card]) -> str:
    """The page as text.

    Args:
        cards: one card, or several to put side by side; the better value is marked.
    """
    names = [c.name + (f"({c.theta})" if c.theta else "") for c in cards]
    title = " against ".join([names[0], ", ".join(names[1:])]) if len(names) > 1 else names[0]
    links = "".join(f'<a href="#{lens}">{lens}</a>' for lens in cards[0].sections)
    kinks = ", ".join(f"{k:g}" for k in cards[0].kinks) or "none: it is smooth"
    setting = cards[0].setting
    facts = " · ".join(f"{k} {format_value(v)}" for k, v in setting.items())
    body = "".join(_section(cards, lens) for lens in cards[0].sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)} · jaxact card</title><style>{_CSS}</style></head><body><main>"
        f"<header><h1>{html.escape(title)}</h1>"
        '<p class="lede">What five theories say about an activation, measured on real handwritten '
        f"digits.</p><nav>{links}</nav></header>"
        f'<section id="activation"><h2>activation</h2><p class="paper">kinks: {kinks}</p>'
        f"<figure>{plots.activation_curve(cards)}</figure></section>"
        f"{body}<footer>{html.escape(facts)}</footer></main></body></html>\n"
    )


def _section(cards: Sequence[Card], lens: str) -> str:
    first = cards[0][lens]
    reasons = "".join(
        f'<p class="reason">{html.escape(c.name)}: {html.escape(c[lens].reason)}</p>'
        for c in cards
        if c[lens].reason
    )
    drawn = "".join(f"<figure>{svg}</figure>" for svg in _plots(cards, lens))
    return (
        f'<section id="{lens}"><h2>{lens}</h2>'
        f"<p>{html.escape(first.question)}</p>{reasons}{_table(cards, lens)}"
        f'<div class="plots">{drawn}</div>'
        f'<p class="paper">{html.escape(_PAPERS[lens])}</p></section>'
    )


def _table(cards: Sequence[Card], lens: str) -> str:
    alone = len(cards) == 1
    head = "" if alone else "".join(f'<th scope="col">{html.escape(c.name)}</th>' for c in cards)
    rows = []
    for row, first in enumerate(cards[0][lens].values):
        values = [card[lens].values[row] for card in cards]
        winner = best(values)
        cells = "".join(
            f"<td{_BEST if i == winner else ''}>{html.escape(format_value(v.value))}</td>"
            for i, v in enumerate(values)
        )
        note = f'<td class="note">{html.escape(first.note)}</td>' if alone else ""
        rows.append(f'<tr><th scope="row">{html.escape(first.label)}</th>{cells}{note}</tr>')
    header = "" if alone else f"<thead><tr><td></td>{head}</tr></thead>"
    return f'<div class="wide"><table>{header}<tbody>{"".join(rows)}</tbody></table></div>'


def _plots(cards: Sequence[Card], lens: str) -> list[str]:
    data = cards[0][lens].data
    drawn = [draw(cards) for draw in _CURVES[lens]] if any(c[lens].data for c in cards) else []
    if "images" in data:
        label, low = _PICTURES[lens]
        drawn.append(plots.images(data["images"], label, low=low, high=1))
    return drawn


_CURVES = {
    "spectra": (plots.eigenvalues, plots.memorisation),
    "bounds": (plots.accuracy, plots.relaxation),
    "memory": (plots.recall,),
    "inversion": (),
    "geometry": (plots.signature_curve,),
}
_PICTURES = {
    "memory": ("stored, corrupted and recalled digits", -1),
    "inversion": ("digits, what was seen of them and what was recovered", 0),
}
