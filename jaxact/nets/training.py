"""Gradient descent as one compiled scan: any function, any pytree of parameters, any loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer, PRNGKeyArray

from jaxact.numerics import checks
from jaxact.numerics.pytrees import callable_pytree


def mse(prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Mean squared error of one prediction.

    Example:
        >>> float(mse(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])))
        2.0
    """
    return jnp.mean((prediction - target) ** 2)


def cross_entropy(logits: Float[Array, " classes"], label: Integer[Array, ""]) -> Float[Array, ""]:
    """-log softmax(logits)[label] of one sample.

    Example:
        >>> round(float(cross_entropy(jnp.zeros(10), jnp.array(3))), 4)
        2.3026
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


@functools.lru_cache(maxsize=16)
def default_optimizer(rate: float, steps: int, clip: float = 1.0) -> optax.GradientTransformation:
    """Adam, cosine decay, clipped gradient; the same object for the same call, so no retrace."""
    schedule = optax.cosine_decay_schedule(rate, steps, alpha=0.02)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(schedule))


def train(
    apply: Callable[..., Any],
    params: Any,
    data: tuple[Any, ...],
    *,
    loss: Callable[..., Any] = mse,
    optimizer: optax.GradientTransformation | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch: int = 64,
    schedule: Callable[[Any], Any] | None = None,
    key: PRNGKeyArray,
) -> tuple[Any, Float[Array, " steps"]]:
    """Minimise the mean over the data of loss(apply(params, x), *targets), by mini-batches.

    The whole run is one `jax.lax.scan` inside one `jax.jit`. A step whose loss or gradient is
    not finite is left out, so the parameters stay finite.

    Args:
        apply: apply(params, x) for one sample x, pure; the first part of `functional(model)`,
            or any function.
        params: a pytree of float arrays.
        data: (x, *targets), each with the samples on its first axis.
        loss: loss(prediction, *targets) of one sample, a scalar.
        optimizer: an optax transformation; by default Adam at 3e-3 with a cosine decay and the
            gradient's norm clipped at 1.
        steps: number of updates; give this or `epochs` (default: 1000 steps).
        epochs: passes over the data.
        batch: samples a step, drawn without replacement within an epoch; no more than the data.
        schedule: a function of the step (an optax schedule), whose value the loss gets as its
            last argument: loss(prediction, *targets, value).
        key: random key of the order of the samples; the same key gives the same result.

    Returns:
        (params, losses): the last parameters, and the loss of each step's batch before its
        update, shape (steps,); inf marks a step that was left out.

    Raises:
        ValueError: if the data disagree in their number of samples, are empty, or if both
            steps and epochs are given.

    Example:
        >>> x = jnp.linspace(-1, 1, 64)
        >>> line = lambda p, v: p["a"] * v + p["b"]
        >>> start = {"a": jnp.array(0.0), "b": jnp.array(0.0)}
        >>> fit = dict(steps=200, batch=16, optimizer=optax.adam(0.05))
        >>> fitted, losses = train(line, start, (x, 3 * x + 1), key=jax.random.key(0), **fit)
        >>> [round(float(fitted[k]), 2) for k in "ab"]
        [3.0, 1.0]
    """
    checks.key("key", key)
    checks.integer("batch", batch, 1)
    count = samples(data)
    batch = min(batch, count)
    if steps is not None and epochs is not None:
        raise ValueError(f"give steps or epochs, not both: got steps={steps}, epochs={epochs}")
    if epochs is not None:
        checks.integer("epochs", epochs, 1)
        steps = epochs * (count // batch)
    steps = 1000 if steps is None else steps
    checks.integer("steps", steps, 1)
    data = jax.tree.map(jnp.asarray, data)
    checks.function("apply", apply, "params and a sample")
    fn = callable_pytree(apply)
    checks.function("loss", loss, "a prediction and targets")
    if optimizer is not None:
        checks.instance("optimizer", optimizer, optax.GradientTransformation)
    checks.finite("params", params)
    chosen = optimizer or default_optimizer(3e-3, steps)
    state, losses = run(
        fn, params, data, key,
        loss=loss, optimizer=chosen, steps=steps, batch=batch, schedule=schedule,
    )  # fmt: skip
    return state[0], losses


def samples(data: tuple[Any, ...]) -> int:
    """How many samples there are."""
    checks.finite("data", data)
    counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in map(jnp.asarray, jax.tree.leaves(data))}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "data must be arrays with the same, non-zero number of samples on their first axis, "
            f"got {sorted(counts)}"
        )
    return counts.pop()


@functools.partial(jax.jit, static_argnames=("loss", "optimizer", "steps", "batch", "schedule"))
def run(
    apply: Any,
    params: Any,
    data: Any,
    key: Any,
    resumed: tuple[Any, Any] | None = None,
    *,
    loss: Any,
    optimizer: Any,
    steps: int,
    batch: int,
    schedule: Any = None,
) -> tuple[tuple[Any, Any], Any]:
    """((params, optimizer's state), losses); `resumed` is that state and the steps behind it."""
    count = jax.tree.leaves(data)[0].shape[0]
    per_epoch = count // batch
    epochs = -(-steps // per_epoch)
    # Sorting random words shuffles every epoch at once, and compiles faster than permutation.
    order = jnp.argsort(jax.random.bits(key, (epochs, count)), axis=1)
    order = order[:, : per_epoch * batch].reshape(-1, batch)[:steps]

    def objective(p: Any, x: Any, targets: Any, extra: tuple[Any, ...]) -> Any:
        predict = lambda sample, *rest: loss(apply(p, sample), *rest, *extra)  # noqa: E731
        return jnp.mean(jax.vmap(predict)(x, *targets))

    def step(state: tuple[Any, Any], turn: Any) -> tuple[tuple[Any, Any], Any]:
        (p, memory), (number, rows) = state, turn
        with jax.numpy_dtype_promotion("standard"):
            extra = () if schedule is None else (schedule(number),)
        x, *targets = jax.tree.map(lambda leaf: leaf[rows], data)
        value, gradient = jax.value_and_grad(objective)(p, x, targets, extra)
        # optax mixes counters and rates of other dtypes, which strict promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            updates, moved = optimizer.update(gradient, memory, p)
        good = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        keep = lambda new, old: jnp.where(good, new, old)  # noqa: E731
        fresh = jax.tree.map(keep, optax.apply_updates(p, updates), p)
        return (fresh, jax.tree.map(keep, moved, memory)), jnp.where(good, value, jnp.inf)

    held, first = (optimizer.init(params), 0) if resumed is None else resumed
    turns = first + jnp.arange(steps, dtype=jnp.int32), order
    return jax.lax.scan(step, (params, held), turns)
