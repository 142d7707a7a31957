"""The activation inside a module, and the weight scale that it asks for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from jaxact.activation import Activation, check_elementwise, derived_moments
from jaxact.numerics import checks


class Fixed(nnx.Variable):
    """A parameter of an activation that is carried but not trained."""


class Unit(nnx.Module):
    """An activation as a Flax module: its theta are variables of the model.

    Args:
        act: an `Activation`, or any elementwise function.
        trainable: whether theta are `nnx.Param` (trained with the weights) or fixed.

    Example:
        >>> import jaxact
        >>> unit = Unit(jaxact.get("prelu"), trainable=True)
        >>> float(unit(jnp.array(-2.0)))
        -0.5
    """

    def __init__(self, act: Callable[..., Any], *, trainable: bool = False) -> None:
        """Hold theta as variables."""
        fn, theta = split_activation(act)
        kind = nnx.Param if trainable else Fixed
        self.fn = fn
        self.theta = nnx.List([kind(leaf) for leaf in jax.tree.leaves(theta)])
        self.treedef = jax.tree.structure(theta)

    def __call__(self, x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """Apply elementwise."""
        leaves = [leaf[...] for leaf in self.theta]
        return self.fn(x, *jax.tree.unflatten(self.treedef, leaves))


def split_activation(act: Callable[..., Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The static function of an activation and its theta as arrays of the default float dtype."""
    checks.function("act", act)
    if not isinstance(act, Activation):
        return act, ()
    checks.finite("act.theta", act.theta)
    dtype = jnp.result_type(float)
    return act.fn, jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), act.theta)


def gain(act: Callable[..., Any]) -> float:
    """1 / sqrt(E f(xi)^2), xi ~ N(0, 1): weights N(0, gain^2 / fan_in) keep unit variance.

    Args:
        act: an `Activation`, or any elementwise function.

    Returns:
        The gain, a Python float (sqrt 2 for relu, as He et al. 2015); 1 where the second moment
        is zero or not finite.

    Example:
        >>> import jaxact
        >>> round(gain(jaxact.get("relu")), 4)
        1.4142
    """
    known = isinstance(act, Activation)
    if not known:
        checks.function("act", act)
        check_elementwise(Activation(act, name=getattr(act, "__name__", "act")))
    checks.finite("act.theta", act.theta if known else ())
    with jax.ensure_compile_time_eval():  # a number of the host, also where a model is made in jit
        moments = act.moments() if known else derived_moments(Activation(act))
    second = float(np.asarray(moments.eta) + np.asarray(moments.mean) ** 2)
    return 1 / math.sqrt(second) if math.isfinite(second) and second > 1e-12 else 1.0


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """The initialiser N(0, scale^2); equal scales are equal, so equal models compile once."""

    scale: float

    def __call__(self, key: Array, shape: Any, dtype: Any = None, *_: Any, **__: Any) -> Array:
        """Draw one array."""
        dtype = dtype or jnp.result_type(float)
        return self.scale * jax.random.normal(key, tuple(shape), dtype)
