"""The robustness section: a classifier of digits, certified, attacked and decided."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import bounds as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value, attempt, number, share, standard_error
from jaxact.decide import decide
from jaxact.io import Images
from jaxact.nets import train_classifier

QUESTION = (
    "How far can every pixel of a digit move before a network with this activation changes its "
    "answer: proved from below, attacked from above?"
)
_EPS = np.linspace(0, 0.25, 51)
_SHOWN = (0.02, 0.05, 0.1)
_DECIDED = 0.05
_PATIENCE = 3.0
_INTERVALS = ((-3.5, -0.8), (-1.5, 1.2), (0.6, 3.0))
_PIXELS = "pixels, which lie in [0, 1]"


def bounds(
    act: Activation,
    digits: Images,
    key: Any,
    *,
    widths: tuple[int, ...],
    test: int,
    epochs: int,
    decided: int,
    mesh: Any = None,
) -> Section:
    """Train a network with these hidden widths, certify and attack `test` test digits.

    The first `decided` of them are searched completely at one eps.
    """
    keys = jax.random.split(key)
    model, _ = train_classifier(
        digits.x, digits.y, act, widths=widths, epochs=epochs, key=keys[0]
    )  # fmt: skip
    right = np.argmax(np.asarray(jax.jit(jax.vmap(model))(digits.test_x)), 1) == digits.test_y
    hit, error = share(right)
    shape = "-".join(map(str, (np.prod(digits.x.shape[1:]), *widths, 10)))
    clean = Value(
        "clean_accuracy",
        "test accuracy",
        hit,
        f"of the classifier {shape} that all of this section is about",
        "share of the test digits",
        "measured",
        error,
        f"{len(right)} digits, one training run",
        "higher",
    )
    drawn, why = attempt(_lines, act)
    data = {**(drawn or {})}
    gap = data.pop("gap", None)
    tight = Value(
        "relaxation_gap",
        "gap of the certified lines",
        gap,
        "between the lines below and above the activation, mean over the interval, for intervals "
        "of width 2 around standard normal pre-activations: the smaller, the better it certifies",
        "the activation's own",
        "certified",
        None,
        "depends on the activation alone: nothing is trained",
        "lower",
        why,
    )
    x, y = jnp.asarray(digits.test_x[:test]), jnp.asarray(digits.test_y[:test])
    certified, why = attempt(lens.certified_radius, model, x, y, mesh=mesh)
    if certified is None:
        return Section("bounds", QUESTION, (clean, tight), data, f"no certificate: {why}")
    attacked = lens.attack_radius(model, x, y, key=keys[1], mesh=mesh)
    boxes = lens.certified_radius(model, x, y, method="ibp", mesh=mesh)
    low, high, loose = (np.asarray(r.radius, float) for r in (certified, attacked, boxes))
    found = np.isfinite(high)
    values = _radii(low, high, np.asarray(certified.converged))
    values += [clean, *_accuracies(low, high)]
    if decided:
        values.append(_complete(model, x[:decided], y[:decided]))
    values.append(tight)
    data |= {
        "eps": _EPS,
        "ibp": [float((loose > e).mean()) for e in _EPS],
        "certified": [float((low > e).mean()) for e in _EPS],
        "attacked": [float((high > e).mean()) for e in _EPS],
    }
    missed = int((~found).sum())
    reason = f"the attack found nothing at any radius for {missed} digits" if missed else ""
    return Section("bounds", QUESTION, tuple(values), data, reason)


def _radii(low: np.ndarray, high: np.ndarray, converged: np.ndarray) -> list[Value]:
    found = np.isfinite(high)
    upper = float(high[found].mean()) if found.any() else None
    wide = low[found].mean() if found.any() else 0.0
    count = f"{len(low)} test digits, 0 for a misclassified one"
    known = "not known" if upper is None else f"at most {upper:.3g} by the attack"
    return [
        Value(
            "certified_radius",
            "mean certified radius",
            float(low.mean()),
            "every pixel may move so far, all at once, and the answer provably stays (CROWN)",
            _PIXELS,
            "certified",
            standard_error(low),
            f"{known}; {count}; the search converged for {converged.mean():.0%}",
            "higher",
        ),
        Value(
            "attack_radius",
            "mean radius of an attack",
            upper,
            "the nearest wrong answer that projected gradient descent finds",
            _PIXELS,
            "measured",
            standard_error(high[found]),
            "an upper bound of the true radius",
            "higher",
            "" if upper is not None else "the attack found no wrong answer at any radius",
        ),
        Value(
            "certificate_gap",
            "certified / attacked",
            number(wide / max(upper, 1e-12)) if upper is not None else None,
            "how much of the way to the attack is proved; 1 would leave nothing open",
            "",
            "certified",
            better="higher",
            reason="" if upper is not None else "there is no attacked radius",
        ),
    ]


def _accuracies(low: np.ndarray, high: np.ndarray) -> list[Value]:
    values = []
    for e in _SHOWN:
        hit, error = share(low >= e)
        values.append(
            Value(
                f"certified_accuracy_{e:g}",
                f"certified accuracy at eps = {e:g}",
                hit,
                f"digits classified rightly whatever happens to their pixels within {e:g}",
                "share of the test digits",
                "certified",
                error,
                f"at most {float((high > e).mean()):.2f}, by the attack",
                "higher",
            )
        )
    return values


def _complete(model: Any, x: Any, y: Any) -> Value:
    """Branch and bound until each of a few digits is robust at one eps, or is not."""
    statuses = ["unknown"] * len(y)
    # a compilation is not cut short but uses up the time: what it left open is asked again
    for _ in range(2):
        for i in [i for i, status in enumerate(statuses) if status == "unknown"]:
            rows = np.asarray(lens.margin_spec(int(y[i]), 10))
            unsafe = lens.Unsafe.of([(row[None], np.zeros(1)) for row in rows])
            ball = lens.Ball(x[i], eps=_DECIDED, norm=jnp.inf)
            found, _ = attempt(decide, model, (ball, unsafe), timeout=_PATIENCE)
            statuses[i] = "unknown" if found is None else found.status
    proved, broken = (statuses.count(s) for s in ("verified", "falsified"))
    left = len(statuses) - proved - broken
    return Value(
        f"decided_accuracy_{_DECIDED:g}",
        f"complete verification at eps = {_DECIDED:g}",
        proved / len(statuses),
        "digits for which branch and bound proves that no answer changes",
        f"share of {len(statuses)} test digits",
        "certified",
        None,
        f"{proved} proved, {broken} with a counterexample, {left} open after {_PATIENCE:g} s",
        "higher",
    )


def _lines(act: Activation) -> dict[str, Any]:
    """The certified lines on three intervals, for the picture, and their mean gap on many."""
    x = np.linspace(-4, 4, 161)
    centre = np.linspace(-2.5, 2.5, 61)
    weight = np.exp(-(centre**2) / 2)
    shown = np.asarray(_INTERVALS)
    left = np.concatenate([shown[:, 0], centre - 1])
    right = np.concatenate([shown[:, 1], centre + 1])
    found = jax.tree.map(np.asarray, lens.relax(act, jnp.asarray(left), jnp.asarray(right)))
    middle = (left + right) / 2  # both lines are straight: their mean gap is that in the middle
    gaps = (found.upper_slope - found.lower_slope) * middle
    gaps += found.upper_intercept - found.lower_intercept
    drawn = []
    for i, ends in enumerate(shown):
        lower = ends * found.lower_slope[i] + found.lower_intercept[i]
        upper = ends * found.upper_slope[i] + found.upper_intercept[i]
        drawn.append({"x": ends, "lower": lower, "upper": upper})
    return {
        "relax_x": x,
        "relax_f": np.asarray(act(jnp.asarray(x))),
        "relax_lines": drawn,
        "gap": number(np.average(gaps[len(shown) :], weights=weight)),
    }
