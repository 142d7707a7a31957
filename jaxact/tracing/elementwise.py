"""A group of elementwise primitives as one hashable function: an activation found in a network."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

OWN = "dtype of x"


@dataclasses.dataclass(frozen=True)
class Constant:
    """A scalar written into a unit; `dtype` is `OWN` for what follows the dtype of x."""

    value: Any
    dtype: str


@dataclasses.dataclass(frozen=True)
class Op:
    """One primitive: operands are slots (x is 0, theta follows, then the ops) or `Constant`."""

    primitive: Any
    params: tuple[tuple[str, Any], ...]
    operands: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """fn(x, *theta), elementwise: equal units compare and hash equal, whichever layer they are in.

    It works in any floating dtype and on any shape, so `jax.make_jaxpr` of it on a scalar is a
    plain list of elementwise primitives.

    Attributes:
        ops: the primitives in order; the last one is the value.
        arguments: 1 + the number of entries of theta.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.tracing import trace
        >>> unit, = trace(lambda x: x * jax.nn.sigmoid(x), jnp.zeros(3)).units
        >>> unit.fn
        Elementwise(logistic mul)
        >>> round(float(unit.fn(jnp.float32(1.0))), 4)
        0.7311
    """

    ops: tuple[Op, ...]
    arguments: int = 1

    def __call__(self, x: Any, *theta: Any) -> Any:
        """Apply it, in the dtype of x."""
        x = jnp.asarray(x)
        slots = [x, *(jnp.asarray(t, x.dtype) for t in theta)]
        for op in self.ops:
            values = [_value(o, slots, x.dtype) for o in op.operands]
            if op.primitive.name == "select_n":
                values[1:] = [jnp.broadcast_to(v, x.shape) for v in values[1:]]
            params = {k: x.dtype if v is OWN else v for k, v in op.params}
            slots.append(op.primitive.bind(*values, **params))
        return slots[-1]

    def __repr__(self) -> str:
        """The primitives' names."""
        return f"Elementwise({' '.join(op.primitive.name for op in self.ops)})"


def _value(operand: Any, slots: list[Any], dtype: Any) -> Any:
    if not isinstance(operand, Constant):
        return slots[operand]
    return np.asarray(operand.value, dtype if operand.dtype == OWN else operand.dtype)
