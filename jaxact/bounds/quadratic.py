"""CROWN-Quad, made sound: parabolas under the last layer of relus."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxact.bounds.backward import Forms, affine_part, both_sides, interval_of
from jaxact.bounds.problem import Bounds, prepare
from jaxact.bounds.spec import spec_rows
from jaxact.bounds.units import Known, answer, bound_forms, bound_rows, relax_units
from jaxact.numerics import checks
from jaxact.tracing.affine import Variable
from jaxact.tracing.elementwise import OWN, Constant
from jaxact.tracing.graph import Network, Unit

_POSITIVE_PART = (lax.max_p, (), Constant(0.0, OWN))


def _relu_shift(unit: Unit) -> float | None:
    """The c of a unit max(x + c, 0); None for any other."""
    *before, last = unit.fn.ops
    if (last.primitive, last.params, last.operands[-1]) != _POSITIVE_PART or unit.theta:
        return None
    if not before and last.operands[0] == 0:
        return 0.0
    if len(before) > 1 or before[0].primitive != lax.add_p or last.operands[0] != 1:
        return None
    x, c = before[0].operands
    return float(c.value) if x == 0 and isinstance(c, Constant) and c.dtype == OWN else None


def crown_quad(
    f: Callable[..., Any], region: Any, spec: Any = None, *, iterations: int = 40
) -> Bounds:
    r"""Certified bounds of spec . f(x), with parabolas under the last layer of relus.

    On l < 0 < u a relu lies above y (y - l) / (u - l). Where a row has a positive coefficient at
    an unstable neuron with |l| < u < 2 |l| that parabola enters (else 0 or y, as in the paper),
    so a row is at least q(z) = z^T Q z + p . z + s with Q = W^T D W and D >= 0, z being what the
    last hidden layer reads: the input itself in a net of one hidden layer. The convex q is
    minimised over the region of z by Frank-Wolfe steps with exact line search. What is returned
    is the dual bound at an iterate, not the value of q there: for every z_t

        min q >= q(z_t) + min over z of grad q(z_t) . (z - z_t),  grad q = 2 Q z + p.

    Its right side is linear in z, so it is also pulled back to the input by `crown`'s lines. The
    upper side is the lower side of the negated rows, and the answer is the best of `crown`'s
    bound and these. Differentiable, with the iterates held fixed: any z_t is sound.

    Args:
        f: as in `crown`. The last elementwise unit must be relu(y) or relu(y + constant).
        region: as in `crown`: balls of any norm, and boxes.
        spec: as in `crown`.
        iterations: Frank-Wolfe steps, >= 1; the static number of steps of a compiled loop.

    Returns:
        `Bounds`, nowhere looser than `crown`; `lines` are `crown`'s.

    Raises:
        ValueError: for a region or spec that does not fit, or iterations < 1.
        NotImplementedError: if the last unit is not a relu; use `crown`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.bounds import Ball, crown, crown_quad
        >>> w = jnp.array([[1.0, 0.5], [0.5, -1.0]])
        >>> f = lambda x: jax.nn.relu(w @ x + 0.1).sum() + x.sum()
        >>> ball = Ball(jnp.zeros(2), eps=0.5, norm=2)
        >>> bool(crown_quad(f, ball).lower > crown(f, ball).lower)
        True

    Source: Zhang et al. 2018, section 3.4 and appendix D; the certificate is Jaggi 2013, eq. 2.
    """
    checks.integer("iterations", iterations, 1)
    network, region, spec = prepare(f, region, spec)
    if not network.units or _relu_shift(network.units[-1]) is None:
        raise NotImplementedError(
            "crown_quad needs a relu as the last elementwise unit of f, got "
            f"{network!r}; use crown for other activations"
        )
    return _quad(network, region, spec, iterations)


@functools.partial(jax.jit, static_argnums=3)
def _quad(network: Network, region: Any, spec: Any, iterations: int) -> Bounds:
    known, boxes = relax_units(network, region)
    target = network.graph.target
    rows = spec_rows(spec, target)
    (lower, upper), sides = bound_rows(network, region, target, rows, known)
    forms, constant = affine_part(network, target, rows)
    unit = network.units[-1]
    if unit.output in forms:
        forms, constant = both_sides(forms, constant)
        below = _bound(network, region, forms, constant, known, unit, iterations)
        count = lower.shape[0]
        lower, upper = jnp.maximum(lower, below[:count]), jnp.minimum(upper, -below[count:])
        lower, upper = jnp.minimum(lower, upper), jnp.maximum(lower, upper)
    return answer(network, spec, (lower, upper), sides, boxes)


def _bound(
    network: Network, region: Any, forms: Forms, constant: Array, known: Known, unit: Unit,
    iterations: int,
) -> Array:  # fmt: skip
    problem = (network, region, forms, constant, known)
    y = _Quadratic(*lax.stop_gradient(problem), unit).search(iterations)
    tangent = _Quadratic(*problem, unit).tangent(lax.stop_gradient(y))
    return bound_forms(network, region, *tangent, known)[0][0]


class _Quadratic:
    """Quadratic lower bounds of R forms, in the variables z that the last hidden layer reads.

    Attributes:
        shift: the c of the last layer's relu(y + c); l, u: bounds of y + c.
        coefficients: of each form at each neuron, shape (R, neurons).
        curved: where a parabola enters.
        lines: (slope, intercept) of what enters elsewhere.
        matrices, at_zero: the pre-activations as affine functions of z.
        regions: for each variable of z, the input region or None, and its box.
    """

    def __init__(
        self, network: Network, region: Any, forms: Forms, constant: Array, known: Known, unit: Unit
    ) -> None:
        self.network, self.region, self.unit, self.constant = network, region, unit, constant
        self.others = {v: part for v, part in forms.items() if v != unit.output}
        self.coefficients = forms[unit.output].reshape(constant.shape[0], -1)
        relaxed = known[unit.output]
        l, u = (end.reshape(-1) for end in relaxed.box)  # noqa: E741
        self.eps = float(jnp.finfo(l.dtype).eps)
        self.shift = _relu_shift(unit) or 0.0
        slack = 0.0
        if self.shift:
            slack = self.eps * (abs(self.shift) + jnp.maximum(jnp.abs(l), jnp.abs(u)))
        self.l, self.u = l + self.shift - slack, u + self.shift + slack
        positive = self.coefficients > 0
        unstable = (self.l < 0) & (-self.l < self.u) & (self.u < -2 * self.l)
        self.curved = positive & unstable[None]
        lines = jax.tree.map(lambda v: v.reshape(1, -1), relaxed.lines)
        self.lines = (
            jnp.where(positive, lines.lower_slope, lines.upper_slope),
            jnp.where(positive, lines.lower_intercept, lines.upper_intercept),
        )
        self.width = jnp.where(unstable, self.u - self.l, 1)[None]
        self.matrices, self.at_zero = affine_part(network, unit.operand)
        source = network.graph.source
        self.ranges = {v: k.range for v, k in known.items()}
        boxes = {**self.ranges, source: region.box()}
        variables = {**self.matrices, **self.others}
        self.regions = {v: (region if v == source else None, boxes[v]) for v in variables}

    def tangent(self, y: Array) -> tuple[Forms, Array]:
        """Forms of z below the rows; they touch q where the pre-activations are y, (R, neurons)."""
        l, u = self.l[None], self.u[None]  # noqa: E741
        y = jnp.clip(y + self.shift, l, u)
        slope = (2 * y - l) / self.width
        intercept = -(y**2) / self.width
        # outward by more than the rounding of both
        reach = jnp.maximum(-l, u) + abs(self.shift)
        size = (2 * jnp.abs(y) - l) / self.width * reach - intercept
        intercept = intercept + slope * self.shift - 8 * self.eps * size
        slope = jnp.where(self.curved, slope, self.lines[0])
        intercept = jnp.where(self.curved, intercept, self.lines[1])
        rows = (self.coefficients * slope).reshape(-1, *self.unit.operand.shape)
        forms, shift = affine_part(self.network, self.unit.operand, rows)
        for variable, part in self.others.items():
            forms[variable] = part + forms[variable] if variable in forms else part
        return forms, self.constant + shift + (self.coefficients * intercept).sum(axis=1)

    def search(self, iterations: int) -> Array:
        """Pre-activations (R, neurons) whose tangent has the best dual bound that was met."""
        count = self.constant.shape[0]
        source = self.network.graph.source
        z = {}
        for variable, (_, (lower, upper)) in self.regions.items():
            center = (lower + upper) / 2
            z[variable] = jnp.broadcast_to(center[None], (count, *center.shape))
        bend = jnp.where(self.curved, self.coefficients / self.width, 0)

        def step(_: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
            z, best, best_y = state
            y = self._value(z) + self.at_zero[None]
            gradient, shift = self.tangent(y)
            dual, _ = interval_of(gradient, shift, self.ranges, source, self.region)
            best, best_y = (
                jnp.maximum(best, dual),
                jnp.where((dual > best)[:, None], y, best_y),
            )
            move = {v: _least(*self.regions[v], gradient[v]) - z[v] for v in z}
            gain = -sum((gradient[v] * move[v]).reshape(count, -1).sum(axis=1) for v in z)
            curvature = 2 * (bend * self._value(move) ** 2).sum(axis=1)
            safe = jnp.where(curvature > 0, curvature, 1)
            length = jnp.clip(jnp.where(curvature > 0, gain / safe, 1), 0, 1)
            z = {v: z[v] + length.reshape(-1, *(1,) * (z[v].ndim - 1)) * move[v] for v in z}
            return z, best, best_y

        y = jnp.zeros_like(self.coefficients)
        start = (z, jnp.full_like(self.constant, -jnp.inf), y)
        return lax.fori_loop(0, iterations, step, start)[2]

    def _value(self, z: dict[Variable, Array]) -> Array:
        """The linear part of the pre-activations at one z for each row."""
        total = jnp.zeros_like(self.coefficients)
        for variable, matrix in self.matrices.items():
            flat = z[variable].reshape(total.shape[0], -1)
            if matrix is not None:
                wide = matrix.reshape(matrix.shape[0], -1)
                flat = jnp.matmul(flat, wide.T, precision=lax.Precision.HIGHEST)
            total = total + flat
        return total


def _least(region: Any, box: tuple[Array, Array], rows: Array) -> Array:
    """Where in the region each row is least, of the rows' shape."""
    if region is None or region.is_box:
        return jnp.where(rows > 0, box[0][None], box[1][None])
    flat = rows.reshape(rows.shape[0], -1)
    if region.norm == 1:
        at = jax.nn.one_hot(jnp.argmax(jnp.abs(flat), axis=1), flat.shape[1], dtype=flat.dtype)
        way = at * jnp.sign(flat)
    else:
        largest = jnp.abs(flat).max(axis=1, keepdims=True)
        scaled = flat / jnp.where(largest > 0, largest, 1)
        length = jnp.sqrt((scaled**2).sum(axis=1, keepdims=True))
        way = scaled / jnp.where(length > 0, length, 1)
    return region.sample[None] - region.eps * way.reshape(rows.shape)
