"""How fast the outputs can change: a certified Jacobian over a region of inputs.

Backwards, every unit multiplies the rows by the range of its derivative on its certified
pre-activations. Forwards, a tangent is carried from one input entry to the outputs with a slope
for each neuron that is chosen by the sign of the row's coefficient there, so what cancels between
paths is seen; this is the recursion of RecurJac, here over any graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxact.bounds.methods import find_method
from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.regions import NORMS, Ball, inner
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.affine import Affine, Variable
from jaxact.tracing.graph import Network, Unit
from jaxact.tracing.slopes import slope_range

Interval = tuple[Any, Any]


@pytree()
class Lipschitz:
    """A certified Jacobian and the Lipschitz constants that follow.

    Attributes:
        constant: for each row the largest dual norm of its gradient, shape (rows,) or the
            output's shape: |row . f(x) - row . f(y)| <= constant ||x - y|| in the region.
        lower: entrywise lower bounds of the Jacobian, shape (*constant.shape, *input shape).
        upper: entrywise upper bounds.
    """

    constant: Leaf
    lower: Leaf
    upper: Leaf


def lipschitz_bound(
    f: Callable[..., Any],
    region: Any,
    spec: Any = None,
    *,
    norm: Any = None,
    method: Any = "crown",
    tighten: int = 1,
) -> Lipschitz:
    r"""A certified local Lipschitz constant of spec . f over a region of inputs.

    sup over x in the region of ||grad (row . f)(x)||_q, 1/p + 1/q = 1, from entrywise bounds of
    the Jacobian. The derivative of every unit lies in its range on the unit's certified
    pre-activation interval, for any activation and at kinks for every subgradient.

    Differentiable in the region and in traced weights, like `crown`.

    Args:
        f: a function of one sample, or a traced `Network`.
        region: a `Ball` or a `Box`.
        spec: rows of linear forms of the outputs, shape (rows, outputs); None for the outputs.
        norm: p in ||x - y||_p: 1, 2 or `jnp.inf`; the ball's own by default, `jnp.inf` for a box.
        method: where the pre-activation intervals come from: a name or a function, as in
            `certified_radius`; it must return `Bounds.intermediate`.
        tighten: 0: interval products only; 1: the sign-aware recursion for the Jacobian itself;
            2: also for the rows at every hidden unit, whose signs it uses. The memory is about
            2 rows x inputs x width numbers.

    Returns:
        `Lipschitz`; infinite where a unit jumps.

    Raises:
        ValueError: for arguments that do not fit.
        NotImplementedError: for a product or maximum of two perturbed arrays, or a primitive
            without a rule.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.bounds import Ball
        >>> f = lambda x: jax.nn.relu(x) @ jnp.array([[1.0], [-2.0]])
        >>> found = lipschitz_bound(f, Ball(jnp.array([1.0, 0.0]), eps=0.5))
        >>> found.constant.tolist(), found.lower.tolist(), found.upper.tolist()
        ([3.0], [[1.0, -2.0]], [[1.0, 0.0]])

    Source: Zhang, Zhang & Hsieh 2019 (RecurJac), theorems 1 and 2; Weng et al. 2018 (Fast-Lip).
    """
    network, region, spec = prepare(f, region, spec)
    norm = (region.norm if isinstance(region, Ball) else jnp.inf) if norm is None else norm
    checks.choice("norm", norm, NORMS)
    checks.choice("tighten", tighten, (0, 1, 2))
    bounds = find_method(method)(network, region, spec)
    lower, upper = _jacobian(network, bounds.intermediate, spec, tighten=tighten)
    size = jnp.maximum(jnp.abs(lower), jnp.abs(upper)).reshape(lower.shape[0], -1)
    shape = network.output_shape if spec is None else (spec.shape[0],)
    full = (*shape, *network.input_shape)
    return Lipschitz(_dual(size, norm).reshape(shape), lower.reshape(full), upper.reshape(full))


def mean_value(f: Callable[..., Any], region: Any, spec: Any = None) -> Bounds:
    """Certified bounds of spec . f(x) by the mean value theorem: f(c) and a certified Jacobian.

    |row . f(x) - row . f(c)| <= sum_k max |J_k| |x_k - c_k|, c the centre of the region. With a
    margin m at x it proves the radius at which eps L(eps) = m, a cross-check of `crown` by other
    means: `certified_radius(f, x, label, method=mean_value)`. Arguments, errors and
    differentiation are those of `crown`.

    Returns:
        `Bounds`, without lines and intermediate intervals.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxact.bounds import Ball
        >>> b = mean_value(lambda x: jnp.tanh(x).sum(), Ball(jnp.zeros(2), eps=0.5))
        >>> round(float(b.lower), 5), round(float(b.upper), 5)
        (-1.0, 1.0)

    Source: Weng et al. 2018 (Fast-Lip), section 3.3; Hein & Andriushchenko 2017, theorem 2.1.
    """
    network, region, spec = prepare(f, region, spec)
    found = lipschitz_bound(network, region, spec)
    size = jnp.maximum(jnp.abs(found.lower), jnp.abs(found.upper))
    size = size.reshape(-1, *network.input_shape)
    lower, upper = region.box()
    unclipped = isinstance(region, Ball) and region.clip is None
    center = region.sample if unclipped else lower + (upper - lower) / 2
    value = network(center)
    value = value if spec is None else inner(spec, value)
    _, half = region.linear(size)
    half = half.reshape(value.shape)
    return Bounds(value - half, value + half)


@functools.partial(jax.jit, static_argnames="tighten")
def _jacobian(network: Network, boxes: Any, spec: Any, *, tighten: int) -> Interval:
    target, weights = network.graph.target, network.weights
    slopes = {
        unit.output: slope_range(unit.fn, box[0], box[1], unit.parameters(weights))
        for unit, box in zip(network.units, boxes, strict=True)
    }
    rows = jnp.eye(target.size, dtype=network.dtype) if spec is None else spec
    return _Jacobian(network, rows.reshape(-1, *target.shape), slopes).bounds(tighten)


class _Jacobian:
    """Bounds of the derivative of the rows with respect to every variable, from the last on."""

    def __init__(self, network: Network, rows: Array, slopes: Mapping[Variable, Interval]) -> None:
        self.nodes, self.weights = network.graph.nodes, network.weights
        self.source, self.target = network.graph.source, network.graph.target
        self.rows, self.slopes = rows, slopes
        self.known: dict[Variable, Interval] = {}

    def bounds(self, tighten: int) -> Interval:
        """Bounds with respect to the input."""
        found: dict[Variable, Interval] = {self.target: (self.rows, self.rows)}
        after = False  # whether a unit stands between here and the target
        for node in reversed(self.nodes):
            if node.output not in found:
                continue
            at = found.pop(node.output)
            if isinstance(node, Unit):
                if tighten > 1 and after:
                    at = _both(at, self.forward(node.output))
                self.known[node.output] = at
                _add(found, node.operand, _product(at, self.slopes[node.output]))
                after = True
            elif isinstance(node, Affine):
                for variable, part in zip(node.variables, self.pull(node, at), strict=True):
                    _add(found, variable, part)
            else:
                raise NotImplementedError(
                    f"no certified derivative of {type(node).__name__.lower()} of perturbed arrays"
                )
        zero = jnp.zeros((self.rows.shape[0], *self.source.shape), self.rows.dtype)
        jacobian = found.get(self.source, (zero, zero))
        if tighten and len(self.known):
            jacobian = _both(jacobian, self.forward(self.source))
        return jacobian

    def pull(self, node: Affine, at: Interval) -> list[Interval]:
        lower, upper = at
        if lower is upper:
            return [(part, part) for part in node.pull(lower, self.weights)]
        middle = node.pull((lower + upper) / 2, self.weights)
        half = node.pull_size((upper - lower) / 2, self.weights)
        return [_known(m - h, m + h) for m, h in zip(middle, half, strict=True)]

    def forward(self, start: Variable) -> Interval:
        """Bounds with respect to one variable, by tangents of its entries, of both signs."""
        eye = jnp.eye(start.size, dtype=self.rows.dtype).reshape(-1, *start.shape)
        count = self.rows.shape[0]
        both = jnp.concatenate([eye, -eye])
        tangents = {start: jnp.broadcast_to(both[None], (count, *both.shape))}
        total = jnp.zeros((count, both.shape[0]), self.rows.dtype)
        for node in self.nodes:
            if isinstance(node, Unit):
                if node.operand in tangents:
                    tangents[node.output], lost = self.choose(node, tangents[node.operand])
                    total = total - lost
            elif isinstance(node, Affine) and any(v in tangents for v in node.variables):
                given = [
                    tangents.get(v, jnp.zeros((*total.shape, *v.shape), total.dtype))
                    for v in node.variables
                ]
                push = functools.partial(node.push, weights=self.weights)
                tangents[node.output] = jax.vmap(jax.vmap(push))(given)
        end = tangents[self.target]
        total = total + jax.vmap(lambda row, t: inner(t, row))(self.rows, end)
        shape = (count, *start.shape)
        return total[:, : start.size].reshape(shape), -total[:, start.size :].reshape(shape)

    def choose(self, node: Unit, tangent: Array) -> tuple[Array, Array]:
        """A lower plane of row x slope x tangent: slope times tangent fixed, and what it costs.

        With rows in [-n, p] and slopes in [a, b]: row slope >= a row - n (b - a), and
        row slope >= b row - p (b - a); for a negative tangent n and p change places.
        """
        lower, upper = (g[:, None] for g in self.known[node.output])
        positive, negative = jnp.maximum(upper, 0), jnp.maximum(-lower, 0)
        low, high = (s[None, None] for s in self.slopes[node.output])
        cheap_low = jnp.where(tangent >= 0, negative <= positive, negative > positive)
        cost = jnp.minimum(positive, negative) * (high - low) * jnp.abs(tangent)
        slope = jnp.where(cheap_low, low, high)
        return slope * tangent, cost.reshape(*cost.shape[:2], -1).sum(-1)


def _known(lower: Array, upper: Array) -> Interval:
    """NaN ends, out of infinite slopes, as infinite ones."""
    return jnp.where(jnp.isnan(lower), -jnp.inf, lower), jnp.where(jnp.isnan(upper), jnp.inf, upper)


def _add(found: dict[Variable, Interval], variable: Variable, part: Interval) -> None:
    if variable in found:
        lower, upper = found[variable]
        part = lower + part[0], upper + part[1]
    found[variable] = part


def _both(a: Interval, b: Interval) -> Interval:
    """The better ends; a NaN end of the second (inf - inf) is no information."""
    lower = jnp.where(b[0] > a[0], b[0], a[0])
    upper = jnp.where(b[1] < a[1], b[1], a[1])
    return jnp.minimum(lower, upper), jnp.maximum(lower, upper)


def _product(rows: Interval, slope: Interval) -> Interval:
    ends = [_zero_wins(r, s[None]) for r in rows for s in slope]
    low = jnp.minimum(jnp.minimum(ends[0], ends[1]), jnp.minimum(ends[2], ends[3]))
    high = jnp.maximum(jnp.maximum(ends[0], ends[1]), jnp.maximum(ends[2], ends[3]))
    return low, high


def _zero_wins(a: Array, b: Array) -> Array:
    """A product in which 0 times an infinite slope is 0."""
    return jnp.where((a == 0) | (b == 0), 0, a * b)


def _dual(size: Array, norm: Any) -> Array:
    if norm == jnp.inf:
        return size.sum(1)
    if norm == 1:
        return size.max(1)
    square = (size**2).sum(1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
