"""Bounds whose relaxation slopes are optimised (alpha-CROWN), for any activation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from jaxact.bounds.backward import (
    Forms,
    affine_part,
    both_sides,
    explicit,
    intersection,
    lower_forms,
    unknown_is_infinite,
)
from jaxact.bounds.batching import one_by_one
from jaxact.bounds.blocks import is_wide, linear_on
from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.relax_slopes import lines_with_slopes, slope_ranges
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import Known, answer, bound_rows, relax_units, shaped
from jaxact.numerics import checks
from jaxact.tracing.affine import Variable
from jaxact.tracing.analysis import CONCAVE, CONVEX, analyse
from jaxact.tracing.graph import Network, Unit

_BLOCK = 256
"""Rows of a layer that are optimised at once: every row has slopes of its own."""

_MARGIN = 1e-4
"""Off the ends of its range while climbing: there a slope has one-sided derivatives only."""


def alpha_crown(
    f: Callable[..., Any],
    region: Any,
    spec: Any = None,
    *,
    steps: int = 20,
    learning_rate: Any = 0.5,
    decay: Any = 0.98,
    optimiser: optax.GradientTransformation | None = None,
    intermediate: bool = False,
    intermediate_steps: int = 7,
    upper: bool = True,
) -> Bounds:
    r"""Certified bounds of spec . f(x) over a region, maximised over the relaxations' slopes.

    Any slope s of a line below an activation is sound with the intercept min f(x) - s x, so
    `crown`'s bound A x0 - eps ||A||_q + b is a function of the slopes of every row and neuron.
    It starts at `crown`'s slopes, climbs by an optimiser of optax, and the best of every row is
    kept: never worse than `crown`, and soundness does not depend on the optimisation. A slope
    stays among those of the supporting lines of the activation's envelope (for an unstable relu
    [0, 1] below and the chord above).

    Differentiable in the centre, in eps and in traced weights, at the slopes found (by the
    envelope theorem). Another centre, eps, learning rate, decay or set of weights of the same
    shapes does not compile again.

    Args:
        f: a function of one sample (no batch axis), or a `jaxact.tracing.Network`; vmaps.
        region: a `Ball` or a `Box` of the input's shape.
        spec: rows of linear forms of the flattened outputs, shape (rows, outputs), such as
            `margin_spec(label, classes)`; None for the outputs themselves.
        steps: evaluations of the bound while climbing, >= 1.
        learning_rate: of Adam, > 0, in units of a slope's range.
        decay: factor on the learning rate after every step, in (0, 1].
        optimiser: an optax transformation instead of Adam; keep one object, as a new one
            compiles again.
        intermediate: whether the slopes behind each unit's pre-activation interval are optimised
            for that interval too: tighter, at a cost like `steps` times that of `crown`.
        intermediate_steps: steps for each of these layers, >= 1.
        upper: whether the upper bounds of the rows are optimised too; else they are `crown`'s, at
            half the cost. Margins need their lower bounds only.

    Returns:
        `Bounds` as of `crown`, of shape (rows,), or of the output's shape without a spec.

    Raises:
        ValueError: for a region, spec or number that does not fit.
        NotImplementedError: for a primitive with no certified rule.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.bounds import Ball, alpha_crown, crown
        >>> w = jnp.array([[1.0, 1.0, -1.0], [1.0, -1.0, 0.5]])
        >>> f = lambda x: jax.nn.relu(jax.nn.relu(x @ w) @ w.T) @ jnp.array([1.0, -1.0])
        >>> ball = Ball(jnp.array([0.2, 0.1]), eps=0.5)
        >>> bool(alpha_crown(f, ball).lower > crown(f, ball).lower + 0.01)
        True

    Source: Xu et al. 2021, "Fast and complete: enabling complete verification with rapid and
    massively parallel incomplete verifiers", section 3.
    """
    checks.integer("steps", steps, 1)
    checks.integer("intermediate_steps", intermediate_steps, 1)
    checks.positive("learning_rate", learning_rate)
    checks.between("decay", decay, 0, 1)
    checks.shape("learning_rate", learning_rate, ())
    checks.shape("decay", decay, ())
    network, region, spec = prepare(f, region, spec)
    rate = jnp.asarray(learning_rate, network.dtype), jnp.asarray(decay, network.dtype)
    counts = steps, intermediate_steps if intermediate else 0
    return _alpha(network, region, spec, rate, counts, optimiser, upper)


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _alpha(
    network: Network,
    region: Any,
    spec: Any,
    rate: Any,
    counts: tuple[int, int],
    optimiser: Any,
    upper: bool,  # noqa: FBT001
) -> Bounds:
    def kernel(network: Any, region: Any, spec: Any, rate: Any, *, sparse: bool = False) -> Bounds:
        climb = optimiser
        if climb is None:
            climb = optax.adam(lambda count: rate[0] * rate[1] ** jnp.asarray(count, rate[0].dtype))
        return _alpha_of(network, region, spec, counts, climb, upper=upper, sparse=sparse)

    if is_wide(network):
        kernel = one_by_one(functools.partial(kernel, sparse=True), kernel)
    return kernel(network, region, spec, rate)


def _alpha_of(
    network: Network,
    region: Any,
    spec: Any,
    counts: tuple[int, int],
    climb: Any,
    *,
    upper: bool,
    sparse: bool,
) -> Bounds:
    refine = None
    if counts[1]:
        refine = functools.partial(_refined, network, region, climb, counts[1], sparse)
    known, boxes = relax_units(network, region, sparse=sparse, refine=refine)
    target = network.graph.target
    rows = spec_rows(spec, target)
    (low, high), (_, above) = bound_rows(network, region, target, rows, known, sparse=sparse)
    forms, constant = affine_part(network, target, rows)
    if upper:
        forms, constant = both_sides(forms, constant)
    search = _Search(network, region, known)
    best, slopes, shifts = search.best(forms, constant, climb, counts[0])
    best = unknown_is_infinite(best, best)[0]
    n = low.shape[0]
    low = jnp.maximum(low, best[:n])
    if upper:
        high, above = jnp.minimum(high, -best[n:]), (-slopes[n:], -shifts[n:])
    return answer(
        network, spec, intersection((low, high)), ((slopes[:n], shifts[:n]), above), boxes
    )


def _refined(
    network: Network,
    region: Any,
    climb: Any,
    steps: int,
    sparse: bool,  # noqa: FBT001
    variable: Variable,
    box: tuple[Array, Array],
    known: Known,
) -> tuple[Array, Array]:
    """A box, intersected with the bounds of optimised slopes, block by block of neurons.

    With `sparse` neurons on whose box the activation is linear are left out, at run time.
    """
    forms, constant = affine_part(network, variable)
    if not any(v in known for v in forms):
        return box  # affine up to here: exact already
    search = _Search(network, region, known)
    count, block = variable.size, min(_BLOCK, variable.size)
    blocks = -(-count // block)
    whole = {v: explicit(rows, v) for v, rows in forms.items()}
    ends = box[0].reshape(-1), box[1].reshape(-1)
    todo = jnp.ones(count, bool)
    if sparse:
        units = [unit for unit in network.units if unit.operand == variable]
        todo = functools.reduce(jnp.logical_or, [~linear_on(unit, *ends) for unit in units])
    order = jnp.argsort(~todo, stable=True).astype(jnp.int32)
    order = jnp.pad(order, (0, blocks * block - count), mode="edge")

    def one(rows: Array) -> tuple[Array, Array]:
        stacked = both_sides({v: r[rows] for v, r in whole.items()}, constant[rows])
        below = search.best(*stacked, climb, steps)[0]
        return unknown_is_infinite(below[:block], -below[block:])

    def tighten(k: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = lax.dynamic_slice(order, (k * block,), (block,))
        low, high = one(rows)
        return ends[0].at[rows].max(low), ends[1].at[rows].min(high)

    if sparse:
        low, high = lax.fori_loop(0, (todo.sum() + block - 1) // block, tighten, ends)
    else:
        found = lax.map(one, order.reshape(blocks, block))
        low, high = (end.reshape(-1)[:count] for end in found)
        low, high = jnp.maximum(ends[0], low), jnp.minimum(ends[1], high)
    return shaped(intersection((low, high)), variable.shape)


class _Search:
    """The bound as a function of where each slope is in its range (0 to 1)."""

    def __init__(self, network: Network, region: Any, known: Known) -> None:
        self.network, self.region, self.known = network, region, known
        self.units = {
            node.output: node
            for node in network.graph.nodes
            if isinstance(node, Unit) and node.output in known
        }
        self.free = [_free_sides(unit) for unit in self.units.values()]
        self.ranges = [
            slope_ranges(unit.fn, *known[v].box, theta=unit.parameters(network.weights))
            for v, unit in self.units.items()
        ]

    def start(self, count: int) -> Any:
        """The slopes that `crown` takes, for each row; None where there is no choice."""

        def within(slope: Any, ends: Any) -> Array:
            width = ends[1] - ends[0]
            part = (slope - ends[0]) / jnp.where(width > 0, width, 1)
            part = jnp.clip(jnp.where(width > 0, part, 0), 0, 1)
            return jnp.broadcast_to(part[None], (count, *part.shape))

        places = []
        for v, ends, free in zip(self.units, self.ranges, self.free, strict=True):
            lines = self.known[v].lines
            taken = lines.lower_slope, lines.upper_slope
            places.append(
                [within(s, e) if f else None for s, e, f in zip(taken, ends, free, strict=True)]
            )
        return places

    def lines(self, places: Any, margin: float) -> Mapping[Variable, Any]:
        """Certified lines of every row, at slopes in their ranges, off the ends by `margin`."""
        found: dict[Variable, Any] = {v: k.lines for v, k in self.known.items()}
        for (v, unit), place, ends in zip(self.units.items(), places, self.ranges, strict=True):
            rows = next(part.shape[0] for part in place if part is not None)
            slopes = [
                jnp.broadcast_to((low + (high - low) / 2)[None], (rows, *low.shape))
                if part is None
                else low[None] + (margin + (1 - 2 * margin) * part) * (high - low)[None]
                for part, (low, high) in zip(place, ends, strict=True)
            ]
            theta = unit.parameters(self.network.weights)
            found[v] = lines_with_slopes(unit.fn, *self.known[v].box, *slopes, theta=theta)
        return found

    def bound(
        self, places: Any, forms: Forms, constant: Array, margin: float = 0.0
    ) -> tuple[Array, Array, Array]:
        """Lower bounds of the forms, and the rows and constants over the input that show them."""
        rows, shifts = lower_forms(self.network, forms, constant, self.lines(places, margin))
        rows = explicit(rows, self.network.graph.source)
        middle, half = self.region.linear(rows)
        return middle - half + shifts, rows, shifts

    def best(
        self, forms: Forms, constant: Array, climb: Any, steps: int
    ) -> tuple[Array, Array, Array]:
        """`bound` at the best slopes that `steps` steps of the optimiser find for each row."""
        network, region = lax.stop_gradient((self.network, self.region))
        still = _Search(network, region, {v: lax.stop_gradient(k) for v, k in self.known.items()})
        fixed = {v: lax.stop_gradient(r) for v, r in forms.items()}, lax.stop_gradient(constant)

        def loss(places: Any) -> tuple[Array, Array]:
            below = still.bound(places, *fixed, _MARGIN)[0]
            return -below.sum(), below

        def step(state: Any, _: None) -> tuple[Any, None]:
            places, memory, best, chosen = state
            slope, below = jax.grad(loss, has_aux=True)(places)
            best, chosen = _keep(below, places, best, chosen)
            slope = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0), slope)
            with jax.numpy_dtype_promotion("standard"):  # optax counts in integers
                change, memory = climb.update(slope, memory, places)
            moved = jax.tree.map(lambda p, c: jnp.clip(p + c.astype(p.dtype), 0, 1), places, change)
            return (moved, memory, best, chosen), None

        start = lax.stop_gradient(still.start(constant.shape[0]))
        first = jnp.full(constant.shape, -jnp.inf, constant.dtype)
        state = start, climb.init(start), first, start
        (_, _, _, chosen), _ = lax.scan(step, state, None, length=steps)
        return self.bound(lax.stop_gradient(chosen), forms, constant)


def _free_sides(unit: Unit) -> tuple[bool, bool]:
    """Whether there is a choice of the lower line, and of the upper: none beside a chord."""
    if unit.theta:
        return True, True
    labels = {int(label) for label in analyse(unit.fn).label}
    return labels != {CONCAVE}, labels != {CONVEX}


def _keep(below: Array, places: Any, best: Array, chosen: Any) -> tuple[Array, Any]:
    better = below > best

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jnp.where(better, below, best), jax.tree.map(pick, places, chosen)
