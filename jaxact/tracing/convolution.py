"""Rows of linear forms, pulled back through a convolution as one matrix product.

XLA's transposed convolutions are slow on a CPU, ten times slower still inside a loop.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def is_plain(params: dict[str, Any]) -> bool:
    """Whether `pull_convolution` covers it: no groups, no dilation."""
    groups = params["feature_group_count"], params["batch_group_count"]
    return groups == (1, 1) and not {*params["lhs_dilation"], *params["rhs_dilation"]} - {1}


def pull_convolution(
    rows: Array, weight: Array, params: dict[str, Any], shape: tuple[int, ...]
) -> Array:
    r"""Rows over the output of `conv_general_dilated` as rows over its input.

    An output entry at position i sees the input at s i - pad + k for every tap k of the kernel.
    With k = s t + p (t the whole strides, p the phase) all taps are one product with the
    kernel's matrix, and the phases interleave: only the ceil(width / s) shifts t are added.

    Args:
        rows: shape (R, *output shape).
        weight: the kernel.
        params: of the primitive; see `is_plain`.
        shape: of the input.
    """
    numbers = params["dimension_numbers"]
    image, kernel, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    strides = tuple(params["window_strides"])
    axes = range(len(strides))
    widths = [weight.shape[kernel[d + 2]] for d in axes]
    shifts = [-(-k // s) for k, s in zip(widths, strides, strict=True)]
    weight = jnp.transpose(weight, kernel)
    weight = jnp.pad(
        weight,
        [(0, 0)] * 2 + [(0, t * s - k) for t, s, k in zip(shifts, strides, widths, strict=True)],
    )
    features, channels = weight.shape[:2]
    split = [n for t, s in zip(shifts, strides, strict=True) for n in (t, s)]
    weight = weight.reshape(features, channels, *split)
    shift_axes, phase_axes = [2 + 2 * d for d in axes], [3 + 2 * d for d in axes]
    matrix = jnp.transpose(weight, (0, *shift_axes, *phase_axes, 1)).reshape(features, -1)

    rows = jnp.transpose(rows, (0, out[0] + 1, *(out[d + 2] + 1 for d in axes), out[1] + 1))
    count, batch, *extent, _ = rows.shape
    taps = jnp.matmul(rows.reshape(-1, features), matrix, precision=lax.Precision.HIGHEST)
    phases = math.prod(strides) * channels
    taps = taps.reshape(count * batch, *extent, *shifts, phases)
    total: Any = 0
    for shift in itertools.product(*(range(t) for t in shifts)):
        part = taps[(slice(None), *(slice(None) for _ in axes), *shift)]
        room = [(t, n - 1 - t) for t, n in zip(shift, shifts, strict=True)]
        total = total + jnp.pad(part, [(0, 0), *room, (0, 0)])

    grown = total.shape[1:-1]
    total = total.reshape(count * batch, *grown, *strides, channels)
    order = [n for d in axes for n in (1 + d, 1 + len(grown) + d)]
    full = [n * s for n, s in zip(grown, strides, strict=True)]
    total = jnp.transpose(total, (0, *order, total.ndim - 1)).reshape(-1, *full, channels)
    ends = [
        (-low, shape[image[d + 2]] + low - full[d], 0)
        for d, (low, _) in enumerate(params["padding"])
    ]
    total = lax.pad(total, jnp.zeros((), total.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    total = total.reshape(count, batch, *total.shape[1:])
    # from (R, batch, *space, channel) to the image's own order
    place = {image[0]: 1, image[1]: total.ndim - 1} | {image[d + 2]: 2 + d for d in axes}
    return jnp.transpose(total, (0, *(place[d] for d in range(len(image)))))
