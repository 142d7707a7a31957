"""Interaction functions F: what a dense associative memory sums over its overlaps."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from jaxact.activation import Activation, activation
from jaxact.numerics import checks, double
from jaxact.numerics.pytrees import Leaf, pytree

_CONVEX_RANGE = 16.0

Scalar: TypeAlias = Real[ArrayLike, ""]
Reals: TypeAlias = Real[ArrayLike, "..."]
"""Real numbers in any shape: the host-side checks say what is wrong with a shape."""


@pytree(static=("fn", "name", "kind", "degree", "convex", "tabulated"))
class Interaction:
    """The interaction function F of a dense associative memory, as a pytree.

    F(h) = fn(gain * (h - origin) / unit, *theta); `energy` and `gaps` apply F as it is,
    the dynamics run `F.normalised(N)`, which cannot overflow.

    Attributes:
        fn: fn(h, *theta), elementwise and traceable.
        theta: its parameters, a tuple of pytrees of arrays (those of the activation).
        gain: positive scalar, the user's: F(gain * h).
        unit: positive scalar that `normalised` sets; 1 for the raw F.
        origin: overlap that `normalised` subtracts for the exponential F; else unused.
        name: what tables and plots call it.
        kind: "polynomial", "rectified", "exponential" or "activation".
        degree: d where F(c h) = c^d F(h) for every c > 0, else None.
        convex: whether F is convex (then synchronous `cccp` steps never raise the energy);
            None where theta was traced and it could not be told.
        tabulated: F is costly (an integral), so the dynamics look it up in a table over the
            2N + 5 integer overlaps that spins can have.

    Example:
        >>> from jaxact import memory
        >>> F = memory.rectified(3)
        >>> float(F(-2.0)), float(F(2.0)), F.convex
        (0.0, 8.0, True)
    """

    fn: Callable[..., Any]
    theta: Leaf = ()
    gain: Leaf = 1.0
    unit: Leaf = 1.0
    origin: Leaf = 0.0
    name: str = "interaction"
    kind: str = "activation"
    degree: int | None = None
    convex: bool | None = None
    tabulated: bool = False

    def __call__(self, h: Any) -> Any:
        """F(h), elementwise."""
        h = floating(h)
        shifted = h - self.origin if self.kind == "exponential" else h
        return self.fn((self.gain / self.unit) * shifted, *self.theta)

    def scaled(self, gain: Any) -> Interaction:
        """The interaction h -> F(gain * h), for gain > 0.

        Example:
            >>> from jaxact import memory
            >>> float(memory.polynomial(2).scaled(3.0)(2.0))
            36.0
        """
        checks.positive("gain", gain)
        return dataclasses.replace(self, gain=self.gain * gain)

    def normalised(self, N: int) -> Interaction:
        """The F that the dynamics of N spins run; applying it twice changes nothing.

        - F homogeneous of degree d (polynomial, rectified, relu, repu): F(h / 2^k), 2^k the
          power of two next above N. This is F(h) / 2^(kd): the same dynamics, and exactly the
          same ties, since a power of two does not round.
        - exponential: exp(beta (h - N)) = F(h) / F(N): the same dynamics.
        - any other activation: F(h / N), so the overlap a perfect memory sees is `gain`
          whatever N is (McAlister et al. 2024). Not the dynamics of F(h): use
          `F.scaled(N)` for those.

        Example:
            >>> from jaxact import memory
            >>> F = memory.rectified(30).normalised(784)
            >>> bool(0 < F(784.0) <= 1)
            True
        """
        checks.integer("N", N, 1)
        if self.kind == "exponential":
            return dataclasses.replace(self, origin=float(N))
        if self.degree is not None:
            return dataclasses.replace(self, gain=1.0, unit=2.0 ** math.ceil(math.log2(N)))
        return dataclasses.replace(self, unit=float(N))


@functools.cache
def _power(n: int) -> Callable[[Any], Any]:
    return lambda h: h**n


@functools.cache
def _rectified_power(n: int) -> Callable[[Any], Any]:
    return lambda h: jnp.maximum(h, 0) ** n


def _exponential(h: Any, beta: Any) -> Any:
    return jnp.exp(beta * h)


def polynomial(n: int) -> Interaction:
    """F(h) = h^n; n = 2 is the classical Hopfield network.

    Args:
        n: integer degree, n >= 1.

    Returns:
        The interaction; convex for even n and n = 1.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n < 1.

    Example:
        >>> float(polynomial(3)(-2.0))
        -8.0

    Source: Krotov & Hopfield 2016, eq. 2.
    """
    checks.integer("n", n, 1)
    n = int(n)
    convex = n % 2 == 0 or n == 1
    return Interaction(
        _power(n), name=f"polynomial({n})", kind="polynomial", degree=n, convex=convex
    )


def rectified(n: int) -> Interaction:
    """F(h) = max(h, 0)^n, convex for every n >= 1.

    Args:
        n: integer degree, n >= 1.

    Returns:
        The interaction.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n < 1.

    Example:
        >>> float(rectified(3)(-2.0)), float(rectified(3)(2.0))
        (0.0, 8.0)

    Source: Krotov & Hopfield 2016, eq. 3.
    """
    checks.integer("n", n, 1)
    n = int(n)
    name = f"rectified({n})"
    return Interaction(_rectified_power(n), name=name, kind="rectified", degree=n, convex=True)


def exponential(beta: Any = 1.0) -> Interaction:
    """F(h) = exp(beta h), whose capacity grows exponentially with N.

    Args:
        beta: positive scalar, a leaf: differentiable, and no retracing over it.

    Returns:
        The interaction, with theta = (beta,).

    Raises:
        ValueError: if beta is not positive.

    Example:
        >>> round(float(exponential(0.5)(2.0)), 4)
        2.7183

    Source: Demircigil et al. 2017.
    """
    checks.positive("beta", beta)
    return Interaction(_exponential, (beta,), name="exponential", kind="exponential", convex=True)


def from_activation(act: Activation | Callable[..., Any]) -> Interaction:
    """The interaction whose activation is `act`: F = `act.primitive`, F' = act, F(0) = 0.

    relu gives rectified(2) / 2, repu(n - 1) gives rectified(n) / n, tanh gives ln cosh,
    sigmoid gives softplus - ln 2; any function jaxact accepts gives its integral. The factor
    changes no dynamics. Where F is not homogeneous the dynamics see F(gain h / N): see
    `Interaction.normalised`.

    Args:
        act: an `Activation`, or a plain elementwise function of one array. Its theta become
            the leaves of the interaction and may be traced.

    Returns:
        The interaction. `convex` is true if act does not decrease on [-16, 16].

    Raises:
        TypeError: if act is neither an activation nor a function.

    Example:
        >>> import jaxact
        >>> float(from_activation(jaxact.get("relu"))(3.0))
        4.5

    Source: Krotov & Hopfield 2016, section 5 (the table of dual pairs).
    """
    act = act if isinstance(act, Activation) else activation(act)
    primitive = act.primitive
    known = checks.is_concrete(act.theta)
    bare = not jax.tree.leaves(act.theta)
    return Interaction(
        primitive.fn,
        act.theta,
        name=act.name,
        degree=_homogeneous_degree(primitive.fn) if bare else None,
        convex=_nondecreasing(act) if known else None,
        tabulated=act.closed.primitive is None,
    )


def as_interaction(F: Any) -> Interaction:
    """F itself, or the interaction of an activation."""
    if isinstance(F, Interaction):
        for field in dataclasses.fields(Interaction):
            if field.name in ("theta", "gain", "unit", "origin"):
                checks.finite(f"F.{field.name}", getattr(F, field.name))
        return F
    if isinstance(F, Activation):
        return from_activation(F)
    raise TypeError(
        "F must be an Interaction (polynomial, rectified, exponential, from_activation) or an "
        f"Activation, got {F!r}"
    )


def anonymous(F: Interaction) -> Interaction:
    """F without the static fields that compiled code does not depend on: they never retrace."""
    return dataclasses.replace(F, name="", convex=None)


def floating(value: Reals) -> Float[Array, " *batch"]:
    """An array of the value's own floating dtype, or of JAX's default one for integers."""
    array = jnp.asarray(value)
    is_floating = jnp.issubdtype(array.dtype, jnp.floating)
    return array if is_floating else array.astype(jnp.result_type(float))


def common(patterns: Any, state: Any) -> tuple[Array, Array]:
    """Both in their common floating dtype; integers take the dtype of the other one."""
    patterns, state = jnp.asarray(patterns), jnp.asarray(state)
    kinds = [a.dtype for a in (patterns, state) if jnp.issubdtype(a.dtype, jnp.floating)]
    with jax.numpy_dtype_promotion("standard"):
        dtype = functools.reduce(jnp.promote_types, kinds) if kinds else floating(0).dtype
    return patterns.astype(dtype), state.astype(dtype)


def on_host(fn: Callable[..., Any], *args: Any, static: tuple[int, ...] = ()) -> np.ndarray:
    """The value of fn in float64, also while JAX traces something else around it."""
    with jax.ensure_compile_time_eval():
        return np.asarray(double(jax.jit(fn, static_argnums=static))(*args))


def _nondecreasing(act: Activation) -> bool:
    grid = np.linspace(-_CONVEX_RANGE, _CONVEX_RANGE, 1025) + 1e-3
    values = on_host(act.fn, grid, *act.theta)
    return bool((np.diff(values) >= -1e-12 * (1 + np.abs(values[1:]))).all())


@functools.lru_cache(maxsize=256)
def _homogeneous_degree(fn: Callable[[Any], Any]) -> int | None:
    """The integer d with F(c h) = c^d F(h) at sampled h and c > 0, or None."""
    h = np.array([0.3, 0.7, 1.1, -0.3, -0.7, -1.1])
    once, twice, eight = on_host(fn, np.stack([h, 2 * h, 8 * h]))
    at = np.argmax(np.abs(once))
    if once[at] == 0 or twice[at] / once[at] < 1.5:
        return None
    degree = round(float(np.log2(twice[at] / once[at])))
    fits = np.allclose(twice, 2.0**degree * once, rtol=1e-10, atol=1e-13)
    return (
        degree if fits and np.allclose(eight, 8.0**degree * once, rtol=1e-10, atol=1e-13) else None
    )
