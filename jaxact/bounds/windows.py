"""Rows of linear forms that are zero outside a window: what one neuron of a convolution sees.

A neuron of a convolutional layer depends on few entries of the layers before it. Its row is kept
as a small array and the place of the window, and is pulled back through convolutions, units and
elementwise steps in that form; other steps get the whole row.
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
from jaxtyping import Array

from jaxact.bounds.regions import Ball
from jaxact.bounds.relax_lines import Lines
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.convolution import is_plain, pull_convolution

_LOCAL_MATRIX = 1024  # entries of a window up to which a convolution is pulled as a matrix
_PRECISE = lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class Window:
    """R rows, each zero outside its window of one common size.

    Attributes:
        values: shape (R, *size).
        origin: where each window begins, integers (R, ndim); it may stick out of the variable,
            and what sticks out counts as zero.
        span: static (lowest, highest) origin along every dimension.
    """

    values: Array
    origin: Array
    span: tuple[tuple[int, int], ...]

    @property
    def size(self) -> tuple[int, ...]:
        """The window's size along every dimension."""
        return self.values.shape[1:]

    def with_negatives(self) -> Window:
        """The rows and, after them, their negatives."""
        values = jnp.concatenate([self.values, -self.values])
        return Window(values, jnp.concatenate([self.origin, self.origin]), self.span)

    def at(self, value: Array) -> Array:
        """The entries of an array of the variable's shape under every window, zero outside it."""
        pads = [
            (max(0, -low), max(0, high + width - extent))
            for (low, high), width, extent in zip(self.span, self.size, value.shape, strict=True)
        ]
        padded = jnp.pad(value, pads)
        start = self.origin + np.array([[p[0] for p in pads]], np.int32)
        return jax.vmap(lambda o: lax.dynamic_slice(padded, list(o), self.size))(start)

    def dot(self, value: Array) -> Array:
        """Rows . value, of shape (R,)."""
        return _rowwise(self.values, self.at(value))

    def dense(self, shape: tuple[int, ...]) -> Array:
        """The whole rows, of shape (R, *shape)."""
        pads = [
            (max(0, -low), max(0, high + width - extent))
            for (low, high), width, extent in zip(self.span, self.size, shape, strict=True)
        ]
        frame = jnp.zeros([n + a + b for n, (a, b) in zip(shape, pads, strict=True)])
        frame = frame.astype(self.values.dtype)
        start = self.origin + np.array([[p[0] for p in pads]], np.int32)
        full = jax.vmap(lambda v, o: lax.dynamic_update_slice(frame, v, list(o)))(
            self.values, start
        )
        inside = tuple(slice(a, a + n) for n, (a, _) in zip(shape, pads, strict=True))
        return full[:, *inside]

    def through_lines(self, lines: Lines) -> tuple[Window, Array]:
        """Backward through a unit: the lower line where a value is positive, else the upper."""
        positive, negative = jnp.maximum(self.values, 0), jnp.minimum(self.values, 0)
        values = positive * self.at(lines.lower_slope) + negative * self.at(lines.upper_slope)
        shift = _rowwise(positive, self.at(lines.lower_intercept))
        shift = shift + _rowwise(negative, self.at(lines.upper_intercept))
        return dataclasses.replace(self, values=values), shift

    def pull(self, node: Affine, weights: Sequence[Any]) -> list[Window] | list[Array] | None:
        """Backward through an affine step, its offset aside; None where a window does not help."""
        rule = _RULES.get(node.name)
        pulled = None if rule is None else rule(self, node, weights)
        if pulled is None:
            return None
        shapes = [v.shape for v in node.variables]
        return [
            part if not isinstance(part, Window) or _is_small(part, shape) else part.dense(shape)
            for part, shape in zip(pulled, shapes, strict=True)
        ]  # pyright: ignore[reportReturnType]

    def concretise(self, region: Any) -> tuple[Array, Array]:
        """Middle and half-width of the rows' range over the region, each of shape (R,)."""
        if region.is_box:
            lower, upper = region.box()
            half = self.at((upper - lower) / 2)
            return self.dot((lower + upper) / 2), _rowwise(jnp.abs(self.values), half)
        inside = self.values * self.at(jnp.ones_like(region.sample))
        centred = Ball(jnp.zeros(self.size, self.values.dtype), region.eps, region.norm)
        return self.dot(region.sample), centred.linear(inside)[1]

    def plus(self, other: Window) -> Window | None:
        """The sum, in a window that covers both; None if their distance is not one number."""
        shifts = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(self.span, other.span, strict=True)]
        if any(low != high for low, high in shifts):
            return None
        apart = [low for low, _ in shifts]
        begin = [min(0, d) for d in apart]
        end = [max(n, d + m) for n, m, d in zip(self.size, other.size, apart, strict=True)]
        total = _placed(self.values, [0 - b for b in begin], begin, end)
        total = total + _placed(
            other.values, [d - b for d, b in zip(apart, begin, strict=True)], begin, end
        )
        span = tuple((low + b, high + b) for (low, high), b in zip(self.span, begin, strict=True))
        return Window(total, self.origin + np.array([begin], np.int32), span)


def one_hot(variable: Variable, index: Array) -> Window:
    """The rows of `variable[index]`, index being flat."""
    origin = jnp.stack(jnp.unravel_index(index, variable.shape), axis=1).astype(jnp.int32)
    values = jnp.ones((index.shape[0], *(1,) * len(variable.shape)), variable.dtype)
    return Window(values, origin, tuple((0, n - 1) for n in variable.shape))


def _rowwise(a: Array, b: Array) -> Array:
    return (a * b).reshape(a.shape[0], -1).sum(axis=1)


def _is_small(window: Window, shape: tuple[int, ...]) -> bool:
    return 2 * math.prod(window.size) <= math.prod(shape)


def _placed(values: Array, before: list[int], begin: list[int], end: list[int]) -> Array:
    room = [e - b for b, e in zip(begin, end, strict=True)]
    pads = [(a, r - a - n) for a, r, n in zip(before, room, values.shape[1:], strict=True)]
    return jnp.pad(values, [(0, 0), *pads])


def _same(window: Window, node: Affine, _: Sequence[Any]) -> list[Window]:
    flips = [node.name == "neg" or (node.name == "sub" and o is not node.operands[0])
             for o in node.variables]  # fmt: skip
    flipped = dataclasses.replace(window, values=-window.values)
    return [flipped if flip else window for flip in flips]


def _scaled(window: Window, node: Affine, weights: Sequence[Any]) -> list[Window] | None:
    if len(node.variables) != 1:
        return None
    factor = node.apply([jnp.ones(node.variables[0].shape, node.variables[0].dtype)], weights)
    return [dataclasses.replace(window, values=window.values * window.at(factor))]


def _resized(window: Window, node: Affine, _: Sequence[Any]) -> list[Window] | None:
    """Steps that only add or drop dimensions of length one."""
    shape = node.variables[0].shape
    if len(node.variables) != 1 or node.variables[0].size != node.output.size:
        return None
    if not node.keeps_order:
        return None
    kept = [d for d, n in enumerate(node.output.shape) if n != 1]
    target = [d for d, n in enumerate(shape) if n != 1]
    if [node.output.shape[d] for d in kept] != [shape[d] for d in target]:
        return None
    place = dict(zip(target, kept, strict=True))
    size = [window.size[place[d]] if d in place else 1 for d in range(len(shape))]
    span = tuple(window.span[place[d]] if d in place else (0, 0) for d in range(len(shape)))
    zero = jnp.zeros_like(window.origin[:, 0])
    columns = [window.origin[:, place[d]] if d in place else zero for d in range(len(shape))]
    origin = jnp.stack(columns, axis=1) if columns else window.origin[:, :0]
    return [Window(window.values.reshape(-1, *size), origin, span)]


def _transposed(window: Window, node: Affine, _: Sequence[Any]) -> list[Window]:
    back = np.argsort(dict(node.params)["permutation"])
    values = jnp.transpose(window.values, (0, *(int(d) + 1 for d in back)))
    span = tuple(window.span[d] for d in back)
    return [Window(values, window.origin[:, back], span)]


def _padded(window: Window, node: Affine, _: Sequence[Any]) -> list[Window] | None:
    config = dict(node.params)["padding_config"]
    if len(node.variables) != 1 or node.operands[0] is not node.variables[0]:
        return None
    if any(interior for _, _, interior in config):
        return None
    low = [lo for lo, _, _ in config]
    span = tuple((a - lo, b - lo) for (a, b), lo in zip(window.span, low, strict=True))
    return [Window(window.values, window.origin - np.array([low], np.int32), span)]


def _dense_layer(window: Window, node: Affine, weights: Sequence[Any]) -> list[Array] | None:
    """Single neurons of a dense layer: rows of its matrix."""
    matrix = node.dense_rows(weights)
    if matrix is None or math.prod(window.size) != 1:
        return None
    flat = jnp.zeros_like(window.origin[:, 0])
    for d, extent in enumerate(node.output.shape):
        flat = flat * extent + window.origin[:, d]
    sign = window.values.reshape(-1, *(1,) * (matrix.ndim - 1))
    return [sign * matrix[flat]]


@dataclasses.dataclass(frozen=True)
class _Sliding:
    """One dimension of the output that slides over one of the input."""

    width: int
    stride: int
    dilation: int
    before: int

    def extent(self, size: int) -> int:
        return (size - 1) * self.stride + (self.width - 1) * self.dilation + 1

    def begin(self, origin: Any) -> Any:
        return origin * self.stride - self.before


def _convolution(window: Window, node: Affine, weights: Sequence[Any]) -> list[Window] | None:
    params = dict(node.params)
    if not isinstance(node.operands[0], Variable) or not is_plain(params):
        return None
    numbers = params["dimension_numbers"]
    image, kernel, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    weight = node.constants(weights)[0]
    channels = window.size[out[1]]
    if window.size[out[0]] != 1 or channels not in (1, node.output.shape[out[1]]):
        return None
    slide = [
        _Sliding(weight.shape[kernel[d + 2]], stride, dilation, before)
        for d, (stride, dilation, (before, _)) in enumerate(
            zip(params["window_strides"], params["rhs_dilation"], params["padding"], strict=True)
        )
    ]
    sizes = [s.extent(window.size[out[d + 2]]) for d, s in enumerate(slide)]
    shape = [1] * len(image)
    shape[image[1]] = node.variables[0].shape[image[1]]
    for d, n in enumerate(sizes):
        shape[image[d + 2]] = n
    origin = [jnp.zeros_like(window.origin[:, 0])] * len(image)
    span: list[tuple[int, int]] = [(0, 0)] * len(image)
    origin[image[0]], span[image[0]] = window.origin[:, out[0]], window.span[out[0]]
    for d, s in enumerate(slide):
        origin[image[d + 2]] = s.begin(window.origin[:, out[d + 2]])
        low, high = window.span[out[d + 2]]
        span[image[d + 2]] = (s.begin(low), s.begin(high))
    if math.prod(window.size) == 1:
        # one output entry sees the kernel of its channel itself
        moved = [0] * len(image)
        moved[image[0]], moved[image[1]] = kernel[0], kernel[1]
        for d in range(len(slide)):
            moved[image[d + 2]] = kernel[d + 2]
        kernels = jnp.transpose(weight, (kernel[0], *(m for m in moved if m != kernel[0])))
        values = kernels[window.origin[:, out[1]]].reshape(-1, *shape)
        values = window.values.reshape(-1, *(1,) * len(image)) * values
    elif channels == 1:
        return None
    else:
        values = _local(window.values, weight, params, tuple(shape))
    return [Window(values, jnp.stack(origin, axis=1), tuple(span))]


def _local(rows: Array, weight: Any, params: dict[str, Any], shape: tuple[int, ...]) -> Array:
    """Rows over one window of a convolution's output as rows over the window of its input."""
    params = params | {"padding": ((0, 0),) * len(params["window_strides"])}
    count = math.prod(rows.shape[1:])
    if count > min(_LOCAL_MATRIX, rows.shape[0]):
        return pull_convolution(rows, weight, params, shape)
    eye = jnp.eye(count, dtype=rows.dtype).reshape(count, *rows.shape[1:])
    matrix = pull_convolution(eye, weight, params, shape).reshape(count, -1)
    flat = jnp.matmul(rows.reshape(-1, count), matrix, precision=_PRECISE)
    return flat.reshape(-1, *shape)


def _summed(window: Window, node: Affine, _: Sequence[Any]) -> list[Window] | None:
    """Sums over sliding windows: average pooling."""
    params = dict(node.params)
    if set(params["base_dilation"]) - {1}:
        return None
    slide = [
        _Sliding(width, stride, dilation, before)
        for width, stride, dilation, (before, _) in zip(
            params["window_dimensions"], params["window_strides"], params["window_dilation"],
            params["padding"], strict=True,
        )
    ]  # fmt: skip
    shape = tuple(s.extent(n) for s, n in zip(slide, window.size, strict=True))
    params["padding"] = ((0, 0),) * len(slide)
    like = jax.ShapeDtypeStruct(shape, window.values.dtype)
    back = jax.linear_transpose(lambda v: node.primitive.bind(v, **params), like)
    values = jax.vmap(lambda r: back(r)[0])(window.values)
    columns = [s.begin(window.origin[:, d]) for d, s in enumerate(slide)]
    span = tuple((s.begin(a), s.begin(b)) for s, (a, b) in zip(slide, window.span, strict=True))
    return [Window(values, jnp.stack(columns, axis=1), span)]


_RULES = {
    "add": _same, "add_any": _same, "sub": _same, "neg": _same, "copy": _same, "copy_p": _same,
    "mul": _scaled, "div": _scaled, "reshape": _resized, "squeeze": _resized,
    "broadcast_in_dim": _resized, "transpose": _transposed, "pad": _padded,
    "dot_general": _dense_layer, "conv_general_dilated": _convolution,
    "reduce_window_sum": _summed,
}  # fmt: skip
