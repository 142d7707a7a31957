"""The density of an invertible generator as a product of escort densities, one a neuron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxact.geometry.signature import offset, require_admissible, signature
from jaxact.geometry.traceback import Traceback, forward, over_points, trace_back
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

if TYPE_CHECKING:
    from jaxact.geometry.generator import Generator


@pytree()
class EscortFactors:
    """What the density of a generator factorises into, at points of shape (..., d).

    Attributes:
        log_escort: (..., L, d) log chi(phi_{l,i} + k): the logarithms of the unnormalised
            escort densities. phi_{l,i} + k = exp_chi(w_{l,i} . phi_{l-1} + b_{l,i} - t0) is a
            density of the deformed family with coordinate w_{l,i}, statistic phi_{l-1} and
            cumulant t0 - b_{l,i}; its escort is chi of it.
        log_latent: (...) log q_in(z).
        log_output: (...) log H_out, the sum of log |v_out'|.
        log_volume: (...) sum of log |det W_l| and log |det Gamma|.
        inside: (...) whether the point is in the image of the generator.
    """

    log_escort: Leaf
    log_latent: Leaf
    log_output: Leaf
    log_volume: Leaf
    inside: Leaf

    @property
    def log_density(self) -> Float[Array, ...]:
        """Log q_in - sum log_escort - log_output - log_volume; -inf outside the image."""
        escorts = jnp.sum(self.log_escort, axis=(-2, -1))
        value = self.log_latent - escorts - self.log_output - self.log_volume
        return jnp.where(self.inside, value, -jnp.inf)


def escort_factors(g: Generator, x: Float[ArrayLike, "*batch d"]) -> EscortFactors:
    """Factorise the density of a generator whose activation has a signature chi.

        q_g(x) = q_in(z) / prod_{l,i} chi(phi_{l,i} + k) / (H_out |det Gamma| prod |det W_l|),

    exactly, because v'(u) = chi(v(u) + k): L d one-dimensional escort densities from L layers.

    Args:
        g: a `Generator` whose act is admissible.
        x: (..., d), finite.

    Returns:
        `EscortFactors`. Differentiable in x and g, with finite gradients, zero outside the
        image.

    Raises:
        ValueError: if the activation has no signature (`Generator.log_density` needs none), or
            x does not fit.

    Example:
        >>> import jax, jaxact
        >>> from jaxact.geometry import draw_generator
        >>> g = draw_generator(jax.random.key(0), 2, 4, jaxact.get("softplus"))
        >>> x = g.sample(jax.random.key(1), 3)
        >>> found = escort_factors(g, x)
        >>> found.log_escort.shape
        (3, 4, 2)
        >>> bool(abs(found.log_density - g.log_density(x)).max() < 1e-3)
        True

    Source: Nock et al. 2017, section 5, the factorisation of a deep generator's density.
    """
    from jaxact.geometry.generator import check_generator  # imports this module

    check_generator(g)
    require_admissible(g.act)
    return over_points(_factors, g, g.points("x", x))


def escort_normalisers(g: Generator, key: PRNGKeyArray, count: int) -> Float[Array, "L d"]:
    """Z_{l,i} = E chi(phi_{l,i} + k), the integrals of the escorts, by Monte Carlo.

    The base measure of each family is the law of its statistic phi_{l-1} in the generator, so
    chi / Z is a probability density with respect to it; for the first layer and a normal z,
    Z_{1,i} = E v'(b_{1,i} + |w_{1,i}| xi).

    Args:
        g: a `Generator` whose act is admissible.
        key: random key.
        count: draws; the error is of order count^(-1/2).

    Returns:
        (L, d). Differentiable in g.

    Raises:
        ValueError: if the activation has no signature, or count < 1.

    Example:
        >>> import jax, jaxact
        >>> from jaxact.geometry import draw_generator
        >>> g = draw_generator(jax.random.key(0), 2, 1, jaxact.get("softplus"))
        >>> escort_normalisers(g, jax.random.key(1), 4000).round(1).tolist()  # E sigmoid = 1/2
        [[0.5, 0.5]]

    Source: Nock et al. 2017, section 5 (Z_net collects them).
    """
    from jaxact.geometry.generator import check_generator  # imports this module

    check_generator(g)
    checks.key("key", key)
    checks.integer("count", count, 1)
    require_admissible(g.act)
    return jnp.mean(over_points(_escorts, g, g.draw_latent(key, count)), axis=0)


def _factors(g: Generator, prepared: Any, x: Array) -> EscortFactors:
    t: Traceback = trace_back(g, prepared, x)
    safe = jnp.where(t.inside, t.features, g.act(jnp.zeros_like(t.features)))
    log_escort = jnp.log(_chi(g, safe))
    log_latent = g.latent.log_density(t.latent)
    return EscortFactors(log_escort, log_latent, t.log_output, t.log_volume, t.inside)


def _escorts(g: Generator, prepared: Any, z: Array) -> Array:
    return _chi(g, forward(g, prepared, z)[1])


def _chi(g: Generator, features: Array) -> Array:
    k = offset(g.act.fn, g.act.theta, features.dtype)
    return signature(g.act)(features + k)
