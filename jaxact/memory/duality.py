"""The duality of a dense associative memory and a feed-forward net: F and f = F'."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation
from jaxact.memory.classifier import prepare
from jaxact.memory.energy import EXACT
from jaxact.memory.interaction import Interaction, Reals, Scalar
from jaxact.numerics import checks, double
from jaxact.numerics.pytrees import Leaf, pytree


def feed_forward(
    memories: Reals, v: Reals, F: Interaction | Activation, *, temperature: Scalar = 1.0
) -> Float[Array, "*batch classes"]:
    """The dual net: one hidden layer of units f = F', the memories as its weights.

    z_a = (1 / T) sum_mu xi_a f(xi_vis . v / T): rows of the memories' visible part in, their
    class part out. The limit of the associative memory's fields divided by 2 eps when its class
    units start at -eps or 0 and eps goes to 0.

    Args:
        memories: (K, N + classes), as in `class_fields`.
        v: (..., N).
        F: an interaction, or an activation (which is then f itself).
        temperature: T > 0.

    Returns:
        z, (..., classes). Differentiable in everything.

    Raises:
        ValueError: as `class_fields`.
        TypeError: as `class_fields`.

    Example:
        >>> import jax.numpy as jnp, jaxact
        >>> memories = jnp.array([[1.0, 2.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])
        >>> feed_forward(memories, jnp.array([1.0, 1.0]), jaxact.get("relu")).tolist()
        [3.0, -3.0]

    Source: Krotov & Hopfield 2016, section 5.
    """
    return _feed_forward(*prepare(memories, v, F, temperature))


@pytree()
class Duality:
    """How far the associative memory is from its feed-forward dual, at each eps.

    The errors are the largest absolute difference of z / (2 eps) and the dual's fields, over
    the largest absolute field of the dual.

    Attributes:
        eps: what was asked for, (n,).
        one_sided: error with the class units starting at -eps (the paper's), O(eps), (n,).
        symmetric: error with them starting at 0, O(eps^2) for smooth F and 0 for F = h^2, (n,).
        crossings: share of hidden units and classes whose overlap changes sign on the way, in
            the symmetric start: where a rectified F leaves its parabola, (n,).
    """

    eps: Leaf
    one_sided: Leaf
    symmetric: Leaf
    crossings: Leaf


def duality(
    memories: Reals,
    v: Reals,
    F: Interaction | Activation,
    *,
    eps: Any = (1e-1, 1e-2, 1e-3),
    temperature: Scalar = 1.0,
) -> Duality:
    """Measure the equivalence of an associative memory and its feed-forward dual.

    With the class units at x_g, unit a is turned from -eps to eps:
    z_a = (1 / 2 eps) sum_mu F(h + eps xi_a) - F(h - eps xi_a),
    h = xi_vis . v + sum over g != a of x_g xi_g. x = -eps is the paper's start; x = 0 makes it a
    central difference, exact for F = h^2 at every eps. Computed in float64.

    Args:
        memories: (K, N + classes), as in `class_fields`.
        v: (..., N).
        F: an interaction or an activation.
        eps: one or several positive numbers.
        temperature: T > 0.

    Returns:
        A `Duality` of NumPy arrays: it is a report, not for differentiation.

    Raises:
        ValueError: as `class_fields`, if eps is not positive, or if the dual's fields are all
            zero.
        TypeError: as `class_fields`.

    Example:
        >>> import numpy as np
        >>> from jaxact import memory
        >>> rng = np.random.default_rng(0)
        >>> memories, v = rng.normal(size=(8, 12)), rng.normal(size=(5, 10))
        >>> found = duality(memories, v, memory.polynomial(2))
        >>> bool(found.symmetric.max() < 1e-11), [f"{e:.0e}" for e in found.one_sided]
        (True, ['5e-02', '5e-03', '5e-04'])

    Source: Krotov & Hopfield 2016, section 5, eq. 10 to 12.
    """
    checks.positive("eps", eps)
    checks.shape("eps", eps, ("steps",)[: np.ndim(eps)])
    steps = np.atleast_1d(np.asarray(eps, np.float64))
    prepare(memories, v, F, temperature)

    def measure(memories: Any, v: Any, F: Any, temperature: Any, steps: Any) -> Any:
        memories, v, F = prepare(memories, v, F, temperature)
        return _duality(memories, v.reshape(-1, v.shape[-1]), F, steps)

    found, scale = double(measure)(memories, v, F, temperature, steps)
    if not float(scale) > 0:
        raise ValueError("the dual's fields are all zero: there is nothing to compare with")
    return jax.tree.map(np.asarray, found)


@jax.jit
def _feed_forward(memories: Array, v: Array, F: Interaction) -> Array:
    N = v.shape[-1]
    h = jnp.matmul(v, memories[:, :N].T, precision=EXACT)
    f = jax.jvp(F, (h,), (jnp.ones_like(h),))[1]
    return jnp.matmul(f, memories[:, N:], precision=EXACT)


@jax.jit
def _duality(memories: Array, v: Array, F: Interaction, steps: Array) -> tuple[Duality, Array]:
    N = v.shape[-1]
    h = jnp.matmul(v, memories[:, :N].T, precision=EXACT)[:, None, :]
    classes = memories[:, N:].T[None, :, :]
    others = jnp.sum(classes, axis=1, keepdims=True) - classes
    dual = _feed_forward(memories, v, F)
    scale = jnp.max(jnp.abs(dual))

    def one(eps: Array) -> tuple[Array, Array, Array]:
        def error(middle: Array) -> Array:
            terms = F(middle + eps * classes) - F(middle - eps * classes)
            return jnp.max(jnp.abs(jnp.sum(terms, axis=-1) / (2 * eps) - dual)) / scale

        crossed = jnp.abs(h) < eps * jnp.abs(classes)
        return error(h - eps * others), error(h), jnp.mean(crossed.astype(h.dtype))

    return Duality(steps, *jax.lax.map(one, steps)), scale
