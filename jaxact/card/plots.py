"""The card's plots: matplotlib drawn to SVG text that follows the page's light or dark colours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxact.card.section import Card

# Stand-ins that the page replaces by CSS variables, so one drawing serves both themes.
_INK, _FAINT = "#010203", "#040506"
_SERIES = ("#a10001", "#a10002", "#a10003", "#a10004")
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--faint)"} | {
    colour: f"var(--c{i + 1})" for i, colour in enumerate(_SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxact",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "image.cmap": "gray",
}


def figure(
    draw: Callable[[Any], None],
    label: str,
    *,
    size: tuple[float, float] = (4.0, 2.7),
) -> str:
    """Draw on fresh axes and return the SVG element as text.

    Args:
        draw: called with the axes.
        label: what a screen reader says of the picture.
        size: in inches.
    """
    with matplotlib.rc_context(_STYLE):
        fig = Figure(figsize=size, layout="constrained")
        fig.patch.set_alpha(0)
        ax = fig.subplots()
        ax.patch.set_alpha(0)
        draw(ax)
        buffer = io.StringIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue(), label)


def _themed(text: str, label: str) -> str:
    svg = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    prefix = re.sub(r"\W+", "-", label.lower())
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', svg).group(1)  # pyright: ignore[reportOptionalMemberAccess]
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" role="img" '
        f'aria-label="{label}" style="max-width:{float(box.split()[2]) * 1.33:.0f}px">'
    )
    svg = re.sub(r"<svg [^>]*>", head, svg, count=1)
    return svg.strip()


def _label(card: Card) -> str:
    return card.name + (f"({card.theta})" if card.theta else "")


def activation_curve(cards: Sequence[Card]) -> str:
    """Each activation (solid) and its derivative (dotted)."""

    def draw(ax: Axes) -> None:
        for card, colour in zip(cards, _cycle(cards), strict=True):
            ax.plot(card.curve["x"], card.curve["f"], color=colour, label=_label(card))
            ax.plot(card.curve["x"], card.curve["slope"], color=colour, ls=":", lw=1.2)
        ax.axhline(0, color=_FAINT, lw=0.5)
        ax.axvline(0, color=_FAINT, lw=0.5)
        ax.set(title="the activation (dotted: its derivative)", ylim=_limits(cards))
        if len(cards) > 1:
            ax.legend()

    return figure(draw, "the activation and its derivative")


def _limits(cards: Sequence[Card]) -> tuple[float, float]:
    values = np.concatenate([np.asarray(c.curve["f"], float) for c in cards])
    low, high = float(values.min()), float(values.max())
    low, high = max(low, -4.0), min(high, 4.0)
    pad = 0.08 * (high - low) + 0.05
    return low - pad, high + pad


def eigenvalues(cards: Sequence[Card]) -> str:
    """The predicted density, over one simulated histogram where there is one card."""

    def draw(ax: Axes) -> None:
        for card, data, colour in _drawn(cards, "spectra"):
            if len(cards) == 1:
                ax.hist(
                    data["eigenvalues"],
                    bins=48,
                    density=True,
                    color=_FAINT,
                    alpha=0.45,
                    label="simulated",
                )
            ax.plot(data["x"], data["density"], color=colour, label=_label(card))
        ax.set(title="eigenvalues of the features", xlabel="eigenvalue / eta", ylim=(0, None))
        ax.legend()

    return figure(draw, "spectrum of the features")


def memorisation(cards: Sequence[Card]) -> str:
    """Training error on noise against the ridge, predicted and simulated."""

    def draw(ax: Axes) -> None:
        for _, data, colour in _drawn(cards, "spectra"):
            ax.semilogx(data["gamma"], data["training_error"], color=colour)
            simulated = data["training_error_simulated"]
            ax.plot(data["gamma_simulated"], simulated, "o", ms=4, color=colour)
        ax.set(title="training error on noise (dots: simulated)", xlabel="ridge / eta", ylim=(0, 1))

    return figure(draw, "memorisation curve")


def accuracy(cards: Sequence[Card]) -> str:
    """Accuracy against eps: certified below, attacked above."""

    def draw(ax: Axes) -> None:
        for card, data, colour in _drawn(cards, "bounds"):
            eps, low, high = data["eps"], data["certified"], data["attacked"]
            ax.plot(eps, high, color=colour, ls="--", lw=1)
            ax.plot(eps, low, color=colour, label=_label(card))
            ax.fill_between(eps, low, high, color=colour, alpha=0.12, lw=0)
        ax.set(
            title="accuracy: certified, attacked (dashed)",
            xlabel="eps (max-norm, pixels in [0, 1])",
            ylim=(0, 1.02),
        )
        ax.legend()

    return figure(draw, "certified accuracy")


def relaxation(cards: Sequence[Card]) -> str:
    """The certified lines on three intervals of the first activation."""

    def draw(ax: Axes) -> None:
        data = cards[0]["bounds"].data
        ax.plot(data["relax_x"], data["relax_f"], color=_SERIES[0])
        for line in data["relax_lines"]:
            for side in ("lower", "upper"):
                ax.plot(line["x"], line[side], color=_SERIES[1], lw=1)
        ax.set(title=f"certified lines on {cards[0].name}")

    return figure(draw, "relaxation lines")


def recall(cards: Sequence[Card]) -> str:
    """Recall of stored digits against the share of flipped pixels."""

    def draw(ax: Axes) -> None:
        for card, data, colour in _drawn(cards, "memory"):
            line = {"color": colour, "marker": "o", "ms": 3, "label": _label(card)}
            ax.plot(data["flips"], data["overlap"], **line)
        ax.set(
            title="overlap of the recalled digit with the stored one",
            xlabel="share of pixels flipped",
            ylim=(0, 1.03),
        )
        ax.legend()

    return figure(draw, "recall of corrupted digits")


def images(rows: dict[str, Any], label: str, *, low: float, high: float) -> str:
    """Small images in named rows."""

    def draw(ax: Axes) -> None:
        ax.axis("off")
        gap = 1
        stacks = {name: np.asarray(batch, float) for name, batch in rows.items()}
        size = next(iter(stacks.values())).shape[1]
        for r, (name, batch) in enumerate(stacks.items()):
            for c, image in enumerate(batch):
                left, top = c * (size + gap), -r * (size + gap)
                ax.imshow(
                    image,
                    extent=(left, left + size, top - size, top),
                    vmin=low,
                    vmax=high,
                    cmap="gray",
                    interpolation="nearest",
                )
            ax.text(-gap, -r * (size + gap) - size / 2, name, ha="right", va="center")
        count = len(next(iter(stacks.values())))
        ax.set(
            xlim=(-3.2 * size, count * (size + gap)),
            ylim=(-len(stacks) * (size + gap), 0.5),
            aspect="equal",
        )

    return figure(draw, label, size=(6.4, 0.75 * len(rows) + 0.1))


def signature_curve(cards: Sequence[Card]) -> str:
    """The signature chi of each activation that has one."""

    def draw(ax: Axes) -> None:
        for card, data, colour in _drawn(cards, "geometry"):
            ax.plot(data["t"], data["chi"], color=colour, label=_label(card))
        ax.set(title="signature chi(t)", xlabel="t = f + k")
        ax.legend()

    return figure(draw, "signature")


def _drawn(cards: Sequence[Card], lens: str) -> list[tuple[Card, dict[str, Any], str]]:
    """The cards for which this lens has something to draw, with their colours."""
    coloured = zip(cards, _cycle(cards), strict=True)
    return [(card, card[lens].data, colour) for card, colour in coloured if card[lens].data]


def _cycle(cards: Sequence[Card]) -> list[str]:
    return [_SERIES[i % len(_SERIES)] for i in range(len(cards))]
