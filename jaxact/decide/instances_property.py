"""One property, decided by a named method: what the command line and the sets call."""

from __future__ import annotations

import math
from typing import Any

from jaxact import io
from jaxact.decide.decide import decide
from jaxact.decide.decision import Decision
from jaxact.io.verdicts import check_sizes
from jaxact.numerics import checks

METHODS = ("auto", "attack", *io.METHODS)
"""What decides: bounds and then the search, the search at once, or one step of `check_property`."""


def decide_property(
    network: io.OnnxNetwork,
    prop: io.Property,
    *,
    method: str = "auto",
    timeout: float | int = math.inf,
    restarts: int = 32,
    **options: Any,
) -> Decision:
    """Decide a property by a named method.

    Args:
        network: from `jaxact.io.load_onnx`.
        prop: from `jaxact.io.load_vnnlib`.
        method: "auto": `decide`, an attack, bounds and branch and bound; any other of
            `METHODS`: `jaxact.io.check_property` alone.
        timeout: seconds of wall time, looked at between steps.
        restarts: starts of the attack before the bounds of the others; 0 for none.
        options: `reference` for all of them; `sound`, `state` and `progress` for `decide`.

    Returns:
        `Decision`.

    Raises:
        ValueError: for an unknown method, a timeout that is negative, or files that do not fit.

    Example:
        >>> import numpy as np
        >>> from jaxact.bounds import Box, Unsafe
        >>> from jaxact.io.onnx_network import Plan, Slot, Step
        >>> relu = Plan((Step("Relu", (Slot(0),), (1,), ()),), Slot(1), False, (1,), (1,))
        >>> case = io.Case(Box(np.array([-1.0]), np.ones(1)), Unsafe.of([([[1.0]], [-0.5])]))
        >>> net = io.OnnxNetwork((), relu, "x", "y")
        >>> decide_property(net, io.Property(1, 1, (case,)), method="crown").status
        'verified'
    """
    check_options(method, timeout, sound=options.get("sound", False))
    timeout, reference = float(timeout), options.get("reference")
    checks.integer("restarts", restarts, 0)
    if method == "auto":
        check_sizes(network, prop)
        return decide(network, prop.cases, timeout=timeout, **options)
    found = io.check_property(
        network, prop, method=method, timeout=timeout, reference=reference, restarts=restarts
    )
    return Decision(
        found.status, found.margin, found.method, found.x, found.y, 0, found.seconds,
        found.timed_out,
    )  # fmt: skip


def check_options(method: str, timeout: float | int, *, sound: bool) -> None:
    """Raise `ValueError` for what `decide_property` would refuse, before files are read.

    Args:
        method: one of `METHODS`.
        timeout: seconds, at least 0.
        sound: for which only auto, attack and sound can answer.

    Example:
        >>> check_options("crown", 1.0, sound=True)
        Traceback (most recent call last):
        ...
        ValueError: method must be auto, attack or sound where sound=True, got 'crown'
    """
    checks.choice("method", method, METHODS)
    if sound and method not in ("auto", "attack", "sound"):
        raise ValueError(f"method must be auto, attack or sound where sound=True, got {method!r}")
    checks.seconds("timeout", timeout)
