"""Links of proper composite losses: maps from a discriminator's output v to the log-ratio.

The log-ratio s = log(p / q) is the coordinate in which everything is stable: the class
probability is sigmoid(s), so a link Psi: (0, 1) -> R is the map s = logit(Psi^{-1}(v)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import softplus
from jax.scipy.special import erfc, erfcx

from jaxact.geometry.heads import exp_or_inf
from jaxact.geometry.signature import conform
from jaxact.geometry.special import expm1_ratio, log1p_ratio
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.roots import increasing_root


@pytree(static=("fn", "inverse_fn", "name"))
class Link:
    """A strictly increasing map from a discriminator's output v in R to s = log(p / q).

        s = logit(Psi^{-1}(v)),   c = Psi^{-1}(v) = sigmoid(s).

    Attributes:
        fn: fn(v, *theta) -> s, elementwise and traceable.
        inverse_fn: closed form (s, *theta) -> v, where one is known; else it is a root.
        theta: parameters, a tuple of pytrees of arrays; differentiable.
        name: what tables call it.

    Example:
        >>> steep = Link(lambda v, a: a * v, theta=(3.0,), name="steep")
        >>> float(steep.log_ratio(2.0)), round(float(steep.output(6.0)), 4)
        (6.0, 2.0)

    Source: Reid & Williamson 2010; Nock et al. 2017, section 4.
    """

    fn: Callable[..., Any]
    inverse_fn: Callable[..., Any] | None = None
    theta: Leaf = ()
    name: str = "link"

    def log_ratio(self, v: Any) -> Any:
        """S at v, elementwise."""
        v, theta = conform(v, self.theta)
        return jnp.asarray(self.fn(v, *theta), v.dtype)

    def output(self, s: Any) -> Any:
        """The v whose log-ratio is s, elementwise: Psi(sigmoid(s))."""
        s, theta = conform(s, self.theta)
        if self.inverse_fn is None:
            return increasing_root(self.fn, s, theta)
        return jnp.asarray(self.inverse_fn(s, *theta), s.dtype)


def matsushita(b: Any) -> Link:
    """The learnable link s = 2 asinh(b v / 2) / b between logistic and Matsushita.

    b -> 0 is the logistic link s = v, exactly and with its derivatives; b = 1 is the link of
    the paper's code, Psi^{-1}(v) = (1 + v / sqrt(v^2 + 4)) / 2. (The link of the paper's text,
    s = 2 asinh(v), which `ProperComposite` calls "matsushita", is b = 1 at 2 v.) The log-ratio
    grows like log |v| for b != 0: an outlying v does less harm.

    Args:
        b: a finite scalar; even in b; it may be traced.

    Returns:
        A `Link` with theta = (b,), differentiable in v and b any number of times, at b = 0 too.

    Raises:
        ValueError: for a b that is not finite.

    Example:
        >>> [round(float(matsushita(b).log_ratio(2.0)), 4) for b in (0.0, 1.0)]
        [2.0, 1.7627]

    Source: Matsushita 1956; Nock et al. 2017, section 6 (b = 1).
    """
    checks.finite("b", b)
    return Link(_matsushita_family, _matsushita_family_inverse, (b,), "matsushita(b)")


def named_link(name: str) -> Link:
    """One of `LINKS` by its name."""
    return LINKS[name]


def _identity(v: Any) -> Any:
    return v


def _matsushita(v: Any) -> Any:
    return 2 * jnp.arcsinh(v)


def _matsushita_inverse(s: Any) -> Any:
    return jnp.sinh(s / 2)


def _matsushita_family(v: Any, b: Any) -> Any:
    x = b * v / 2
    near = jnp.abs(x) < 0.25
    square, large = jnp.where(near, x, 0) ** 2, jnp.where(near, 1, x)
    # asinh(x) / x as a series near 0, so that its derivatives are exact there too.
    series = jnp.zeros_like(square)
    for n in range(12, -1, -1):
        series = series * square + (-1) ** n * math.comb(2 * n, n) / 4**n / (2 * n + 1)
    return v * jnp.where(near, series, jnp.arcsinh(large) / large)


def _matsushita_family_inverse(s: Any, b: Any) -> Any:
    x = b * s / 2
    near = jnp.abs(x) < 0.25
    square, large = jnp.where(near, x, 0) ** 2, jnp.where(near, 1, x)
    series = jnp.zeros_like(square)
    for n in range(7, -1, -1):
        series = series * square + 1 / math.factorial(2 * n + 1)
    return s * jnp.where(near, series, jnp.sinh(large) / large)


def _probit(v: Any) -> Any:
    """Log Phi(v) - log Phi(-v), odd in v."""
    negative = v < 0
    x = jnp.where(negative, -v, v)
    s = _gauss_tail(x) + jnp.log1p(-erfc(x / math.sqrt(2)) / 2)
    return jnp.where(negative, -s, s)


@jax.custom_jvp
def _gauss_tail(x: Any) -> Any:
    """-log Phi(-x), x >= 0."""
    return x**2 / 2 + math.log(2) - jnp.log(erfcx(x / math.sqrt(2)))


@_gauss_tail.defjvp
def _gauss_tail_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    # Not by differentiating above: it cancels for large x.
    (x,), (dx,) = primals, tangents
    return _gauss_tail(x), _hazard(x) * dx


@jax.custom_jvp
def _hazard(x: Any) -> Any:
    """phi(x) / Phi(-x)."""
    return math.sqrt(2 / math.pi) / erfcx(x / math.sqrt(2))


@_hazard.defjvp
def _hazard_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    hazard = _hazard(x)
    return hazard, hazard * (hazard - x) * dx


def _cloglog(v: Any) -> Any:
    """Log(e^(e^v) - 1): the probability is 1 - e^(-e^v)."""
    t = exp_or_inf(v)
    large = t > 0.25
    low = v + jnp.log(expm1_ratio(jnp.where(large, 0, t)))
    high = t + jnp.log(-jnp.expm1(-jnp.where(large, t, 1)))
    return jnp.where(large, high, low)


def log_softplus(s: Any) -> Any:
    """Log log(1 + e^s), without underflow of e^s; the inverse of the cloglog link."""
    low = s < -2
    ratio = log1p_ratio(jnp.exp(jnp.where(low, s, -jnp.inf)))
    return jnp.where(low, s + jnp.log(ratio), jnp.log(softplus(jnp.where(low, 0, s))))


LINKS = {
    "logistic": Link(_identity, _identity, (), "logistic"),
    "matsushita": Link(_matsushita, _matsushita_inverse, (), "matsushita"),
    "probit": Link(_probit, None, (), "probit"),
    "cloglog": Link(_cloglog, log_softplus, (), "cloglog"),
}
