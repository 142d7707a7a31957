"""Playing a game: compiled parts, the estimated divergence beside the true one, stop and resume."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxact.geometry import game_moves
from jaxact.geometry.game import Game
from jaxact.geometry.game_state import TERMS, Diverged, GameState, Moves
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree


@pytree()
class Trace:
    """What was recorded after every part; a leading axis of games where many were played.

    Attributes:
        estimate: mean T(v_real) - mean f*(T(v_fake)) on fresh samples, (..., records).
        true: the same at the optimal discriminator of the exact densities, that is I_f(P || Q)
            by Monte Carlo on the same samples; +inf where the generator misses a sample and f
            says so; None without densities.
        moves: of the part's last step.
    """

    estimate: Leaf
    true: Leaf
    moves: Moves


@pytree()
class Match:
    """A game so far: what `play` returns, saves and restores.

    Attributes:
        state: the last state, with both players' params.
        trace: zeros where the game has not been.
        parts: finished parts, int32 ().
    """

    state: GameState
    trace: Trace
    parts: Leaf


class DivergedWarning(RuntimeWarning):
    """A term of a game left its domain, and the game stopped."""


def play(
    rules: Game,
    state: GameState,
    data: Any,
    *,
    steps: int,
    batch: int = 128,
    every: int | None = None,
    densities: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
    check: int = 1024,
    restore: Callable[[Match], Match] | None = None,
    save: Callable[[Match], Any] | None = None,
    key: PRNGKeyArray,
) -> Match:
    """Play a game in compiled parts, or many at once.

    A state whose leaves have a leading axis, from `jax.vmap(rules.init)`, is many games: of other
    composites, seeds or both, in one compiled run. A step's samples are drawn from (key, game,
    step), so a resumed game gives the same numbers as one that was never stopped. Games that
    diverged stay where they were, the others go on. Games whose state lies on several devices
    (`jax.device_put(state, NamedSharding(mesh, PartitionSpec("games")))`) are played there.

    Args:
        rules: from `game`.
        state: from `rules.init`.
        data: samples on the first axis, or a sampler data(key, count).
        steps: in the whole game, a multiple of `every`.
        batch: samples of one update.
        every: steps in a part, after which is recorded; all by default. The parts share one
            compilation.
        densities: (log_p, log_q): log_p(x) of the data and log_q(params, x) of the generator,
            exact, of one sample; then the trace has the true divergence. The composites must be
            of a `Divergence`, as `ProperComposite` is.
        check: samples of each side for a record.
        restore: restore(fresh) gives the match to go on from: `fresh` itself, or one of the
            same structure from a file.
        save: save(match), called after each part; also the place to show progress.
        key: random key, the same one for a resumed game.

    Returns:
        A `Match`. If a game diverged, a `DivergedWarning` says which, when and by which term;
        `diverged_report` gives the same text.

    Raises:
        TypeError: for rules or a state of another kind.
        ValueError: for counts out of range, a state that is not finite, steps that `every` does
            not divide, data that are empty, not finite or not of the shape that the generator
            makes, or a restored match of another length.

    Example:
        >>> from jaxact.geometry import game, ring
        >>> class Shannon:
        ...     output = staticmethod(jax.nn.log_sigmoid)
        ...     conjugate = staticmethod(jax.nn.softplus)
        >>> rules = game(lambda p, z: p @ z, lambda p, x: p @ x, Shannon(), latent=2)
        >>> start = rules.init(jnp.eye(2), jnp.zeros(2))
        >>> match = play(rules, start, ring(), steps=4, every=2, batch=8, key=jax.random.key(0))
        >>> int(match.state.step), match.trace.estimate.shape
        (4, (2,))
    """
    _check_records(rules, state)
    for name in ("generator", "discriminator", "optimizers", "vectors"):
        checks.finite(f"state.{name}", getattr(state, name))
    checks.key("key", key)
    for name, value in (("steps", steps), ("batch", batch), ("check", check)):
        checks.integer(name, value, 1)
    every = steps if every is None else every
    checks.integer("every", every, 1)
    if steps % every:
        raise ValueError(f"steps must be a multiple of every={every}, got {steps}")
    source = _sampler(data)
    _check_samples(rules, state, source, key)
    part = functools.partial(
        _part, rules, source=source, every=every, batch=batch, check=check,
        densities=None if densities is None else tuple(map(callable_pytree, densities)),
    )  # fmt: skip
    match = Match(state, _empty(state, steps // every, densities is not None), jnp.int32(0))
    if restore is not None:
        match = restore(match)
        if jnp.shape(match.trace.estimate) != (*state.step.shape, steps // every):
            raise ValueError(
                f"restore must give a match of {steps // every} parts, whose estimates have shape "
                f"{(*state.step.shape, steps // every)}, got {jnp.shape(match.trace.estimate)}"
            )
    for _ in range(int(match.parts), steps // every):
        match = part(match, key=key)
        if save is not None:
            save(match)
        if np.all(np.asarray(match.state.diverged.term) > 0):
            break
    report = diverged_report(rules, match.state)
    if report:
        warnings.warn(report, DivergedWarning, stacklevel=2)
    return match


def diverged_report(rules: Game, state: GameState) -> str:
    """One line for each game of a state that diverged: step, composite, term and values.

    Args:
        rules: the game.
        state: of one game or of many.

    Returns:
        The text; empty if no game diverged.

    Raises:
        TypeError: for rules or a state of another kind.

    Example:
        >>> from jaxact.geometry import game
        >>> class Wrong:
        ...     output = staticmethod(jnp.log)  # NaN for v < 0
        ...     conjugate = staticmethod(jnp.exp)
        >>> rules = game(lambda p, z: z + p, lambda p, x: p * x, Wrong(), latent=1)
        >>> state = rules.init(jnp.zeros(1), -jnp.ones(1))
        >>> state, _ = rules.step(state, jnp.ones((4, 1)), jax.random.key(0))
        >>> print(diverged_report(rules, state))
        game diverged at step 0 (Wrong, non-saturating): T(v_real) left its domain or the limit ...
    """
    _check_records(rules, state)
    fields = (state.which, *jax.tree.leaves(state.diverged))
    columns = [np.atleast_1d(np.asarray(leaf)) for leaf in fields]
    many = np.ndim(state.which) > 0
    lines = []
    for lane, (which, step, term, real, fake, critic, maker) in enumerate(
        zip(*columns, strict=True)
    ):
        if term:
            lines.append(
                f"game {f'{lane} ' if many else ''}diverged at step {step} "
                f"({_name(rules.composites[which])}, {rules.loss}): {TERMS[term]} left its "
                f"domain or the limit {float(rules.limit):g}; T(v_real) = {real:g}, "
                f"f*(T(v_fake)) = {fake:g}, gradient norms {critic:g} and {maker:g}"
            )
    return "\n".join(lines)


def _check_records(rules: Any, state: Any) -> None:
    """Raise unless these are a game's, as far as their kinds tell."""
    checks.instance("rules", rules, Game)
    checks.finite("rules", rules, infinite=True)
    checks.instance("state", state, GameState)
    for name in ("which", "step"):
        checks.numbers(f"state.{name}", getattr(state, name), kinds="iu")
    checks.instance("state.diverged", state.diverged, Diverged)
    checks.numbers("state.diverged.term", state.diverged.term, kinds="iu")


def _check_samples(rules: Any, state: Any, source: Any, key: Any) -> None:
    """Raise unless the data are like what the generator makes."""
    params = state.generator
    if np.ndim(state.step):
        params = jax.tree.map(lambda leaf: leaf[0], params)
    draw = lambda p, k: game_moves.samples(rules, p, rules.latent(k, 1))  # noqa: E731
    made = jax.eval_shape(draw, params, key).shape[1:]
    real = jax.eval_shape(lambda k: source(k, 1), key).shape[1:]
    if real != made:
        raise ValueError(f"data must be samples of shape {made}, as generated, got {real}")


@functools.partial(jax.jit, static_argnames=("every", "batch", "check"))
def _part(
    rules: Any, match: Match, *, source: Any, densities: Any, key: Any,
    every: int, batch: int, check: int,
) -> Match:  # fmt: skip
    first = match.parts * every

    def one(state: Any, key: Any) -> Any:
        def turn(held: Any, number: Any) -> Any:
            draw, latent = jax.random.split(jax.random.fold_in(key, number))
            real = source(draw, batch * rules.critic_steps)
            return rules.step(held, real, latent)

        state, moves = jax.lax.scan(turn, state, first + jnp.arange(every, dtype=jnp.int32))
        # The records' keys are negative, so no step shares them.
        fresh = jax.random.fold_in(key, -1 - match.parts)
        estimate, true = _record(rules, state, source, densities, check, fresh)
        return state, estimate, true, jax.tree.map(lambda leaf: leaf[-1], moves)

    if match.state.step.ndim:
        numbers = jnp.arange(match.state.step.shape[0])
        lanes = jax.vmap(lambda n: jax.random.fold_in(key, n))(numbers)
        state, *row = jax.vmap(one)(match.state, lanes)
    else:
        state, *row = one(match.state, key)
    write = lambda kept, new: kept.at[..., match.parts].set(new)  # noqa: E731
    trace = jax.tree.map(write, match.trace, Trace(*row))
    return Match(state, trace, match.parts + 1)


def _record(
    rules: Any, state: Any, source: Any, densities: Any, check: int, key: Any
) -> tuple[Any, Any]:
    """The estimated and the true divergence on one draw of both sides."""
    draw, latent = jax.random.split(key)
    real = source(draw, check)
    fake = game_moves.samples(rules, state.generator, rules.latent(latent, check))
    judge = game_moves.effective(rules, state.discriminator, state.vectors)
    sides = [game_moves.outputs(rules, judge, x) for x in (real, fake)]
    estimate = game_moves.play_value(rules, state.which, *sides)
    if densities is None:
        return estimate, None
    log_p, log_q = densities
    ratio = jax.vmap(lambda x: log_p(x) - log_q(state.generator, x))
    return estimate, game_moves.true_value(rules, state.which, ratio(real), ratio(fake))


def _empty(state: GameState, records: int, with_true: bool) -> Trace:  # noqa: FBT001
    zeros = jnp.zeros((*state.step.shape, records), jnp.result_type(float))
    return Trace(zeros, zeros if with_true else None, Moves(zeros, zeros, zeros, zeros))


def _sampler(data: Any) -> Any:
    if callable(data):
        return callable_pytree(data)
    checks.finite("data", data)
    rows = jnp.asarray(data)
    if rows.ndim == 0 or rows.shape[0] == 0:
        raise ValueError(f"data must hold at least one sample, got shape {rows.shape}")
    return jax.tree_util.Partial(_rows, rows)


def _rows(data: Any, key: Any, count: int) -> Any:
    return data[jax.random.randint(key, (count,), 0, data.shape[0])]


def _name(composite: Any) -> str:
    member = getattr(composite, "member", composite)
    return str(getattr(member, "name", type(member).__name__))
