"""Training a classifier for what can be certified of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import ArrayLike, Float, Integer, PRNGKeyArray

from jaxact.bounds.methods import find_method
from jaxact.bounds.training import certified_loss, ramp
from jaxact.nets.fits import Fit, finished_classifier, new_classifier
from jaxact.nets.training import cross_entropy, train
from jaxact.numerics import checks


def train_certified(
    x: Float[ArrayLike, " samples *shape"],
    y: Integer[ArrayLike, " samples"],
    act: Callable[..., Any],
    *,
    eps: Any,
    norm: Any = jnp.inf,
    clip: tuple[float, float] | None = None,
    method: Any = "ibp",
    clean: float = 0.5,
    widths: Sequence[int] = (64,),
    test: tuple[Any, Any] | None = None,
    epochs: int = 100,
    batch: int = 64,
    key: PRNGKeyArray,
) -> tuple[Callable[..., Any], Fit]:
    """Fit an MLP so that its answers within eps of the samples can be certified.

    Minimises w CE(f(x)) + (1 - w) CE(worst certified logits within eps_t). eps_t grows from 0 to
    eps and w falls from 1 to `clean` along one smooth ramp (`jaxact.bounds.ramp`) from 10 % to
    70 % of the steps. Apart from that it is `train_classifier`, and eps is in the units of the
    raw inputs.

    Args:
        x: samples, flattened by the network.
        y: labels 0, 1, ...
        act: an `Activation`, or any elementwise function.
        eps: the radius to train for, > 0.
        norm: 1, 2 or `jnp.inf`.
        clip: None, or (low, high): the range of the input's entries (for `jnp.inf`).
        method: the bound inside the loss, as in `jaxact.bounds.certified_loss`.
        clean: the last weight of the clean loss, in [0, 1].
        widths: of the hidden layers.
        test: held-out (x, y), scored at the end.
        epochs: passes over the data.
        batch: samples a step.
        key: random key of the weights and of the order of the samples.

    Returns:
        (f, fit): f(sample) gives the logits, a callable pytree whose leaves are the weights; the
        accuracies in `fit` are clean ones. Certify with `jaxact.bounds.certified_margins`.

    Raises:
        ValueError: for arguments that do not fit.

    Example:
        >>> import jax, jaxact, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
        >>> y = (x[:, 0] > 0).astype(np.int32)
        >>> f, fit = train_certified(
        ...     x, y, jaxact.get("relu"), eps=0.2, widths=(8,), epochs=200, key=jax.random.key(0))
        >>> margins = jaxact.bounds.certified_margins(f, x, y, 0.2)
        >>> bool(fit.accuracy > 0.9), bool((margins > 0).mean() > 0.6)
        (True, True)

    Source: Gowal et al. 2018, section 3.2; Zhang et al. 2020 (CROWN-IBP), section 4.
    """
    checks.positive("eps", eps)
    checks.between("clean", clean, 0, 1)
    checks.integer("epochs", epochs, 1)
    checks.integer("batch", batch, 1)
    start = new_classifier(x, y, act, widths=widths, trainable=False, key=key)
    dtype = start.data[0].dtype
    radius = jnp.asarray(eps, dtype) / start.spread
    limits = None if clip is None else tuple((c - start.center) / start.spread for c in clip)
    steps = epochs * max(1, len(start.data[0]) // min(batch, len(start.data[0])))
    params, losses = train(
        Partial(_question, start.apply, radius, limits), start.params, start.data,
        loss=_Mixed(find_method(method), norm, clean), schedule=_share(steps),
        epochs=epochs, batch=batch, key=start.key,
    )  # fmt: skip
    return finished_classifier(start, params, losses, x, y, test)


@functools.lru_cache(maxsize=16)
def _share(steps: int) -> optax.Schedule:
    """How far the ramp is; the same object for the same call, so no retrace."""
    return ramp(0.0, 1.0, steps)


def _question(apply: Any, radius: Any, limits: Any, params: Any, x: Any) -> tuple[Any, ...]:
    """What the loss needs in place of a prediction: the function, and where it is asked."""
    return Partial(apply, params), x, radius, limits


@dataclasses.dataclass(frozen=True)
class _Mixed:
    """Clean and certified cross-entropy; equal for equal settings."""

    method: Any
    norm: Any
    clean: float

    def __call__(self, question: tuple[Any, ...], label: Any, share: Any) -> Any:
        f, x, radius, limits = question
        weight = 1 - share * (1 - self.clean)
        worst = certified_loss(
            f, x, label, share * radius, norm=self.norm, clip=limits, method=self.method
        )
        return weight * cross_entropy(f(x), label) + (1 - weight) * worst
