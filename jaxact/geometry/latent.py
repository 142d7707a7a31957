"""The law of a generator's latent: a log density and a sampler."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree


@pytree()
class Latent:
    """A law q_in of the latent z, as a pytree: callables that are pytrees keep their leaves.

    Attributes:
        log_density: log_density(z) of one z of shape (d,), a scalar; -inf outside the support.
        sample: sample(key, shape, dtype) -> draws, the last axis of `shape` being d; the form
            of `jax.random.normal`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> laplace = Latent(lambda z: -jnp.sum(jnp.abs(z) + jnp.log(2.0)), jax.random.laplace)
        >>> round(float(laplace.log_density(jnp.zeros(2))), 4)
        -1.3863
    """

    log_density: Leaf
    sample: Leaf


def latent(
    log_density: str | Callable[..., Array], sample: Callable[..., Array] | None = None
) -> Latent:
    """A law of the latent: "normal", "uniform" (on [0, 1]^d), or one given by its functions.

    Args:
        log_density: one of the names, or log_density(z) of one z of shape (d,).
        sample: sample(key, shape, dtype), for a law given by its functions.

    Returns:
        A `Latent`. Differentiable in z and in the leaves of the functions.

    Raises:
        ValueError: for another name, or functions that are not both given.

    Example:
        >>> import jax.numpy as jnp
        >>> float(latent("uniform").log_density(jnp.array([0.5, 1.5])))
        -inf
    """
    if isinstance(log_density, str):
        checks.choice("latent", log_density, tuple(_NAMED))
        if sample is not None:
            raise ValueError(f"the latent {log_density!r} has its own sampler")
        return _NAMED[log_density]
    if sample is None or not callable(log_density):
        raise ValueError("a latent needs both log_density(z) and sample(key, shape, dtype)")
    return Latent(callable_pytree(log_density), callable_pytree(sample))


def _normal(z: Float[Array, " d"]) -> Float[Array, ""]:
    return -(z @ z + z.size * math.log(2 * math.pi)) / 2


def _uniform(z: Float[Array, " d"]) -> Float[Array, ""]:
    return jnp.where(jnp.all((z >= 0) & (z <= 1)), 0, -jnp.inf).astype(z.dtype)


_NAMED = {
    "normal": Latent(callable_pytree(_normal), callable_pytree(jax.random.normal)),
    "uniform": Latent(callable_pytree(_uniform), callable_pytree(jax.random.uniform)),
}
