"""The geometry section: admissibility, signature and the divergence that belongs to it."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxact import geometry as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value, attempt, number
from jaxact.io import Images

QUESTION = "Which deformed exponential family and divergence belong to this activation?"
_RATIOS = np.geomspace(0.05, 4, 80)


def geometry(act: Activation, digits: Images, *, quick: bool) -> Section:
    """Admissibility with its reason; chi and the matched divergence of real ink histograms."""
    found, why = attempt(lens.admissibility, act)
    if found is None:
        return Section("geometry", QUESTION, (), reason=why)
    p, q = _histograms(digits)
    reverse_kl = float(lens.divergence_value("reverse_kl", p, q))
    chi, why = attempt(lens.signature, act)
    matched = None if chi is None else number(lens.matched_divergence(act, p, q))
    reason = why
    if chi is not None and matched is None:
        reason = (
            "the matched divergence is infinite here: a ratio p/q of the ink histograms lies "
            "outside the activation's image"
        )
    at_one = None if chi is None else number(chi(jnp.asarray(1.0)))
    values = [
        _status(found),
        Value(
            "matched_divergence",
            "matched divergence, ink of 3s from ink of 8s",
            matched,
            "sum q f(p / q), f = -log_chi, over the pixels of the mean digits",
            "nats for exp",
            "exact",
            None,
            f"beside it Kullback-Leibler, what exp is matched to: {reverse_kl:.4g}",
            reason=""
            if matched is not None
            else "no signature"
            if chi is None
            else "infinite here",
        ),
        Value(
            "signature_at_one",
            "signature chi(1)",
            at_one,
            "the slope f' where f + k = 1, k = -inf f",
            kind="exact",
            reason="no signature" if at_one is None else "",
        ),
    ]
    if not quick:
        values.append(_identity(chi))
    values += _conditions(found)
    data = {} if chi is None else _curves(chi)
    return Section("geometry", QUESTION, tuple(values), data, reason)


def _status(found: Any) -> Value:
    status = {"none": "no"}.get(found.status, found.status)
    return Value(
        "admissible",
        "admissible as a generator's activation",
        status,
        "strong: it carries a deformed exponential family; weak: a limit of such, as relu is",
        "",
        "tested",
        None,
        found.reason,
    )


def _conditions(found: Any) -> list[Value]:
    """The four conditions one by one: what a function that fails would have to change."""
    smooth = found.jump == 0
    return [
        Value(key, label, value, meaning, kind="tested", trust=trust)
        for key, label, value, meaning, trust in (
            ("monotone", "never decreases", bool(found.monotone), "needed", ""),
            ("convex", "convex", bool(found.convex), "needed", ""),
            (
                "bounded_below",
                "bounded below",
                bool(found.bounded_below),
                "needed",
                f"infimum {found.infimum:.4g}" if found.bounded_below else "",
            ),
            (
                "smooth_slope",
                "slope without jumps",
                bool(smooth),
                "needed for strong",
                "" if smooth or math.isnan(found.jump) else f"largest jump {found.jump:.4g}",
            ),
        )
    ]


def _identity(chi: Any) -> Value:
    """The f-GAN's variational identity on a family of this signature, both sides apart."""

    def sides() -> tuple[float, float]:
        family = lens.DeformedFamily(chi, lambda x: x, lens.interval(-0.5, 0.5))
        both = lens.variational_identity(family, 0.3, -0.2)
        return float(both.supremum), float(both.bregman + both.offset)

    found, failed = (None, "no signature") if chi is None else attempt(sides)
    return Value(
        "game_value",
        "value of the f-GAN game on its own family",
        None if found is None else number(found[0]),
        "sup over discriminators, natural parameters 0.3 and -0.2, x in [-1/2, 1/2]",
        "",
        "exact",
        None if found is None else abs(found[0] - found[1]),
        "the error is the difference to the other side of the variational identity",
        reason="" if found is not None else failed,
    )


def _histograms(digits: Images) -> tuple[Any, Any]:
    """Where the ink of an average 3 and an average 8 lies: two distributions over the pixels."""
    x, y = np.asarray(digits.x, float), np.asarray(digits.y)
    three, eight = (x[y == c].mean(0).reshape(-1) + 0.01 for c in (3, 8))
    return jnp.asarray(three / three.sum()), jnp.asarray(eight / eight.sum())


def _curves(chi: Any) -> dict[str, Any]:
    """Chi, and f(u) = -log_chi(u) where it is finite."""
    value = np.asarray(chi(jnp.asarray(_RATIOS)), float)
    divergence = -np.asarray(lens.log_chi(chi, jnp.asarray(_RATIOS)), float)
    inside, known = np.isfinite(value), np.isfinite(divergence)
    return {
        "t": _RATIOS[inside],
        "chi": value[inside],
        "ratio": _RATIOS[known],
        "divergence": divergence[known],
    }
