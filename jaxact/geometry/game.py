"""The f-GAN game: alternating updates of two players as a pure pair (init, step) over optax."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxact.geometry import game_moves
from jaxact.geometry.game_state import Diverged, GameState, Moves
from jaxact.geometry.spectral_norm import start_vectors
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree

LOSSES = ("non-saturating", "theory")


@dataclasses.dataclass(frozen=True)
class Normal:
    """latent(key, count): standard normal vectors of a length."""

    length: int

    def __call__(self, key: PRNGKeyArray, count: int) -> Float[Array, "count length"]:
        """Draw them."""
        return jax.random.normal(key, (count, self.length), jnp.result_type(float))


@pytree(static=("optimizers", "loss", "critic_steps", "spectral"))
class Game:
    """The rules of an f-GAN; `init` and `step` are pure. Make one by `game`.

    Attributes:
        generator: generator(params, z) of one latent.
        discriminator: discriminator(params, x) of one sample: v, one number.
        latent: latent(key, count).
        composites: what may be played; a state's `which` says which one is.
        penalty: weight of R1, or None.
        limit: a term beyond it has diverged.
        optimizers: of (generator, discriminator).
        loss: the generator's.
        critic_steps: discriminator updates in a step.
        spectral: whether the discriminator's matrices are spectrally normalised.
    """

    generator: Leaf
    discriminator: Leaf
    latent: Leaf
    composites: tuple[Any, ...]
    penalty: Leaf
    limit: Leaf
    optimizers: tuple[Any, Any]
    loss: str
    critic_steps: int
    spectral: bool

    def init(self, generator: Any, discriminator: Any, which: Any = 0) -> GameState:
        """The state before the first step.

        Args:
            generator: params, a pytree of float arrays.
            discriminator: params.
            which: index of the composite to play; may be traced, so that `jax.vmap` over it
                (and over the params) plays many games at once.

        Returns:
            A `GameState`.

        Raises:
            ValueError: for an index that no composite has.
        """
        if checks.is_concrete(which):
            checks.between("which", which, 0, len(self.composites) - 1)
        zero = jnp.zeros((), jnp.result_type(float))
        count = jnp.zeros((), jnp.int32)
        return GameState(
            generator,
            discriminator,
            (self.optimizers[0].init(generator), self.optimizers[1].init(discriminator)),
            start_vectors(discriminator) if self.spectral else [],
            jnp.asarray(which, jnp.int32),
            count,
            Diverged(count - 1, count, zero, zero, zero, zero),
        )

    def step(
        self, state: GameState, real: Float[Array, "count *shape"], key: PRNGKeyArray
    ) -> tuple[GameState, Moves]:
        """`critic_steps` updates of the discriminator, then one of the generator.

        A step in which a term is not finite or beyond the limit is not taken: the state stays
        as it is, its `diverged` says why, and all later steps are left out too.

        Args:
            state: from `init` or `step`.
            real: samples of the data, critic_steps parts of one size, each of one update.
            key: random key of the latents.

        Returns:
            (state, moves).

        Raises:
            ValueError: if the number of samples is no multiple of critic_steps.
        """
        count = real.shape[0]
        if count == 0 or count % self.critic_steps:
            raise ValueError(
                f"real must hold a positive multiple of critic_steps={self.critic_steps} "
                f"samples, got {count}"
            )
        return game_moves.step(self, state, real, key)


def game(
    generator: Callable[..., Any],
    discriminator: Callable[..., Any],
    composites: Any,
    *,
    latent: int | Callable[..., Any],
    loss: str = "non-saturating",
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation] | None = None,
    penalty: Any = None,
    spectral: bool = False,
    clip: float | None = None,
    critic_steps: int = 1,
    limit: Any = 1e6,
) -> Game:
    """The rules of an f-GAN game between two players, for any f-divergence and link.

        discriminator: max  E_P T(v(x)) - E_Q f*(T(v(x))) - (penalty / 2) E_P |grad_x v(x)|^2
        generator:     max  E_Q T(v(g(z)))  (non-saturating),  or  E_Q f*(T(v(g(z))))  (theory)

    The composite is chosen by a traced index (`jax.lax.switch`), so one compiled step serves all
    of them, and its derivative in v is taken inside its own branch: an overflow of one composite
    cannot reach a game of another that runs beside it in a `vmap`.

    Args:
        generator: generator(params, z) of one latent, pure; the first part of
            `jaxact.nets.functional(model)`, or any function.
        discriminator: discriminator(params, x) of one sample: a scalar v, or of shape (1,).
        composites: a composite, or several: objects with output(v) = T and conjugate(v) =
            f*(T), elementwise and traceable.
        latent: length of a standard normal latent, or a sampler latent(key, count).
        loss: the generator's, "non-saturating" or "theory".
        optimizers: optax transformations of (generator, discriminator); Adam at 1e-3 with
            b1 = 0.5 by default.
        penalty: weight of the gradient penalty R1 on the data, >= 0; may be traced.
        spectral: whether to divide the discriminator's matrices by their spectral norms.
        clip: bound on both gradients' norms.
        critic_steps: updates of the discriminator in a step.
        limit: a term or norm beyond it counts as diverged, > 0.

    Returns:
        A `Game`: the pair (game.init, game.step), and the argument of `play`.

    Raises:
        ValueError: for no composites, an unknown loss or a number out of range.
        TypeError: for a composite without the two methods.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> class Shannon:  # the original GAN, T = log sigmoid(v)
        ...     output = staticmethod(jax.nn.log_sigmoid)
        ...     conjugate = staticmethod(jax.nn.softplus)
        >>> rules = game(lambda p, z: z + p, lambda p, x: p * x, Shannon(), latent=1)
        >>> state = rules.init(jnp.zeros(1), jnp.zeros(1))
        >>> state, moves = rules.step(state, jnp.ones((8, 1)), jax.random.key(0))
        >>> round(float(moves.estimate), 4), int(state.step)  # -2 log 2 before the first update
        (-1.3863, 1)

    Source: Nowozin, Cseke & Tomioka 2016, equations 4-6 and algorithm 1; Nock et al. 2017,
    section 6; R1: Mescheder, Geiger & Nowozin 2018, equation 9; Miyato et al. 2018.
    """
    pool = tuple(composites) if isinstance(composites, Sequence) else (composites,)
    if not pool:
        raise ValueError("composites must hold at least one composite, got none")
    for member in pool:
        if not callable(getattr(member, "output", None) and getattr(member, "conjugate", None)):
            raise TypeError(f"composites must have output(v) and conjugate(v), got {member!r}")
    checks.function("generator", generator, "its parameters and z")
    checks.function("discriminator", discriminator, "its parameters and x")
    checks.choice("loss", loss, LOSSES)
    if optimizers is not None and len(checks.sequence("optimizers", optimizers)) != 2:
        raise ValueError("optimizers must be a pair, the generator's and the discriminator's")
    checks.integer("critic_steps", critic_steps, 1)
    checks.positive("limit", limit)
    if penalty is not None:
        checks.non_negative("penalty", penalty)
    if isinstance(latent, int | np.integer):
        checks.integer("latent", latent, 1)
        latent = Normal(int(latent))
    checks.function("latent", latent, "a key and a count, or an integer")
    chosen = (_adam(clip), _adam(clip)) if optimizers is None else optimizers
    if clip is not None:
        checks.positive("clip", clip)
        chosen = (_clipped(chosen[0], clip), _clipped(chosen[1], clip)) if optimizers else chosen
    return Game(
        callable_pytree(generator), callable_pytree(discriminator), callable_pytree(latent),
        tuple(map(_as_pytree, pool)), penalty, limit, chosen, loss, critic_steps, spectral,
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _clipped(optimizer: Any, clip: float) -> optax.GradientTransformation:
    # Kept: a new object of the same transformation would compile again.
    return optax.chain(optax.clip_by_global_norm(clip), optimizer)


@functools.lru_cache(maxsize=16)
def _adam(clip: float | None) -> optax.GradientTransformation:
    adam = optax.adam(1e-3, b1=0.5)
    return adam if clip is None else _clipped(adam, clip)


@pytree(static=("member",))
class _Held:
    """A composite that is not a pytree, held by its identity."""

    member: Any

    def output(self, v: Any) -> Any:
        return self.member.output(v)

    def conjugate(self, v: Any) -> Any:
        return self.member.conjugate(v)


def _as_pytree(member: Any) -> Any:
    leaves = jax.tree.leaves(member)
    return _Held(member) if len(leaves) == 1 and leaves[0] is member else member
