"""Where a found activation stands among all that have a name: every term, who is dominated."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxact.activation import Activation
from jaxact.card.design.frozen import frozen
from jaxact.card.design.terms import TERMS
from jaxact.catalog import get, names
from jaxact.numerics import checks, files

_PANELS = 6


@dataclasses.dataclass(frozen=True)
class Pareto:
    """Terms of activations, less is better, and which of these are not dominated.

    Attributes:
        names: of the activations, those found first.
        terms: names of the terms.
        values: (activations, terms); nan where a term has none.
        reasons: for each nan, "activation, term: why".
        found: how many of the first were found.
        front: (activations,) whether no other activation is as good in every term and better
            in one; False where a value is missing.
    """

    names: tuple[str, ...]
    terms: tuple[str, ...]
    values: np.ndarray
    reasons: tuple[str, ...]
    found: int
    front: np.ndarray


def pareto(
    found: Sequence[Activation],
    terms: Sequence[str] = ("memorisation", "relaxation", "memory", "inversion"),
    *,
    catalogue: Sequence[str] | None = None,
    known: Mapping[str, Callable[[Activation], Any]] = TERMS,
    progress: Callable[[str], Any] | None = None,
) -> Pareto:
    """Evaluate terms for the found activations and the whole catalogue, in float64.

    Args:
        found: activations.
        terms: names of terms.
        catalogue: names of the others; all by default, with their default parameters.
        known: name -> term.
        progress: progress(name), before each activation.

    Returns:
        A `Pareto`.

    Raises:
        ValueError: for a term that is not known, or fewer than one.

    Example:
        >>> import jaxact
        >>> cosine = [jaxact.get("cos")]
        >>> pareto(cosine, ["zeta", "memorisation"], catalogue=["relu", "tanh"]).front.tolist()
        [True, False, False]
    """
    if not terms:
        raise ValueError("terms must name at least one term, got none")
    for term in terms:
        checks.choice("terms", term, sorted(known))
    others = [get(name) for name in (names() if catalogue is None else catalogue)]
    rows, reasons = [], []
    for act in (*found, *others):
        if progress is not None:
            progress(act.name)
        row = []
        for term in terms:
            value, why = _evaluate(known[term], act)
            row.append(value)
            if why:
                reasons.append(f"{act.name}, {term}: {why}")
        rows.append(row)
    values = np.asarray(rows)
    labels = tuple(act.name for act in (*found, *others))
    return Pareto(labels, tuple(terms), values, tuple(reasons), len(found), undominated(values))


def undominated(values: np.ndarray) -> np.ndarray:
    """Which rows have no other row that is at most as large everywhere and smaller somewhere.

    Example:
        >>> undominated(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [np.nan, 0.0]])).tolist()
        [True, True, False, False]
    """
    whole: Any = np.isfinite(values).all(1)
    at_most = (values[None] <= values[:, None]).all(2)
    below = (values[None] < values[:, None]).any(2)
    return whole & ~(at_most & below & whole[None]).any(1)


def draw(front: Pareto, path: str | pathlib.Path) -> pathlib.Path:
    """Draw every pair of terms (six at most): the catalogue, its front, what was found.

    A value beyond twice the span of the middle nine tenths lies at the edge.

    Returns:
        The path of the PNG file.

    Raises:
        ValueError: for fewer than two terms.
        ImportError: without matplotlib.
    """
    if len(front.terms) < 2:
        raise ValueError(f"a picture needs at least two terms, got {front.terms}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a picture needs matplotlib: pip install 'jaxact[plot]'") from error
    pairs = list(itertools.combinations(range(len(front.terms)), 2))[:_PANELS]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4.6 * columns, 4 * rows), layout="constrained")
    for number, pair in enumerate(pairs):
        _panel(figure.add_subplot(rows, columns, number + 1), front, pair)
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target) as file:
        figure.savefig(file, dpi=80, format="png")
    return target


def _evaluate(term: Callable[[Activation], Any], act: Activation) -> tuple[float, str]:
    """The term in float64, or nan and the reason."""
    try:
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda t: np.asarray(t, np.float64), act)
            value = float(term(frozen(wide)))
    except (ValueError, NotImplementedError, FloatingPointError) as error:
        return float("nan"), str(error).splitlines()[0]
    return (value, "") if np.isfinite(value) else (float("nan"), f"is {value}")


def _panel(axes: Any, front: Pareto, pair: tuple[int, int]) -> None:
    both = front.values[:, list(pair)]
    whole = np.isfinite(both).all(1)
    best = undominated(both)
    low, high = _limits(both[whole])
    shown = np.clip(both, low, high)
    mine = np.arange(len(both)) < front.found
    for chosen, style in (
        (whole & ~best & ~mine, {"color": "0.65", "s": 16}),
        (whole & best & ~mine, {"color": "tab:blue", "s": 28}),
        (whole & mine, {"color": "tab:red", "s": 90, "marker": "*", "zorder": 3}),
    ):
        axes.scatter(*shown[chosen].T, **style)
    order = np.flatnonzero(best)[np.argsort(shown[best, 0])]
    axes.step(*shown[order].T, where="post", color="tab:blue", lw=0.8)
    named = {"relu", "gelu", "tanh", "softplus", "sigmoid", "identity", "cos"}
    for i in np.flatnonzero(whole):
        if mine[i] or front.names[i] in named:
            colour = "tab:red" if mine[i] else "0.2"
            axes.annotate(
                front.names[i], shown[i], xytext=(4, 4), textcoords="offset points",
                fontsize=8, color=colour,
            )  # fmt: skip
    margin = 0.06 * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.set_xlabel(f"{front.terms[pair[0]]} (less is better)")
    axes.set_ylabel(f"{front.terms[pair[1]]} (less is better)")


def _limits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range without outliers: the middle nine tenths, widened to twice its span."""
    low, high = np.quantile(values, [0.05, 0.95], axis=0)
    room = np.maximum((high - low) / 2, 1e-9)
    return np.maximum(values.min(0), low - room), np.minimum(values.max(0), high + room)
