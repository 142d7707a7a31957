"""ONNX operators over image axes: convolution, pooling, resizing (N, C, spatial...)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

Operands = Sequence[Any]
Attributes = Mapping[str, Any]


def conv(operands: Operands, attributes: Attributes) -> Any:
    """Convolution, any number of spatial axes, with groups, strides, dilations and pads."""
    x, kernel = operands[:2]
    dilations = attributes.get("dilations") or (1,) * (x.ndim - 2)
    pads = _pads(attributes, x.shape[2:], kernel.shape[2:], _strides(attributes, x), dilations)
    value = lax.conv_general_dilated(
        x, kernel, _strides(attributes, x), pads,
        rhs_dilation=dilations, feature_group_count=attributes.get("group", 1),
        precision=lax.Precision.HIGHEST,
    )  # fmt: skip
    return _with_bias(value, operands)


def conv_transpose(operands: Operands, attributes: Attributes) -> Any:
    """The transpose of a convolution: one over the input dilated by the strides."""
    x, kernel = operands[:2]
    if "output_shape" in attributes or attributes.get("auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    ):
        raise NotImplementedError("ConvTranspose with output_shape or auto_pad; give it pads")
    spatial, group = x.ndim - 2, attributes.get("group", 1)
    strides = _strides(attributes, x)
    dilations = attributes.get("dilations") or (1,) * spatial
    pads = attributes.get("pads") or (0,) * (2 * spatial)
    extra = attributes.get("output_padding") or (0,) * spatial
    reach = [d * (k - 1) for d, k in zip(dilations, kernel.shape[2:], strict=True)]
    padding = [
        (reach[i] - pads[i], reach[i] - pads[i + spatial] + extra[i]) for i in range(spatial)
    ]
    # (in, out / group, ...) to (out, in / group, ...), with every kernel turned around
    rows, columns = kernel.shape[:2]
    kernel = kernel.reshape(group, rows // group, columns, *kernel.shape[2:]).swapaxes(1, 2)
    kernel = kernel.reshape(group * columns, rows // group, *kernel.shape[3:])
    kernel = jnp.flip(kernel, tuple(range(2, kernel.ndim)))
    value = lax.conv_general_dilated(
        x, kernel, (1,) * spatial, padding, lhs_dilation=strides, rhs_dilation=dilations,
        feature_group_count=group, precision=lax.Precision.HIGHEST,
    )  # fmt: skip
    return _with_bias(value, operands)


def max_pool(operands: Operands, attributes: Attributes) -> Any:
    """The largest entry of every window; pads never win."""
    x = operands[0]
    window, strides, dilations, pads, _ = _windows(x, attributes)
    low = jnp.asarray(-jnp.inf, x.dtype)
    return lax.reduce_window(x, low, lax.max, window, strides, pads, window_dilation=dilations)


def average_pool(operands: Operands, attributes: Attributes) -> Any:
    """The mean of every window; pads count only where the file says so."""
    x = operands[0]
    window, strides, dilations, pads, overhang = _windows(x, attributes)
    counts = np.ones(x.shape[2:], np.float64)
    inside = attributes.get("count_include_pad", 0)
    # what ceil_mode adds past the declared pads is never counted
    declared = [(a, b - o) for (a, b), o in zip(pads[2:], overhang, strict=True)]
    counts = np.pad(counts, declared, constant_values=float(inside))
    counts = np.pad(counts, [(0, o) for o in overhang])
    views = np.lib.stride_tricks.sliding_window_view(
        counts, [d * (k - 1) + 1 for k, d in zip(window[2:], dilations[2:], strict=True)]
    )
    every = tuple(slice(None, None, s) for s in strides[2:])
    taps = tuple(slice(None, None, d) for d in dilations[2:])
    sizes = views[every + taps].sum(axis=tuple(range(-(x.ndim - 2), 0)))
    total = lax.reduce_window(
        x, jnp.zeros((), x.dtype), lax.add, window, strides, pads, window_dilation=dilations
    )
    return total * jnp.asarray(1 / sizes, x.dtype).reshape(1, 1, *sizes.shape)


def global_average_pool(operands: Operands, _: Attributes) -> Any:
    """The mean over all spatial axes, kept as axes of size one."""
    x = operands[0]
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


def resize(operands: Operands, attributes: Attributes) -> Any:
    """Nearest-neighbour resizing: every output pixel is one input pixel."""
    x = operands[0]
    mode = attributes.get("mode", "nearest")
    if mode != "nearest":
        raise NotImplementedError(f"Resize with mode={mode!r}; supported is nearest")
    if "axes" in attributes or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotImplementedError("Resize with axes or an aspect ratio policy")
    scales, sizes = _resize_sizes(operands, x.shape, attributes)
    for axis, (before, after) in enumerate(zip(x.shape, sizes, strict=True)):
        if before == after and scales[axis] == 1:
            continue
        source = _source_pixels(before, after, scales[axis], attributes)
        if after % before == 0 and (source == np.arange(after) // (after // before)).all():
            x = jnp.repeat(x, after // before, axis=axis)
        else:
            picked = [lax.slice_in_dim(x, i, i + 1, axis=axis) for i in source]
            x = jnp.concatenate(picked, axis=axis)
    return x


def _resize_sizes(
    operands: Operands, shape: Sequence[int], attributes: Attributes
) -> tuple[list[float], list[int]]:
    operands = [None if o is None or np.size(o) == 0 else o for o in operands[1:]]
    if len(operands) > 2 and operands[2] is not None:
        sizes = [int(s) for s in operands[2]]
        return [a / b for a, b in zip(sizes, shape, strict=True)], sizes
    # opset 10 and Upsample: (x, scales); from 11 on: (x, roi, scales, sizes)
    scales = operands[1] if len(operands) > 1 else (operands or [None])[0]
    scales = attributes.get("scales") if scales is None else scales
    if scales is None:
        raise ValueError("Resize must have scales or sizes")
    # float32 as in the file: 2.9999998 times 10 is 29 pixels to every reader
    scales = [float(s) for s in scales]
    return scales, [math.floor(n * s) for n, s in zip(shape, scales, strict=True)]


def _source_pixels(before: int, after: int, scale: float, attributes: Attributes) -> np.ndarray:
    old = attributes["operator"] == "Upsample" or attributes["opset"] < 11
    transform = attributes.get(
        "coordinate_transformation_mode", "asymmetric" if old else "half_pixel"
    )
    rounding = attributes.get("nearest_mode", "floor" if old else "round_prefer_floor")
    out = np.arange(after, dtype=np.float64)
    if transform == "asymmetric":
        place = out / scale
    elif transform in ("half_pixel", "pytorch_half_pixel"):
        place = (out + 0.5) / scale - 0.5
        if transform == "pytorch_half_pixel" and after == 1:
            place = np.zeros(1)
    elif transform == "align_corners":
        place = out * ((before - 1) / (after - 1) if after > 1 else 0.0)
    else:
        raise NotImplementedError(f"Resize with coordinate_transformation_mode={transform!r}")
    rounds = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    }
    return np.clip(rounds[rounding](place), 0, before - 1).astype(int)


def _strides(attributes: Attributes, x: Any) -> tuple[int, ...]:
    return attributes.get("strides") or (1,) * (x.ndim - 2)


def _pads(
    attributes: Attributes,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """(low, high) for every spatial axis, from pads or auto_pad."""
    auto = attributes.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID", ""):
        count = len(sizes)
        pads = attributes.get("pads") if auto != "VALID" else None
        pads = pads or (0,) * (2 * count)
        return list(zip(pads[:count], pads[count:], strict=True))
    found = []
    for size, k, stride, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + d * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        found.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return found


def _windows(x: Any, attributes: Attributes) -> tuple[Any, ...]:
    """Window, strides, dilations and pads over all axes, and what ceil_mode adds at the end."""
    kernel = attributes["kernel_shape"]
    strides = _strides(attributes, x)
    dilations = attributes.get("dilations") or (1,) * len(kernel)
    pads = _pads(attributes, x.shape[2:], kernel, strides, dilations)
    overhang = [0] * len(kernel)
    if attributes.get("ceil_mode", 0):
        for i, (low, high) in enumerate(pads):
            span = x.shape[2 + i] + low + high - dilations[i] * (kernel[i] - 1) - 1
            steps = -(-span // strides[i])
            if steps * strides[i] >= x.shape[2 + i] + low:
                steps -= 1  # a window must begin inside the input or its left pad
            overhang[i] = max(steps * strides[i] - span, 0)
            pads[i] = (low, high + overhang[i])
    one = (1, 1)
    return one + tuple(kernel), one + tuple(strides), one + tuple(dilations), [
        (0, 0), (0, 0), *pads
    ], overhang  # fmt: skip


def _with_bias(value: Any, operands: Operands) -> Any:
    if len(operands) < 3 or operands[2] is None:
        return value
    return value + operands[2].reshape(1, -1, *(1,) * (value.ndim - 2))
