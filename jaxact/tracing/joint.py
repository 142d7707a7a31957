"""Functions of two arrays that both depend on the input: the product and the maximum."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxact.tracing.affine import Variable
from jaxact.tracing.elementwise import OWN, Constant, Elementwise, Op
from jaxact.tracing.flatten import LogAddExp
from jaxact.tracing.intervals import Arithmetic

_RELU, _SOFTPLUS = (
    Elementwise((Op(primitive, (), (0, Constant(0.0, OWN))),))
    for primitive in (lax.max_p, LogAddExp())
)


@dataclasses.dataclass(frozen=True)
class Product:
    """`output = left * right`, entrywise.

    Attributes:
        variables: the two factors, of one shape.
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


@dataclasses.dataclass(frozen=True)
class Maximum:
    """`output = b + fn(a - b)`, entrywise: the maximum, or with softplus log(e^a + e^b).

    The difference is a variable of its own, for what a and b share cancels in it.

    Attributes:
        variables: a, b and a - b, of one shape.
        output: the variable it makes, of their shape.
        smooth: whether it is log(e^a + e^b).
    """

    variables: tuple[Variable, Variable, Variable]
    output: Variable
    smooth: bool

    @property
    def name(self) -> str:
        """What it is called in a printed network."""
        return "logaddexp" if self.smooth else "maximum"

    @property
    def fn(self) -> Elementwise:
        """What acts on the difference: softplus or relu."""
        return _SOFTPLUS if self.smooth else _RELU

    def apply(self, values: Sequence[Any], weights: Sequence[Any]) -> Any:
        """The larger of the first two values, entrywise."""
        del weights
        return (jnp.logaddexp if self.smooth else jnp.maximum)(values[0], values[1])

    def interval(
        self,
        lower: Sequence[Any],
        upper: Sequence[Any],
        weights: Sequence[Any],
        magnitudes: Sequence[Any] = (),
    ) -> tuple[Any, Any]:
        """Bounds of the output where the variables lie between `lower` and `upper`."""
        del magnitudes
        low, high = self.apply(lower, weights), self.apply(upper, weights)
        if not self.smooth:
            return low, high
        ar = Arithmetic(jnp, self.output.dtype)
        slack = [
            2 * ar.eps * (2 + jnp.maximum(jnp.abs(a), jnp.abs(b))) for a, b, _ in (lower, upper)
        ]
        return ar.undefined((low - slack[0], high + slack[1]))
