"""A network without branches as dense layers: what branch and bound runs on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxact.bounds.backward import affine_part, explicit
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.affine import Affine
from jaxact.tracing.graph import Network, Unit

LARGEST = 20_000_000
"""Matrix entries, all layers together, above which a network is not written densely."""


_PRODUCTS = frozenset(("conv_general_dilated", "dot_general", "mul", "reduce_sum"))
_SUMS = frozenset(("add", "sub"))
_MOVES = frozenset(
    "broadcast_in_dim copy copy_p neg rev reshape slice split squeeze transpose".split()
)


@pytree(static=("fns",))
class Layers:
    """`x -> W[m] f[m-1](... f[0](W[0] x + b[0]) ...) + b[m]`, on flattened arrays.

    Attributes:
        matrices: W[k], shape (width k + 1, width k); one more than there are activations.
        offsets: b[k], shape (width k + 1,).
        thetas: the parameters of each activation, scalars.
        fns: the activations, fn(x, *theta), hashable.
    """

    matrices: Leaf
    offsets: Leaf
    thetas: Leaf
    fns: tuple[Any, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Neurons of each activation."""
        return tuple(np.shape(b)[0] for b in self.offsets[:-1])

    def pre_activations(self, x: Any) -> tuple[Any, ...]:
        """W[k] y + b[k] for every k, the outputs last, at one flattened sample."""
        found = []
        for k, (matrix, offset) in enumerate(zip(self.matrices, self.offsets, strict=True)):
            if k:
                x = self.fns[k - 1](x, *self.thetas[k - 1])
            x = jnp.matmul(matrix, x, precision=lax.Precision.HIGHEST) + offset
            found.append(x)
        return tuple(found)

    def __call__(self, x: Any) -> Any:
        """The outputs at one flattened sample."""
        return self.pre_activations(x)[-1]


def layers_of(network: Network) -> Layers | None:
    """The layers of a network, or None: for branches, products, or too large a matrix.

    Runs of affine steps become one matrix, a convolution too. Equal architectures have layers of
    equal structure.

    Args:
        network: a traced network.

    Returns:
        `Layers`, in the network's dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.tracing import trace
        >>> net = trace(lambda x: jnp.tanh(2 * x.reshape(-1) + 1).sum()[None], jnp.zeros((1, 3)))
        >>> layers = layers_of(net)
        >>> [m.shape for m in layers.matrices], round(float(layers(jnp.zeros(3))[0]), 4)
        ([(3, 3), (1, 3)], 2.2848)
    """
    checks.instance("network", network, Network)
    last = network.graph.source
    for node in network.graph.nodes:
        if not isinstance(node, Affine | Unit) or list(node.variables) != [last]:
            return None
        last = node.output
    sizes = [network.graph.source.size, *(u.output.size for u in network.units)]
    ends = [*sizes[1:], network.graph.target.size]
    if sum(a * b for a, b in zip(sizes, ends, strict=True)) > LARGEST:
        return None
    matrices, offsets = _dense(network)
    thetas = tuple(u.parameters(network.weights) for u in network.units)
    return Layers(matrices, offsets, thetas, tuple(u.fn for u in network.units))


def written_exactly(network: Network) -> bool:
    """Whether `layers_of` rounds nothing: every layer is a product, then a sum, at most.

    Args:
        network: a traced network, for which `layers_of` is not None.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.tracing import trace
        >>> w = jnp.ones((2, 2))
        >>> written_exactly(trace(lambda x: jnp.tanh(w @ x + 0.1), jnp.zeros(2)))
        True
        >>> written_exactly(trace(lambda x: jnp.tanh(w @ (x / 3)), jnp.zeros(2)))
        False
    """
    product = shift = False
    for node in network.graph.nodes:
        if not isinstance(node, Affine):  # a unit
            product = shift = False
        elif node.name in _PRODUCTS or node.output.size > node.variables[0].size:
            # an entry that is repeated may meet several weights, whose sum is rounded
            if product or shift:
                return False
            product = True
        elif node.has_offset:
            if shift or node.name not in _SUMS:
                return False
            shift = True
        elif node.name not in _MOVES:
            return False
    return True


@jax.jit
def _dense(network: Network) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    before = network.graph.source
    matrices, offsets = [], []
    for variable, after in [
        *((u.operand, u.output) for u in network.units),
        (network.graph.target, None),
    ]:
        forms, constant = affine_part(network, variable)
        rows = explicit(forms[before], before)
        matrices.append(rows.reshape(variable.size, before.size))
        offsets.append(constant)
        before = after
    return tuple(matrices), tuple(offsets)
