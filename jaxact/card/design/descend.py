"""Descend an objective in a family: Adam with restarts, progress, and a checkpoint to resume."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.card.design.families import Family
from jaxact.card.design.files import load_state, save_state
from jaxact.card.design.objective import Objective
from jaxact.catalog import get
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree

_PLATEAU = 1e-3
STARTS = ("gelu", "tanh", "softplus", "relu")


@pytree()
class Found:
    """What a descent found.

    Attributes:
        act: the best activation of all restarts, with float64 theta.
        value: the objective there.
        histories: the objective at each step, (restarts, steps); nan where it was not finite.
        best: the least value of each restart, (restarts,).
        thetas: theta of the best of each restart, restarts on the first axis.
        converged: whether the best restart's least value fell by less than 1e-3 (1 + |value|)
            over the last tenth of the steps. A plateau: the relaxations have corners, where no
            gradient vanishes.
    """

    act: Leaf
    value: Leaf
    histories: Leaf
    best: Leaf
    thetas: Leaf
    converged: Leaf


@pytree()
class _State:
    """All that the run needs to go on."""

    theta: Leaf
    optimiser: Leaf
    best_theta: Leaf
    best: Leaf
    histories: Leaf
    step: Leaf


def descend(
    family: Family,
    objective: Objective | Callable[[Activation], Any],
    *,
    steps: int = 200,
    restarts: int = 4,
    rate: float = 0.03,
    spread: float = 0.1,
    starts: Sequence[str | Activation] = STARTS,
    seed: int = 0,
    checkpoint: str | pathlib.Path | None = None,
    every: int = 25,
    progress: Callable[[int, int, float], Any] | None = None,
) -> Found:
    """Find the member of a family that minimises an objective, in float64.

    Restart r begins at the member nearest to starts[r mod len(starts)]; from the second round
    on with N(0, spread^2) added to theta. All restarts take one jitted step together: Adam with
    a cosine decay, the gradient clipped at norm 1; a restart whose value or gradient is not
    finite stays where it is in that step. A run with a checkpoint that is killed and called
    again goes on, and ends with the same bits as one that was not.

    Args:
        family: a `Family`.
        objective: of `objective(...)`, or any function of an activation with a scalar value.
        steps: of every restart, >= 1.
        restarts: >= 1.
        rate: Adam's first rate, > 0.
        spread: of the starts after the first round, >= 0.
        starts: activations or names in the catalogue.
        seed: of the noise.
        checkpoint: a file that is written every `every` steps and at the end.
        every: steps between checkpoints.
        progress: progress(step, steps, best value), after each step.

    Returns:
        A `Found`.

    Raises:
        ValueError: for arguments out of range, if the objective is not finite at any start, or
            if the checkpoint is broken or of another run.

    Example:
        >>> from jaxact.card.design import Rational
        >>> found = descend(
        ...     Rational(1), lambda act: (act(1.0) - 2.0) ** 2, starts=["tanh"], restarts=1)
        >>> round(float(found.act(1.0)), 2)
        2.0
    """
    checks.integer("steps", steps, 1)
    checks.integer("restarts", restarts, 1)
    checks.integer("every", every, 1)
    checks.positive("rate", rate)
    checks.non_negative("spread", spread)
    checks.integer("seed", seed, 0)
    known = [get(s) if isinstance(s, str) else s for s in starts]
    if not known:
        raise ValueError("starts must name at least one activation, got none")
    with jax.enable_x64(True):
        optimiser = _optimiser(float(rate), steps)
        state = _fresh(family, known, restarts, spread, seed, steps, optimiser)
        step = functools.partial(_step, family=family, optimiser=optimiser)
        aim = callable_pytree(objective)
        file = None if checkpoint is None else pathlib.Path(checkpoint)
        run = {
            "family": repr(family),
            "objective": _digest(aim),
            "settings": [steps, restarts, float(rate), float(spread), seed],
            "starts": _digest(state.theta),
        }
        if file is not None and file.exists():
            state = jax.tree.map(jnp.asarray, load_state(file, state, run))
        for number in range(int(state.step), steps):
            state = step(state, aim)
            if number == 0:
                _check_start(state)
            if file is not None and ((number + 1) % every == 0 or number + 1 == steps):
                save_state(file, state, run)
            if progress is not None:
                progress(number + 1, steps, float(state.best.min()))
        return _result(family, state)


@functools.partial(jax.jit, static_argnames=("family", "optimiser"))
def _step(state: _State, objective: Any, *, family: Family, optimiser: Any) -> _State:
    """One step of all restarts."""

    def value_of(theta: Any) -> Array:
        return jnp.asarray(objective(family.member(theta)), jnp.float64)

    def one(theta: Any, memory: Any, best_theta: Any, best: Array) -> Any:
        value, gradient = jax.value_and_grad(value_of)(theta)
        good = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        with jax.numpy_dtype_promotion("standard"):  # optax itself promotes
            updates, moved = optimiser.update(gradient, memory, theta)
            fresh = optax.apply_updates(theta, updates)

        def keep(condition: Array, new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)

        better = good & (value < best)
        return (
            keep(good, fresh, theta),
            keep(good, moved, memory),
            keep(better, theta, best_theta),
            jnp.where(better, value, best),
            jnp.where(good, value, jnp.nan),
        )

    theta, memory, best_theta, best, values = jax.vmap(one)(
        state.theta, state.optimiser, state.best_theta, state.best
    )
    histories = state.histories.at[:, state.step].set(values)
    return _State(theta, memory, best_theta, best, histories, state.step + 1)


@functools.lru_cache(maxsize=8)
def _optimiser(rate: float, steps: int) -> optax.GradientTransformation:
    """The same object for the same call, so no retrace."""
    schedule = optax.cosine_decay_schedule(rate, steps, alpha=0.02)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def _fresh(
    family: Family, starts: Sequence[Activation], restarts: int, spread: float, seed: int,
    steps: int, optimiser: Any,
) -> _State:  # fmt: skip
    """The state before the first step."""
    rng = np.random.default_rng(seed)
    fitted = [family.start(act).theta for act in starts]
    drawn = []
    for number in range(restarts):
        size = spread if number >= len(fitted) else 0.0
        near = fitted[number % len(fitted)]
        drawn.append([np.asarray(t) + size * rng.normal(size=np.shape(t)) for t in near])
    theta = tuple(jnp.asarray(np.stack(leaf), jnp.float64) for leaf in zip(*drawn, strict=True))
    return _State(
        theta,
        jax.vmap(optimiser.init)(theta),
        theta,
        jnp.full(restarts, jnp.inf, jnp.float64),
        jnp.full((restarts, steps), jnp.nan, jnp.float64),
        jnp.zeros((), jnp.int64),
    )


def _check_start(state: _State) -> None:
    if not np.isfinite(np.asarray(state.best)).any():
        raise ValueError("objective must be finite, with a finite gradient, at one of the starts")


def _result(family: Family, state: _State) -> Found:
    best = np.asarray(state.best)
    winner = int(np.argmin(best))
    theta = tuple(np.asarray(leaf)[winner] for leaf in state.best_theta)
    history = np.asarray(state.histories)[winner]
    before = history[: max(1, history.size - max(1, history.size // 10))]
    earlier = np.min(before[np.isfinite(before)], initial=np.inf)
    value = best[winner]
    converged = bool(earlier - value < _PLATEAU * (1 + abs(value)))
    thetas = tuple(np.asarray(leaf) for leaf in state.best_theta)
    return Found(
        family.activation(theta), value, np.asarray(state.histories), best, thetas, converged
    )


def _digest(tree: Any) -> str:
    """Of the arrays and the numbers of a pytree, and of its classes and names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    digest.update(_static(tree).encode())
    return digest.hexdigest()


def _static(aim: Any) -> str:
    if isinstance(aim, Objective):
        return repr((aim.names, [repr(term) for term in aim.terms]))
    fn = aim.func if isinstance(aim, jax.tree_util.Partial) else aim
    return getattr(fn, "__qualname__", type(fn).__qualname__)
