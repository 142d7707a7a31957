"""From a Flax module to a pure JAX function: the only form in which a lens sees a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flax import nnx
from jax.tree_util import Partial

from jaxact.numerics.pytrees import Leaf, pytree


@pytree(static=("graph",))
class Apply:
    """apply(params, x): the function of a module without its trainable parameters.

    Attributes:
        graph: the module's static structure.
        fixed: state that is not trained (an activation's fixed theta), a dict of arrays.
    """

    graph: Any
    fixed: Leaf

    def __call__(self, params: Any, *args: Any) -> Any:
        """The module with these parameters, applied."""
        return nnx.merge(self.graph, nnx.State(params), nnx.State(self.fixed))(*args)


def functional(model: nnx.Module) -> tuple[Apply, dict[str, Any]]:
    """Split a module into a pure function and its trainable parameters.

    Args:
        model: any `flax.nnx` module.

    Returns:
        (apply, params): apply(params, x) equals model(x); params is a nested dict of arrays,
        the input of `train`, `jax.grad` or a checkpoint.

    Raises:
        TypeError: if model is not an nnx module.

    Example:
        >>> import jax.numpy as jnp, jaxact
        >>> model = jaxact.nets.MLP((2, 4, 1), jaxact.get("tanh"), rngs=nnx.Rngs(0))
        >>> apply, params = functional(model)
        >>> bool(apply(params, jnp.ones(2)) == model(jnp.ones(2)))
        True
        >>> params["layers"][0]["kernel"].shape
        (2, 4)
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(f"model must be a flax.nnx Module, got {type(model).__name__}")
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return Apply(graph, nnx.to_pure_dict(rest)), nnx.to_pure_dict(params)


def as_function(model: nnx.Module) -> Callable[..., Any]:
    """A module as a callable pytree: `f(x)` equals `model(x)`, and f's leaves are the weights.

    Two models of the same architecture share compiled code, `jax.tree.map` acts on the weights
    and `jax.grad` with respect to f is a function of the same shape.

    Args:
        model: any `flax.nnx` module.

    Returns:
        A `jax.tree_util.Partial`.

    Raises:
        TypeError: if model is not an nnx module.

    Example:
        >>> import jax, jax.numpy as jnp, jaxact
        >>> model = jaxact.nets.MLP((2, 4, 1), jaxact.get("tanh"), rngs=nnx.Rngs(0))
        >>> f = as_function(model)
        >>> len(jax.tree.leaves(f))
        4
    """
    return Partial(call, *functional(model))


def call(apply: Callable[..., Any], params: Any, *args: Any) -> Any:
    """apply(params, *args): a module-level function, so that Partials of it compare equal."""
    return apply(params, *args)
