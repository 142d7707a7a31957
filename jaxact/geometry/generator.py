"""Invertible square generators: their inverse and their exact density, for any activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxact.activation import Activation, activation
from jaxact.catalog import get
from jaxact.geometry.admissible import admissibility
from jaxact.geometry.latent import Latent, latent
from jaxact.geometry.traceback import forward, log_density, over_points, trace_back
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


@pytree()
class Preimage:
    """Where points come from.

    Attributes:
        latent: (..., d), the z with g(z) = x; +inf where x is not in the image.
        inside: (...), whether x is in the image of the generator.
    """

    latent: Leaf
    inside: Leaf


@pytree()
class Generator:
    """x = g(z) = v_out(Gamma phi_L + beta), phi_l = v(W_l phi_{l-1} + b_l), phi_0 = z ~ q_in.

    All layers have width d, so g is a bijection onto its image when v and v_out are strictly
    monotone. A pytree: every weight, theta of both activations and the leaves of the latent's
    law are differentiable, and one compiled kernel serves all their values. Make one by
    `generator` or `draw_generator`, which check it.

    Attributes:
        weights: (L, d, d), W_l.
        biases: (L, d), b_l.
        gamma: (d, d), the last matrix.
        beta: (d,), its bias.
        act: v, strictly monotone.
        output: v_out, strictly monotone.
        latent: q_in.

    Example:
        >>> import jax, jax.numpy as jnp, jaxact
        >>> g = draw_generator(jax.random.key(0), 2, 3, jaxact.get("softplus"))
        >>> x = g(jnp.zeros(2))
        >>> bool(jnp.allclose(g.inverse(x).latent, 0, atol=1e-4))
        True
        >>> float(g.log_density(x - 100.0))  # softplus has no values there
        -inf

    Source: Nock et al. 2017, section 5, theorem 9 and its factorisation of the density.
    """

    weights: Leaf
    biases: Leaf
    gamma: Leaf
    beta: Leaf
    act: Activation
    output: Activation
    latent: Latent

    def __call__(self, z: Float[ArrayLike, "*batch d"]) -> Float[Array, "*batch d"]:
        """g(z), for one latent or any batch of them."""
        return over_points(forward, self, self.points("z", z))[0]

    def inverse(self, x: Float[ArrayLike, "*batch d"]) -> Preimage:
        """The z with g(z) = x, and whether there is one.

        Layer by layer: a matrix product with the inverted weights and v^{-1}, by its closed
        form where the activation has one, else by a bracketed root. A layer's value outside
        the range of v shows as an infinite v^{-1}, and its point is outside the image.

        Args:
            x: (..., d), finite.

        Returns:
            A `Preimage`. Differentiable in x and in the generator (zero outside the image).

        Raises:
            ValueError: if the last axis of x is not d, or x is not finite.
        """
        found = over_points(trace_back, self, self.points("x", x))
        inside = found.inside[..., None]
        return Preimage(jnp.where(inside, found.latent, jnp.inf), found.inside)

    def log_density(self, x: Float[ArrayLike, "*batch d"]) -> Float[Array, "*batch"]:
        """The exact log density of g(z), z ~ q_in; -inf outside the image.

            log q_g(x) = log q_in(z) - sum_{l,i} log |v'(u_{l,i})| - sum_l log |det W_l|
                         - log |det Gamma| - sum_i log |v_out'|,      z = g^{-1}(x).

        v'(u) is taken as the inverse of (v^{-1})'(phi), which has no cancellation in the tails
        and holds for every strictly monotone v. For a v with a signature it is chi(phi + k),
        the escort form of `escort_factors`; the two agree. Points where v' is 0 or infinite, a
        null set, count as outside. In float64 it is within 1e-10 of an automatic log
        determinant where the weights are well conditioned.

        Args:
            x: (..., d), finite.

        Returns:
            (...,) nats. Differentiable in x and in the generator; gradients are finite, zero
            outside the image.

        Raises:
            ValueError: if the last axis of x is not d, or x is not finite.
        """
        return over_points(log_density, self, self.points("x", x))

    def sample(self, key: PRNGKeyArray, count: int) -> Float[Array, "count d"]:
        """`count` independent draws of g(z), z ~ q_in.

        Raises:
            TypeError: if key is not a typed random key.
            ValueError: if count < 1.
        """
        checks.key("key", key)
        checks.integer("count", count, 1)
        return over_points(forward, self, self.draw_latent(key, count))[0]

    def draw_latent(self, key: PRNGKeyArray, count: int) -> Float[Array, "count d"]:
        """`count` independent draws of z ~ q_in."""
        return self.latent.sample(key, (count, self.beta.shape[-1]), self.beta.dtype)

    def points(self, name: str, value: Any) -> Array:
        """The argument `name` as finite points of this generator's width and dtype."""
        check_generator(self)
        checks.finite(name, value)
        points = jnp.asarray(value)
        width = self.beta.shape[-1]
        if points.ndim == 0 or points.shape[-1] != width:
            raise ValueError(f"{name} must have shape (..., {width}), got {points.shape}")
        checks.finite(name, points)
        return points.astype(self.beta.dtype)


def generator(
    weights: Float[ArrayLike, "L d d"],
    biases: Float[ArrayLike, "L d"],
    *,
    act: Activation | Callable[..., Any],
    gamma: Float[ArrayLike, "d d"] | None = None,
    beta: Float[ArrayLike, " d"] | None = None,
    output: Activation | Callable[..., Any] | None = None,
    base: Latent | str = "normal",
) -> Generator:
    """An invertible generator of given weights, checked.

    Args:
        weights: W_l, each invertible.
        biases: b_l.
        act: v: an `Activation` or a scalar JAX function, strictly monotone and continuous.
        gamma: the last matrix, invertible; the identity by default.
        beta: its bias; zero by default.
        output: v_out, strictly monotone and continuous; the identity by default.
        base: the law of z: "normal", "uniform" or a `Latent`.

    Returns:
        A `Generator` in the dtype of the weights. Values that are traced by JAX are not tested.

    Raises:
        ValueError: if shapes do not fit, a matrix is singular to the dtype, a value is not
            finite, or an activation is not strictly monotone or not continuous, with the reason.

    Example:
        >>> import jax.numpy as jnp, jaxact
        >>> g = generator(2 * jnp.eye(2)[None], jnp.zeros((1, 2)), act=jaxact.get("exp"))
        >>> round(float(g.log_density(jnp.ones(2))), 4)  # log normal
        -3.2242
        >>> generator(jnp.eye(2)[None], jnp.zeros((1, 2)), act=jaxact.get("relu"))
        Traceback (most recent call last):
        ...
        ValueError: act must be strictly monotone and continuous: relu is flat on an interval...
    """
    given = {"weights": weights, "biases": biases, "gamma": gamma, "beta": beta}
    for name, value in given.items():
        if value is not None:
            checks.finite(name, value)
    weights = jnp.asarray(weights)
    dtype = jnp.result_type(weights.dtype, float) if _is_integral(weights) else weights.dtype
    weights, biases = weights.astype(dtype), jnp.asarray(biases).astype(dtype)
    if weights.ndim != 3 or weights.shape[1] != weights.shape[2] or 0 in weights.shape:
        raise ValueError(f"weights must have shape (L, d, d), got {weights.shape}")
    depth, width, _ = weights.shape
    gamma = jnp.eye(width, dtype=dtype) if gamma is None else jnp.asarray(gamma).astype(dtype)
    beta = jnp.zeros(width, dtype) if beta is None else jnp.asarray(beta).astype(dtype)
    checks.shape("biases", biases, (depth, width))
    checks.shape("gamma", gamma, (width, width))
    checks.shape("beta", beta, (width,))
    for index in range(depth):
        _require_invertible(f"weights[{index}]", weights[index])
    _require_invertible("gamma", gamma)
    inner = _require_monotone("act", act)
    outer = _require_monotone("output", get("identity") if output is None else output)
    inner, outer = (a.replace(*_cast(a.theta, dtype)) for a in (inner, outer))
    law = base if isinstance(base, Latent) else latent(base)
    return Generator(weights, biases, gamma, beta, inner, outer, law)


def check_generator(g: Any) -> None:
    """Raise unless it is a generator of finite numbers."""
    checks.instance("g", g, Generator)
    for name in ("weights", "biases", "gamma", "beta"):
        checks.finite(f"g.{name}", getattr(g, name))
    checks.finite("theta of g.act", (g.act.theta, g.output.theta))


def draw_generator(
    key: PRNGKeyArray,
    width: int,
    depth: int,
    act: Activation | Callable[..., Any],
    *,
    scale: float = 1.0,
    output: Activation | Callable[..., Any] | None = None,
    base: Latent | str = "normal",
) -> Generator:
    """A generator with random orthogonal weights times `scale` and zero biases.

    Orthogonal weights are as well conditioned as weights can be.

    Args:
        key: random key.
        width: d >= 1.
        depth: L >= 1, layers before the last matrix.
        act: v, strictly monotone.
        scale: of the weights W_l, > 0.
        output: v_out; the identity by default.
        base: the law of z: "normal", "uniform" or a `Latent`.

    Returns:
        A `Generator` of the default float dtype.

    Raises:
        TypeError: if key is not a typed random key.
        ValueError: for sizes below 1, a scale that is not positive, or an activation that is
            not strictly monotone.

    Example:
        >>> import jax, jaxact
        >>> g = draw_generator(jax.random.key(0), 2, 4, jaxact.get("leaky_relu", 0.3))
        >>> g.sample(jax.random.key(1), 5).shape
        (5, 2)
    """
    checks.key("key", key)
    checks.integer("width", width, 1)
    checks.integer("depth", depth, 1)
    checks.positive("scale", scale)
    matrices = jax.random.orthogonal(key, width, (depth + 1,))
    return generator(
        scale * matrices[:-1], jnp.zeros((depth, width), matrices.dtype),
        act=act, gamma=matrices[-1], output=output, base=base,
    )  # fmt: skip


def _is_integral(array: Array) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.floating)


def _cast(theta: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(dtype), theta)


def _require_invertible(name: str, matrix: Array) -> None:
    if not checks.is_concrete(matrix):
        return
    checks.finite(name, matrix)
    condition = np.linalg.cond(np.asarray(matrix, np.float64))
    if not condition < 0.1 / float(jnp.finfo(matrix.dtype).eps):
        raise ValueError(f"{name} must be invertible, got a condition number of {condition:.3g}")


def _require_monotone(name: str, act: Any) -> Activation:
    act = activation(act)
    if not checks.is_concrete(act.theta):
        return act
    report = admissibility(act)
    why = ""
    if np.isnan(report.jump):
        why = report.reason
    elif act.monotone() == 0:
        flat = report.monotone
        why = f"{act.name} is flat on an interval" if flat else report.reason
    if why:
        raise ValueError(
            f"{name} must be strictly monotone and continuous: {why}, so the generator has no "
            "inverse and no density"
        )
    _require_masked(name, act, report.infimum)
    return act


def _require_masked(name: str, act: Activation, infimum: float) -> None:
    """Refuse a declared inverse that is finite below the image: its density has mass there."""
    if act.closed.inverse is None or not np.isfinite(infimum):
        return
    below = infimum - np.array([0.1, 1.0, 10.0])
    with jax.ensure_compile_time_eval():
        found = np.asarray(act.inverse(jnp.asarray(below, float)))
    if np.isfinite(found).any():
        raise ValueError(
            f"{name} must declare an inverse that is infinite outside its image: that of "
            f"{act.name} is {found[np.isfinite(found)][0]:.3g} where {act.name} has no value"
        )
