"""Subdomains of relu networks on which nothing is left to split: a linear program decides them."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxact.decide.layers import Layers
from jaxact.decide.neuron_state import Domain


def leaf_margin(
    layers: Layers, domain: Domain, middle: np.ndarray, half: np.ndarray, rows: np.ndarray,
    thresholds: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The least violation of a leaf's constraints and half-spaces, and where it is, in float64.

    With every relu on one side of 0 all pre-activations are affine in the input, and the least t
    with lower - t <= z(x) <= upper + t and rows f(x) <= thresholds + t, x in the box, is a linear
    program that always has a solution. t > 0: the leaf holds nothing unsafe.

    Args:
        layers: a network of relus.
        domain: whose boxes do not contain 0 inside.
        middle: of the input box.
        half: half its width.
        rows: half-spaces (H, outputs).
        thresholds: shape (H,).

    Returns:
        t and x, and the multipliers of the pre-activations (N,) and half-spaces (H,) that prove
        it; t = -inf where the program failed.
    """
    from scipy.optimize import linprog  # a tenth of what a short process takes

    matrix, shift = np.eye(len(middle)), np.zeros(len(middle))
    above, ends, parts, start = [], [], [], 0
    lower, upper = domain.lower.astype(np.float64), domain.upper.astype(np.float64)
    for k, (w, b) in enumerate(zip(layers.matrices, layers.offsets, strict=True)):
        w, b = np.asarray(w, np.float64), np.asarray(b, np.float64)
        matrix, shift = w @ matrix, w @ shift + b
        if k == len(layers.fns):
            break
        part = slice(start, start + len(b))
        start += len(b)
        parts.append(part)
        low, high, on = lower[part], upper[part], lower[part] >= 0
        # the side of 0 is what the leaf is about; the other ends hold for all of it
        above += [matrix, -matrix]
        ends += [high - shift, shift - low]
        matrix, shift = on[:, None] * matrix, on * shift
    above.append(rows @ matrix)
    ends.append(thresholds - rows @ shift)
    program = np.vstack(above)
    program = np.concatenate([program, -np.ones((len(program), 1))], axis=1)
    cost: Any = np.r_[np.zeros(len(middle)), 1.0]
    spans = [*zip(middle - half, middle + half, strict=True), (None, None)]
    found = linprog(cost, A_ub=program, b_ub=np.concatenate(ends), bounds=spans)
    count = len(lower)
    if found.status != 0:
        return -np.inf, np.asarray(middle, np.float64), np.zeros(count), np.zeros(len(rows))
    each = -found.ineqlin.marginals
    mu, at = np.zeros(count), 0
    for part in parts:
        width = part.stop - part.start
        mu[part] = each[at : at + width] - each[at + width : at + 2 * width]
        at += 2 * width
    return float(found.fun), found.x[:-1], mu, each[at:]
