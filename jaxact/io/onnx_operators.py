"""ONNX operators as JAX functions: rule(operands, attributes), shapes and axes static."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxact.io import onnx_spatial

Operands = Sequence[Any]
Attributes = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an operator is computed.

    Attributes:
        apply: (operands, attributes) -> array; a missing optional operand is None.
        static: positions of floating operands that must be constants of the architecture
            (integer operands always are).
    """

    apply: Callable[[Operands, Attributes], Any]
    static: tuple[int, ...] = ()


def get(operands: Operands, index: int) -> Any:
    """The operand at a position, None where it was left out."""
    return operands[index] if index < len(operands) else None


def _elementwise(fn: Callable[..., Any]) -> Rule:
    return Rule(lambda operands, _: fn(operands[0]))


def _binary(fn: Callable[[Any, Any], Any]) -> Rule:
    """Two operands with NumPy's broadcasting, which strict JAX wants spelt out."""

    def apply(operands: Operands, _: Attributes) -> Any:
        left, right = operands
        rank = max(left.ndim, right.ndim)
        return fn(*(v if v.ndim in (0, rank) else _pad_rank(v, rank) for v in (left, right)))

    return Rule(apply)


def _pad_rank(value: Any, rank: int) -> Any:
    return value.reshape((1,) * (rank - value.ndim) + value.shape)


def _power(base: Any, exponent: Any) -> Any:
    whole = np.asarray(exponent) if not isinstance(exponent, jax.core.Tracer) else None
    if whole is not None and whole.size == 1 and float(whole.reshape(())) in range(-16, 17):
        return lax.integer_pow(base, int(whole.reshape(())))
    return jnp.power(base, exponent)


def _matmul(operands: Operands, _: Attributes) -> Any:
    return jnp.matmul(*operands, precision=lax.Precision.HIGHEST)


def _gemm(operands: Operands, attributes: Attributes) -> Any:
    left, right = operands[:2]
    left = left.T if attributes.get("transA", 0) else left
    right = right.T if attributes.get("transB", 0) else right
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    product = jnp.matmul(left, right, precision=lax.Precision.HIGHEST)
    product = product if alpha == 1 else alpha * product
    shift = get(operands, 2)
    if shift is None or beta == 0:
        return product
    shift = shift if beta == 1 else beta * shift
    return product + (shift if shift.ndim == 0 else _pad_rank(shift, 2))


def _batch_normalization(operands: Operands, attributes: Attributes) -> Any:
    x, scale, shift, mean, variance = operands[:5]
    factor = scale / jnp.sqrt(variance + attributes.get("epsilon", 1e-5))
    column = (1, -1) + (1,) * (x.ndim - 2)
    return x * factor.reshape(column) + (shift - mean * factor).reshape(column)


def _clip(operands: Operands, attributes: Attributes) -> Any:
    value = operands[0]
    low = attributes.get("min") if get(operands, 1) is None else operands[1].reshape(())
    high = attributes.get("max") if get(operands, 2) is None else operands[2].reshape(())
    value = value if low is None else jnp.maximum(value, low)
    return value if high is None else jnp.minimum(value, high)


def _leaky_relu(operands: Operands, attributes: Attributes) -> Any:
    return jax.nn.leaky_relu(operands[0], attributes.get("alpha", 0.01))


def _elu(operands: Operands, attributes: Attributes) -> Any:
    return jax.nn.elu(operands[0], attributes.get("alpha", 1.0))


def _softmax(operands: Operands, attributes: Attributes) -> Any:
    """From opset 13 on along one axis; before, over all axes from the named one on."""
    x = operands[0]
    if attributes["opset"] >= 13:
        return jax.nn.softmax(x, axis=attributes.get("axis", -1))
    axis = attributes.get("axis", 1) % x.ndim
    flat = x.reshape(*x.shape[:axis], -1)
    return jax.nn.softmax(flat, axis=-1).reshape(x.shape)


def _flatten(operands: Operands, attributes: Attributes) -> Any:
    x = operands[0]
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _reshape(operands: Operands, attributes: Attributes) -> Any:
    x = operands[0]
    wanted = attributes.get("shape") if get(operands, 1) is None else operands[1]
    keep = not attributes.get("allowzero", 0)
    sizes = [x.shape[i] if s == 0 and keep else int(s) for i, s in enumerate(wanted)]  # pyright: ignore[reportArgumentType]
    return x.reshape(sizes)


def _transpose(operands: Operands, attributes: Attributes) -> Any:
    return jnp.transpose(operands[0], attributes.get("perm"))


def _concat(operands: Operands, attributes: Attributes) -> Any:
    return jnp.concatenate(list(operands), axis=attributes.get("axis", 1))


def _axes(operands: Operands, attributes: Attributes) -> tuple[int, ...] | None:
    """Axes are an attribute in old opsets and the second operand in new ones."""
    axes = attributes.get("axes") if get(operands, 1) is None else operands[1]
    return None if axes is None else tuple(int(a) for a in np.atleast_1d(axes))


def _squeeze(operands: Operands, attributes: Attributes) -> Any:
    return jnp.squeeze(operands[0], _axes(operands, attributes))


def _unsqueeze(operands: Operands, attributes: Attributes) -> Any:
    return jnp.expand_dims(operands[0], _axes(operands, attributes) or ())


def _reduce(fn: Callable[..., Any]) -> Rule:
    def apply(operands: Operands, attributes: Attributes) -> Any:
        axes = _axes(operands, attributes) or None
        if axes is None and attributes.get("noop_with_empty_axes", 0):
            return operands[0]
        return fn(operands[0], axis=axes, keepdims=bool(attributes.get("keepdims", 1)))

    return Rule(apply)


def _slice(operands: Operands, attributes: Attributes) -> Any:
    x = operands[0]
    starts, ends, axes, steps = (
        attributes.get(name) if get(operands, i) is None else operands[i]
        for i, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    count = len(starts)  # pyright: ignore[reportArgumentType]
    axes = range(count) if axes is None else axes
    steps = (1,) * count if steps is None else steps
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):  # pyright: ignore[reportArgumentType]
        # below the first entry, going backward, Python has no number but None
        past = step < 0 and end < -x.shape[axis]
        index[axis] = slice(int(start), None if past else int(end), int(step))
    return x[tuple(index)]


def _pad(operands: Operands, attributes: Attributes) -> Any:
    x = operands[0]
    mode = attributes.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise NotImplementedError(f"Pad with mode={mode!r}; supported are constant, reflect, edge")
    pads = attributes.get("pads") if get(operands, 1) is None else operands[1]
    value = attributes.get("value", 0.0) if get(operands, 2) is None else operands[2]
    given = get(operands, 3)
    axes = range(x.ndim) if given is None else np.atleast_1d(given)
    half = len(pads) // 2  # pyright: ignore[reportArgumentType]
    widths = [(0, 0)] * x.ndim
    for axis, low, high in zip(axes, pads[:half], pads[half:], strict=True):  # pyright: ignore[reportOptionalSubscript]
        widths[axis] = (int(low), int(high))
    if mode == "constant":
        fill = jnp.asarray(value, x.dtype).reshape(())
        return lax.pad(x, fill, [(low, high, 0) for low, high in widths])
    return jnp.pad(x, widths, mode=mode)


def _gather(operands: Operands, attributes: Attributes) -> Any:
    """Constant indices: a static slice for each, which is affine for every bound."""
    x, indices = operands
    axis = attributes.get("axis", 0) % x.ndim
    chosen = np.asarray(indices)
    flat = [int(i) % x.shape[axis] for i in chosen.reshape(-1)]
    picked = [lax.slice_in_dim(x, i, i + 1, axis=axis) for i in flat]
    joined = picked[0] if len(picked) == 1 else jnp.concatenate(picked, axis=axis)
    return joined.reshape(x.shape[:axis] + chosen.shape + x.shape[axis + 1 :])


def _cast(operands: Operands, attributes: Attributes) -> Any:
    if attributes["to"] not in (1, 10, 11, 16):  # float, float16, double, bfloat16
        raise NotImplementedError("Cast of an array that depends on the input to a non-float")
    return operands[0]


def _first(operands: Operands, _: Attributes) -> Any:
    return operands[0]


def _split(operands: Operands, attributes: Attributes) -> list[Any]:
    x, axis = operands[0], attributes.get("axis", 0)
    sizes = attributes.get("split") if get(operands, 1) is None else operands[1]
    if sizes is None:
        count = attributes["outputs"]
        chunk = -(-x.shape[axis] // count)
        sizes = [chunk] * (count - 1) + [x.shape[axis] - chunk * (count - 1)]
    ends = np.cumsum([0, *sizes])
    return [
        lax.slice_in_dim(x, int(a), int(b), axis=axis)
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]


RULES: dict[str, Rule] = {
    "Abs": _elementwise(jnp.abs),
    "Add": _binary(jnp.add),
    "AveragePool": Rule(onnx_spatial.average_pool),
    "BatchNormalization": Rule(_batch_normalization),
    "Cast": Rule(_cast),
    "Clip": Rule(_clip),
    "Concat": Rule(_concat),
    "Conv": Rule(onnx_spatial.conv),
    "ConvTranspose": Rule(onnx_spatial.conv_transpose),
    "Cos": _elementwise(jnp.cos),
    "Div": _binary(jnp.divide),
    "Dropout": Rule(_first),
    "Elu": Rule(_elu),
    "Erf": _elementwise(jax.scipy.special.erf),
    "Exp": _elementwise(jnp.exp),
    "Flatten": Rule(_flatten),
    "Gather": Rule(_gather),
    "Gemm": Rule(_gemm),
    "GlobalAveragePool": Rule(onnx_spatial.global_average_pool),
    "Identity": Rule(_first),
    "LeakyRelu": Rule(_leaky_relu),
    "Log": _elementwise(jnp.log),
    "MatMul": Rule(_matmul),
    "MaxPool": Rule(onnx_spatial.max_pool),
    "Mul": _binary(jnp.multiply),
    "Neg": _elementwise(jnp.negative),
    "Pad": Rule(_pad),
    "Pow": _binary(_power),
    "ReduceMean": _reduce(jnp.mean),
    "ReduceSum": _reduce(jnp.sum),
    "Relu": _elementwise(jax.nn.relu),
    "Reshape": Rule(_reshape),
    "Resize": Rule(onnx_spatial.resize, static=(1, 2)),
    "Sigmoid": _elementwise(jax.nn.sigmoid),
    "Sin": _elementwise(jnp.sin),
    "Slice": Rule(_slice),
    "Softmax": Rule(_softmax),
    "Softplus": _elementwise(jax.nn.softplus),
    "Split": Rule(_split),
    "Sqrt": _elementwise(jnp.sqrt),
    "Squeeze": Rule(_squeeze),
    "Sub": _binary(jnp.subtract),
    "Tanh": _elementwise(jnp.tanh),
    "Transpose": Rule(_transpose),
    "Unsqueeze": Rule(_unsqueeze),
    "Upsample": Rule(onnx_spatial.resize, static=(1,)),
}
"""Every operator that may depend on the input; Constant, Shape and what else only depends on
constants is folded when the file is read."""
