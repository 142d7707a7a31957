"""Certified bounds of a network's outputs: backward linear relaxation (CROWN)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxact.bounds.backward import affine_part, interval_of
from jaxact.bounds.batching import one_by_one, with_derivatives
from jaxact.bounds.blocks import is_wide
from jaxact.bounds.chain import chain_of, crown_of_chain
from jaxact.bounds.magnitudes import magnitudes
from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.sound import Method, sound_bounds
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import answer, bound_rows, relax_units, shaped
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.ranges import unit_range


def crown(f: Callable[..., Any], region: Any, spec: Any = None, *, sound: bool = False) -> Bounds:
    r"""Certified bounds of spec . f(x) over a region of inputs, by backward CROWN.

    Every elementwise unit is enclosed between two lines on its pre-activation interval, and the
    rows of `spec` are pulled back through the network, taking the lower line where a coefficient
    is positive and the upper line where it is negative: A x + b <= spec . f(x). Over the ball
    the minimum is A x0 - eps ||A||_q + b, 1/p + 1/q = 1. The pre-activation intervals come from
    the same pass, layer by layer, intersected with interval arithmetic.

    Differentiable in the centre, in eps and in traced weights. Another centre, eps or set of
    weights of the same shapes does not compile again. f is traced at every call (cheap), so
    weights are read as they are now; pass a traced `Network` to skip that.

    Args:
        f: a function of one sample (no batch axis), or a `jaxact.tracing.Network`. The library
            vmaps: `jax.vmap(lambda x: crown(f, Ball(x, eps), spec))(batch)`, or, over several
            devices, `jaxact.sweep.sweep` of the same function and batch with `mesh=`.
        region: a `Ball` or a `Box` of the input's shape.
        spec: rows of linear forms of the flattened outputs, shape (rows, outputs), such as
            `margin_spec(label, classes)`; None for the outputs themselves.
        sound: allow for the rounding of every sum on the way (gamma_n bounds), so that the
            bounds hold in real arithmetic for the network of the given weights and not only up
            to rounding. Without the shortcuts of wide networks, and longer to compile.

    Returns:
        `Bounds` of shape (rows,), or of the output's shape without a spec.

    Raises:
        ValueError: for a region or spec that does not fit, or with `sound` for sums too long for
            the dtype (8e5 terms in float32).
        NotImplementedError: for a primitive with no certified rule.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.bounds import Ball, crown
        >>> f = lambda x: jax.nn.relu(x @ jnp.array([[1.0, 2.0], [1.0, 2.0]]))
        >>> b = crown(f, Ball(jnp.array([1.0, 0.0]), eps=0.25))
        >>> b.lower.tolist(), b.upper.tolist()
        ([0.5, 1.0], [1.5, 3.0])

    Source: Zhang et al. 2018, theorem 3.2 and corollary 3.3.
    """
    network, region, spec = prepare(f, region, spec)
    if sound:
        return sound_bounds(network, region, spec, Method())
    return _crown(network, region, spec)


def ibp(f: Callable[..., Any], region: Any, spec: Any = None, *, sound: bool = False) -> Bounds:
    """Certified bounds of spec . f(x) over a region of inputs, by interval arithmetic.

    Cheaper than `crown` and looser, more so with depth. The spec is merged with the last affine
    layers before their intervals enter, and the first affine layers use the dual norm of the
    ball. Arguments, errors and differentiation are those of `crown`.

    Returns:
        `Bounds`; `lines` and `intermediate` as in `crown`, with `lines` None.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.bounds import Ball, ibp
        >>> f = lambda x: jnp.tanh(x) @ jnp.array([1.0, -2.0])
        >>> b = ibp(f, Ball(jnp.zeros(2), eps=0.5))
        >>> round(float(b.lower), 3), round(float(b.upper), 3)
        (-1.386, 1.386)

    Source: Gowal et al. 2018, section 3.
    """
    network, region, spec = prepare(f, region, spec)
    if sound:
        return sound_bounds(network, region, spec, Method("ibp", "ibp"))
    return _ibp(network, region, spec, magnitudes(network))


@jax.jit
def _crown(network: Network, region: Any, spec: Any) -> Bounds:
    return crown_bounds(network, region, spec)


@jax.jit
def _ibp(network: Network, region: Any, spec: Any, sizes: tuple[Any, ...]) -> Bounds:
    source, target = network.graph.source, network.graph.target
    boxes = interval_boxes(network, region, sizes)
    forms = affine_part(network, target, spec_rows(spec, target))
    result = interval_of(*forms, boxes, source, region)
    intermediate = tuple(boxes[unit.operand] for unit in network.units)
    return answer(network, spec, result, None, intermediate)


def interval_boxes(
    network: Network, region: Any, sizes: tuple[Any, ...] = ()
) -> dict[Variable, tuple[Any, Any]]:
    """A box of every variable by interval arithmetic, `sizes` being known |W|."""
    source = network.graph.source
    boxes: dict[Variable, tuple[Any, Any]] = {source: region.box()}
    straight = {source}
    for node in network.graph.nodes:
        if not isinstance(node, Unit):
            ends = [boxes[v] for v in node.variables]
            low, high = [e[0] for e in ends], [e[1] for e in ends]
            boxes[node.output] = node.interval(low, high, network.weights, sizes)
            if isinstance(node, Affine) and straight.issuperset(node.variables):
                straight.add(node.output)
            continue
        if node.operand in straight and not region.is_box:
            exact = interval_of(*affine_part(network, node.operand), boxes, source, region)
            boxes[node.operand] = shaped(exact, node.operand.shape)
        lower, upper = boxes[node.operand]
        boxes[node.output] = unit_range(node.fn, lower, upper, node.parameters(network.weights))
    return boxes


def crown_bounds(network: Network, region: Any, spec: Any) -> Bounds:
    """The kernel of `crown`, pure."""
    if is_wide(network):
        return _crown_of_wide(network, region, spec)
    chain = chain_of(network)
    if chain is None:
        return _crown_of(network, region, spec)
    looped = functools.partial(crown_of_chain, chain=chain)
    return with_derivatives(looped, _crown_of)(network, region, spec)


def _crown_of(network: Network, region: Any, spec: Any, *, sparse: bool = False) -> Bounds:
    relaxed, boxes = relax_units(network, region, sparse=sparse)
    target = network.graph.target
    rows = spec_rows(spec, target)
    bounds, sides = bound_rows(network, region, target, rows, relaxed, sparse=sparse)
    return answer(network, spec, bounds, sides, boxes)


_crown_of_wide = one_by_one(functools.partial(_crown_of, sparse=True), _crown_of)
