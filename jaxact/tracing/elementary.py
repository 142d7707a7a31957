"""The elementary functions with their first two derivatives, as ranges over an interval.

Every derivative is a formula of small *relative* error (so its sign survives flat tails), given
with its critical points: between them it is monotone and the ends of the interval give its range.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from jaxact.tracing.intervals import Arithmetic, Interval

_Parts = tuple[Any, Any, Any]


def _erf(ar: Arithmetic, x: Any) -> Any:
    if ar.xp is np:
        return _host_erf(x)
    return jax.lax.erf(x)


def _host_erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _host_erfc(x: Any) -> Any:
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def _clip_range(ar: Arithmetic, a: Interval, low: float, high: float) -> Interval:
    xp = ar.xp
    return xp.clip(a[0], low, high), xp.clip(a[1], low, high)


def _sech2(ar: Arithmetic, x: Any) -> Any:
    """1 - tanh^2, with relative accuracy in the tails."""
    xp = ar.xp
    q = xp.exp(-2 * xp.abs(x))
    return 4 * q / (1 + q) ** 2


def _tanh(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    first = second = None
    if order >= 1:
        first = ar.extremal(lambda x: _sech2(ar, x), v, ((0.0, 1.0),), 16.0, sign=xp.ones_like)
    if order >= 2:
        point = 0.6584789484624084
        second = ar.extremal(
            lambda x: -2 * xp.tanh(x) * _sech2(ar, x),
            v,
            ((point, -0.769800358919501), (-point, 0.769800358919501)),
            24.0,
            sign=lambda x: -x,
        )
    return _clip_range(ar, ar.increasing(xp.tanh, v), -1.0, 1.0), first, second


def _sigmoid(ar: Arithmetic, x: Any) -> Any:
    """Relative accuracy in both tails."""
    xp = ar.xp
    q = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, q) / (1 + q)


def _sigmoid_slope(ar: Arithmetic, x: Any) -> Any:
    q = ar.xp.exp(-ar.xp.abs(x))
    return q / (1 + q) ** 2


def _sigmoid_first(ar: Arithmetic, v: Interval) -> Interval:
    return ar.extremal(
        lambda x: _sigmoid_slope(ar, x), v, ((0.0, 0.25),), 16.0, sign=ar.xp.ones_like
    )


def _logistic(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    first = second = None
    if order >= 1:
        first = _sigmoid_first(ar, v)
    if order >= 2:
        point, value = 1.3169578969248166, 0.09622504486493763
        second = ar.extremal(
            lambda x: -xp.tanh(x / 2) * _sigmoid_slope(ar, x),
            v,
            ((point, -value), (-point, value)),
            24.0,
            sign=lambda x: -x,
        )
    value = ar.increasing(lambda x: _sigmoid(ar, x), v, 12.0)
    return _clip_range(ar, value, 0.0, 1.0), first, second


def softplus_rule(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    """log(1 + exp x), whose derivatives are the sigmoid and its derivative."""
    xp = ar.xp
    first = second = None
    if order >= 1:
        first = _clip_range(ar, ar.increasing(lambda x: _sigmoid(ar, x), v, 12.0), 0.0, 1.0)
    if order >= 2:
        second = _sigmoid_first(ar, v)
    low, high = ar.increasing(lambda x: xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x))), v, 12.0)
    return (xp.maximum(low, xp.maximum(v[0], 0)), high), first, second


def _gauss(ar: Arithmetic, x: Any) -> Any:
    return (2 / math.sqrt(math.pi)) * ar.xp.exp(-x * x)


def _gauss_ulps(ar: Arithmetic) -> Any:
    """The rounding of x^2 is amplified by exp; beyond the underflow any finite number will do."""
    return lambda x: 16.0 + 4.0 * ar.xp.minimum(x * x, 1e6)


def _erf_derivatives(ar: Arithmetic, v: Interval, order: int) -> tuple[Any, Any]:
    first = second = None
    if order >= 1:
        first = ar.extremal(
            lambda x: _gauss(ar, x),
            v,
            ((0.0, 2 / math.sqrt(math.pi)),),
            _gauss_ulps(ar),
            sign=ar.xp.ones_like,
        )
    if order >= 2:
        point, value = math.sqrt(0.5), 2 * math.sqrt(2 / (math.pi * math.e))
        second = ar.extremal(
            # far out exp is 0 and x may be infinite
            lambda x: -2 * ar.xp.clip(x, -1e6, 1e6) * _gauss(ar, x),
            v,
            ((point, -value), (-point, value)),
            _gauss_ulps(ar),
            sign=lambda x: -x,
        )
    return first, second


def _erf_rule(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    value = _clip_range(ar, ar.increasing(lambda x: _erf(ar, x), v, 8.0), -1.0, 1.0)
    return value, *_erf_derivatives(ar, v, order)


def _erfc_rule(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    fn = _host_erfc if ar.xp is np else jax.lax.erfc
    high, low = fn(v[0]), fn(v[1])
    xp = ar.xp
    # libraries evaluate erfc through exp(-x^2) in the right tail
    far = xp.minimum(xp.maximum(v[1], 0) ** 2, 1e6)
    value = _clip_range(ar, ar.widen((low, high), 16.0 + 4.0 * far), 0.0, 2.0)
    first, second = _erf_derivatives(ar, v, order)
    return (
        value,
        None if first is None else ar.neg(first),
        None if second is None else ar.neg(second),
    )


def _positive(ar: Arithmetic, a: Interval) -> Interval:
    return ar.xp.maximum(a[0], 0), a[1]


def _exp(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    value = _positive(ar, ar.increasing(ar.xp.exp, v))
    return value, value, value


def _expm1(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    slope = _positive(ar, ar.increasing(ar.xp.exp, v)) if order else None
    low, high = ar.increasing(ar.xp.expm1, v)
    return (ar.xp.maximum(low, -1.0), high), slope, slope


def _exp2(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    log2 = ar.constant(math.log(2))
    low, high = ar.xp.exp2(v[0]), ar.xp.exp2(v[1])
    value = _positive(ar, ar.widen((low, high), 8.0))
    first = ar.mul(value, log2)
    return value, first, ar.mul(first, log2)


def _log(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    return _log_of(ar, v, v, order, ar.xp.log, 0.0)


def _log1p(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    one = ar.constant(1.0)
    return _log_of(ar, v, ar.add(v, one), order, ar.xp.log1p, -1.0)


def _log_of(
    ar: Arithmetic, v: Interval, shifted: Interval, order: int, fn: Any, pole: float
) -> _Parts:
    xp = ar.xp
    bad = v[0] <= pole
    safe = (xp.where(bad, pole + 1, v[0]), xp.where(v[1] <= pole, pole + 1, v[1]))
    low, high = ar.increasing(fn, safe)
    value = xp.where(bad, -np.inf, low), xp.where(v[1] <= pole, np.inf, high)
    first = second = None
    if order >= 1:
        first = ar.reciprocal(shifted)
        first = (xp.where(bad, -np.inf, first[0]), xp.where(bad, np.inf, first[1]))
    if order >= 2:
        second = ar.neg(ar.square(first))  # pyright: ignore[reportArgumentType]
    return value, first, second


def _sqrt(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    inside = (xp.maximum(v[0], 0), xp.maximum(v[1], 0))
    value = _positive(ar, ar.increasing(xp.sqrt, inside))
    bad = v[0] < 0
    first = second = None
    if order >= 1:
        root = ar.scale(value, 2.0)
        zero = root[0] <= 0
        low, high = ar.reciprocal((xp.where(zero, root[1], root[0]), root[1]))
        first = (xp.where(bad, -np.inf, low), xp.where(bad | zero, np.inf, high))
    if order >= 2:
        # -1 / (4 x^(3/2)) = -2 (1 / (2 sqrt x))^3
        low, high = first  # pyright: ignore[reportGeneralTypeIssues]
        cube = ar.scale(ar.power((xp.maximum(low, 0), high), 3), -2.0)
        second = (xp.where(bad, -np.inf, cube[0]), xp.where(bad, np.inf, cube[1]))
    return value, first, second


def _rsqrt(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    bad = v[0] <= 0
    inside = (xp.where(bad, 1, v[0]), xp.where(bad, 1, v[1]))
    root = _positive(ar, ar.increasing(xp.sqrt, inside))
    value = ar.reciprocal(root)

    def guard(a: Interval) -> Interval:
        return xp.where(bad, -np.inf, a[0]), xp.where(bad, np.inf, a[1])

    first = second = None
    if order >= 1:
        first = guard(ar.scale(ar.power(value, 3), -0.5))
    if order >= 2:
        second = guard(ar.scale(ar.power(value, 5), 0.75))
    return guard(value), first, second


def _cbrt(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    fn = np.cbrt if xp is np else jax.lax.cbrt
    value = ar.increasing(fn, v, 8.0)
    low, high = value
    value = (
        xp.where(v[0] >= 0, xp.maximum(low, 0), low),
        xp.where(v[1] <= 0, xp.minimum(high, 0), high),
    )
    first = second = None
    if order >= 1:
        third = ar.constant(1 / 3)
        near, far = ar.square(value)
        zero = near <= 0
        low, high = ar.mul(ar.reciprocal((xp.where(zero, far, near), far)), third)
        first = (xp.maximum(low, 0), xp.where(zero, np.inf, high))
    if order >= 2:
        second = ar.mul(ar.constant(-2 / 9), ar.reciprocal(ar.power(value, 5)))
    return value, first, second


def _reciprocal(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    value = ar.reciprocal(v)
    first = ar.neg(ar.square(value)) if order >= 1 else None
    second = ar.scale(ar.power(value, 3), 2.0) if order >= 2 else None
    return value, first, second


def _square(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    two = (2 * ar.xp.ones_like(v[0]), 2 * ar.xp.ones_like(v[0]))
    return ar.square(v), ar.scale(v, 2.0), two


def _periodic(ar: Arithmetic, v: Interval, fn: Any, top: float) -> Interval:
    """The range of sin or cos: maxima at top + 2 pi k, minima half a period on."""
    xp = ar.xp
    # float32 arguments of size |x| are resolved to eps |x|; a critical point nearly inside counts
    margin = 32 * ar.eps * (1 + xp.maximum(xp.abs(v[0]), xp.abs(v[1])))

    def holds(point: float) -> Any:
        turns = xp.floor((v[1] + margin - point) / (2 * math.pi))
        return turns * (2 * math.pi) + point >= v[0] - margin

    ends = [fn(v[0]), fn(v[1])]
    low = xp.minimum(ends[0], ends[1]) - 16 * ar.eps
    high = xp.maximum(ends[0], ends[1]) + 16 * ar.eps
    low = xp.where(holds(top + math.pi), -1.0, low)
    high = xp.where(holds(top), 1.0, high)
    far = ~(margin < 0.1)
    low, high = xp.where(far, -1.0, low), xp.where(far, 1.0, high)
    return _clip_range(ar, ar.undefined((low, high)), -1.0, 1.0)


def _sin(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    value = _periodic(ar, v, ar.xp.sin, math.pi / 2)
    first = _periodic(ar, v, ar.xp.cos, 0.0) if order >= 1 else None
    return value, first, ar.neg(value)


def _cos(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    value = _periodic(ar, v, ar.xp.cos, 0.0)
    first = ar.neg(_periodic(ar, v, ar.xp.sin, math.pi / 2)) if order >= 1 else None
    return value, first, ar.neg(value)


def _tan(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    margin = 32 * ar.eps * (1 + xp.maximum(xp.abs(v[0]), xp.abs(v[1])))
    branch = [
        xp.floor((end + sign * margin) / math.pi + 0.5)
        for end, sign in zip(v, (-1, 1), strict=True)
    ]
    bad = ~(branch[0] == branch[1])
    safe = (xp.where(bad, 0, v[0]), xp.where(bad, 0, v[1]))
    # relative error grows as 1 / cos^2 near a pole through the rounding of the reduction
    low, high = xp.tan(safe[0]), xp.tan(safe[1])
    slack = (16 * ar.eps) * (1 + xp.maximum(low * low, high * high))
    value = (xp.where(bad, -np.inf, low - slack), xp.where(bad, np.inf, high + slack))
    one = ar.constant(1.0)
    first = ar.add(one, ar.square(value))
    return value, first, ar.scale(ar.mul(value, first), 2.0)


def _atan(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    first = second = None
    if order >= 1:
        first = ar.extremal(lambda x: 1 / (1 + x * x), v, ((0.0, 1.0),), 8.0, sign=xp.ones_like)
    if order >= 2:
        point, value = 1 / math.sqrt(3), 3 * math.sqrt(3) / 8

        def curvature(x: Any) -> Any:
            slope = 1 / (1 + x * x)
            return -2 * xp.clip(x, -1e18, 1e18) * slope * slope

        second = ar.extremal(
            curvature, v, ((point, -value), (-point, value)), 16.0, sign=lambda x: -x
        )
    return ar.increasing(xp.arctan, v, 8.0), first, second


def _sinh(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    value = ar.increasing(xp.sinh, v, 16.0)
    near, far = ar.magnitude(v)
    first = ar.increasing(xp.cosh, (near, far), 16.0) if order >= 1 else None
    return value, first, value


def _cosh(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    near, far = ar.magnitude(v)
    value = ar.increasing(ar.xp.cosh, (near, far), 16.0)
    first = ar.increasing(ar.xp.sinh, v, 16.0) if order >= 1 else None
    return value, first, value


def _asinh(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    value = ar.increasing(xp.arcsinh, v, 16.0)
    square = ar.add(ar.constant(1.0), ar.square(v))
    first = ar.reciprocal(_positive(ar, ar.increasing(xp.sqrt, square))) if order >= 1 else None
    second = None
    if order >= 2:
        second = ar.neg(ar.mul(v, ar.power(first, 3)))  # pyright: ignore[reportArgumentType]
    return value, first, second


def _atanh(ar: Arithmetic, v: Interval, order: int) -> _Parts:
    xp = ar.xp
    bad = (v[0] <= -1) | (v[1] >= 1)
    inside = (xp.where(bad, 0, v[0]), xp.where(bad, 0, v[1]))

    def guard(a: Interval) -> Interval:
        return xp.where(bad, -np.inf, a[0]), xp.where(bad, np.inf, a[1])

    first = ar.reciprocal(ar.sub(ar.constant(1.0), ar.square(inside)))
    second = ar.scale(ar.mul(inside, ar.square(first)), 2.0)
    # log1p loses relative accuracy by the factor of the derivative near the ends
    slack = (16 * ar.eps) * (1 + xp.abs(first[1]))
    low, high = xp.arctanh(inside[0]), xp.arctanh(inside[1])
    return guard((low - slack, high + slack)), guard(first), guard(second)


UNARY = {
    "tanh": _tanh,
    "logistic": _logistic,
    "softplus": softplus_rule,
    "erf": _erf_rule,
    "erfc": _erfc_rule,
    "exp": _exp,
    "exp2": _exp2,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "cbrt": _cbrt,
    "reciprocal": _reciprocal,
    "square": _square,
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "atan": _atan,
    "sinh": _sinh,
    "cosh": _cosh,
    "asinh": _asinh,
    "atanh": _atanh,
}
"""Primitive name -> rule(arithmetic, interval, order) -> ranges of phi, phi', phi''."""
