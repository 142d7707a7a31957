"""The methods by name, for what takes any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from jaxact.bounds.alpha import alpha_crown
from jaxact.bounds.crown import crown, ibp
from jaxact.bounds.fastlin import fastlin
from jaxact.bounds.forward import forward
from jaxact.bounds.hybrid import crown_ibp
from jaxact.bounds.problem import Bounds

METHODS: dict[str, Callable[..., Bounds]] = {
    "crown": crown,
    "ibp": ibp,
    "crown_ibp": crown_ibp,
    "fastlin": fastlin,
    "forward": forward,
    "alpha_crown": alpha_crown,
}


def find_method(method: Any) -> Callable[..., Bounds]:
    """A method by its name, or any function (f, region, spec) -> `Bounds` as it is."""
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(
                f"method must be one of {', '.join(map(repr, METHODS))} or a function "
                f"(f, region, spec) -> Bounds, got {method!r}"
            )
        return METHODS[method]
    if not callable(method):
        raise TypeError(f"method must be a name or a function, got {method!r}")
    return cast("Callable[..., Bounds]", method)
