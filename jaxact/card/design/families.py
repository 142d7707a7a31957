"""Families of activations to design in; each member is an ordinary `Activation`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation, ClosedForms
from jaxact.numerics import checks, double

_LEAST_WIDTH = 0.4
_LEAST_SLOPE = 1e-2


@dataclasses.dataclass(frozen=True)
class Family:
    """A parametric family: fn(x, *theta) itself, so equal families share compiled code.

    A member is `family.activation(theta)`; `family.start(near)` is the member near a known
    activation. Every member grows at most linearly and is smooth, and its operations have
    certified rules: every lens takes it, and differentiates it in theta.
    """

    name: ClassVar[str]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of theta."""
        raise NotImplementedError

    def fit(self, x: np.ndarray, value: np.ndarray) -> tuple[Any, ...]:
        """Theta of the member near a function known by its values at points."""
        raise NotImplementedError

    def activation(self, theta: tuple[Any, ...], name: str | None = None) -> Activation:
        """The member with this theta.

        Raises:
            ValueError: if theta does not have the family's shapes, or is not finite.

        Example:
            >>> act = Spline(knots=(-1.0, 1.0)).activation((0.0, np.zeros(3)))
            >>> round(float(act(2.0) - act(1.0)), 4)     # softplus(0), the slope on the right
            0.6931
        """
        shapes = self.shapes()
        if len(theta) != len(shapes):
            raise ValueError(f"theta must have {len(shapes)} entries, got {len(theta)}")
        for number, (leaf, shape) in enumerate(zip(theta, shapes, strict=True)):
            checks.shape(f"theta[{number}]", leaf, shape)
        checks.finite("theta", theta)
        return self.member(tuple(theta), name)

    def member(self, theta: tuple[Any, ...], name: str | None = None) -> Activation:
        """`activation` without its checks; theta may be traced."""
        return Activation(self, theta, name or self.name, (), self.closed())

    def closed(self) -> ClosedForms:
        """The closed forms of all members."""
        return ClosedForms()

    def start(self, near: Activation | Callable[..., Any]) -> Activation:
        """The member near an activation, fitted on [-5, 5].

        Example:
            >>> import jaxact
            >>> tanh = jaxact.get("tanh")
            >>> found = Hermite().start(tanh)
            >>> bool(abs(found(1.0) - tanh(1.0)) < 0.05)
            True
        """
        x = np.linspace(-5, 5, 401)
        return self.activation(self.fit(x, np.asarray(double(near)(x))))

    def __call__(self, x: Any, *theta: Any) -> Any:
        """The member's value, elementwise."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Hermite(Family):
    """b + a x + e^(-x^2 / 4) sum_k c_k h_k(x), h_k = He_k / sqrt(k!).

    The functions e^(-x^2 / 4) h_k are orthogonal with respect to dx and bounded, so the tails
    are the line. theta = ((b, a), c).

    Attributes:
        order: the number of coefficients c.
    """

    name: ClassVar[str] = "hermite_bump"
    order: int = 6

    def __post_init__(self) -> None:
        """Refuse an order that is no positive integer."""
        checks.integer("order", self.order, 1)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of theta."""
        return (2,), (self.order,)

    def closed(self) -> ClosedForms:
        """The primitive."""
        return ClosedForms(primitive=_Primitive(self))

    def fit(self, x: np.ndarray, value: np.ndarray) -> tuple[Any, ...]:
        """By linear least squares."""
        columns = double(lambda v: self._functions(v, self.order))(x)
        found = _least_squares(x, [np.ones_like(x), x, *map(np.asarray, columns)], value)
        return found[:2], found[2:]

    def __call__(self, x: Any, line: Any, coefficients: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The member's value, elementwise."""
        x, line, c = _floating(x, line, coefficients)
        total = line[0] + line[1] * x
        for k, psi in enumerate(self._functions(x, self.order)):
            total = total + c[k] * psi
        return total

    def primitive(self, x: Any, line: Any, coefficients: Any) -> Any:
        """By psi_k' = (sqrt(k) psi_(k-1) - sqrt(k + 1) psi_(k+1)) / 2, summed upwards."""
        x, line, c = _floating(x, line, coefficients)
        total = line[0] * x + line[1] * x * x / 2
        here, zero = (self._functions(v, self.order) for v in (x, jnp.zeros_like(x)))
        before, now = jnp.zeros_like(x), math.sqrt(math.pi) * jax.lax.erf(x / 2)
        for k in range(self.order):
            total = total + c[k] * now
            rest = math.sqrt(k) * before - 2 * (here[k] - zero[k])
            before, now = now, rest / math.sqrt(k + 1)
        return total

    @staticmethod
    def _functions(x: Any, order: int) -> list[Any]:
        """Psi_k; the envelope is inside, so that nothing overflows far out."""
        found = [jnp.exp(-0.25 * (x * x))]
        for k in range(1, order):
            before = math.sqrt(k - 1) * found[k - 2] if k > 1 else 0.0
            found.append((x * found[k - 1] - before) / math.sqrt(k))
        return found


@dataclasses.dataclass(frozen=True)
class Spline(Family):
    """A smooth monotone spline: slopes softplus(s_i) > 0 between knots, linear tails.

    f(x) = b + a_0 x + sum_i (a_i - a_(i-1)) w softplus((x - k_i) / w), a_i = softplus(s_i): the
    linear spline of these slopes with its corners rounded over a width w, so f' is a mean of the
    slopes with positive weights. theta = (b, s). f is convex where the slopes ascend.

    Attributes:
        knots: ascending, at least 1; there is one slope more.
        width: w of the corners, > 0.
    """

    name: ClassVar[str] = "monotone_spline"
    knots: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0)
    width: float = 0.25

    def __post_init__(self) -> None:
        """Refuse knots that do not ascend."""
        knots = tuple(float(k) for k in self.knots)
        checks.finite("knots", knots)
        checks.positive("width", self.width)
        if not knots or not (np.diff(knots) > 0).all():
            raise ValueError(f"knots must ascend and be at least 1, got {knots}")
        object.__setattr__(self, "knots", knots)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of theta."""
        return (), (len(self.knots) + 1,)

    def fit(self, x: np.ndarray, value: np.ndarray) -> tuple[Any, ...]:
        """The mean slope between knots; the offset makes the mean difference near 0 zero."""
        ends = np.concatenate([[self.knots[0] - 1], self.knots, [self.knots[-1] + 1]])
        rising = np.diff(np.interp(ends, x, value)) / np.diff(ends)
        raw = np.log(np.expm1(np.maximum(rising, _LEAST_SLOPE)))
        rest = np.asarray(double(self.__call__)(x, 0.0, raw))
        return np.asarray(np.average(value - rest, weights=np.exp(-(x**2) / 4))), raw

    def __call__(self, x: Any, offset: Any, raw: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The member's value, elementwise."""
        x, offset, raw = _floating(x, offset, raw)
        slopes = jax.nn.softplus(raw)
        rise = slopes[1:] - slopes[:-1]
        total = offset + slopes[0] * x
        for i, knot in enumerate(self.knots):
            total = total + (rise[i] * self.width) * jax.nn.softplus((x - knot) / self.width)
        return total


@dataclasses.dataclass(frozen=True)
class Rational(Family):
    """b + a x + sum_j (p_j + q_j t_j) / (1 + t_j^2), t_j = (x - m_j) / w_j.

    The partial fractions of a rational function of degrees 2 J + 1 and 2 J whose poles m_j +-
    i w_j stay off the real line, as w_j = 0.4 + softplus(v_j). theta = ((b, a), p, q, m, v).

    Attributes:
        poles: J, the number of pairs of poles.
    """

    name: ClassVar[str] = "small_rational"
    poles: int = 3

    def __post_init__(self) -> None:
        """Refuse a number of poles that is no positive integer."""
        checks.integer("poles", self.poles, 1)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of theta."""
        return (2,), *(((self.poles,),) * 4)

    def closed(self) -> ClosedForms:
        """The primitive."""
        return ClosedForms(primitive=_Primitive(self))

    def fit(self, x: np.ndarray, value: np.ndarray) -> tuple[Any, ...]:
        """By linear least squares, poles evenly on [-2, 2] + i."""
        centre = np.linspace(-2, 2, self.poles) if self.poles > 1 else np.zeros(1)
        t = x[None] - centre[:, None]
        bumps = 1 / (1 + t**2)
        found = _least_squares(x, [np.ones_like(x), x, *bumps, *(t * bumps)], value)
        even, odd = found[2 : 2 + self.poles], found[2 + self.poles :]
        raw = np.full(self.poles, math.log(math.expm1(1 - _LEAST_WIDTH)))
        return found[:2], even, odd, centre, raw

    def __call__(self, x: Any, line: Any, even: Any, odd: Any, centre: Any, raw: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The member's value, elementwise."""
        x, line, even, odd, centre, raw = _floating(x, line, even, odd, centre, raw)
        width = _LEAST_WIDTH + jax.nn.softplus(raw)
        total = line[0] + line[1] * x
        for j in range(self.poles):
            t = (x - centre[j]) / width[j]
            total = total + (even[j] + odd[j] * t) / (1 + t * t)
        return total

    def primitive(self, x: Any, line: Any, even: Any, odd: Any, centre: Any, raw: Any) -> Any:
        """Its integral from 0."""
        x, line, even, odd, centre, raw = _floating(x, line, even, odd, centre, raw)
        width = _LEAST_WIDTH + jax.nn.softplus(raw)
        total = line[0] * x + line[1] * x * x / 2
        for j in range(self.poles):
            t, zero = (x - centre[j]) / width[j], -centre[j] / width[j]
            arc = jnp.arctan(t) - jnp.arctan(zero)
            log = jnp.log1p(t * t) - jnp.log1p(zero * zero)
            total = total + width[j] * (even[j] * arc + odd[j] * log / 2)
        return total


FAMILIES: dict[str, type[Family]] = {f.name: f for f in (Hermite, Spline, Rational)}
"""Name in files and on the command line -> family."""


class _Primitive:
    """The closed primitive of a family's members; equal for equal families."""

    def __init__(self, family: Hermite | Rational) -> None:
        self.family = family

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Primitive) and self.family == other.family

    def __hash__(self) -> int:
        return hash((_Primitive, self.family))

    def __call__(self, x: Any, *theta: Any) -> Any:
        return self.family.primitive(x, *theta)


def _floating(x: Any, *theta: Any) -> tuple[Any, ...]:
    """All in the floating dtype of x."""
    x = jnp.asarray(x, jnp.result_type(x, float))
    return x, *(jnp.asarray(t).astype(x.dtype) for t in theta)


def _least_squares(x: np.ndarray, columns: list[Any], value: np.ndarray) -> np.ndarray:
    """Weighted where activations are used; a small ridge keeps coefficients tame."""
    weight = np.exp(-(x**2) / 16)
    matrix = weight[:, None] * np.stack(columns, 1)
    ridge = 1e-3 * np.eye(len(columns)) * len(x)
    return np.linalg.solve(matrix.T @ matrix + 1e-3 * ridge, matrix.T @ (weight * value))


@functools.lru_cache(maxsize=8)
def family(name: str) -> Family:
    """The family of that name, in its default size.

    Raises:
        ValueError: for a name that is no family.

    Example:
        >>> family("monotone_spline").shapes()
        ((), (6,))
    """
    checks.choice("family", name, sorted(FAMILIES))
    return FAMILIES[name]()
