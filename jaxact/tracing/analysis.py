"""Where a scalar function is convex, concave, rising, falling: certified once, on the host.

Adaptive bisection in float64 with the jets of the function's own jaxpr. A cell is decided when
the sign of f'' (or of f') is certain over all of it; cells that stay undecided down to the
resolution become gaps, over which the range of f is enclosed instead.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxact.tracing.intervals import Arithmetic
from jaxact.tracing.jets import evaluate
from jaxact.tracing.program import Program, program_of

CONVEX, LINEAR, CONCAVE = 1, 0, -1

_INNER = 16.0
_STEP = 0.25
_DOUBLINGS = 36
_FINE_UNTIL = 128.0
_FLAT = 1e-12
_GAP = 2.0**-36
_CELLS_PER_LEVEL = 4096
_TOTAL_CELLS = 60000
_LARGEST = 1e30


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """The certified shape of a function over [low, high].

    Attributes:
        program: the function.
        low, high: the domain that was analysed.
        left, right: ends of the pieces, ascending; between right[k] and left[k + 1] lies a gap
            (of width 0 where the break is known exactly).
        label: CONVEX, LINEAR or CONCAVE of each piece.
        slack: f is within slack * (u - l) of a function with these labels.
        turn_low, turn_high: gaps outside which f is monotone, inside the domain.
        turn_slack: how much f may move against the direction of its monotone pieces.
        smooth: whether the domain reaches as far as the search went, to both sides.
    """

    program: Program
    low: float
    high: float
    left: np.ndarray
    right: np.ndarray
    label: np.ndarray
    slack: float
    turn_low: np.ndarray
    turn_high: np.ndarray
    turn_domain: tuple[float, float]
    turn_slack: float

    def value(self, low: Any, high: Any) -> tuple[Any, Any]:
        """The range of f over [low, high], enclosed in float64."""
        return _jets(self.program, np.asarray(low), np.asarray(high), 0)[0]


@functools.lru_cache(maxsize=512)
def _cached(fn: Callable[..., Any], key: Any) -> Shape:
    return analyse_program(program_of(fn, _unfreeze(key)))


def analyse(fn: Callable[..., Any], theta: tuple[Any, ...] = ()) -> Shape:
    """The shape of fn(., *theta) for a concrete theta, computed once for equal arguments.

    Args:
        fn: elementwise function, hashable.
        theta: its parameters, concrete.

    Returns:
        Its pieces between certified breakpoints, and where it turns.

    Example:
        >>> import jax.numpy as jnp
        >>> isinstance(analyse(jnp.tanh), Shape)
        True
    """
    return _cached(fn, _freeze(theta))


def analyse_linear(fn: Callable[..., Any], theta: tuple[Any, ...] = ()) -> Shape | None:
    """`analyse`, cut at every kink, if all pieces are linear then (relu: two); None otherwise.

    Such a function differs from a line most at its kinks and at the ends of the interval.

    Example:
        >>> import jax
        >>> linear = analyse_linear(jax.nn.relu)
        >>> len(linear.left), analyse_linear(jax.nn.gelu) is None
        (2, True)
    """
    shape = _cut(fn, _freeze(theta))
    return None if shape.label.any() or not len(shape.label) else shape


def linear_pieces(
    fn: Callable[..., Any], theta: tuple[Any, ...] = ()
) -> tuple[tuple[float, float], ...]:
    """The intervals on which fn is certainly linear, ascending.

    Example:
        >>> import jax
        >>> [round(low, 6) for low, _ in linear_pieces(jax.nn.hard_tanh)][1:]
        [-1.0, 1.0]
    """
    shape = _cut(fn, _freeze(theta))
    pieces = zip(shape.left, shape.right, shape.label, strict=True)
    return tuple((float(low), float(high)) for low, high, label in pieces if label == LINEAR)


@functools.lru_cache(maxsize=512)
def _cut(fn: Callable[..., Any], key: Any) -> Shape:
    return analyse_program(program_of(fn, _unfreeze(key)), whole=False)


def _freeze(theta: Any) -> Any:
    """Theta as a hashable value."""
    if isinstance(theta, tuple | list):
        return tuple(_freeze(t) for t in theta)
    if isinstance(theta, bool | int | float):
        return theta
    array = np.asarray(theta)
    return (array.dtype.str, array.shape, array.tobytes())


def _unfreeze(key: Any) -> Any:
    if isinstance(key, tuple) and len(key) == 3 and isinstance(key[0], str):
        return np.frombuffer(key[2], np.dtype(key[0])).reshape(key[1])
    if isinstance(key, tuple):
        return tuple(_unfreeze(k) for k in key)
    return key


def analyse_program(program: Program, *, whole: bool = True) -> Shape:
    """The shape of a program of one input; `whole` keeps one curved piece in spite of kinks."""
    edges = _first_edges(program.constants)
    curved = _decide(program, edges, 2)
    moving = _decide(program, edges, 1)
    low, high = curved.domain
    left, right, label, slack = _merge(program, curved, whole=whole)
    turn_low, turn_high = _turns(moving)
    return Shape(
        program, low, high, left, right, label, slack,
        turn_low, turn_high, moving.domain, moving.slack,
    )  # fmt: skip


def _first_edges(constants: tuple[float, ...]) -> np.ndarray:
    inner = np.arange(-_INNER, _INNER + _STEP / 2, _STEP)
    tail = _INNER * 2.0 ** np.arange(1, _DOUBLINGS + 1)
    extra = [c for c in constants if abs(c) < 1e3]
    return np.unique(np.concatenate([-tail, inner, tail, np.asarray(extra, np.float64)]))


def _jets(program: Program, a: np.ndarray, b: np.ndarray, order: int) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):
        return evaluate(program, Arithmetic(np, np.float64), (a, b), (), order)


@dataclasses.dataclass
class _Cells:
    """Cells of one connected domain, ascending and adjoining; sign 2 marks an undecided gap."""

    a: np.ndarray
    b: np.ndarray
    sign: np.ndarray
    slack: float

    @property
    def domain(self) -> tuple[float, float]:
        return (float(self.a[0]), float(self.b[-1])) if len(self.a) else (0.0, 0.0)


_UNDECIDED, _BAD = 2, 3


def _decide(program: Program, edges: np.ndarray, order: int) -> _Cells:
    """Bisect until the sign of the derivative of this order is certain, or the cell is a gap."""
    a, b = edges[:-1], edges[1:]
    done: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    total = 0
    while len(a):
        parts = _jets(program, a, b, 2)
        low, high = parts[order]
        if order == 1:
            low, high = _mean_value(program, a, b, (low, high), parts[2])
        value_low, value_high = parts[0]
        finite = (value_low > -_LARGEST) & (value_high < _LARGEST)
        width = b - a
        scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1.0)
        with np.errstate(all="ignore"):
            wiggle = np.maximum(np.abs(low), np.abs(high)) * width
        sign = np.full(len(a), _BAD)
        flat = np.isfinite(wiggle) & (wiggle <= _FLAT) & finite
        sign[flat] = LINEAR
        sign[(low >= 0) & finite] = CONVEX
        sign[(high <= 0) & finite] = CONCAVE
        sign[(low == 0) & (high == 0) & finite] = LINEAR
        open_ = sign == _BAD
        cost = np.where(flat & (low < 0) & (high > 0), wiggle, 0.0)
        narrow = open_ & finite & (width <= _GAP * scale)
        sign[narrow] = _UNDECIDED
        open_ &= ~narrow
        # far out only a shallow search: a function that keeps turning ends the domain there
        far = (np.abs(a) >= _FINE_UNTIL) | (np.abs(b) > _FINE_UNTIL)
        lost = (value_low > _LARGEST) | (value_high < -_LARGEST) | (~finite & (width < scale / 999))
        split = open_ & ~(far & (width < scale / 40)) & (width > _GAP * scale) & ~lost
        total += len(a)
        if split.sum() > _CELLS_PER_LEVEL or total > _TOTAL_CELLS:
            split[:] = False
        keep = ~split
        done.append((a[keep], b[keep], sign[keep], cost[keep]))
        middle = a[split] + (b[split] - a[split]) / 2
        a, b = np.concatenate([a[split], middle]), np.concatenate([middle, b[split]])
    a, b, sign, cost = (np.concatenate(v) for v in zip(*done, strict=True))
    order_ = np.argsort(a, kind="stable")
    a, b, sign, cost = a[order_], b[order_], sign[order_], cost[order_]
    span = _connected(a, b, sign == _BAD)
    return _Cells(a[span], b[span], sign[span], float(cost[span].sum()))


def _mean_value(program: Program, a: Any, b: Any, first: Any, second: Any) -> Any:
    """Tighten f' by f'(c) + f''(X) (X - c), which sees double zeros of f'."""
    ar = Arithmetic(np, np.float64)
    middle = a + (b - a) / 2
    at = _jets(program, middle, middle, 1)[1]
    with np.errstate(all="ignore"):
        slope = ar.add(at, ar.mul(second, ar.sub((a, b), (middle, middle))))
        bounded = np.isfinite(second[0]) & np.isfinite(second[1])
        low = np.where(bounded, np.maximum(first[0], slope[0]), first[0])
        high = np.where(bounded, np.minimum(first[1], slope[1]), first[1])
    return low, high


def _connected(a: np.ndarray, b: np.ndarray, bad: np.ndarray) -> slice:
    """The run of good cells around 0, else the one with most cells."""
    stops = np.concatenate([[-1], np.flatnonzero(bad), [len(bad)]])
    runs = [(s + 1, e) for s, e in zip(stops[:-1], stops[1:], strict=True) if e > s + 1]
    if not runs:
        return slice(0, 0)
    around = [r for r in runs if a[r[0]] < 0 < b[r[1] - 1]]
    best = around[0] if around else max(runs, key=lambda r: r[1] - r[0])
    return slice(*best)


def _merge(
    program: Program, cells: _Cells, *, whole: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Join neighbouring cells to pieces.

    Pieces end at kinks, where a line may touch, unless the whole domain is one piece with kinks
    of its own direction (as relu and abs are: convex throughout).
    """
    if len(cells.a) == 0:
        empty = np.zeros(0)
        return empty, empty, np.zeros(0, int), 0.0
    joints = _joints(program, cells)
    joined = _join(cells, joints, kinks=True)
    return joined if whole and len(joined[0]) == 1 else _join(cells, joints, kinks=False)


def _join(cells: _Cells, joints: Any, *, kinks: bool) -> Any:
    """Join cells of one label where f is C^1, with `kinks` also at kinks of that direction."""
    convex_joint, concave_joint, deficit = joints
    left: list[float] = []
    right: list[float] = []
    label: list[int] = []
    slack = cells.slack
    for k, sign in enumerate(int(v) for v in cells.sign):
        if sign == _UNDECIDED:
            continue
        if k > 0 and label and cells.sign[k - 1] != _UNDECIDED:
            rise, fall = bool(convex_joint[k - 1]), bool(concave_joint[k - 1])
            if not kinks and rise != fall:
                rise = fall = False
            joined = _joined(label[-1], sign, rise, fall)
            if joined is not None:
                label[-1] = joined
                right[-1] = float(cells.b[k])
                slack += float(deficit[k - 1])
                continue
        left.append(float(cells.a[k]))
        right.append(float(cells.b[k]))
        label.append(sign)
    return np.asarray(left), np.asarray(right), np.asarray(label, int), slack


def _joined(have: int, new: int, rise: bool, fall: bool) -> int | None:  # noqa: FBT001
    """The label of two joined cells whose slope may only rise, or only fall, between them."""
    if have != new and LINEAR not in (have, new):
        return None
    both = have if new == LINEAR else new
    if rise and fall:
        return both
    if rise and both != CONCAVE:
        return CONVEX
    return CONCAVE if fall and both != CONVEX else None


def _joints(program: Program, cells: _Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each shared end of two cells: may the slope there jump up only, down only, or neither?

    Where f'' stays bounded on one side over an interval across the point, the slope cannot jump
    to that side. Else (a select) the two closed cells, both decided and so both continuous up to
    the shared point, give one-sided slopes that are compared; rounding goes to the deficit.
    """
    n = len(cells.a) - 1
    if n < 1:
        none = np.zeros(0, bool)
        return none, none, np.zeros(0)
    point = cells.b[:-1]
    reach = np.minimum(cells.b[:-1] - cells.a[:-1], cells.b[1:] - cells.a[1:]) / 4
    low, high = _jets(program, point - reach, point + reach, 2)[2]
    rises, falls = low > -np.inf, high < np.inf
    near = np.minimum(reach, 1e-14 * np.maximum(np.abs(point), 1e-3))
    _, first, second = _jets(program, point - near, point, 2)
    _, first_right, second_right = _jets(program, point, point + near, 2)
    sided = np.isfinite(second).all(0) & np.isfinite(second_right).all(0)
    with np.errstate(all="ignore"):
        drop = np.maximum(first[1] - first_right[0], 0.0)
        jump = np.maximum(first_right[1] - first[0], 0.0)
        small = 1e-11 * (1 + np.abs(first[1]))
        up = sided & (drop <= small)
        down = sided & (jump <= small)
    deficit = np.where(~rises & up, drop, 0.0)
    deficit = np.where(~falls & down, np.maximum(deficit, jump), deficit)
    return rises | up, falls | down, np.where(np.isfinite(deficit), deficit, 0.0)


def _turns(cells: _Cells) -> tuple[np.ndarray, np.ndarray]:
    """Gaps between monotone runs: undecided cells, and points where the direction changes."""
    low: list[float] = []
    high: list[float] = []
    direction = 0
    for a, b, sign in zip(cells.a, cells.b, cells.sign, strict=True):
        if sign == _UNDECIDED:
            if high and high[-1] == a:
                high[-1] = float(b)
            else:
                low.append(float(a))
                high.append(float(b))
            direction = 0
        elif sign != LINEAR:
            if direction == -sign:
                low.append(float(a))
                high.append(float(a))
            direction = int(sign)
    return np.asarray(low), np.asarray(high)
