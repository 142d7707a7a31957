"""The robustness section: a classifier of digits, certified and attacked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import bounds as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value
from jaxact.io import Images
from jaxact.nets import train_classifier

QUESTION = (
    "How far can every pixel of a digit move before a network with this activation changes its "
    "answer: certified from below (CROWN), attacked from above?"
)
_EPS = np.linspace(0, 0.25, 51)
_SHOWN = (0.02, 0.05, 0.1)
_INTERVALS = ((-3.5, -0.8), (-1.5, 1.2), (0.6, 3.0))


def bounds(
    act: Activation,
    digits: Images,
    key: Any,
    *,
    widths: tuple[int, ...],
    test: int,
    epochs: int,
    mesh: Any = None,
) -> Section:
    """Train a network with these hidden widths, certify and attack `test` test digits."""
    keys = jax.random.split(key)
    model, fit = train_classifier(
        digits.x,
        digits.y,
        act,
        widths=widths,
        test=(digits.test_x, digits.test_y),
        epochs=epochs,
        key=keys[0],
    )
    x, y = jnp.asarray(digits.test_x[:test]), jnp.asarray(digits.test_y[:test])
    certified = lens.certified_radius(model, x, y, mesh=mesh)
    attacked = lens.attack_radius(model, x, y, key=keys[1], mesh=mesh)
    low, high = np.asarray(certified.radius), np.asarray(attacked.radius)
    certified_at = [float((low > e).mean()) for e in _EPS]
    attacked_at = [float((high > e).mean()) for e in _EPS]
    values = [
        Value("clean_accuracy", "test accuracy", float(fit.test_accuracy), "360 digits", "higher"),
        Value(
            "certified_radius",
            "mean certified radius",
            float(low.mean()),
            f"{test} test digits, max-norm, pixels in [0, 1]; 0 where misclassified",
            "higher",
        ),
        Value(
            "attack_radius",
            "mean radius of a gradient attack",
            float(high.mean()),
            "an upper bound on the true radius",
            "higher",
        ),
        Value(
            "certificate_gap",
            "certified / attacked",
            float(low.mean() / max(high.mean(), 1e-12)),
            "1 would be a tight certificate",
            "higher",
        ),
    ]
    values += [
        Value(
            f"certified_accuracy_{e:g}",
            f"certified accuracy at eps = {e:g}",
            float((low >= e).mean()),
            f"at most {float((high > e).mean()):.2f} by the attack",
            "higher",
        )
        for e in _SHOWN
    ]
    data = {"eps": _EPS, "certified": certified_at, "attacked": attacked_at, **_lines(act)}
    return Section("bounds", QUESTION, tuple(values), data)


def _lines(act: Activation) -> dict[str, Any]:
    """The certified lines on three intervals, for the picture."""
    x = np.linspace(-4, 4, 161)
    low, high = (jnp.asarray([i[k] for i in _INTERVALS]) for k in (0, 1))
    found = lens.relax(act, low, high)
    drawn = []
    for i, (left, right) in enumerate(_INTERVALS):
        at = np.linspace(left, right, 2)
        drawn.append(
            {
                "x": at,
                "lower": at * float(found.lower_slope[i]) + float(found.lower_intercept[i]),
                "upper": at * float(found.upper_slope[i]) + float(found.upper_intercept[i]),
            }
        )
    return {"relax_x": x, "relax_f": np.asarray(act(jnp.asarray(x))), "relax_lines": drawn}
