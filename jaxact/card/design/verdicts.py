"""Who wins, by paired tests, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.scipy.special import betainc

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One activation against another in one metric, over paired seeds.

    Attributes:
        name: of the activation.
        other: what it is compared with.
        metric: in what.
        difference: mean of its value minus the other's.
        error: standard error of that mean.
        p: two-sided, of a paired t-test.
        adjusted: p after Holm's correction for all comparisons made together.
        verdict: "wins" or "loses" where adjusted < 0.05, else "no difference".
    """

    name: str
    other: str
    metric: str
    difference: float
    error: float
    p: float
    adjusted: float
    verdict: str

    def __str__(self) -> str:
        """The verdict as a sentence."""
        words = {"wins": "wins against", "loses": "loses to"}.get(
            self.verdict, "shows no difference from"
        )
        return (
            f"{self.metric}: {self.name} {words} {self.other} "
            f"({self.difference:+.4f} +- {self.error:.4f}, p = {self.adjusted:.2g} after Holm)"
        )


def compare(
    names: Sequence[str], metrics: Mapping[str, str], values: np.ndarray
) -> tuple[Comparison, ...]:
    """The first activation against each other one, in each metric.

    Args:
        names: of the activations.
        metrics: metric -> "higher" or "lower", which is better.
        values: (activations, metrics, seeds).

    Returns:
        The comparisons, metric by metric.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> noise = 0.01 * rng.normal(size=(2, 1, 5))
        >>> values = noise + np.array([0.9, 0.5])[:, None, None]
        >>> print(compare(["mine", "relu"], {"accuracy": "higher"}, values)[0])
        accuracy: mine wins against relu (+0.3991 +- 0.0041, p = 6.7e-08 after Holm)
    """
    made = []
    for number, (metric, better) in enumerate(metrics.items()):
        for i in range(1, len(names)):
            gap = values[0, number] - values[i, number]
            made.append((metric, better, names[i], gap, *paired(gap)))
    adjusted = holm(np.asarray([row[-1] for row in made]))
    found = []
    for (metric, better, other, gap, error, p), q in zip(made, adjusted, strict=True):
        ahead = (gap.mean() > 0) == (better == "higher")
        verdict = ("wins" if ahead else "loses") if q < LEVEL else "no difference"
        found.append(Comparison(
            names[0], other, metric, float(gap.mean()), error, p, float(q), verdict
        ))  # fmt: skip
    return tuple(found)


def paired(gap: np.ndarray) -> tuple[float, float]:
    """The standard error of the mean of paired differences, and the two-sided p of a t-test.

    p = I_(v / (v + t^2))(v / 2, 1/2) with v = n - 1; differences that are all equal have p = 1
    if they are 0, else 0.

    Example:
        >>> error, p = paired(np.array([1.0, 2.0, 3.0]))
        >>> round(error, 4), round(p, 4)
        (0.5774, 0.0742)
    """
    n = len(gap)
    error = float(gap.std(ddof=1)) / n**0.5
    if error == 0:
        return 0.0, float(gap.mean() == 0)
    free = n - 1.0
    t = float(gap.mean()) / error
    with jax.enable_x64(True):
        p = float(betainc(free / 2, 0.5, np.float64(free / (free + t * t))))
    return error, p


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction: the family-wise error of all rejections stays below the level.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
