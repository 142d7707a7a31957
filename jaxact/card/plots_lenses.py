"""The card's plots of memory, inversion and geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxact.card.draw import FAINT, svg
from jaxact.card.plots import Plot, drawn_of
from jaxact.card.section import Card


def recall(cards: Sequence[Card]) -> Plot | None:
    """Overlap of what is recalled against the number of patterns stored."""
    drawn = drawn_of(cards, "memory", "overlap_digits")
    if not drawn:
        return None

    def draw(ax: Axes) -> None:
        for card, data, style in drawn:
            dots: Any = style | {"marker": "o", "ms": 4}
            stored = [str(k) for k in data["stored"]]
            name = "digits" if len(cards) == 1 else card.title
            ax.plot(stored, data["overlap_digits"], label=name, **dots)
            faint: Any = dots | {"lw": 1.1, "mfc": "none", "alpha": 0.7, "ls": ":"}
            other = "random patterns" if len(cards) == 1 else None
            ax.plot(stored, data["overlap_random"], label=other, **faint)
        ax.set(xlabel="patterns stored", ylabel="overlap with the stored one", ylim=(0, 1.04))
        ax.legend(loc="lower left")

    words = (
        "How much of a stored pattern comes back after a tenth of its pixels were flipped; 1 is "
        "all of it. Lines: digits, which resemble each other; dotted: random patterns."
    )
    return Plot("Recall", words, svg(draw, "recall", words))


def calibration(cards: Sequence[Card]) -> Plot | None:
    """How many hidden pixels lie in their bands, against how many should."""
    drawn = drawn_of(cards, "inversion", "covered")
    if not drawn:
        return None

    def draw(ax: Axes) -> None:
        ax.plot([0, 1], [0, 1], color=FAINT, lw=1, label="honest")
        for card, data, style in drawn:
            ax.plot(data["level"], data["covered"], label=card.title, **style)
        ax.set(xlabel="level of the band", ylabel="share of hidden pixels inside",
               xlim=(0, 1), ylim=(0, 1.02))  # fmt: skip
        ax.legend(loc="upper left")

    words = (
        "Is the uncertainty honest? How many hidden pixels lie in the posterior's band of each "
        "level: on the grey line as many as should; below it the posterior is too sure."
    )
    return Plot("Calibration", words, svg(draw, "calibration", words))


def signature_curve(cards: Sequence[Card]) -> Plot | None:
    """The signature chi of each activation that has one."""
    drawn = drawn_of(cards, "geometry", "chi")
    if not drawn:
        return None

    def draw(ax: Axes) -> None:
        t = np.linspace(0, 4, 2)
        ax.plot(t, t, color=FAINT, lw=1, label="exp: χ(t) = t")
        for card, data, style in drawn:
            ax.plot(data["t"], data["chi"], label=card.title, **style)
        ax.set(xlabel="t = f + k", ylabel="χ(t)", xlim=(0, 4), ylim=(0, None))
        ax.legend(loc="upper left")

    words = "The signature: the activation's slope where its value, shifted to begin at 0, is t."
    return Plot("Signature", words, svg(draw, "signature", words))


def divergence_curve(cards: Sequence[Card]) -> Plot | None:
    """The generator of the matched divergence beside reverse KL's."""
    drawn = drawn_of(cards, "geometry", "divergence")
    if not drawn:
        return None

    def draw(ax: Axes) -> None:
        u = np.geomspace(0.05, 4, 100)
        ax.plot(u, -np.log(u), color=FAINT, lw=1, label="reverse Kullback-Leibler, −log u")
        for card, data, style in drawn:
            ax.plot(data["ratio"], data["divergence"], label=card.title, **style)
        ax.axhline(0, color=FAINT, lw=0.6)
        ax.plot([1], [0], "o", ms=4, color=FAINT)
        ax.set(xlabel="density ratio u = p / q", ylabel="f(u)", xlim=(0, 4), ylim=(-4, 4.5))
        ax.legend(loc="upper right")

    words = (
        "The divergence that belongs to it: a density ratio u = p / q counts f(u) = −log χ (u), "
        "0 at u = 1; grey is that of reverse Kullback-Leibler, which belongs to exp."
    )
    return Plot("Matched divergence", words, svg(draw, "divergence", words))
