"""Proper composite losses: an f-divergence and a link make a discriminator's output activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxact.geometry import links
from jaxact.geometry.adapted import CanonicalLink, NowozinLink, in_table, is_named
from jaxact.geometry.divergences import Divergence, divergence
from jaxact.geometry.links import Link
from jaxact.geometry.signature import conform
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

LINK_NAMES = ("nowozin", "canonical", *links.LINKS)


@pytree()
class ProperComposite:
    """The loss of a discriminator that estimates an f-divergence: a divergence and a link.

        s = logit(Psi^{-1}(v)),   T = g_f(v) = f'(e^s),
        l(+1, v) = -T,   l(-1, v) = f*(T),
        I_f(P || Q) = sup over v of E_P T(v) - E_Q f*(T(v)),  at v = Psi(p / (p + q)).

    v is what the last layer of a discriminator gives, s the log-ratio log(p / q) it says. All
    methods are elementwise in v and computed in s, so T never leaves the domain of f*. Every
    value and derivative is finite for |v| <= 1e4 in float32 except where the mathematics grows
    like e^s (f* of KL and Jeffrey, e^2s of Pearson; T of reverse KL, e^-2s of Neyman; cloglog's s
    = e^v): there the value is infinite beyond |s| of about 85 (float64: 706) and its derivative
    is set to 0. None is ever NaN.

    Attributes:
        divergence: a `Divergence`, or what `divergence` takes (a name, an activation for its
            matched divergence).
        link: "nowozin" (the default where the divergence is in that table, else "logistic"),
            "logistic" s = v, "matsushita" s = 2 asinh(v), "probit", "cloglog", "canonical"
            (v = l(-1) - l(+1): both partial losses convex); a `Link` such as `matsushita(b)`; or
            a strictly increasing JAX function v -> s.

    Raises:
        ValueError: for an unknown name; for "nowozin" with a divergence that is not in the
            table; for "canonical" where it does not reach every v (Neyman); for total variation
            with any link but Nowozin's.

    Differentiable in v, and in the parameters of divergence and link, any number of times
    (implicitly where a link is a root).

    Example:
        >>> loss = ProperComposite("gan")
        >>> round(float(loss.output(0.5)), 4), round(float(loss.conjugate(0.5)), 4)
        (-0.4741, 0.9741)
        >>> round(float(ProperComposite("gan", "matsushita").probability(1.0)), 4)
        0.8536

    Source: Nock et al. 2017, section 4; Nowozin, Cseke & Tomioka 2016; Reid & Williamson 2011.
    """

    divergence: Leaf
    link: Leaf = None

    def __post_init__(self) -> None:
        """Names, activations and functions become a `Divergence` and a link."""
        # A pytree is rebuilt by this constructor with any leaves: what is resolved stays.
        if not isinstance(self.divergence, Divergence):
            object.__setattr__(self, "divergence", divergence(self.divergence))
        if not isinstance(self.link, Link | NowozinLink | CanonicalLink):
            object.__setattr__(self, "link", _resolve_link(self.link, self.divergence))
        if isinstance(self.link, Link) and is_named(self.divergence, "total_variation"):
            raise ValueError("total_variation has the link 'nowozin' only: its f' is a step")

    @property
    def name(self) -> str:
        """Divergence and link, as tables call them."""
        return f"{self.divergence.name} x {self.link.name}"

    def _terms(self, v: Any) -> tuple[Any, Any]:
        v = conform(v, ())[0]
        if isinstance(self.link, Link):
            return self.divergence.heads(self.link.log_ratio(v))
        return self.link.terms(self.divergence, v)

    def output(self, v: Any) -> Any:
        """T = g_f(v), the discriminator's output activation."""
        return self._terms(v)[0]

    def conjugate(self, v: Any) -> Any:
        """f*(g_f(v))."""
        return self._terms(v)[1]

    def partial_losses(self, v: Any) -> tuple[Any, Any]:
        """l(+1, v) = -T (for samples of P) and l(-1, v) = f*(T) (for samples of Q)."""
        output, conjugate = self._terms(v)
        return -output, conjugate

    def value(self, v_p: Any, v_q: Any) -> Any:
        """The variational objective mean T(v_p) - mean f*(T(v_q)), a scalar; the means over all.

        A lower bound of I_f in expectation. -inf where f* overflows.
        """
        loss_p, loss_q = -self.output(v_p), self.conjugate(v_q)
        loss_p, loss_q = _mean(loss_p), _mean(loss_q)
        # An infinite loss on one side is not made good by the other: no bound at all.
        lost = jnp.isposinf(loss_p) | jnp.isposinf(loss_q)
        return -jnp.where(lost, jnp.inf, loss_p + jnp.where(lost, 0, loss_q))

    def log_ratio(self, v: Any) -> Any:
        """S = log(p / q) that v says: the density-ratio estimator is e^s."""
        v = conform(v, ())[0]
        if isinstance(self.link, Link):
            return self.link.log_ratio(v)
        return self.link.log_ratio(self.divergence, v)

    def probability(self, v: Any) -> Any:
        """Psi^{-1}(v) = sigmoid(s), the probability that the sample is of P."""
        return jax.nn.sigmoid(self.log_ratio(v))

    def optimum(self, s: Any) -> Any:
        """The v whose log-ratio is s: at s = log(p / q) the optimal discriminator."""
        s = conform(s, ())[0]
        if isinstance(self.link, Link):
            return self.link.output(s)
        return self.link.output(self.divergence, s)

    def weight(self, c: Any) -> Any:
        """w(c) = f''(c / (1 - c)) / (1 - c)^3 at a probability c in (0, 1)."""
        c = conform(c, ())[0]
        s = jnp.log(c) - jnp.log1p(-c)
        # f''(u) = (dT / ds) / u.
        slope = jax.jvp(lambda x: self.divergence.heads(x)[0], (s,), (jnp.ones_like(s),))[1]
        return slope / (c * (1 - c) ** 2)

    @property
    def threshold(self) -> Any:
        """f'(1): an output T above it says that p > q."""
        return self.divergence.threshold


def _mean(loss: Any) -> Any:
    """The mean; +inf where one entry is, whatever the others are."""
    lost = jnp.isposinf(loss).any()
    return jnp.where(lost, jnp.inf, jnp.mean(jnp.where(lost, 0, loss)))


def _resolve_link(link: Any, d: Divergence) -> Any:
    if link is None:
        link = "nowozin" if in_table(d) else "logistic"
    if not isinstance(link, str):
        if not callable(link):
            raise TypeError(f"link must be a name, a Link or a function v -> s, got {link!r}")
        _check_increasing(link)
        link = Link(_leafless(link), None, (), getattr(link, "__name__", "link"))
    elif link == "nowozin":
        link = NowozinLink()
    elif link == "canonical":
        link = CanonicalLink()
    else:
        checks.choice("link", link, LINK_NAMES)
        link = links.named_link(link)
    if not isinstance(link, Link):
        link.check(d)
    return link


def _leafless(link: Callable[..., Any]) -> Callable[..., Any]:
    if jax.tree.leaves(link) != [link]:
        raise TypeError("a link with parameters must be a Link(fn, theta=...)")
    return link


def _check_increasing(link: Callable[..., Any]) -> None:
    """Sampled on the host at 33 points of [-8, 8]."""
    v = jnp.linspace(-8.0, 8.0, 33)
    s = link(v)
    if not checks.is_concrete(s):
        return
    if jnp.shape(s) != v.shape:
        raise ValueError(f"link must be elementwise: {v.shape} in gave {jnp.shape(s)} out")
    checks.finite("link(v) on [-8, 8]", s)
    if not bool((jnp.diff(s) > 0).all()):
        raise ValueError("link must be a strictly increasing map from v to the log-ratio s")
