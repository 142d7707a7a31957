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
    columns: int = 1,
    size: tuple[float, float] = (4.0, 2.7),
) -> str:
    """Draw on fresh axes and return the SVG element as text.

    Args:
        draw: called with the axes (an array of them where columns > 1).
        label: what a screen reader says of the picture.
        columns: axes side by side.
        size: inches of one panel.
    """
    with matplotlib.rc_context(_STYLE):
        fig = Figure(figsize=(size[0] * columns, size[1]), layout="constrained")
        fig.patch.set_alpha(0)
        axes = fig.subplots(1, columns)
        for ax in np.ravel(axes):
            ax.patch.set_alpha(0)
        draw(axes)
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


def spectrum(cards: Sequence[Card]) -> str:
    """The predicted density over one simulated histogram, and the memorisation curve."""

    def draw(axes: Any) -> None:
        for card, colour in zip(cards, _cycle(cards), strict=True):
            data = card["spectra"].data
            if not data:
                continue
            if len(cards) == 1:
                axes[0].hist(
                    data["eigenvalues"],
                    bins=48,
                    density=True,
                    color=_FAINT,
                    alpha=0.45,
                    label="simulated",
                )
            axes[0].plot(data["x"], data["density"], color=colour, label=_label(card))
            axes[1].semilogx(data["gamma"], data["training_error"], color=colour)
            axes[1].plot(
                data["gamma_simulated"], data["training_error_simulated"], "o", ms=4, color=colour
            )
        axes[0].set(title="eigenvalues of the features", xlabel="eigenvalue / eta", ylim=(0, None))
        axes[0].legend()
        axes[1].set(
            title="memorisation (dots: simulated)",
            xlabel="ridge / eta",
            ylabel="training error",
            ylim=(0, 1),
        )

    return figure(draw, "spectrum and memorisation curve", columns=2)


def robustness(cards: Sequence[Card]) -> str:
    """Accuracy against eps: certified below, attacked above; and the certified lines."""

    def draw(axes: Any) -> None:
        for card, colour in zip(cards, _cycle(cards), strict=True):
            data = card["bounds"].data
            if not data:
                continue
            axes[0].plot(data["eps"], data["attacked"], color=colour, ls="--", lw=1)
            axes[0].plot(data["eps"], data["certified"], color=colour, label=_label(card))
            axes[0].fill_between(
                data["eps"], data["certified"], data["attacked"], color=colour, alpha=0.12, lw=0
            )
        axes[0].set(
            title="accuracy: certified, attacked (dashed)",
            xlabel="eps (max-norm, pixels in [0, 1])",
            ylim=(0, 1.02),
        )
        axes[0].legend()
        data = cards[0]["bounds"].data
        if data:
            axes[1].plot(data["relax_x"], data["relax_f"], color=_SERIES[0])
            for line in data["relax_lines"]:
                for side in ("lower", "upper"):
                    axes[1].plot(line["x"], line[side], color=_SERIES[1], lw=1)
            axes[1].set(title=f"certified lines on {cards[0].name}")

    return figure(draw, "certified accuracy and relaxation lines", columns=2)


def recall(cards: Sequence[Card]) -> str:
    """Recall of stored digits against the share of flipped pixels."""

    def draw(ax: Axes) -> None:
        for card, colour in zip(cards, _cycle(cards), strict=True):
            data = card["memory"].data
            if data:
                ax.plot(
                    data["flips"],
                    data["overlap"],
                    color=colour,
                    marker="o",
                    ms=3,
                    label=_label(card),
                )
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
        for card, colour in zip(cards, _cycle(cards), strict=True):
            data = card["geometry"].data
            if data.get("chi"):
                ax.plot(data["t"], data["chi"], color=colour, label=_label(card))
        ax.set(title="signature chi(t)", xlabel="t = f + k")
        ax.legend()

    return figure(draw, "signature")


def _cycle(cards: Sequence[Card]) -> list[str]:
    return [_SERIES[i % len(_SERIES)] for i in range(len(cards))]
