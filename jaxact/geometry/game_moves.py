"""The kernel of one step of the f-GAN game."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxact.geometry.game_state import Diverged, GameState, Moves
from jaxact.geometry.spectral_norm import normalized


@jax.jit
def step(game: Any, state: GameState, real: Any, key: Any) -> tuple[GameState, Moves]:
    """`Game.step` after its checks."""
    count = real.shape[0]
    z = game.latent(key, count)
    split = lambda a: a.reshape(game.critic_steps, -1, *a.shape[1:])  # noqa: E731
    parts = (split(real), split(z))
    critic = (state.discriminator, state.optimizers[1], state.vectors)
    if game.critic_steps == 1:
        critic, seen = _discriminator_turn(game, state, critic, parts[0][0], parts[1][0])
    else:
        turn = lambda held, part: _discriminator_turn(game, state, held, *part)  # noqa: E731
        critic, every = jax.lax.scan(turn, critic, parts)
        seen = jax.tree.map(lambda leaf: leaf[-1], every)
        # A bad part is not forgotten for a good last one.
        seen = (*seen[:2], jnp.max(every[2]))
    real_output, fake_conjugate, critic_norm = seen
    moved, memory, loss, norm = _generator_turn(game, state, critic, parts[1][-1])

    terms = jnp.stack([real_output, fake_conjugate, critic_norm, loss, norm])
    bad = ~(jnp.abs(terms) <= jnp.asarray(game.limit, terms.dtype))
    fresh = jnp.any(bad) & (state.diverged.term == 0)
    reached = Diverged(
        state.step, jnp.argmax(bad).astype(jnp.int32) + 1, real_output, fake_conjugate,
        critic_norm, norm,
    )  # fmt: skip
    diverged = _choose(fresh, reached, state.diverged)
    after = GameState(
        moved, critic[0], (memory, critic[1]), critic[2], state.which, state.step + 1, diverged
    )
    kept = GameState(
        state.generator, state.discriminator, state.optimizers, state.vectors, state.which,
        state.step, diverged,
    )  # fmt: skip
    estimate = real_output - fake_conjugate
    return _choose(diverged.term == 0, after, kept), Moves(estimate, loss, critic_norm, norm)


def play_value(game: Any, which: Any, v_real: Any, v_fake: Any) -> Any:
    """Mean T(v_real) - mean f*(T(v_fake)) of the composite that is played."""
    real, _, fake, _ = _heads(game, which, v_real, v_fake)
    return jnp.mean(real) - jnp.mean(fake)


def true_value(game: Any, which: Any, s_real: Any, s_fake: Any) -> Any:
    """The same of the optimal discriminator, from exact log-ratios log p - log q on both sides."""

    def branch(composite: Any) -> Any:
        def value(a: Any, b: Any) -> Any:
            gain = jnp.mean(composite.divergence.heads(a)[0])
            # A sample that the generator cannot make decides, whatever the other side says.
            return jnp.where(
                gain == jnp.inf, gain, gain - jnp.mean(composite.divergence.heads(b)[1])
            )

        return value

    return _switch(which, [branch(c) for c in game.composites], s_real, s_fake)


def outputs(game: Any, params: Any, x: Any) -> Any:
    """V of a batch of samples, (count,)."""
    return jax.vmap(lambda one: jnp.reshape(game.discriminator(params, one), ()))(x)


def samples(game: Any, params: Any, z: Any) -> Any:
    """g(z) of a batch of latents."""
    return jax.vmap(lambda one: game.generator(params, one))(z)


def effective(game: Any, params: Any, vectors: Any) -> Any:
    """The discriminator's params as they are applied: spectrally normalised if the game says so."""
    return normalized(params, vectors, steps=0)[0] if game.spectral else params


def _discriminator_turn(
    game: Any, state: GameState, critic: tuple[Any, Any, Any], real: Any, z: Any
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    params, memory, vectors = critic
    count = real.shape[0]
    fake = samples(game, state.generator, z)

    def objective(p: Any) -> Any:
        p, moved = normalized(p, vectors) if game.spectral else (p, vectors)
        v = outputs(game, p, jnp.concatenate([real, fake]))
        v_real, v_fake = v[:count], v[count:]
        held = map(jax.lax.stop_gradient, (v_real, v_fake))
        real_output, real_slope, conjugate, fake_slope = _heads(game, state.which, *held)
        # Its gradient is the loss's: the slopes are constants, taken inside the switch.
        loss = jnp.mean(fake_slope * v_fake) - jnp.mean(real_slope * v_real)
        if game.penalty is not None:
            loss = loss + jnp.asarray(game.penalty, loss.dtype) / 2 * _roughness(game, p, real)
        return loss, (jnp.mean(real_output), jnp.mean(conjugate), moved)

    gradient, (real_output, conjugate, moved) = jax.grad(objective, has_aux=True)(params)
    params, memory, norm = _update(game.optimizers[1], gradient, memory, params)
    return (params, memory, moved), (real_output, conjugate, norm)


def _generator_turn(game: Any, state: GameState, critic: Any, z: Any) -> tuple[Any, Any, Any, Any]:
    judge = effective(game, critic[0], critic[2])

    def objective(p: Any) -> Any:
        v = outputs(game, judge, samples(game, p, z))
        held = jax.lax.stop_gradient(v)
        output, slope, conjugate, fake_slope = _heads(game, state.which, held, held)
        value, slope = (output, slope) if game.loss == "non-saturating" else (conjugate, fake_slope)
        return -jnp.mean(slope * v), -jnp.mean(value)

    gradient, loss = jax.grad(objective, has_aux=True)(state.generator)
    params, memory, norm = _update(
        game.optimizers[0], gradient, state.optimizers[0], state.generator
    )
    return params, memory, loss, norm


def _heads(game: Any, which: Any, v_real: Any, v_fake: Any) -> tuple[Any, Any, Any, Any]:
    """T and dT/dv of the first, f*(T) and its derivative of the second."""

    def branch(composite: Any) -> Any:
        def both(a: Any, b: Any) -> tuple[Any, Any, Any, Any]:
            output, slope = jax.jvp(composite.output, (a,), (jnp.ones_like(a),))
            conjugate, incline = jax.jvp(composite.conjugate, (b,), (jnp.ones_like(b),))
            return output, slope, conjugate, incline

        return both

    return _switch(which, [branch(c) for c in game.composites], v_real, v_fake)


def _switch(which: Any, branches: list[Any], *operands: Any) -> Any:
    return (
        branches[0](*operands) if len(branches) == 1 else jax.lax.switch(which, branches, *operands)
    )


def _roughness(game: Any, params: Any, x: Any) -> Any:
    """Mean squared norm of the gradient of v in x."""
    slope = jax.vmap(jax.grad(lambda one: jnp.reshape(game.discriminator(params, one), ())))(x)
    return jnp.sum(slope**2) / x.shape[0]


def _update(optimizer: Any, gradient: Any, memory: Any, params: Any) -> tuple[Any, Any, Any]:
    # optax mixes counters and rates of other dtypes, which strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        updates, memory = optimizer.update(gradient, memory, params)
    return optax.apply_updates(params, updates), memory, optax.tree.norm(gradient)


def _choose(which: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)
