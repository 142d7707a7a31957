"""Features or prototypes: how many memories answer, and for how many classes each speaks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.memory.classifier import class_terms, prepare
from jaxact.memory.interaction import Interaction, Reals, Scalar
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_AT_ONCE = 64  # samples; a term for every memory and class of each of them is in memory


@pytree()
class Answering:
    """Who answers: the terms of the winning class's field, for each input.

    Attributes:
        strong: memories whose term is above a share of the largest one, integers, (...).
        participation: (sum |t|)^2 / sum t^2, the effective number of memories, in [1, K], (...).
    """

    strong: Leaf
    participation: Leaf


def answering_memories(
    memories: Reals,
    v: Reals,
    F: Interaction | Activation,
    *,
    temperature: Scalar = 1.0,
    share: Scalar = 0.9,
) -> Answering:
    """How many memories produce the answer to each input.

    t_mu = F((u_mu + 2 xi_a) / T) - F(u_mu / T) at the class a with the largest field. In the
    feature regime (small n) many memories add up; in the prototype regime (large n) one memory
    decides alone, so that `strong` is 1 and `participation` near it.

    Args:
        memories: (K, N + classes), as in `class_fields`.
        v: (..., N).
        F: an interaction or an activation.
        temperature: T > 0.
        share: a memory is strong if t_mu > share max t, in (0, 1); the paper takes 0.9.

    Returns:
        An `Answering`. `participation` differentiates, `strong` is a count. Where no memory
        answers (all terms zero) they are 0.

    Raises:
        ValueError: as `class_fields`, and if share is not in [0, 1].
        TypeError: as `class_fields`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> memories = jnp.array([[1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])
        >>> found = answering_memories(memories, jnp.array([1.0, 1.0]), memory.rectified(3))
        >>> int(found.strong), float(found.participation)
        (1, 1.0)

    Source: Krotov & Hopfield 2016, section 4, Fig. 3.
    """
    checks.between("share", share, 0.0, 1.0)
    memories, v, F = prepare(memories, v, F, temperature)
    flat = v.reshape(-1, v.shape[-1])
    found = _answering(memories, flat, F, jnp.asarray(share, v.dtype))
    return jax.tree.map(lambda leaf: leaf.reshape(v.shape[:-1]), found)


def class_votes(memories: Reals, classes: int, *, cutoff: Scalar = 0.0) -> Array:
    """For how many classes each memory speaks: its class units above a cutoff.

    Args:
        memories: (K, N + classes), the class units last.
        classes: number of class units.
        cutoff: a class unit is on if xi_a > cutoff; arbitrary, as the paper says.

    Returns:
        Counts, integers, (K,). The paper finds 3 to 5 at small n, and exactly 1 for more than
        40 % of the memories at n = 30.

    Raises:
        TypeError: if classes is not an integer.
        ValueError: if memories are not finite or have no visible unit beside the classes.

    Example:
        >>> import jax.numpy as jnp
        >>> class_votes(jnp.array([[0.3, 0.9, -1.0], [-0.2, 0.4, 0.8]]), 2).tolist()
        [1, 2]

    Source: Krotov & Hopfield 2016, section 4.
    """
    checks.integer("classes", classes, 1)
    checks.shape("memories", memories, ("K", "N + classes"))
    checks.finite("memories", memories)
    checks.finite("cutoff", cutoff)
    memories = jnp.asarray(memories)
    if memories.shape[1] <= classes:
        raise ValueError(
            f"memories must have more than {classes} units, got {memories.shape[1]} of them"
        )
    return jnp.sum(memories[:, -classes:] > cutoff, axis=1)


@pytree()
class Regime:
    """Where a trained memory stands between features and prototypes; scalars.

    Attributes:
        single: share of inputs with exactly one strong memory.
        strong: mean number of strong memories.
        participation: median over the inputs of the effective number of memories.
        one_class: share of memories that speak for exactly one class.
    """

    single: Leaf
    strong: Leaf
    participation: Leaf
    one_class: Leaf


def measure_regime(
    memories: Reals,
    v: Reals,
    F: Interaction | Activation,
    *,
    temperature: Scalar = 1.0,
    share: Scalar = 0.9,
    cutoff: Scalar = 0.0,
) -> Regime:
    """The paper's measures of the feature-to-prototype transition on a batch of inputs.

    Args:
        memories: (K, N + classes), as in `class_fields`.
        v: (inputs, N).
        F: an interaction or an activation.
        temperature: T > 0.
        share: as in `answering_memories`.
        cutoff: as in `class_votes`.

    Returns:
        A `Regime`.

    Raises:
        ValueError: as `answering_memories`, and if v is not a batch of at least one input.
        TypeError: as `class_fields`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> memories = jnp.array([[1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])
        >>> v = jnp.array([[1.0, 1.0], [-1.0, 1.0]])
        >>> found = measure_regime(memories, v, memory.rectified(3))
        >>> float(found.single), float(found.one_class)
        (1.0, 1.0)

    Source: Krotov & Hopfield 2016, section 4, Fig. 3.
    """
    checks.shape("v", v, ("inputs", "N"))
    if jnp.shape(v)[0] == 0:
        raise ValueError(f"v must hold at least one input, got shape {jnp.shape(v)}")
    found = answering_memories(memories, v, F, temperature=temperature, share=share)
    votes = class_votes(memories, jnp.shape(memories)[1] - jnp.shape(v)[1], cutoff=cutoff)
    dtype = found.participation.dtype
    return Regime(
        single=jnp.mean((found.strong == 1).astype(dtype)),
        strong=jnp.mean(found.strong.astype(dtype)),
        participation=jnp.median(found.participation),
        one_class=jnp.mean((votes == 1).astype(dtype)),
    )


@jax.jit
def _answering(memories: Array, v: Array, F: Interaction, share: Array) -> Answering:
    def one(sample: Array) -> Answering:
        terms = class_terms(memories, sample, F)
        t = terms[jnp.argmax(jnp.sum(terms, axis=1))]
        size = jnp.abs(t)
        # In units of the largest term: the squares of small ones would underflow.
        top = jnp.max(size)
        size = size / jnp.where(top > 0, top, 1)
        square = jnp.sum(size**2)
        participation = jnp.sum(size) ** 2 / jnp.where(square > 0, square, 1)
        strong = jnp.sum((t > share * jnp.max(t)) & (t > 0))
        return Answering(strong, participation)

    return jax.lax.map(one, v, batch_size=min(_AT_ONCE, max(1, v.shape[0])))
