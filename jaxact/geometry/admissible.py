"""Which activations have a signature: strong, weak or no admissibility, and why."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation, activation
from jaxact.numerics import checks

_RANGE = 16.0
_CELLS = 4096
_SIZE = _CELLS + 64
_STEP = 1e-6
_SMALL = 1e-6


@dataclasses.dataclass(frozen=True)
class Admissibility:
    """What an activation needs to carry a deformed exponential family, and what it has.

    Attributes:
        name: the activation's name.
        status: "strong" (C^1, strictly increasing, convex, bounded below), "weak" (a limit of
            such functions in L1: convex, non-decreasing, bounded below, not constant) or "none".
        reason: one sentence that says which condition decided.
        monotone: f never decreases.
        strict: f increases strictly.
        convex: f is convex.
        bounded_below: inf f > -inf.
        infimum: inf f (-inf where it is not bounded below).
        jump: the largest jump of f' (0 for a C^1 activation; nan where f itself jumps).
    """

    name: str
    status: str
    reason: str
    monotone: bool
    strict: bool
    convex: bool
    bounded_below: bool
    infimum: float
    jump: float

    @property
    def has_signature(self) -> bool:
        """Whether the activation has a signature: it is admissible, strongly or weakly."""
        return self.status != "none"


def admissibility(act: Activation | Callable[..., Any]) -> Admissibility:
    """Test an activation for strong and weak admissibility, in float64 on the host.

    Strong: C^1, strictly increasing, convex and bounded below. Weak: within any eps in L1 of a
    strong one; that is every convex, non-decreasing, not constant f that is bounded below (its
    corners can be rounded and its flat part replaced by an exponential tail, locally).

    The test samples f and f' at 4,097 points of [-16, 16] and at +-2^k further out, and reads
    the jumps of f' at the declared (or found) kinks. It is numerical: a violation smaller than
    1e-9, or one that hides between two samples, is not seen.

    Args:
        act: an `Activation` with concrete theta, or a scalar JAX function.

    Returns:
        An `Admissibility` report.

    Raises:
        ValueError: if theta is being traced by JAX (the report is made on the host).

    Example:
        >>> import jaxact
        >>> admissibility(jaxact.get("softplus")).status
        'strong'
        >>> admissibility(jaxact.get("relu")).reason
        "relu is convex, non-decreasing and bounded below, but f' jumps by 1 at x = 0"

    Source: Nock et al. 2017, section 5 (strongly and weakly admissible activations).
    """
    act = activation(act)
    if not checks.is_concrete(act.theta):
        raise ValueError(
            f"admissibility of {act.name} needs concrete parameters: call it outside jit, grad "
            "and vmap"
        )
    leaves, structure = jax.tree.flatten(act.theta)
    arrays = [np.asarray(leaf, np.float64) for leaf in leaves]
    values = tuple((a.shape, tuple(a.ravel().tolist())) for a in arrays)
    return _report(act.fn, values, structure, act.name, act.kinks)


@functools.lru_cache(maxsize=512)
def _report(
    fn: Callable[..., Any], values: tuple[Any, ...], structure: Any, name: str, kinks: Any
) -> Admissibility:
    theta = jax.tree.unflatten(structure, [np.reshape(v, s) for s, v in values])
    # The report may be asked for while an outer function is traced: its numbers are constants.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        points = kinks(*theta) if callable(kinks) else kinks
        points = np.asarray(points, np.float64).reshape(-1)
        return _judge(_Sampler(fn, theta), name, points)


class _Sampler:
    """f and f' at float64 points, as NumPy arrays."""

    def __init__(self, fn: Callable[..., Any], theta: tuple[Any, ...]) -> None:
        self.theta = tuple(jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), t) for t in theta)
        self.fn = fn

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Padded to one size: one compilation serves the grid, the kinks and the tails.
        padded = np.pad(x, (0, _SIZE - len(x)), mode="edge")
        value, slope = _value_and_slope(self.fn, jnp.asarray(padded, jnp.float64), self.theta)
        return np.asarray(value)[: len(x)], np.asarray(slope)[: len(x)]


@functools.partial(jax.jit, static_argnums=0)
def _value_and_slope(fn: Any, x: Any, theta: Any) -> tuple[Any, Any]:
    value, slope = jax.jvp(lambda v: fn(v, *theta), (x,), (jnp.ones_like(x),))
    return jnp.broadcast_to(value, x.shape), jnp.broadcast_to(slope, x.shape)


def _judge(sample: _Sampler, name: str, kinks: np.ndarray) -> Admissibility:
    # Off round numbers, where kinks sit and JAX's derivative is a convention.
    near = np.linspace(-_RANGE, _RANGE, _CELLS + 1) + 1.2345e-3
    far = 2.0 ** np.arange(4.5, 9.5)
    x = np.concatenate([-far[::-1], near, far])
    value, slope = sample(x)
    seen = np.isfinite(value) & np.isfinite(slope)
    x, value, slope = x[seen], value[seen], slope[seen]
    if x.size < _CELLS:
        raise ValueError(f"{name} must be finite on [-{_RANGE:g}, {_RANGE:g}]")
    kinks = np.concatenate([kinks, _undeclared(sample, near)])
    continuous, jump, where = _jump(sample, kinks)
    convex = continuous and _is_convex(x, value, slope)
    falls = np.diff(value) < -1e-12 * (1 + np.abs(value[1:]) + np.abs(value[:-1]))
    falls = np.append(falls, [False]) | (slope < -1e-12)
    monotone = not falls.any()
    infimum, bounded, tail = _infimum(sample, x, value)
    constant = bool(np.ptp(value) == 0)
    strict = monotone and not constant and not _flat(x, slope, kinks)
    status, reason = "none", ""
    if constant:
        reason = f"{name} is constant"
    elif not monotone:
        at = x[falls][np.argmin(np.abs(x[falls]))]
        reason = f"{name} is not monotone: it decreases at x = {at:.3g}"
    elif not continuous:
        reason = f"{name} is not continuous: it jumps at x = {where:.6g}, so it is not convex"
    elif not convex:
        reason = f"{name} is not convex: its slope falls{_first_fall(x, slope)}"
    elif not bounded:
        reason = f"{name} is not bounded below: its slope at -infinity is {tail:.3g}"
    elif jump:
        status = "weak"
        reason = (
            f"{name} is convex, non-decreasing and bounded below, but f' jumps by {jump:.6g} "
            f"at x = {where:.6g}"
        )
    elif not strict:
        status = "weak"
        reason = (
            f"{name} is C^1, convex, non-decreasing and bounded below, but flat on a half-line: "
            "not strictly increasing"
        )
    else:
        status = "strong"
        reason = f"{name} is C^1, strictly increasing, convex and bounded below"
    return Admissibility(
        name, status, reason, monotone, strict, convex, bounded, infimum, jump
    )  # fmt: skip


def _undeclared(sample: _Sampler, grid: np.ndarray) -> np.ndarray:
    """Where f' changes most, if it still jumps there at the resolution of the numbers.

    Declared kinks can miss one that appears at this theta only, as mu_relu's at mu = 1.
    """
    slope, biggest = np.zeros(1), 0.0
    for _zoom in range(6):
        _, slope = sample(grid)
        change = np.abs(np.diff(slope))
        at = int(np.argmax(change))
        biggest = float(change[at])
        grid = np.linspace(grid[at], grid[at + 1], 129)
    steep = biggest > _SMALL * (1 + np.abs(slope).max())
    return np.array([grid[0]]) if steep else np.zeros(0)


def _jump(sample: _Sampler, kinks: np.ndarray) -> tuple[bool, float, float]:
    """Is f continuous at its kinks; the largest jump of f' and its place."""
    if kinks.size == 0:
        return True, 0.0, 0.0
    offsets = np.array([-2, -1, 1, 2]) * _STEP
    value, slope = sample((kinks[:, None] + offsets[None, :]).reshape(-1))
    value, slope = value.reshape(-1, 4), slope.reshape(-1, 4)
    step = np.abs(value[:, 2] - value[:, 1])
    allowed = 4 * _STEP * (1 + np.abs(slope).max(axis=1)) * (1 + np.abs(value[:, 1]))
    if (step > allowed).any():
        return False, float("nan"), float(kinks[np.argmax(step - allowed)])
    # Extrapolated to a step of zero: what f'' contributes cancels.
    jumps = np.abs(2 * (slope[:, 2] - slope[:, 1]) - (slope[:, 3] - slope[:, 0]))
    worst = int(np.argmax(jumps))
    jump = float(jumps[worst])
    scale = 1 + np.abs(slope[worst]).max()
    return (
        True,
        (round(jump, 9) if jump > _SMALL * scale else 0.0),
        round(float(kinks[worst]), 9) + 0.0,
    )


def _is_convex(x: np.ndarray, value: np.ndarray, slope: np.ndarray) -> bool:
    noise = 1e-9 * (np.abs(slope[1:]) + np.abs(slope[:-1])) + 1e-12
    if (np.diff(slope) < -noise).any():
        return False
    # A jump of the function itself leaves no trace in its slopes.
    near = value[np.abs(x) <= _RANGE]
    bend = near[2:] + near[:-2] - 2 * near[1:-1]
    return bool((bend >= -1e-12 * (1 + np.abs(near[2:]) + np.abs(near[:-2]))).all())


def _first_fall(x: np.ndarray, slope: np.ndarray) -> str:
    fall = np.where(np.abs(x[:-1]) <= _RANGE, np.diff(slope), 0)
    if fall.min() >= 0:
        return ""
    at = int(np.argmin(fall))
    return f" from {slope[at]:.4g} to {slope[at + 1]:.4g} near x = {x[at]:.3g}"


def _infimum(sample: _Sampler, x: np.ndarray, value: np.ndarray) -> tuple[float, bool, float]:
    """Inf f, whether it is finite, and the slope at the end where f falls."""
    low = float(value.min())
    for sign in (-1, 1):
        ends = sign * 2.0 ** np.array([10, 20, 40, 60, 120])
        far, far_slope = sample(ends)
        seen = np.flatnonzero(np.isfinite(far) & np.isfinite(far_slope))
        if seen.size == 0:
            continue
        last = far[seen[-1]]
        before = far[seen[-2]] if seen.size > 1 else value[0 if sign < 0 else -1]
        if last < before - 1e-4 * (1 + abs(before)) and last < low:
            return -np.inf, False, float(far_slope[seen[-1]])
        low = min(low, float(last))
    at = int(np.argmin(value))
    left, right = x[max(at - 1, 0)], x[min(at + 1, len(x) - 1)]
    for _zoom in range(4):
        grid = np.linspace(left, right, 129)
        inner, _ = sample(grid)
        best = int(np.nanargmin(inner))
        low = min(low, float(inner[best]))
        left, right = grid[max(best - 1, 0)], grid[min(best + 1, 128)]
    return low, True, 0.0


def _flat(x: np.ndarray, slope: np.ndarray, kinks: np.ndarray) -> bool:
    """Whether f' vanishes on an interval, as opposed to underflowing to zero in a tail.

    A smooth tail dies through the smallest numbers; a true flat part ends at a kink.
    """
    zero = slope == 0
    ends = np.flatnonzero(zero[:-1] != zero[1:])
    return any(((kinks >= x[i]) & (kinks <= x[i + 1])).any() for i in ends)
