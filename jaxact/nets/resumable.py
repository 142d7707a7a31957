"""Training in parts, with a state that can be saved after each and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxact.nets.training import mse, run, samples
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, callable_pytree, pytree


@pytree()
class TrainingState:
    """All that a training run needs to go on: a pytree of arrays, made for a checkpoint.

    Attributes:
        params: the parameters.
        optimizer: the optimizer's state.
        losses: of every step so far, (epochs, steps an epoch); zeros where the run has not been.
        epoch: finished epochs, int32 ().
    """

    params: Leaf
    optimizer: Leaf
    losses: Leaf
    epoch: Leaf


def train_resumable(
    apply: Callable[..., Any],
    params: Any,
    data: tuple[Any, ...],
    *,
    loss: Callable[..., Any] = mse,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch: int = 64,
    schedule: Callable[[Any], Any] | None = None,
    every: int | None = None,
    restore: Callable[[TrainingState], TrainingState] | None = None,
    save: Callable[[TrainingState], Any] | None = None,
    key: PRNGKeyArray,
) -> tuple[Any, Float[Array, " steps"]]:
    """`train` in parts of a few epochs: a run that is killed goes on where it was saved.

    An epoch's order of the samples is drawn from (key, part), so that a resumed run gives the
    same numbers as one that was never stopped. All parts but a shorter last one share one
    compilation.

    Args:
        apply: as in `train`, as are params, data, loss and schedule (of the step in the run).
        params: a pytree of float arrays.
        data: (x, *targets).
        loss: loss(prediction, *targets) of one sample.
        optimizer: an optax transformation.
        epochs: passes over the data, in the whole run.
        batch: samples a step.
        schedule: a function of the step.
        every: epochs in a part; all of them by default.
        restore: restore(fresh) gives the state to start from: `fresh` itself, or one of the
            same structure from a file.
        save: save(state), called after each part; also the place to show progress.
        key: random key, the same one for a resumed run.

    Returns:
        (params, losses): as `train`.

    Raises:
        ValueError: as `train`, and if the restored state belongs to a run of another length.

    Example:
        >>> import optax
        >>> line = lambda p, v: p * v
        >>> x = jnp.linspace(-1, 1, 32)
        >>> kept = []
        >>> fit = dict(optimizer=optax.adam(0.05), epochs=20, batch=8, every=10)
        >>> start, key = jnp.array(0.0), jax.random.key(0)
        >>> whole, _ = train_resumable(line, start, (x, 3 * x), key=key, save=kept.append, **fit)
        >>> again, _ = train_resumable(
        ...     line, start, (x, 3 * x), key=key, restore=lambda _: kept[0], **fit)
        >>> len(kept), bool(again == whole)
        (2, True)
    """
    checks.key("key", key)
    checks.integer("epochs", epochs, 1)
    checks.integer("batch", batch, 1)
    every = epochs if every is None else every
    checks.integer("every", every, 1)
    count = samples(data)
    checks.function("loss", loss, "a prediction and targets")
    checks.function("apply", apply, "params and a sample")
    checks.instance("optimizer", optimizer, optax.GradientTransformation)
    checks.finite("params", params)
    batch = min(batch, count)
    data = jax.tree.map(jnp.asarray, data)
    fn = callable_pytree(apply)
    per_epoch = count // batch
    losses = jnp.zeros((epochs, per_epoch), jnp.result_type(float))
    state = TrainingState(params, optimizer.init(params), losses, jnp.asarray(0, jnp.int32))
    if restore is not None:
        state = restore(state)
        _check(state, (epochs, per_epoch), every)
    for begin in range(int(state.epoch), epochs, every):
        end = min(begin + every, epochs)
        (params, held), new = run(
            fn, state.params, data, jax.random.fold_in(key, begin),
            (state.optimizer, jnp.asarray(begin * per_epoch, jnp.int32)),
            loss=loss, optimizer=optimizer, steps=(end - begin) * per_epoch, batch=batch,
            schedule=schedule,
        )  # fmt: skip
        losses = state.losses.at[begin:end].set(new.reshape(-1, per_epoch))
        state = TrainingState(params, held, losses, jnp.asarray(end, jnp.int32))
        if save is not None:
            save(state)
    return state.params, state.losses.reshape(-1)


def _check(state: TrainingState, shape: tuple[int, int], every: int) -> None:
    if jnp.shape(state.losses) != shape:
        raise ValueError(
            f"restore must give a state of this run, whose losses have shape {shape}, "
            f"got {jnp.shape(state.losses)}"
        )
    if int(state.epoch) % every and int(state.epoch) < shape[0]:
        raise ValueError(
            f"restore must give a state saved after a multiple of every={every} epochs, "
            f"got {int(state.epoch)}"
        )
