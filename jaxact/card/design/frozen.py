"""An activation whose parameters are part of its function: what it is once it has been found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxact.activation import Activation, ClosedForms


def frozen(act: Activation) -> Activation:
    """The same activation with theta inside its function, and none outside.

    Certified lines of a concrete function are tighter, and compile sooner, than lines that must
    hold for any theta; a network holds theta as weights, so only a frozen one gets them there.

    Example:
        >>> import jaxact
        >>> act = frozen(jaxact.get("swish", 1.5))
        >>> act.theta, float(act(1.0)) == float(jaxact.get("swish", 1.5)(1.0))
        ((), True)
    """
    theta = jax.tree.map(np.asarray, act.theta)
    if not jax.tree.leaves(theta):
        return act
    forms = {f.name: getattr(act.closed, f.name) for f in dataclasses.fields(ClosedForms)}
    closed = {k: None if fn is None else _Frozen(fn, theta) for k, fn in forms.items()}
    kinks = tuple(float(k) for k in np.asarray(act.kink_points()).reshape(-1))
    return Activation(_Frozen(act.fn, theta), (), act.name, kinks, ClosedForms(**closed))


class _Frozen:
    """Equal for an equal function and equal numbers: compiled code is shared."""

    def __init__(self, fn: Callable[..., Any], theta: Any) -> None:
        self.fn, self.theta = fn, theta
        leaves, structure = jax.tree.flatten(theta)
        self.key = fn, structure, tuple((a.shape, str(a.dtype), a.tobytes()) for a in leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __call__(self, x: Any) -> Any:
        return self.fn(x, *self.theta)
