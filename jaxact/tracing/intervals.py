# ruff: noqa: D102, D107 (the methods are named after the operations)
"""Interval arithmetic with outward rounding, over NumPy (host, float64) or jax.numpy (traced).

An interval is a pair (low, high) of arrays. Every operation returns an interval that holds the
result for all real numbers of its operands: float results are widened by a few units in the last
place, an undefined end (inf - inf) becomes infinite, and 0 * inf is 0 (an interval is a set of
real numbers, so an infinite end is never attained). Inside a compiled kernel the last two rules
are left out to keep it small: a NaN end then means "unknown", it spreads, and `undefined` turns
it into an infinite end when the result is read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

Interval = tuple[Any, Any]

# Libraries' elementary functions are within this many units in the last place.
_LIBRARY_ULPS = 4.0


class Arithmetic:
    """Interval operations of one dtype over one array namespace.

    Args:
        xp: `numpy` or `jax.numpy`.
        dtype: float32 or float64.
    """

    def __init__(self, xp: Any, dtype: Any) -> None:
        self.xp = xp
        self.dtype = np.dtype(dtype)
        self.host = xp is np
        info = np.finfo(self.dtype)
        self.eps = float(info.eps)
        self.tiny = 8.0 * float(info.tiny)

    def constant(self, value: Any) -> Interval:
        """The float64 constant `value`, enclosed in this dtype."""
        wide = np.asarray(value, np.float64)
        with np.errstate(over="ignore"):
            near = wide.astype(self.dtype)
        low = np.where(near > wide, np.nextafter(near, self.dtype.type(-np.inf)), near)
        high = np.where(near < wide, np.nextafter(near, self.dtype.type(np.inf)), near)
        return self.xp.asarray(low), self.xp.asarray(high)

    def widen(self, a: Interval, ulps: Any = _LIBRARY_ULPS) -> Interval:
        """Round outward by `ulps` units in the last place."""
        xp = self.xp
        low = a[0] - (ulps * self.eps) * xp.abs(a[0]) - self.tiny
        high = a[1] + (ulps * self.eps) * xp.abs(a[1]) + self.tiny
        return self.undefined((low, high)) if self.host else (low, high)

    def undefined(self, a: Interval) -> Interval:
        """Replace NaN ends by infinite ones."""
        xp = self.xp
        low = xp.where(xp.isnan(a[0]), -np.inf, a[0])
        high = xp.where(xp.isnan(a[1]), np.inf, a[1])
        return low, high

    def neg(self, a: Interval) -> Interval:
        return -a[1], -a[0]

    def add(self, a: Interval, b: Interval) -> Interval:
        low, high = a[0] + b[0], a[1] + b[1]
        wide = self.widen((low, high), 1.0)
        if not self.host:
            return wide
        # sums that are exact stay exact, so that a kink of clip(x + 3, 0, 6) is found at -3
        keep_low, keep_high = _exact_sum(a[0], b[0], low), _exact_sum(a[1], b[1], high)
        return np.where(keep_low, low, wide[0]), np.where(keep_high, high, wide[1])

    def sub(self, a: Interval, b: Interval) -> Interval:
        return self.add(a, self.neg(b))

    def mul(self, a: Interval, b: Interval) -> Interval:
        xp = self.xp
        # an interval that is one point is one array: half the products
        left = a[:1] if a[0] is a[1] else a
        right = b[:1] if b[0] is b[1] else b
        ends = [self._product(x, y) for x in left for y in right]
        low, high = self.widen(
            (functools.reduce(xp.minimum, ends), functools.reduce(xp.maximum, ends)), 1.0
        )
        if not self.host:
            return low, high
        # a zero or sign-definite product keeps its sign under rounding
        positive = ((a[0] >= 0) & (b[0] >= 0)) | ((a[1] <= 0) & (b[1] <= 0))
        negative = ((a[0] >= 0) & (b[1] <= 0)) | ((a[1] <= 0) & (b[0] >= 0))
        return xp.where(positive, xp.maximum(low, 0), low), xp.where(
            negative, xp.minimum(high, 0), high
        )

    def _product(self, x: Any, y: Any) -> Any:
        return self.xp.where((x == 0) | (y == 0), 0, x * y) if self.host else x * y

    def scale(self, a: Interval, k: float) -> Interval:
        """Multiply by an exactly representable number, such as a small integer."""
        return self.widen((k * a[0], k * a[1]) if k >= 0 else (k * a[1], k * a[0]), 1.0)

    def square(self, a: Interval) -> Interval:
        xp = self.xp
        near, far = self.magnitude(a)
        low, high = self.widen((near * near, far * far), 1.0)
        return xp.maximum(low, 0), high

    def magnitude(self, a: Interval) -> Interval:
        """The range of |x|, exactly."""
        xp = self.xp
        size_low, size_high = xp.abs(a[0]), xp.abs(a[1])
        inside = (a[0] <= 0) & (a[1] >= 0)
        return xp.where(inside, 0, xp.minimum(size_low, size_high)), xp.maximum(size_low, size_high)

    def reciprocal(self, a: Interval) -> Interval:
        xp = self.xp
        zero = (a[0] <= 0) & (a[1] >= 0)
        safe = (xp.where(zero, 1, a[0]), xp.where(zero, 1, a[1]))
        low, high = self.widen((1 / safe[1], 1 / safe[0]), 1.0)
        low = xp.where(a[0] > 0, xp.maximum(low, 0), low)
        high = xp.where(a[1] < 0, xp.minimum(high, 0), high)
        return xp.where(zero, -np.inf, low), xp.where(zero, np.inf, high)

    def power(self, a: Interval, n: int) -> Interval:
        """x^n for an integer n."""
        if n < 0:
            return self.reciprocal(self.power(a, -n))
        xp = self.xp
        if n == 0:
            one = xp.ones_like(a[0] + a[1])
            return one, one
        if n == 1:
            return a
        if n % 2:
            low, high = self._integer_power(a[0], n), self._integer_power(a[1], n)
        else:
            near, far = self.magnitude(a)
            low, high = self._integer_power(near, n), self._integer_power(far, n)
        low, high = self.widen((low, high), 2.0 * n)
        low = xp.where((a[0] >= 0) | (n % 2 == 0), xp.maximum(low, 0), low)
        high = xp.where((a[1] <= 0) & (n % 2 == 1), xp.minimum(high, 0), high)
        return low, high

    def _integer_power(self, x: Any, n: int) -> Any:
        result = None
        while n:
            if n % 2:
                result = x if result is None else result * x
            n //= 2
            x = x * x if n else x
        return result

    def hull(self, a: Interval, b: Interval) -> Interval:
        return self.xp.minimum(a[0], b[0]), self.xp.maximum(a[1], b[1])

    def maximum(self, a: Interval, b: Interval) -> Interval:
        return self.xp.maximum(a[0], b[0]), self.xp.maximum(a[1], b[1])

    def increasing(self, fn: Callable[[Any], Any], a: Interval, ulps: Any = None) -> Interval:
        """The range of an increasing function with relative error `ulps`."""
        return self.widen((fn(a[0]), fn(a[1])), _LIBRARY_ULPS if ulps is None else ulps)

    def extremal(
        self,
        fn: Callable[[Any], Any],
        a: Interval,
        critical: tuple[tuple[float, float], ...],
        ulps: Callable[[Any], Any] | float,
        *,
        sign: Callable[[Any], Any] | None = None,
    ) -> Interval:
        """The range of a function from its ends and its critical points (point, value).

        Args:
            fn: the function, with relative error `ulps` at every float.
            a: where.
            critical: every interior extremum, as constants.
            ulps: a number, or a function of the argument.
            sign: x -> a number of fn's sign that increases or decreases monotonically; when given,
                ends keep their sign where fn rounds to zero.
        """
        xp = self.xp
        ends = []
        for x in a:
            y = fn(x)
            err = (ulps(x) if callable(ulps) else ulps) * self.eps * xp.abs(y) + self.tiny
            low, high = y - err, y + err
            if sign is not None:
                s = sign(x)
                low = xp.where(s >= 0, xp.maximum(low, 0), low)
                high = xp.where(s <= 0, xp.minimum(high, 0), high)
            ends.append(self.undefined((low, high)) if self.host else (low, high))
        low, high = self.hull(*ends)
        for point, value in critical:
            margin = 4 * self.eps * abs(point)
            inside = (a[0] <= point + margin) & (a[1] >= point - margin)
            rounding = 8 * self.eps * abs(value)
            low = xp.where(inside, xp.minimum(low, value - rounding), low)
            high = xp.where(inside, xp.maximum(high, value + rounding), high)
        return low, high


def _exact_sum(a: Any, b: Any, total: Any) -> Any:
    """Whether the float sum `total` of a and b is their real sum (Knuth's two-sum)."""
    part = total - a
    return (a - (total - part)) + (b - part) == 0
