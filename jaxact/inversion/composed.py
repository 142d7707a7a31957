"""Operators one after another, and the host's checks of an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxact.inversion.callables import Function, as_function
from jaxact.inversion.masks import Mask, check_mask
from jaxact.inversion.operators import sign
from jaxact.numerics.pytrees import pytree


@pytree()
class Composed:
    """Operators in a row, made by `compose`; the first one acts first."""

    operators: tuple[Function, ...]

    def __call__(self, x: Any) -> Any:
        """Apply all of them."""
        for operator in self.operators:
            x = operator(x)
        return x


def compose(*operators: Callable[..., Any]) -> Composed:
    """Operators in a row, the first one first: x -> b(a(x)) for operators a, b.

    Args:
        operators: at least one; each an operator of this module or any JAX function.

    Returns:
        A `Composed` operator.

    Raises:
        TypeError: if one is not callable. ValueError: if there is none.

    Differentiation: as its parts.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.inversion import downsample, mask
        >>> compose(downsample(2), mask([1]))(jnp.arange(8.0).reshape(2, 4)).tolist()
        [4.5]

    Source: y = A x with A a product of operators.
    """
    if not operators:
        raise ValueError("operators must name at least one operator, got none")
    return Composed(tuple([as_function("operators", operator) for operator in operators]))


def check_operator(operator: Any, output: jax.ShapeDtypeStruct) -> None:
    """Raise `ValueError` if a mask does not fit, or if the operator takes the sign."""
    if isinstance(operator, Function):
        operator = operator.original()
    if operator is sign:
        raise ValueError(
            "operator must have a derivative, got sign: invert with the operator without it and "
            "noise=LogisticNoise()"
        )
    if isinstance(operator, Mask):
        check_mask(operator, output.shape)
    if isinstance(operator, Composed):
        for part in operator.operators:
            check_operator(part, output)
            output = jax.eval_shape(part, output)
