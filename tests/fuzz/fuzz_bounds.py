"""Entry points of `jaxact.bounds` and `jaxact.tracing`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from fuzz_table import Entry

import jaxact as ja
from jaxact import bounds, tracing

KEY = jax.random.key(0)
X = np.array([0.1, -0.2, 0.3], np.float32)
WEIGHTS = np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)
SPEC = np.array([[1.0, -1.0, 0.0]], np.float32)
LOWER, UPPER = np.array([-1.0, 0.0], np.float32), np.array([0.5, 1.0], np.float32)
UNSAFE = bounds.Unsafe.of([([[1.0, 0.0, 0.0]], [-5.0])])


def net(x):
    return jnp.matmul(WEIGHTS, jnp.tanh(x), precision="highest")


def relu_net(x):
    return jnp.matmul(WEIGHTS, jax.nn.relu(x), precision="highest")


def box() -> bounds.Box:
    return bounds.Box(X - 0.1, X + 0.1)


def ball() -> bounds.Ball:
    return bounds.Ball(X, np.float32(0.1))


def made() -> bounds.Bounds:
    return bounds.Bounds(jnp.zeros(2), jnp.ones(2))


LABELLED = {"f": net, "x": X, "label": 1}
SEARCH = {"start": 0.01, "tolerance": 0.01, "evaluations": 5}
ATTACK = {"steps": 3, "restarts": 2, "key": KEY}
REGION = {"region": ("center", "eps", "lower", "upper")}
METHODS = [
    Entry(fn, lambda: {"f": net, "region": ball(), "spec": SPEC}, REGION)
    for fn in (
        bounds.crown, bounds.fastlin, bounds.forward, bounds.ibp, bounds.crown_ibp,
        bounds.mean_value,
    )
]  # fmt: skip

ENTRIES = (
    *METHODS,
    Entry(bounds.relax, lambda: {"act": ja.get("tanh"), "lower": LOWER, "upper": UPPER}),
    Entry(bounds.relax_unit, lambda: {"fn": jnp.tanh, "lower": LOWER, "upper": UPPER}),
    Entry(
        bounds.alpha_crown,
        lambda: {"f": net, "region": box(), "spec": SPEC, "steps": 2, "learning_rate": 0.5,
                 "decay": 0.98, "intermediate_steps": 2},
        REGION,
    ),
    Entry(
        bounds.attack,
        lambda: LABELLED | ATTACK
        | {"eps": 0.1, "norm": float("inf"), "target": "untargeted", "clip": (-1.0, 1.0)},
    ),
    Entry(
        bounds.attack_radius,
        lambda: LABELLED | ATTACK | SEARCH | {"target": "untargeted", "norm": 2.0},
    ),
    Entry(
        bounds.distortion,
        lambda: ATTACK | SEARCH | {"f": net, "x": X[None], "label": np.array([2], np.int32),
                                   "method": "crown", "samples": 1, "norm": 2.0},
    ),
    Entry(
        bounds.falsify,
        lambda: {"f": net, "region": box(), "unsafe": UNSAFE, "reach": 0.5, **ATTACK},
        REGION | {"unsafe": ("rows", "thresholds")},
    ),
    Entry(
        bounds.intersect,
        lambda: {"*bounds": (made(), made())},
        takes={("bounds", f"nan in leaf {k}"): "bounds are another method's result"
               for k in range(4)} | {("bounds", how): "Python's own error"
                 for how in ("a number", "a string", "nothing")},
    ),
    Entry(
        bounds.lipschitz_bound,
        lambda: {"f": net, "region": box(), "spec": SPEC, "norm": 2.0, "method": "crown",
                 "tighten": 1},
        REGION,
    ),
    Entry(
        bounds.crown_quad,
        lambda: {"f": relu_net, "region": ball(), "spec": SPEC, "iterations": 2},
        REGION,
    ),
    Entry(
        bounds.certified_radius,
        lambda: LABELLED | SEARCH | {"norm": 2.0, "target": "untargeted", "method": "crown",
                                     "key": KEY},
    ),
    Entry(bounds.margin_spec, lambda: {"label": 1, "classes": 3}),
    Entry(bounds.certified_loss, lambda: LABELLED | {"eps": 0.1, "norm": 2.0, "method": "ibp"}),
    Entry(bounds.certified_margins, lambda: LABELLED | {"eps": 0.1, "norm": 2.0, "method": "ibp"}),
    Entry(
        bounds.ramp,
        lambda: {"start": 0.0, "end": 1.0, "steps": 10, "begin": 0.1, "finish": 0.7,
                 "shape": "smooth"},
    ),
    Entry(
        bounds.certify,
        lambda: {"f": net, "region": box(), "unsafe": UNSAFE, "method": bounds.crown},
        REGION | {"unsafe": ("rows", "thresholds")},
    ),
    Entry(tracing.jets, lambda: {"fn": jnp.tanh, "low": LOWER, "high": UPPER}),
    Entry(tracing.analyse, lambda: {"fn": jnp.tanh}),
    Entry(tracing.trace, lambda: {"f": net, "example": X},
          takes={("example", "nan in leaf 0"): "its values do not matter",
                 ("example", "nan"): "its values do not matter"}),
    Entry(tracing.unit_range, lambda: {"fn": jnp.tanh, "lower": LOWER, "upper": UPPER}),
)  # fmt: skip
