"""The paper's classifier: visible and class units, and one update of the class units."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxact.activation import Activation
from jaxact.memory.energy import anchored
from jaxact.memory.interaction import (
    Interaction,
    Reals,
    Scalar,
    anonymous,
    as_interaction,
    common,
    floating,
)
from jaxact.memory.packed import EXACT
from jaxact.numerics import checks


def init_memories(
    key: Any, K: int, *, inputs: int, classes: int, mean: Scalar = -0.3, spread: Scalar = 0.3
) -> Float[Array, "K units"]:
    """K Gaussian memories over `inputs` visible units and then `classes` class units.

    Args:
        key: a typed key.
        K: number of memories.
        inputs: visible units.
        classes: class units, the last columns.
        mean: of the entries. The paper's -0.3 starts large n well; small n at a constant low
            temperature wants 0.
        spread: their standard deviation, >= 0.

    Returns:
        The memories, (K, inputs + classes).

    Raises:
        TypeError: if key is not a typed key or a count is not an integer.
        ValueError: if a count is below 1, or mean or spread is out of range.

    Example:
        >>> import jax
        >>> init_memories(jax.random.key(0), 100, inputs=64, classes=10).shape
        (100, 74)

    Source: Krotov & Hopfield 2016, appendix A.
    """
    checks.key("key", key)
    for name, count in (("K", K), ("inputs", inputs), ("classes", classes)):
        checks.integer(name, count, 1)
    checks.finite("mean", mean)
    checks.non_negative("spread", spread)
    normal = jax.random.normal(key, (K, inputs + classes), jnp.result_type(float))
    return normal * spread + mean


def class_fields(
    memories: Reals,
    v: Reals,
    F: Interaction | Activation,
    *,
    temperature: Scalar = 1.0,
    weights: Reals | None = None,
) -> Float[Array, "*batch classes"]:
    """The fields z of the class units, all of them off, at visible units clamped to v.

    z_a = sum_mu F((u_mu + 2 xi_a) / T) - F(u_mu / T),  u_mu = xi_vis . v - sum_g xi_g: the
    energy difference of turning unit a on, beta folded into F (beta = T^-n for a power n). The
    answer is argmax z; the paper's outputs are c = tanh z (`class_outputs`).

    Args:
        memories: (K, N + classes), the class units last.
        v: (..., N), visible units, in [-1, 1] in the paper.
        F: an interaction, or an activation (then F is its primitive).
        temperature: T > 0.
        weights: (K,), how much each memory counts; 1 by default, 0 forgets it.

    Returns:
        z, (..., classes), finite. Differentiable in everything. A power F is measured in units
        of the largest overlap, so that no n overflows; beyond about sqrt(max float) a field
        saturates.

    Raises:
        ValueError: if the shapes do not fit, an entry is not finite, or temperature is not
            positive.
        TypeError: if F is not an interaction or an activation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> memories = jnp.array([[1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])  # 2 classes
        >>> class_fields(memories, jnp.array([1.0, 1.0]), memory.rectified(3)).tolist()
        [56.0, 0.0]

    Source: Krotov & Hopfield 2016, eq. 9; the sums are shared among the classes.
    """
    memories, v, F = prepare(memories, v, F, temperature)
    if weights is None:
        weights = jnp.ones_like(memories[:, 0])
    checks.shape("weights", weights, memories.shape[:1])
    checks.finite("weights", weights)
    return _fields(memories, v, F, jnp.asarray(weights, v.dtype))


def class_outputs(
    memories: Reals, v: Reals, F: Interaction | Activation, *, temperature: Scalar = 1.0
) -> Float[Array, "*batch classes"]:
    """C = tanh z of `class_fields`: the class units after their one update, in [-1, 1].

    The derivative of this tanh is alive in float32 where 1 - tanh^2 is rounded to zero, up to
    |z| of about 50: see `tanh`.

    Args:
        memories: as in `class_fields`, as are v, F, temperature, and what is raised.
        v: (..., N).
        F: an interaction or an activation.
        temperature: T > 0.

    Returns:
        c, (..., classes).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact import memory
        >>> memories = jnp.array([[1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])
        >>> F = memory.rectified(3)
        >>> class_outputs(memories, jnp.array([1.0, 1.0]), F, temperature=4.0).round(3).tolist()
        [0.704..., 0.0]

    Source: Krotov & Hopfield 2016, eq. 9.
    """
    return tanh(class_fields(memories, v, F, temperature=temperature))


def power_loss(
    fields: Float[ArrayLike, " classes"], label: Int[ArrayLike, ""], *, m: int = 2
) -> Float[Array, ""]:
    """sum_a (tanh z_a - t_a)^(2m) of one sample, t = +1 at the label and -1 elsewhere.

    Args:
        fields: z, from `class_fields`.
        label: the class.
        m: m >= 1; the paper takes 2 to 4 for small n and about 30 for n = 20, 30.

    Returns:
        The loss, a scalar. Differentiable, also where a wrong unit is saturated in float32.

    Raises:
        TypeError: if m is not an integer.
        ValueError: if m < 1.

    Example:
        >>> import jax.numpy as jnp
        >>> float(power_loss(jnp.array([0.0, 0.0]), jnp.array(1), m=3))
        2.0

    Source: Krotov & Hopfield 2016, eq. 14 (one term of the sum over examples).
    """
    checks.integer("m", m, 1)
    checks.finite("fields", fields)
    checks.shape("fields", fields, ("classes",))
    fields = floating(fields)
    checks.between("label", label, 0, fields.shape[-1] - 1)
    if not jnp.issubdtype(jnp.result_type(label), jnp.integer):
        raise TypeError(f"label must be an integer, got {label!r}")
    hit = jnp.arange(fields.shape[-1]) == label
    target = jnp.where(hit, 1, -1).astype(fields.dtype)
    return jnp.sum((tanh(fields) - target) ** (2 * m))


@jax.custom_jvp
def tanh(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Tanh with the derivative sech^2 z = 4 e^(-2|z|) / (1 + e^(-2|z|))^2, differentiable again.

    1 - tanh^2 is exactly 0 in float32 from z = 9 on, so a wrong answer that is saturated would
    never be learnt; this form lives to about 50.

    Example:
        >>> import jax
        >>> float(jax.grad(jax.numpy.tanh)(20.0)), f"{float(jax.grad(tanh)(20.0)):.3g}"
        (0.0, '1.7e-17')
    """
    return jnp.tanh(z)


@tanh.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (z,), (dz,) = primals, tangents
    return tanh(z), 4 * jax.nn.sigmoid(2 * z) * jax.nn.sigmoid(-2 * z) * dz


def class_terms(memories: Array, v: Array, F: Interaction) -> Float[Array, "classes K"]:
    """What each memory adds to each field of one sample, up to one positive factor a sample."""
    return _terms(memories, v, F)[0]


@jax.jit
def _fields(memories: Array, v: Array, F: Interaction, weights: Array) -> Array:
    def one(sample: Array) -> Array:
        terms, factor = _terms(memories, sample, F)
        # A dot also where all weights are 1: XLA does not vectorise a float sum on the CPU.
        return jnp.matmul(terms, weights, precision=EXACT) * factor

    return jnp.vectorize(one, signature="(n)->(c)")(v)


def _terms(memories: Array, v: Array, F: Interaction) -> tuple[Array, Array]:
    """The terms (classes, K) of one sample in units of a factor that keeps them in range."""
    N = v.shape[-1]
    visible, classes = memories[:, :N], memories[:, N:]
    off = (jnp.matmul(visible, v, precision=EXACT) - jnp.sum(classes, axis=1))[None, :]
    on = off + 2 * classes.T
    ends = jnp.stack(
        [jnp.maximum(jnp.max(on), jnp.max(off)), jnp.minimum(jnp.min(on), jnp.min(off))]
    )
    G, factor = anchored(F, ends[None, :])
    limit = float(np.sqrt(jnp.finfo(off.dtype).max))
    return G(on) - G(off), jnp.minimum(factor[0, 0], limit)


def prepare(memories: Any, v: Any, F: Any, temperature: Any) -> tuple[Array, Array, Interaction]:
    """Check, and give (memories, v) of one floating dtype and h -> F(h / T)."""
    F = as_interaction(F)
    checks.positive("temperature", temperature)
    checks.shape("memories", memories, ("K", "N + classes"))
    K, units = np.shape(memories)
    if K == 0:
        raise ValueError(f"memories must not be empty, got shape {(K, units)}")
    checks.finite("v", v)
    if np.ndim(v) == 0 or not 0 < np.shape(v)[-1] < units:
        raise ValueError(
            f"v must have shape (..., N) with N in [1, {units - 1}], as memories have "
            f"{units} units, got {np.shape(v)}"
        )
    checks.finite("memories", memories)
    memories, v = common(memories, v)
    gain = jnp.asarray(F.gain, v.dtype) / jnp.asarray(temperature, v.dtype)
    return memories, v, anonymous(dataclasses.replace(F, gain=gain))
