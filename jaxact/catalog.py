"""The named activations: one entry a name, with its kinks and the closed forms that belong to it.

Functions are module level and take theta as arguments, so `get("gelu")` twice is the same
function and compiles once. Sources of the closed forms: Pennington & Worah 2017 (f_alpha and
the moments), Nock et al. 2017 (mu_relu, lsu, matsushita and the signatures).
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf as _erf
from jax.scipy.special import erfinv as _erfinv
from jax.scipy.special import ndtr as _ndtr

from jaxact.activation import Activation, ClosedForms
from jaxact.numerics import checks

_PI = math.pi
_REGISTRY: dict[str, Callable[..., Activation]] = {}


def names() -> tuple[str, ...]:
    """The catalogue's names, in alphabetical order.

    Example:
        >>> "gelu" in names()
        True
    """
    return tuple(sorted(_REGISTRY))


def get(name: str, /, *args: Any, **kwargs: Any) -> Activation:
    """The named activation; parameters of its family may follow.

    Raises:
        ValueError: for a name that is not in the catalogue, with the nearest names.
        TypeError: for parameters the family does not have.

    Example:
        >>> get("elu", a=0.7, b=1.3).theta
        (0.7, 1.3)
        >>> get("gelo")
        Traceback (most recent call last):
        ...
        ValueError: unknown activation 'gelo'; did you mean gelu, elu, selu? ...
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {name!r}")
    if name not in _REGISTRY:
        near = difflib.get_close_matches(name, _REGISTRY, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ";"
        raise ValueError(f"unknown activation {name!r}{hint} jaxact.names() lists all of them")
    return _REGISTRY[name](*args, **kwargs)


def _register(make: Callable[..., Activation]) -> Callable[..., Activation]:
    @functools.wraps(make)
    def checked(*args: Any, **kwargs: Any) -> Activation:
        made = make(*args, **kwargs)
        checks.finite(f"theta of {made.name}", made.theta)
        return made

    _REGISTRY[make.__name__.rstrip("_")] = checked
    return checked


def _fixed(name: str, fn: Any, kinks: tuple[float, ...] = (), **closed: Any) -> None:
    """Register an activation without parameters."""
    act = Activation(fn, (), name, kinks, ClosedForms(**closed))
    _REGISTRY[name] = lambda: act


def _outside(y: Any, low: float, high: float, inside: Callable[[Any], Any]) -> Any:
    """An inverse that is -inf at or below `low`, +inf at or above `high`; safe to differentiate."""
    y = jnp.asarray(y, jnp.result_type(y, float))
    fits = (y > low) & (y < high)
    middle = 0.5 * (low + high) if np.isfinite(low + high) else (low + 1 if low > -np.inf else 0.0)
    x = inside(jnp.where(fits, y, middle))
    return jnp.where(fits, x, jnp.where(y <= low, -jnp.inf, jnp.inf))


def _positive_part(x: Any) -> Any:
    return jnp.maximum(x, 0)


# ---- piecewise linear


def _rectified_moments(scale: Any, left: Any) -> tuple[Any, Any, Any]:
    """Of x for x > 0 and left * x for x < 0."""
    square = scale**2
    return (
        scale * (1 - left) / math.sqrt(2 * _PI),
        square * ((1 + left**2) / 2 - (1 - left) ** 2 / (2 * _PI)),
        square * (1 + left) ** 2 / 4,
    )


_fixed(
    "relu",
    _positive_part,
    (0.0,),
    moments=lambda s: _rectified_moments(s, 0.0),
    primitive=lambda x: _positive_part(x) ** 2 / 2,
    signature=lambda y: jnp.where(y > 0, 1.0, 0.0),
)


def _leaky(x: Any, a: Any) -> Any:
    return jnp.where(x > 0, x, a * x)


def _leaky_inverse(y: Any, a: Any) -> Any:
    y = jnp.asarray(y, jnp.result_type(y, float))
    # At a = 0 there is nothing below 0; `Activation.inverse` refuses it where a is known.
    below = jnp.where(a == 0, jnp.where(y < 0, -jnp.inf, 0.0), y / jnp.where(a == 0, 1, a))
    return jnp.where(y > 0, y, below).astype(y.dtype)


_LEAKY = ClosedForms(
    moments=_rectified_moments,
    primitive=lambda x, a: x * _leaky(x, a) / 2,
    inverse=_leaky_inverse,
)


@_register
def leaky_relu(a: Any = 0.01) -> Activation:
    """max(x, 0) + a min(x, 0).

    Example:
        >>> round(float(leaky_relu(0.1)(-2.0)), 4)
        -0.2
    """
    return Activation(_leaky, (a,), "leaky_relu", (0.0,), _LEAKY)


@_register
def prelu(a: Any = 0.25) -> Activation:
    """max(x, 0) + a min(x, 0), with the slope a meant to be learned (He et al. 2015).

    Example:
        >>> round(float(prelu()(-2.0)), 4)
        -0.5
    """
    return Activation(_leaky, (a,), "prelu", (0.0,), _LEAKY)


_fixed(
    "abs",
    jnp.abs,
    (0.0,),
    moments=lambda s: (s * math.sqrt(2 / _PI), s**2 * (1 - 2 / _PI), 0.0 * s),
    primitive=lambda x: x * jnp.abs(x) / 2,
)
_fixed(
    "sign",
    jnp.sign,
    (0.0,),
    moments=lambda s: (0.0 * s, 1.0 + 0.0 * s, 2 / _PI + 0.0 * s),
    primitive=jnp.abs,
)


def _step(x: Any) -> Any:
    return jnp.where(x > 0, jnp.ones_like(x), jnp.zeros_like(x))


_fixed(
    "step",
    _step,
    (0.0,),
    moments=lambda s: (0.5 + 0.0 * s, 0.25 + 0.0 * s, 1 / (2 * _PI) + 0.0 * s),
    primitive=_positive_part,
)
_fixed("hardtanh", lambda x: jnp.clip(x, -1, 1), (-1.0, 1.0))
_fixed("relu6", lambda x: jnp.clip(x, 0, 6), (0.0, 6.0))
_fixed("hard_sigmoid", lambda x: jnp.clip(x + 3, 0, 6) / 6, (-3.0, 3.0))
_fixed("hard_swish", lambda x: x * jnp.clip(x + 3, 0, 6) / 6, (-3.0, 3.0))
_fixed(
    "identity",
    lambda x: x * 1,
    moments=lambda s: (0.0 * s, s**2, s**2),
    primitive=lambda x: x**2 / 2,
    inverse=lambda y: y * 1,
)


def _f_alpha_divisor(alpha: Any) -> Any:
    return jnp.sqrt((1 + alpha**2) / 2 - (1 + alpha) ** 2 / (2 * _PI))


def _f_alpha(x: Any, alpha: Any) -> Any:
    shift = (1 + alpha) / math.sqrt(2 * _PI)
    return (jnp.maximum(x, 0) + alpha * jnp.maximum(-x, 0) - shift) / _f_alpha_divisor(alpha)


def _f_alpha_moments(scale: Any, alpha: Any) -> tuple[Any, Any, Any]:
    mean, eta, zeta = _rectified_moments(scale, -alpha)
    divisor = _f_alpha_divisor(alpha)
    shift = (1 + alpha) / math.sqrt(2 * _PI)
    return (mean - shift) / divisor, eta / divisor**2, zeta / divisor**2


@_register
def f_alpha(alpha: Any = 0.0) -> Activation:
    """The paper's family ([x]_+ + alpha [-x]_+ - mean) / std: eta = 1, zeta = 0 at alpha = 1.

    Example:
        >>> round(float(f_alpha(1.0).moments().zeta), 4)
        0.0
    """
    closed = _F_ALPHA
    return Activation(_f_alpha, (alpha,), "f_alpha", (0.0,), closed)


_F_ALPHA = ClosedForms(moments=_f_alpha_moments)


# ---- sigmoids


def _log_cosh(x: Any) -> Any:
    size = jnp.abs(x)
    return size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)


_fixed(
    "tanh",
    jnp.tanh,
    primitive=_log_cosh,
    inverse=lambda y: _outside(y, -1.0, 1.0, jnp.arctanh),
)
_fixed(
    "sigmoid",
    jax.nn.sigmoid,
    primitive=lambda x: jax.nn.softplus(x) - math.log(2),
    inverse=lambda y: _outside(y, 0.0, 1.0, lambda v: jnp.log(v) - jnp.log1p(-v)),
)
_fixed(
    "arctan",
    jnp.arctan,
    primitive=lambda x: x * jnp.arctan(x) - jnp.log1p(x**2) / 2,
    inverse=lambda y: _outside(y, -_PI / 2, _PI / 2, jnp.tan),
)


def _erf_moments(s: Any) -> tuple[Any, Any, Any]:
    square = s**2
    return (
        0.0 * s,
        2 / _PI * jnp.arcsin(2 * square / (1 + 2 * square)),
        4 * square / (_PI * (1 + 2 * square)),
    )


_fixed(
    "erf",
    _erf,
    moments=_erf_moments,
    primitive=lambda x: x * _erf(x) + jnp.expm1(-(x**2)) / math.sqrt(_PI),
    inverse=lambda y: _outside(y, -1.0, 1.0, _erfinv),
)
_fixed(
    "softsign",
    lambda x: x / (1 + jnp.abs(x)),
    (0.0,),
    primitive=lambda x: jnp.abs(x) - jnp.log1p(jnp.abs(x)),
    inverse=lambda y: _outside(y, -1.0, 1.0, lambda v: v / (1 - jnp.abs(v))),
)


# ---- smooth rectifiers


def _softplus(x: Any, beta: Any) -> Any:
    return jnp.logaddexp(beta * x, 0) / beta


def _softplus_inverse(y: Any, beta: Any) -> Any:
    return _outside(y, 0.0, math.inf, lambda v: v + jnp.log(-jnp.expm1(-beta * v)) / beta)


_SOFTPLUS = ClosedForms(
    inverse=_softplus_inverse,
    signature=lambda y, beta: -jnp.expm1(-beta * y),
)


@_register
def softplus(beta: Any = 1.0) -> Activation:
    """log(1 + exp(beta x)) / beta.

    Example:
        >>> round(float(softplus(2.0)(0.0)), 4)
        0.3466
    """
    return Activation(_softplus, (beta,), "softplus", (), _SOFTPLUS)


def _gelu(x: Any) -> Any:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _gelu_moments(s: Any) -> tuple[Any, Any, Any]:
    square = s**2
    mean = square / jnp.sqrt(2 * _PI * (1 + square))
    second = square / 4 + square / (2 * _PI) * (
        jnp.arcsin(square / (1 + square)) + 2 * square / ((1 + square) * jnp.sqrt(1 + 2 * square))
    )
    return mean, second - mean**2, square / 4


def _gelu_primitive(x: Any) -> Any:
    density = jnp.exp(-(x**2) / 2) / math.sqrt(2 * _PI)
    return (x**2 * _ndtr(x) - (_ndtr(x) - 0.5 - x * density)) / 2


_fixed("gelu", _gelu, moments=_gelu_moments, primitive=_gelu_primitive)
_fixed("gelu_tanh", lambda x: jax.nn.gelu(x, approximate=True))
_fixed("silu", jax.nn.silu)


def _swish(x: Any, beta: Any) -> Any:
    return x * jax.nn.sigmoid(beta * x)


@_register
def swish(beta: Any = 1.0) -> Activation:
    """The function x sigmoid(beta x): silu at beta = 1, relu as beta grows.

    Example:
        >>> round(float(swish(2.0)(1.0)), 4)
        0.8808
    """
    return Activation(_swish, (beta,), "swish")


_fixed("mish", lambda x: x * jnp.tanh(jax.nn.softplus(x)))


def _elu(x: Any, a: Any, b: Any) -> Any:
    return jnp.where(x > 0, b * x, a * jnp.expm1(jnp.where(x > 0, 0, x)))


def _elu_primitive(x: Any, a: Any, b: Any) -> Any:
    below = jnp.where(x > 0, 0, x)
    return jnp.where(x > 0, b * x**2 / 2, a * (jnp.expm1(below) - below))


def _elu_inverse(y: Any, a: Any, b: Any) -> Any:
    y = jnp.asarray(y, jnp.result_type(y, float))
    fits = (y > -a) & (y <= 0)
    below = jnp.log1p(jnp.where(fits, y / a, 0))
    return jnp.where(y > 0, y / b, jnp.where(fits, below, -jnp.inf))


_ELU = ClosedForms(
    primitive=_elu_primitive,
    inverse=_elu_inverse,
    signature=lambda y, a, b: jnp.where(y > a, b, y),
)


@_register
def elu(a: Any = 1.0, b: Any = 1.0) -> Activation:
    """The (a, b)-ELU: b x for x > 0, a (exp(x) - 1) for x <= 0.

    Example:
        >>> round(float(elu(0.7, 1.3)(2.0)), 4)
        2.6
    """
    return Activation(_elu, (a, b), "elu", (0.0,), _ELU)


def _celu(x: Any, alpha: Any) -> Any:
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x) / alpha))


@_register
def celu(alpha: Any = 1.0) -> Activation:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1)), C^1 for every alpha.

    Example:
        >>> round(float(celu(2.0)(-1.0)), 4)
        -0.7869
    """
    return Activation(_celu, (alpha,), "celu", (0.0,))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _selu(x: Any) -> Any:
    return _elu(x, _SELU_ALPHA * _SELU_SCALE, _SELU_SCALE)


_fixed(
    "selu",
    _selu,
    (0.0,),
    primitive=lambda x: _elu_primitive(x, _SELU_ALPHA * _SELU_SCALE, _SELU_SCALE),
    inverse=lambda y: _elu_inverse(y, _SELU_ALPHA * _SELU_SCALE, _SELU_SCALE),
)


def _mu_relu(x: Any, mu: Any) -> Any:
    return (x + jnp.sqrt((1 - mu) ** 2 + x**2)) / 2


def _mu_relu_inverse(y: Any, mu: Any) -> Any:
    return _outside(y, 0.0, math.inf, lambda v: v - (1 - mu) ** 2 / (4 * v))


def _mu_relu_signature(y: Any, mu: Any) -> Any:
    return 4 * y**2 / ((1 - mu) ** 2 + 4 * y**2)


_MU_RELU = ClosedForms(inverse=_mu_relu_inverse, signature=_mu_relu_signature)


@_register
def mu_relu(mu: Any = 0.4) -> Activation:
    """(x + sqrt((1 - mu)^2 + x^2)) / 2, mu in [0, 1); equals jax.nn.squareplus(x, (1 - mu)^2).

    Example:
        >>> round(float(mu_relu(0.4)(0.0)), 4)
        0.3
    """
    return Activation(_mu_relu, (mu,), "mu_relu", (), _MU_RELU)


def _lsu(x: Any) -> Any:
    return jnp.where(x > 1, 4 * x, jnp.maximum(1 + jnp.minimum(x, 1), 0) ** 2)


_fixed(
    "lsu",
    _lsu,
    (-1.0, 1.0),
    signature=lambda y: jnp.where(y < 4, 2 * jnp.sqrt(jnp.where(y < 4, y, 1)), 4.0),
)
_fixed(
    "matsushita",
    lambda x: x + jnp.sqrt(1 + x**2),
    primitive=lambda x: (x**2 + x * jnp.sqrt(1 + x**2) + jnp.arcsinh(x)) / 2,
    inverse=lambda y: _outside(y, 0.0, math.inf, lambda v: (v - 1 / v) / 2),
    signature=lambda y: 2 * y**2 / (1 + y**2),
)


# ---- entire functions


_fixed(
    "sin",
    jnp.sin,
    moments=lambda s: (0.0 * s, -jnp.expm1(-2 * s**2) / 2, s**2 * jnp.exp(-(s**2))),
    primitive=lambda x: 2 * jnp.sin(x / 2) ** 2,
)


def _cos_moments(s: Any) -> tuple[Any, Any, Any]:
    return jnp.exp(-(s**2) / 2), jnp.expm1(-(s**2)) ** 2 / 2, 0.0 * s


_fixed("cos", jnp.cos, moments=_cos_moments, primitive=jnp.sin)
_fixed(
    "exp",
    jnp.exp,
    moments=lambda s: (jnp.exp(s**2 / 2), jnp.exp(s**2) * jnp.expm1(s**2), s**2 * jnp.exp(s**2)),
    primitive=jnp.expm1,
    inverse=lambda y: _outside(y, 0.0, math.inf, jnp.log),
    signature=lambda y: y * 1,
)


def _gaussian_moments(s: Any) -> tuple[Any, Any, Any]:
    square = s**2
    return (
        1 / jnp.sqrt(1 + square),
        1 / jnp.sqrt(1 + 2 * square) - 1 / (1 + square),
        0.0 * s,
    )


_fixed(
    "gaussian",
    lambda x: jnp.exp(-(x**2) / 2),
    moments=_gaussian_moments,
    primitive=lambda x: math.sqrt(_PI / 2) * _erf(x / math.sqrt(2)),
)
_fixed(
    "square",
    lambda x: x**2,
    moments=lambda s: (s**2, 2 * s**4, 0.0 * s),
    primitive=lambda x: x**3 / 3,
)
_fixed(
    "cubic",
    lambda x: x**3,
    moments=lambda s: (0.0 * s, 15 * s**6, 9 * s**6),
    primitive=lambda x: x**4 / 4,
    inverse=jnp.cbrt,
)


class _Power:
    """max(x, 0)^n and its closed forms for one integer n; equal n, equal function."""

    def __init__(self, n: int, part: str) -> None:
        self.n, self.part = n, part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Power) and (self.n, self.part) == (other.n, other.part)

    def __hash__(self) -> int:
        return hash((self.n, self.part))

    def __call__(self, x: Any) -> Any:
        n = self.n
        if self.part == "fn":
            return jnp.maximum(x, 0) ** n
        if self.part == "primitive":
            return jnp.maximum(x, 0) ** (n + 1) / (n + 1)
        half = _half_normal_moment
        mean = x**n * half(n)
        return mean, x ** (2 * n) * half(2 * n) - mean**2, (x**n * half(n + 1)) ** 2


def _half_normal_moment(k: int) -> float:
    """E max(xi, 0)^k for xi ~ N(0, 1)."""
    return 2 ** (k / 2 - 1) * math.gamma((k + 1) / 2) / math.sqrt(_PI)


@_register
def repu(n: int = 2) -> Activation:
    """max(x, 0)^n, the rectified polynomial of integer degree n >= 1.

    Example:
        >>> round(float(repu(3)(2.0)), 4)
        8.0
    """
    checks.integer("n", n, 1)
    closed = ClosedForms(moments=_Power(n, "moments"), primitive=_Power(n, "primitive"))
    return Activation(_Power(n, "fn"), (), f"repu{n}", (0.0,), closed)


def _polynomial(x: Any, coefficients: Any) -> Any:
    x = jnp.asarray(x, jnp.result_type(x, float))
    value = jnp.zeros_like(x)
    for c in jnp.asarray(coefficients).astype(x.dtype)[::-1]:
        value = value * x + c
    return value


def _polynomial_primitive(x: Any, coefficients: Any) -> Any:
    c = jnp.asarray(coefficients)
    return x * _polynomial(x, c / jnp.arange(1, len(c) + 1, dtype=c.dtype))


def _coefficients(values: Any) -> Any:
    checks.finite("coefficients", values)
    array = values if isinstance(values, jax.Array) else np.asarray(values, np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"coefficients must be a non-empty vector, got shape {array.shape}")
    return array


@_register
def polynomial(coefficients: Any = (0.0, 1.0, 0.5)) -> Activation:
    """sum_k c_k x^k; theta is the vector of coefficients, lowest order first.

    Example:
        >>> round(float(polynomial((1.0, 0.0, 3.0))(2.0)), 4)
        13.0
    """
    closed = _POLYNOMIAL
    return Activation(_polynomial, (_coefficients(coefficients),), "polynomial", (), closed)


_POLYNOMIAL = ClosedForms(primitive=_polynomial_primitive)


def _hermite(x: Any, coefficients: Any) -> Any:
    x = jnp.asarray(x, jnp.result_type(x, float))
    c = jnp.asarray(coefficients).astype(x.dtype)
    before, now = jnp.zeros_like(x), jnp.ones_like(x)
    value = c[0] * now
    for k in range(1, len(c)):
        before, now = now, (x * now - math.sqrt(k - 1) * before) / math.sqrt(k)
        value = value + c[k] * now
    return value


@_register
def hermite(coefficients: Any = (0.0, 0.8, 0.6)) -> Activation:
    """sum_k c_k h_k(x), h_k = He_k / sqrt(k!) orthonormal under N(0, 1).

    So at scale 1 the mean is c_0, eta = sum of c_k^2 over k >= 1, and zeta = c_1^2.

    Example:
        >>> round(float(hermite((0.0, 0.6, 0.8)).moments().zeta), 4)
        0.36
    """
    return Activation(_hermite, (_coefficients(coefficients),), "hermite")
