"""The entrywise product of two arrays that both depend on the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxact.tracing.affine import Variable
from jaxact.tracing.intervals import Arithmetic


@dataclasses.dataclass(frozen=True)
class Product:
    """`output = left * right`, two variables of one shape.

    Attributes:
        variables: the two factors.
        output: the variable it makes, of their shape.
    """

    variables: tuple[Variable, Variable]
    output: Variable

    @property
    def name(self) -> str:
        """What it is called in a printed network."""
        return "product"

    def apply(self, values: Sequence[Any], weights: Sequence[Any]) -> Any:
        """The product of the two values."""
        del weights
        return values[0] * values[1]

    def interval(
        self,
        lower: Sequence[Any],
        upper: Sequence[Any],
        weights: Sequence[Any],
        magnitudes: Sequence[Any] = (),
    ) -> tuple[Any, Any]:
        """Bounds of the output where the factors lie between `lower` and `upper`."""
        del weights, magnitudes
        ar = Arithmetic(jnp, self.output.dtype)
        left, right = zip(lower, upper, strict=True)
        return ar.undefined(ar.mul(left, right))
