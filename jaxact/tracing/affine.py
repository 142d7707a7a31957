"""One affine primitive of a network: forward, backward over rows, and over intervals.

The backward rule is `jax.linear_transpose` of the primitive itself, but for convolutions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxact.tracing.convolution import is_plain, pull_convolution
from jaxact.tracing.flatten import Equation

# which operands may depend on the input; the others must be constants
_DATA = {
    "conv_general_dilated": (0, 1), "dot_general": (0, 1), "mul": (0, 1), "div": (0,),
    "dynamic_slice": (0,), "dynamic_update_slice": (0, 1), "gather": (0,), "pad": (0, 1),
}  # fmt: skip
BILINEAR = frozenset(("conv_general_dilated", "dot_general", "mul", "div"))
_PLAIN = frozenset(
    "add add_any broadcast_in_dim concatenate convert_element_type copy copy_p cumsum neg reshape "
    "reduce_sum reduce_window_sum rev select_n slice split squeeze stack sub tile transpose".split()
)
_OFFSET = frozenset("add add_any concatenate dynamic_update_slice pad select_n stack sub".split())
_REORDERS_NOTHING = frozenset("broadcast_in_dim convert_element_type copy reshape squeeze".split())
_COPIES = frozenset("broadcast_in_dim copy reshape squeeze transpose".split())
SUPPORTED = tuple(sorted(_PLAIN | set(_DATA)))


@dataclasses.dataclass(frozen=True, order=True)
class Variable:
    """An operand that depends on the input: its number, shape and dtype.

    Ordered by number, so that dictionaries of variables are pytrees.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Weight:
    """A constant operand kept as a leaf of the network."""

    index: int


@dataclasses.dataclass(frozen=True)
class Written:
    """A constant written in the text of the function: a scalar, broadcast to a shape."""

    value: Any
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Affine:
    """A primitive that is affine in its `Variable` operands.

    Attributes:
        primitive: the JAX primitive.
        params: its parameters, as sorted pairs.
        operands: `Variable`, `Weight` or `Written`.
        output: the variable it makes.
    """

    primitive: Any
    params: tuple[tuple[str, Any], ...]
    operands: tuple[Any, ...]
    output: Variable

    @property
    def name(self) -> str:
        """The primitive's name."""
        return self.primitive.name

    @property
    def variables(self) -> list[Variable]:
        """The operands that depend on the input, in order."""
        return [o for o in self.operands if isinstance(o, Variable)]

    @property
    def has_offset(self) -> bool:
        """Whether zero may be mapped to something else than zero."""
        data = self.operands[1:] if self.name == "select_n" else self.operands
        return self.name in _OFFSET and any(
            isinstance(o, Weight) or (isinstance(o, Written) and o.value != 0) for o in data
        )

    @property
    def keeps_order(self) -> bool:
        """Whether the flattened output is the flattened first operand plus a constant."""
        first = self.operands[0]
        if not isinstance(first, Variable) or first.size != self.output.size:
            return False
        shift = self.name in ("add", "sub") and len(self.variables) == 1
        return shift or self.name in _REORDERS_NOTHING

    @property
    def copies(self) -> bool:
        """Whether every entry of the output is an entry of the one operand, and all occur."""
        return self.name in _COPIES and len(self.operands) == 1

    def apply(self, values: Sequence[Any], weights: Sequence[Any]) -> Any:
        """The primitive at `values`, one for each of `variables`."""
        return self._bind(values, self.constants(weights))

    def constants(self, weights: Sequence[Any]) -> list[Any]:
        """The operands that do not depend on the input, in order."""
        return [_constant(o, weights) for o in self._constants]

    def offset(self, weights: Sequence[Any]) -> Any:
        """The value at zero."""
        return self.apply([jnp.zeros(v.shape, v.dtype) for v in self.variables], weights)

    def pull(self, rows: Any, weights: Sequence[Any]) -> list[Any]:
        """Rows of linear forms of the output as rows of linear forms of each variable.

        Args:
            rows: shape (R, *output.shape).
            weights: the network's leaves.

        Returns:
            One array of shape (R, *variable.shape) for each of `variables`.
        """
        params = dict(self.params)
        if self.name == "conv_general_dilated" and is_plain(params):
            image, kernel = self.operands
            if isinstance(image, Variable):
                return [pull_convolution(rows, _constant(kernel, weights), params, image.shape)]
        like = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in self.variables]
        back = jax.linear_transpose(lambda *values: self.apply(values, weights), *like)
        return list(jax.vmap(back)(rows))

    def pull_size(self, sizes: Any, weights: Sequence[Any]) -> list[Any]:
        """`pull` by the magnitudes of the coefficients, of rows >= 0."""
        if self.name not in BILINEAR:  # each operand has coefficients of one sign
            return [jnp.abs(part) for part in self.pull(sizes, weights)]
        operands = tuple(
            dataclasses.replace(o, value=abs(o.value)) if isinstance(o, Written) else o
            for o in self.operands
        )
        own = {o.index: jnp.abs(weights[o.index]) for o in operands if isinstance(o, Weight)}
        positive = [own.get(i, w) for i, w in enumerate(weights)]
        return dataclasses.replace(self, operands=operands).pull(sizes, positive)

    def push(self, tangents: Sequence[Any], weights: Sequence[Any]) -> Any:
        """The linear part of the step at `tangents`, one for each of `variables`."""
        at = [jnp.zeros_like(t) for t in tangents]
        return jax.jvp(lambda *v: self.apply(v, weights), at, list(tangents))[1]

    def pull_identity(self, weights: Sequence[Any]) -> list[Any]:
        """`pull` of the identity; a dense layer's matrix is taken as it stands."""
        if (dense := self.dense_rows(weights)) is not None:
            return [dense]
        eye = jnp.eye(self.output.size, dtype=self.output.dtype)
        return self.pull(eye.reshape(-1, *self.output.shape), weights)

    def interval(
        self,
        lower: Sequence[Any],
        upper: Sequence[Any],
        weights: Sequence[Any],
        magnitudes: Sequence[Any] = (),
    ) -> tuple[Any, Any]:
        """Bounds of the output where the variables lie between `lower` and `upper`.

        `magnitudes` may hold |W| of some weights, at the weight's index; None where it does not.
        """
        if self.name in BILINEAR:
            middle = self.apply(
                [(lo + up) / 2 for lo, up in zip(lower, upper, strict=True)], weights
            )
            half = [(u - lo) / 2 for lo, u in zip(lower, upper, strict=True)]
            radius = self.spread(half, weights, magnitudes)
            return middle - radius, middle + radius
        if self.name in ("neg", "sub"):
            flips = [self.name == "neg" or o is not self.operands[0] for o in self.variables]
            low = [u if flip else lo for lo, u, flip in zip(lower, upper, flips, strict=True)]
            high = [lo if flip else u for lo, u, flip in zip(lower, upper, flips, strict=True)]
            return self.apply(low, weights), self.apply(high, weights)
        return self.apply(lower, weights), self.apply(upper, weights)

    def spread(
        self, radius: Sequence[Any], weights: Sequence[Any], magnitudes: Sequence[Any] = ()
    ) -> Any:
        """|W| radius + |b|: how far the output is from 0 where each variable is within `radius`."""
        constants = [
            _magnitude(o, weights, magnitudes)
            if jnp.issubdtype(_constant(o, weights).dtype, jnp.floating)
            else _constant(o, weights)
            for o in self._constants
        ]
        if self.name == "neg":
            return radius[0]
        if self.name == "sub":
            return sum([*radius, *constants])
        return self._bind(radius, constants)

    @property
    def _constants(self) -> list[Any]:
        return [o for o in self.operands if not isinstance(o, Variable)]

    def _bind(self, values: Sequence[Any], constants: Sequence[Any]) -> Any:
        given, kept = iter(values), iter(constants)
        full = [next(given) if isinstance(o, Variable) else next(kept) for o in self.operands]
        return self.primitive.bind(*full, **dict(self.params))

    def dense_rows(self, weights: Sequence[Any]) -> Any | None:
        """The matrix of a dense layer, of shape (output size, *variable shape); else None."""
        if self.name != "dot_general" or len(self.variables) != 1:
            return None
        (contract, batch) = dict(self.params)["dimension_numbers"]
        side = 0 if isinstance(self.operands[0], Variable) else 1
        x = self.variables[0]
        summed = math.prod(x.shape[d] for d in contract[side])
        if batch[0] or summed != x.size:
            return None
        matrix = _constant(self.operands[1 - side], weights)
        axes = [contract[1 - side][i] for i in np.argsort(contract[side])]
        free = [d for d in range(matrix.ndim) if d not in axes]
        return jnp.transpose(matrix, (*free, *axes)).reshape(self.output.size, *x.shape)


def is_affine(equation: Equation) -> bool:
    """Whether the equation is affine in the operands that depend on the input."""
    name, refs = equation.name, equation.refs
    if name not in _PLAIN and name not in _DATA:
        return False
    data = _DATA.get(name, range(1 if name == "select_n" else 0, len(equation.operands)))
    if any(o in refs and i not in data for i, o in enumerate(equation.operands)):
        return False
    if name == "convert_element_type" and equation.outputs[0].dtype.kind != "f":
        return False
    return name not in BILINEAR or len(refs) == 1


def exact_params(equation: Equation) -> tuple[tuple[str, Any], ...]:
    """The parameters, hashable, with matrix products at the highest precision of the backend."""
    params = dict(equation.params)
    if "precision" in params:
        params["precision"] = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)
    return tuple(sorted(params.items()))


def _magnitude(operand: Any, weights: Sequence[Any], magnitudes: Sequence[Any]) -> Any:
    known = magnitudes[operand.index] if magnitudes and isinstance(operand, Weight) else None
    return jnp.abs(_constant(operand, weights)) if known is None else known


def _constant(operand: Any, weights: Sequence[Any]) -> Any:
    if isinstance(operand, Weight):
        return jnp.asarray(weights[operand.index])
    return jnp.full(operand.shape, operand.value, operand.dtype)
