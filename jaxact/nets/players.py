"""The two players of a GAN as multilayer perceptrons with any activation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxact.nets.fits import fresh
from jaxact.nets.functional import Apply
from jaxact.nets.mlp import MLP
from jaxact.numerics import checks


class Players(NamedTuple):
    """Two players, each a pair (apply, params).

    Attributes:
        generator: apply(params, z) gives one sample.
        discriminator: apply(params, x) gives v, of shape (1,).
    """

    generator: tuple[Apply, Any]
    discriminator: tuple[Apply, Any]


def mlp_players(
    latent: int,
    data: int,
    act: Callable[..., Any],
    *,
    hidden: Sequence[int] = (64, 64),
    output: Callable[..., Any] | None = None,
    critic_act: Callable[..., Any] | None = None,
    trainable: bool = False,
    key: PRNGKeyArray,
) -> Players:
    """Two `MLP`s of the same hidden layers, for `jaxact.geometry.game`.

    Args:
        latent: length of a latent.
        data: length of a sample.
        act: the generator's activation, an `Activation` or any elementwise function.
        hidden: widths of the hidden layers of both.
        output: applied to the generator's last layer; None for a linear one.
        critic_act: the discriminator's activation; the generator's by default.
        trainable: whether theta of the generator's activation is trained too.
        key: random key of the weights, or an array of n keys: then all params have a leading
            axis of n players.

    Returns:
        A `Players`.

    Raises:
        ValueError: for a length below 1.

    Example:
        >>> import jax, jaxact
        >>> duo = mlp_players(3, 2, jaxact.get("mu_relu", 0.5), key=jax.random.key(0))
        >>> apply, params = duo.generator
        >>> apply(params, jnp.ones(3)).shape
        (2,)
    """
    checks.key("key", key)
    checks.integer("latent", latent, 1)
    checks.integer("data", data, 1)
    hidden = checks.sizes("hidden", hidden, least=0)
    judge = act if critic_act is None else critic_act
    make = functools.partial(MLP, (latent, *hidden, data), act, output=output, trainable=trainable)
    return Players(
        fresh(make, _folded(key, 0)),
        fresh(functools.partial(MLP, (data, *hidden, 1), judge), _folded(key, 1)),
    )


def _folded(key: Any, number: int) -> Any:
    fold = functools.partial(jax.random.fold_in, data=number)
    return jax.vmap(fold)(key) if jnp.ndim(key) else fold(key)
