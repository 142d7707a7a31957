"""An ONNX graph as a JAX function: the architecture, the weights, and how they run."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxact.io.onnx_operators import RULES
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@dataclasses.dataclass(frozen=True)
class Slot:
    """An operand that depends on the input, by its number."""

    index: int


@dataclasses.dataclass(frozen=True)
class Weight:
    """A floating constant, by its place in `OnnxNetwork.weights`."""

    index: int


@dataclasses.dataclass(frozen=True)
class Step:
    """One operator of the graph.

    Attributes:
        operator: its ONNX name.
        operands: `Slot`, `Weight`, None, or a constant of the architecture as nested tuples.
        outputs: the slots it fills.
        attributes: its attributes, as sorted pairs.
    """

    operator: str
    operands: tuple[Any, ...]
    outputs: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The architecture of an ONNX graph; equal for equal architectures, whatever the names."""

    steps: tuple[Step, ...]
    target: Slot
    batched: bool
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@pytree(static=("plan", "input_name", "output_name"))
class OnnxNetwork:
    """An ONNX network as a JAX function of one sample, without batch axis.

    A pytree whose leaves are the weights. It computes in the dtype of its input, so the same
    object serves float32 and float64.

    Attributes:
        weights: the floating constants of the file, a tuple of arrays.
        plan: the architecture, hashable.
        input_name: the input's name in the file.
        output_name: the output's.
    """

    weights: Leaf
    plan: Plan
    input_name: str
    output_name: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: the file's input without a leading axis of one."""
        return self.plan.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output for one sample."""
        return self.plan.output_shape

    def file_input(self, x: Any) -> np.ndarray:
        """One sample as other readers of the file want it: float32, with its batch axis."""
        value = np.asarray(x, np.float32).reshape(self.input_shape)
        return value[None] if self.plan.batched else value

    def __call__(self, x: Any) -> Any:
        """The network's value at one sample of `input_shape`."""
        x = jnp.asarray(x)
        checks.shape("x", x, self.input_shape)
        return _run(self.plan, self.weights, x)

    def __repr__(self) -> str:
        """The shapes and the operators in order."""
        names = ", ".join(step.operator for step in self.plan.steps)
        return f"OnnxNetwork({self.input_shape} -> {self.output_shape}: {names})"


def _run(plan: Plan, weights: tuple[Any, ...], x: Any) -> Any:
    values = {0: x[None] if plan.batched else x}
    for step in plan.steps:
        apply_step(step, values, weights, x.dtype)
    result = values[plan.target.index]
    drop = plan.batched and result.ndim > 0 and result.shape[0] == 1
    return result[0] if drop else result


def apply_step(step: Step, values: dict[int, Any], weights: Any, dtype: Any) -> None:
    """Run one step: read its operands from `values` and put its results there."""
    operands = []
    for operand in step.operands:
        if isinstance(operand, Slot):
            operands.append(values[operand.index])
        elif isinstance(operand, Weight):
            operands.append(jnp.asarray(weights[operand.index], dtype))
        else:
            operands.append(operand)
    attributes = dict(step.attributes)
    result = RULES[step.operator].apply(operands, attributes)
    results = result if isinstance(result, list) else [result]
    values.update(zip(step.outputs, results, strict=False))
