"""One property, decided by a named method: what the command line and the sets call."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxact import io
from jaxact.decide.decision import Decision
from jaxact.numerics import checks

METHODS = ("auto", "split", "attack", *io.METHODS)
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
        method: "auto": attack and CROWN, then `decide` in the time that is left; "split":
            `decide` at once; any other of `METHODS`: `jaxact.io.check_property` alone.
        timeout: seconds of wall time, looked at between steps.
        restarts: starts of the attack before the bounds; 0 for none.
        options: `reference` for all of them; `sound`, `state` and `progress` for `decide`.
            With sound=True, auto bounds by CROWN in sound arithmetic.

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
    sound, reference = options.get("sound", False), options.get("reference")
    check_options(method, timeout, sound=sound)
    timeout = float(timeout)
    if method == "split":
        return _search(network, prop.cases, timeout=timeout, **options)
    bound = method if method != "auto" else "sound" if sound else "crown"
    found = io.check_property(
        network, prop, method=bound, timeout=timeout, reference=reference, restarts=restarts
    )
    first = Decision(
        found.status, found.margin, found.method, found.x, found.y, 0, found.seconds,
        found.timed_out,
    )  # fmt: skip
    if method != "auto" or found.status != "unknown" or found.timed_out:
        return first
    left = max(timeout - found.seconds, 0.0)
    rest = _search(network, prop.cases, timeout=left, **options)
    return dataclasses.replace(rest, seconds=rest.seconds + found.seconds)


def check_options(method: str, timeout: float | int, *, sound: bool) -> None:
    """Raise `ValueError` for what `decide_property` would refuse, before files are read.

    Args:
        method: one of `METHODS`.
        timeout: seconds, at least 0.
        sound: for which only auto, split, attack and sound can answer.

    Example:
        >>> check_options("crown", 1.0, sound=True)
        Traceback (most recent call last):
        ...
        ValueError: method must be auto, split, attack or sound where sound=True, got 'crown'
    """
    checks.choice("method", method, METHODS)
    if sound and method not in ("auto", "split", "attack", "sound"):
        raise ValueError(
            f"method must be auto, split, attack or sound where sound=True, got {method!r}"
        )
    checks.seconds("timeout", timeout)


def _search(*arguments: Any, **options: Any) -> Decision:
    from jaxact.decide.decide import decide  # pyright: ignore[reportMissingImports]

    return decide(*arguments, **options)
