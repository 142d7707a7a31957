"""From matplotlib to what a page holds: SVG that follows the page's colours, and small PNGs."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps, image
from matplotlib.figure import Figure

# Stand-ins that the page replaces by CSS variables, so one drawing serves both themes.
INK, FAINT, PAPER = "#010203", "#040506", "#070809"
SERIES = ("#a10001", "#a10002", "#a10003", "#a10004")
DASHES = ("-", (0, (6, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))
"""A colour and a dash an activation: no plot rests on its colours alone."""

_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", PAPER: "var(--card)"} | {
    colour: f"var(--c{i + 1})" for i, colour in enumerate(SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxact",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
}


def svg(draw: Callable[[Any], None], name: str, words: str, *, tall: float = 2.6) -> str:
    """Draw on fresh axes and return the SVG element as text.

    Args:
        draw: called with the axes.
        name: a word that is used once on the page: the ids inside begin with it.
        words: what a screen reader says of the picture.
        tall: inches of height, beside 3.8 of width.
    """
    with matplotlib.rc_context(_STYLE):
        fig = Figure(figsize=(3.8, tall), layout="constrained")
        fig.patch.set_alpha(0)
        ax = fig.subplots()
        ax.patch.set_alpha(0)
        draw(ax)
        buffer = io.StringIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue(), name, words)


def _themed(text: str, name: str, words: str) -> str:
    found = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        found = found.replace(colour, variable)
    found = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', found)
    found = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", found)
    found = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', found)
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    found = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", found)
    box = re.search(r'viewBox="([^"]+)"', found).group(1)  # pyright: ignore[reportOptionalMemberAccess]
    head = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" role="img" '
        f'aria-label="{html.escape(words)}">'
    )
    return re.sub(r"<svg [^>]*>", head, found, count=1).strip()


def strip(batch: Sequence[Any], colours: str) -> str:
    """Pictures side by side as the data address of one PNG, gaps transparent.

    Args:
        batch: pictures of whole numbers 0 to 255, (n, height, width).
        colours: "gray", or "heat" for a quantity.
    """
    values = np.asarray(batch, float) / 255
    n, height, width = values.shape
    gap = max(1, width // 8)
    canvas = np.zeros((height, n * width + (n - 1) * gap, 4))
    shade = colormaps["gray" if colours == "gray" else "magma"]
    for i, picture in enumerate(values):
        left = i * (width + gap)
        canvas[:, left : left + width] = shade(picture)
    buffer = io.BytesIO()
    image.imsave(buffer, canvas, format="png", metadata={"Software": "jaxact"})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
