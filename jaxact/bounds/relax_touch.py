"""Where the convex envelope touches a function of few pieces: maps of one variable, from the host.

A core is a run of pieces on which the function is convex. The envelope over [l, u] leaves a core
on a straight bridge, and where it does so depends on one end alone: on the tangent from that end
to the core. So the touch points are functions of one variable, tabulated here in float64 and
refined by one Newton step in the kernel. Nothing here is trusted by a certificate.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from jaxact.tracing.analysis import CONCAVE, CONVEX, LINEAR, Shape
from jaxact.tracing.intervals import Arithmetic
from jaxact.tracing.jets import evaluate

_CELLS = 512
_FAR = 1e6
_BISECTIONS = 40
_BITANGENT_STEPS = 40


@dataclasses.dataclass(frozen=True, eq=False)
class Touch:
    """The point of a core where the tangent from an anchor touches, tabulated.

    Attributes:
        table: touch points at anchors that are uniform in z / (1 + |z|), z = (x - centre) / scale.
        centre, scale: of that coordinate.
        limit: anchors beyond it (below for a left anchor, above for a right one) act as it.
    """

    table: np.ndarray
    centre: float
    scale: float
    limit: float


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """How the lower line of side * f is found.

    Attributes:
        cores: first and last piece of each core, at most two.
        from_left: touch points seen from l on the last core; None where the core begins the domain.
        from_right: touch points seen from u on the first core; None where it ends the domain.
    """

    cores: tuple[tuple[int, int], ...]
    from_left: Touch | None
    from_right: Touch | None


@functools.lru_cache(maxsize=512)
def plans(shape: Shape) -> tuple[Plan, Plan] | None:
    """Plans of the lower and of the upper line; None for a shape that needs the general search."""
    if not len(shape.label) or _jumps(shape):
        return None
    lower, upper = _plan(shape, 1), _plan(shape, -1)
    return None if lower is None or upper is None else (lower, upper)


def _jumps(shape: Shape) -> bool:
    low, high = shape.value(shape.right[:-1], shape.left[1:])
    return bool(((high - low) > 1e-6 * (1 + np.abs(low))).any())


def _plan(shape: Shape, side: int) -> Plan | None:
    cores = _cores(shape, side)
    count = len(shape.label)
    curved = [
        sum(side * shape.label[k] == CONVEX for k in range(first, last + 1))
        for first, last in cores
    ]
    if len(cores) > 2 or any(n > 1 for n in curved):
        return None
    if not cores:
        return Plan((), None, None) if count == 1 or _bends(shape, side) else None
    (first, last), final = cores[0], cores[-1]
    flanked = first > 0 or final[1] < count - 1
    if len(cores) == 2 and (flanked or final[0] - last > 2):
        return None
    if (first > 1) or (final[1] < count - 2):
        return None
    left_limit, right_limit = -np.inf, np.inf
    if len(cores) == 2:
        left_limit, right_limit = _bitangent(shape, side, cores)
    left = right = None
    if final[0] > 0:
        left = _touch(shape, side, final, left_limit, leftward=True)
    if last < count - 1:
        right = _touch(shape, side, cores[0], right_limit, leftward=False)
    return Plan(cores, left, right)


def _cores(shape: Shape, side: int) -> tuple[tuple[int, int], ...]:
    """Runs of convex and linear pieces whose joints are smooth or bend upward."""
    runs: list[tuple[int, int]] = []
    for k, label in enumerate(shape.label):
        if side * label == CONCAVE:
            continue
        if runs and runs[-1][1] == k - 1 and _rise(shape, side, k - 1) >= -1e-6:
            runs[-1] = (runs[-1][0], k)
        else:
            runs.append((k, k))
    # an outer straight piece that bends down into its neighbour is touched at its end alone
    for outer, inner in ((0, 1), (-1, -2)):
        first, last = runs[outer] if len(runs) > 1 else (0, 1)
        if first == last and shape.label[first] == LINEAR:
            near = sorted((runs[outer], runs[inner]))
            if near[0][1] + 1 == near[1][0]:
                del runs[outer]
    return tuple(runs)


def _bends(shape: Shape, side: int) -> bool:
    """Whether concave pieces meet concavely, so that the whole is concave."""
    return all(_rise(shape, side, k) <= 1e-6 for k in range(len(shape.label) - 1))


def _rise(shape: Shape, side: int, joint: int) -> float:
    """How much the slope of side * f rises from piece to piece."""
    left, right = shape.right[joint], shape.left[joint + 1]
    step = 1e-7 * max(1.0, abs(float(left)))
    step = min(step, (left - shape.left[joint]) / 2, (shape.right[joint + 1] - right) / 2)
    _, slope = host(shape, np.array([left - step, right + step]))
    return float(side * (slope[1] - slope[0]))


def host(shape: Shape, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes in float64: the middles of their enclosures."""
    with np.errstate(all="ignore"):
        parts = evaluate(shape.program, Arithmetic(np, np.float64), (x, x), order=1)
        f, slope = (
            np.nan_to_num((p[0] + p[1]) / 2, nan=0.0, posinf=0.0, neginf=0.0) for p in parts
        )
    return f, slope


def _tangent(shape: Shape, side: int, core: tuple[int, int], c: np.ndarray) -> np.ndarray:
    """The points of a core that the tangents from anchors outside it touch, by bisection."""
    low, high = np.clip((shape.left[core[0]], shape.right[core[1]]), -_FAR, _FAR)
    lo, hi = np.full(c.shape, np.arcsinh(low)), np.full(c.shape, np.arcsinh(high))
    fc, _ = host(shape, c)
    for _ in range(_BISECTIONS):
        mid = (lo + hi) / 2
        d = np.sinh(mid)
        f, slope = host(shape, d)
        short = side * (slope * (c - d) + f - fc) * np.sign(d - c) > 0
        lo, hi = np.where(short, mid, lo), np.where(short, hi, mid)
    return np.where((c > low) & (c < high), c, np.clip(np.sinh((lo + hi) / 2), low, high))


def _bitangent(shape: Shape, side: int, cores: tuple[tuple[int, int], ...]) -> tuple[float, float]:
    """The touch points of the line below two cores, each the tangent from the other."""
    a = np.clip(shape.right[cores[0][1]], -_FAR, _FAR)[None]
    b = np.clip(shape.left[cores[1][0]], -_FAR, _FAR)[None]
    for _ in range(_BITANGENT_STEPS):
        b_next = _tangent(shape, side, cores[1], a)
        a_next = _tangent(shape, side, cores[0], b_next)
        done = abs(b_next - b) + abs(a_next - a) <= 1e-9 * (1 + abs(a) + abs(b))
        a, b = a_next, b_next
        if done:
            break
    return float(a[0]), float(b[0])


def _touch(
    shape: Shape, side: int, core: tuple[int, int], limit: float, *, leftward: bool
) -> Touch:
    centre, scale = _coordinate(shape)
    v = np.linspace(-1, 1, _CELLS + 1)
    with np.errstate(all="ignore"):
        c = centre + scale * v / (1 - np.abs(v))
    c = np.clip(c, max(shape.low, -_FAR), min(shape.high, _FAR))
    d = _tangent(shape, side, core, c)
    # on the core's own side and inside it the anchor itself is the touch point
    edge = shape.left[core[0]] if leftward else shape.right[core[1]]
    return Touch(np.where(c >= edge if leftward else c <= edge, edge, d), centre, scale, limit)


def _coordinate(shape: Shape) -> tuple[float, float]:
    """Centre and scale of where the slope changes: the quartiles of its variation."""
    x = np.linspace(max(-64.0, shape.low), min(64.0, shape.high), 2001)[1:-1]
    _, slope = host(shape, x)
    mass = np.cumsum(np.abs(np.diff(slope)))
    if not mass[-1] > 0:
        return 0.0, 1.0
    low, high = np.interp([0.25, 0.75], mass / mass[-1], x[1:])
    return float(low + high) / 2, float(np.clip(high - low, 0.05, 64.0))
