"""The card's plots: each a drawing, with a caption that says in words what it shows.

Here the activation itself, spectra and bounds; the other lenses are in `plots_lenses`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxact.card.draw import DASHES, FAINT, PAPER, SERIES, svg
from jaxact.card.section import Card

_LABELLED = {"-inf": 5, "-1": 22, "0": 28, "1": 34}
"""Curves of the memorisation plot that are named, and where: no two names meet."""


@dataclasses.dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes:
        title: a few words.
        words: what it shows, for the caption and for a screen reader.
        svg: the SVG element.
    """

    title: str
    words: str
    svg: str


def activation_curve(cards: Sequence[Card]) -> Plot:
    """Each activation and its derivative."""

    def draw(ax: Axes) -> None:
        ax.axhline(0, color=FAINT, lw=0.6)
        ax.axvline(0, color=FAINT, lw=0.6)
        for card, style in _styles(cards):
            x, f = (np.asarray(card.curve[k], float) for k in ("x", "f"))
            ax.plot(x, f, label=card.title, **style)
            line: Any = style | {"ls": ":", "lw": 1.3}
            ax.plot(x, np.asarray(card.curve["slope"], float), **line)
            kinks = [k for k in card.kinks if -5 < k < 5]
            at = np.interp(kinks, x, f)
            ax.plot(kinks, at, "o", ms=4.5, mfc="none", color=style["color"])
        ax.set(ylim=_limits(cards), xlabel="x", xlim=(-5, 5))
        if len(cards) > 1:
            ax.legend()

    kinks = "; circles mark the points where it is not smooth" if cards[0].kinks else ""
    words = f"The activation (line) and its derivative (dotted){kinks}."
    return Plot("The activation", words, svg(draw, "activation-curve", words, tall=2.8))


def _limits(cards: Sequence[Card]) -> tuple[float, float]:
    values = np.concatenate([np.asarray(c.curve["f"], float) for c in cards])
    low, high = max(float(np.nanmin(values)), -4.0), min(float(np.nanmax(values)), 4.0)
    pad = 0.08 * (high - low) + 0.05
    return low - pad, high + pad


def eigenvalues(cards: Sequence[Card]) -> Plot | None:
    """The predicted density, over one simulated histogram where there is one card."""
    drawn = drawn_of(cards, "spectra", "density")
    if not drawn:
        return None

    def draw(ax: Axes) -> None:
        if len(cards) == 1:
            sample = cards[0]["spectra"].data["eigenvalues"]
            shade: Any = {"color": FAINT, "alpha": 0.45, "label": "one simulated matrix"}
            ax.hist(sample, bins=60, density=True, **shade)
        top = 0.0
        for card, data, style in drawn:
            density = np.asarray(data["density"], float)
            ax.plot(data["x"], density, label=card.title + ", theory", **style)
            top = max(top, float(np.nanquantile(density, 0.985)))
        right = max(float(np.asarray(data["x"], float)[-1]) for _, data, _ in drawn)
        ax.set(xlabel="eigenvalue / η", ylabel="density", ylim=(0, 1.25 * top), xlim=(0, right))
        ax.legend(loc="upper right")

    words = "Eigenvalues of a random layer's centred features, in units of their variance."
    if len(cards) == 1:
        distance = cards[0]["spectra"]["spectrum_distance"]
        words += (
            " The line is the theory, the bars are one simulated matrix; their distribution "
            f"functions differ by at most {distance:.2g}."
        )
    return Plot("Spectrum of the features", words, svg(draw, "spectrum", words))


def memorisation(cards: Sequence[Card]) -> Plot | None:
    """Training error on noise against the ridge, among those of other nonlinearities."""
    drawn = drawn_of(cards, "spectra", "training_error_of_beta")
    if not drawn:
        return None

    def draw(ax: Axes) -> None:
        data = drawn[0][1]
        gamma = np.asarray(data["gamma"], float)
        for error in data["training_error_of_beta"].values():
            ax.semilogx(gamma, np.asarray(error, float), color=FAINT, lw=0.9)
        for beta, at in _LABELLED.items():
            error = data["training_error_of_beta"].get(beta)
            if error is not None:
                text = f"β = {beta}".replace("-", "−").replace("inf", "∞")
                box = {"fc": PAPER, "ec": "none", "pad": 0.5}
                place = (gamma[at], float(error[at]))
                ax.annotate(text, place, ha="center", va="center", fontsize=7.5, bbox=box)
        for card, data, style in drawn:
            name = card.title + _beta(card)
            ax.semilogx(data["gamma"], data["training_error"], label=name, **style)
            dots: Any = {"color": style["color"], "ms": 5, "mfc": "none"}
            ax.plot(data["gamma_simulated"], data["training_error_simulated"], "o", **dots)
        ax.set(xlabel="ridge / η", ylabel="training error", ylim=(0.2, 1), xlim=(1e-4, 10))
        ax.legend(loc="upper left")

    words = (
        "Share of pure noise that ridge regression on the features leaves unexplained, against "
        "the ridge. Circles are simulated. Grey, from above: β = −∞ (linear), −1, 0, 1 and ∞ "
        "(no linear part)."
    )
    return Plot("Memorisation", words, svg(draw, "memorisation", words))


def _beta(card: Card) -> str:
    beta = card["spectra"]["beta"]
    if beta is None:
        return ""
    return f", β = {beta:.2g}".replace("-", "−")


def accuracy(cards: Sequence[Card]) -> Plot | None:
    """Accuracy against eps: intervals, CROWN, and the attack above them."""
    drawn = drawn_of(cards, "bounds", "certified")
    if not drawn:
        return None
    alone = len(cards) == 1

    def draw(ax: Axes) -> None:
        for card, data, style in drawn:
            eps, low, high = data["eps"], data["certified"], data["attacked"]
            thin: Any = style | {"lw": 1.2}
            proved = "proved by CROWN" if alone else card.title
            ax.plot(eps, high, label="withstands the attack" if alone else None,
                    **thin | {"ls": (0, (4, 2))})  # fmt: skip
            ax.fill_between(eps, low, high, color=style["color"], alpha=0.14, lw=0)
            ax.plot(eps, low, label=proved, **style)
            if alone:
                ax.plot(eps, data["ibp"], label="proved by intervals", **thin | {"ls": ":"})
        end = max(
            float(np.asarray(data["eps"])[np.asarray(data["attacked"], float) > 0][-1:].sum())
            for _, data, _ in drawn
        )
        ax.set(xlabel="ε, how far every pixel may move", ylabel="share of the digits",
               ylim=(0, 1.03), xlim=(0, max(0.02, 1.08 * end)))  # fmt: skip
        ax.legend(loc="upper right")

    data = drawn[0][1]
    at = int(np.argmin(np.abs(np.asarray(data["eps"], float) - 0.05)))
    words = (
        "Accuracy when every pixel may move by ε: proved below, still standing under an attack "
        "above; what lies between is not known. "
        f"At ε = 0.05, {drawn[0][0].title}: {data['ibp'][at]:.0%} by intervals, "
        f"{data['certified'][at]:.0%} by CROWN, at most {data['attacked'][at]:.0%}."
    )
    return Plot("Certified accuracy", words, svg(draw, "accuracy", words))


def relaxation(cards: Sequence[Card]) -> Plot | None:
    """The certified lines on three intervals of the first activation."""
    data = cards[0]["bounds"].data
    if "relax_lines" not in data:
        return None

    def draw(ax: Axes) -> None:
        ax.plot(data["relax_x"], data["relax_f"], color=SERIES[0])
        for line in data["relax_lines"]:
            x, lower, upper = (np.asarray(line[k], float) for k in ("x", "lower", "upper"))
            ax.fill_between(x, lower, upper, color=SERIES[1], alpha=0.16, lw=0)
            for side in (lower, upper):
                ax.plot(x, side, color=SERIES[1], lw=1.3)
        ax.set(xlabel="pre-activation", xlim=(-4, 4))

    words = (
        f"{cards[0].title} between its certified lines on three intervals: what CROWN knows of "
        "it. The narrower the strips, the tighter the certificate."
    )
    return Plot("Relaxation", words, svg(draw, "relaxation", words))


def drawn_of(
    cards: Sequence[Card], lens: str, key: str
) -> list[tuple[Card, dict[str, Any], dict[str, Any]]]:
    """The cards for which this lens has that curve, with their styles."""
    return [
        (card, card[lens].data, style)
        for card, style in _styles(cards)
        if len(card[lens].data.get(key, ())) > 0
    ]


def _styles(cards: Sequence[Card]) -> list[tuple[Card, dict[str, Any]]]:
    return [
        (card, {"color": SERIES[i % len(SERIES)], "ls": DASHES[i % len(DASHES)]})
        for i, card in enumerate(cards)
    ]
