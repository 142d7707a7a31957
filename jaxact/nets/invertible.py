"""An invertible square generator as a Flax module, over the kernels of `jaxact.geometry`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from jaxact.geometry import Generator, Latent, draw_generator
from jaxact.nets.units import Fixed
from jaxact.numerics import checks


class InvertibleGenerator(nnx.Module):
    """x = v_out(Gamma v(W_L ... v(W_1 z + b_1) ...) + beta), invertible, with an exact density.

    Weights are random orthogonal matrices times `scale`, biases zero. The density is that of
    `jaxact.geometry.Generator`, which `pure` gives with the module's present parameters.

    Args:
        width: d, of the latent and of every layer.
        depth: L, layers before the last matrix.
        act: v: an `Activation` or a scalar JAX function, strictly monotone.
        scale: of the weights.
        output: v_out; the identity by default.
        base: the law of z: "normal", "uniform" or a `jaxact.geometry.Latent`.
        trainable: whether the activation's theta is trained with the weights.
        rngs: Flax random keys.

    Raises:
        ValueError: if an activation is not strictly monotone, with the reason.

    Example:
        >>> import jax.numpy as jnp, jaxact
        >>> model = InvertibleGenerator(2, 3, jaxact.get("softplus"), rngs=nnx.Rngs(0))
        >>> x = model(jnp.zeros((5, 2)))
        >>> model.log_density(x).shape
        (5,)

    Source: Nock et al. 2017, section 5.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        act: Callable[..., Any],
        *,
        scale: float = 1.0,
        output: Callable[..., Any] | None = None,
        base: Latent | str = "normal",
        trainable: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights."""
        checks.instance("rngs", rngs, nnx.Rngs)
        drawn = draw_generator(
            rngs.params(), width, depth, act, scale=scale, output=output, base=base
        )
        self.weights, self.biases = nnx.Param(drawn.weights), nnx.Param(drawn.biases)
        self.gamma, self.beta = nnx.Param(drawn.gamma), nnx.Param(drawn.beta)
        theta, self.act = jax.tree.flatten(drawn.act)
        kind = nnx.Param if trainable else Fixed
        self.theta = nnx.List([kind(leaf) for leaf in theta])
        fixed, self.ends = jax.tree.flatten((drawn.output, drawn.latent))
        self.fixed = nnx.List([Fixed(leaf) for leaf in fixed])

    def pure(self) -> Generator:
        """The generator as a pytree of the module's present parameters."""
        act = jax.tree.unflatten(self.act, [leaf[...] for leaf in self.theta])
        output, latent = jax.tree.unflatten(self.ends, [leaf[...] for leaf in self.fixed])
        return Generator(
            self.weights[...], self.biases[...], self.gamma[...], self.beta[...],
            act, output, latent,
        )  # fmt: skip

    def assign(self, g: Generator) -> None:
        """Take the parameters of a generator of the same form, as `fit_generator` returns one."""
        for name in ("weights", "biases", "gamma", "beta"):
            getattr(self, name)[...] = getattr(g, name)
        for held, value in zip(self.theta, jax.tree.leaves(g.act), strict=True):
            held[...] = value
        fixed = jax.tree.leaves((g.output, g.latent))
        for held, value in zip(self.fixed, fixed, strict=True):
            held[...] = value

    def __call__(self, z: Float[ArrayLike, "*batch d"]) -> Float[Array, "*batch d"]:
        """g(z), for one latent or any batch of them."""
        return self.pure()(z)

    def log_density(self, x: Float[ArrayLike, "*batch d"]) -> Float[Array, "*batch"]:
        """The exact log density, -inf outside the image; see `Generator.log_density`."""
        return self.pure().log_density(x)

    def sample(self, key: PRNGKeyArray, count: int) -> Float[Array, "count d"]:
        """`count` independent draws of g(z), z ~ q_in."""
        return self.pure().sample(key, count)
