"""The geometry section: admissibility, signature and the divergence that belongs to it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxact import geometry as lens
from jaxact.activation import Activation
from jaxact.card.section import Section, Value
from jaxact.io import Images

QUESTION = "Which deformed exponential family and divergence belong to this activation?"


def geometry(act: Activation, digits: Images) -> Section:
    """Admissibility with its reason; chi and the matched divergence of real ink histograms."""
    found = lens.admissibility(act)
    status = {"none": "no"}.get(found.status, found.status)
    values = [Value("admissible", "admissible as a generator's activation", status, found.reason)]
    p, q = _histograms(digits)
    reverse_kl = float(lens.divergence_value("reverse_kl", p, q))
    try:
        chi = lens.signature(act)
        matched = float(lens.matched_divergence(act, p, q))
    except ValueError as error:
        values += _matched(None, None, reverse_kl)
        return Section("geometry", QUESTION, tuple(values), reason=str(error))
    if not np.isfinite(matched):
        values += _matched(1.0, None, reverse_kl)
        return Section(
            "geometry",
            QUESTION,
            tuple(values),
            _curve(chi),
            reason="the matched divergence is infinite here: a ratio p/q of the ink "
            "histograms lies outside the activation's image",
        )
    values += _matched(float(chi(jnp.asarray(1.0))), matched, reverse_kl)
    return Section("geometry", QUESTION, tuple(values), _curve(chi))


def _matched(at_one: float | None, matched: float | None, reverse_kl: float) -> list[Value]:
    return [
        Value("signature_at_one", "signature chi(1)", at_one, "the slope f' where f + k = 1"),
        Value(
            "matched_divergence",
            "matched divergence, ink of 3s from ink of 8s",
            matched,
            "sum q f(p/q), f = -log_chi, rows and columns of the mean digit",
        ),
        Value("kl", "Kullback-Leibler of the same pair", reverse_kl, "what exp is matched to"),
    ]


def _histograms(digits: Images) -> tuple[Any, Any]:
    """Where the ink of an average 3 and an average 8 lies: two distributions over 64 pixels."""
    x, y = np.asarray(digits.x, float), np.asarray(digits.y)
    three, eight = (x[y == c].mean(0).reshape(-1) + 0.01 for c in (3, 8))
    return jnp.asarray(three / three.sum()), jnp.asarray(eight / eight.sum())


def _curve(chi: Any) -> dict[str, Any]:
    t = np.linspace(0.02, 4, 120)
    value = np.asarray(chi(jnp.asarray(t)), float)
    inside = np.isfinite(value)
    return {"t": t[inside], "chi": value[inside]}
