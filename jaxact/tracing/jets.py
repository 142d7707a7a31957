# ruff: noqa: D102, D107 (a method is the rule of the primitive it is named after)
"""Certified enclosures of f, f' and f'' over an interval, from f's own jaxpr.

One rule a primitive carries intervals of the value, the first and the second derivative (in the
sense of distributions, so kinks count: relu'' is not 0 but a non-negative mass). It is the plain
function that is read, never its `grad`: derivatives of derivatives lose every kink, and a
hand-written derivative rule may be false. The same rules run over NumPy in float64 (analysis on
the host) and over jax.numpy (inside a compiled kernel).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks
from jaxact.tracing.elementary import UNARY, softplus_rule
from jaxact.tracing.intervals import Arithmetic, Interval
from jaxact.tracing.program import STRUCTURAL, Known, Program, Step, program_of, structural

Jet = tuple[Interval, Interval | None, Interval | None]
"""Enclosures of f, f' and f''; None stands for a derivative that is zero (or not asked for)."""


class Truth:
    """A predicate over an interval: `yes` where it always holds, `no` where it never does."""

    def __init__(self, yes: Any, no: Any) -> None:
        self.yes, self.no = yes, no


def jets(
    fn: Callable[..., Any], low: Any, high: Any, theta: tuple[Any, ...] = ()
) -> tuple[Interval, Interval, Interval]:
    """Enclosures of f, f' and f'' over [low, high], elementwise.

    Args:
        fn: elementwise function fn(x, *theta).
        low: lower ends, any shape, float32 or float64.
        high: upper ends, the same shape.
        theta: parameters; traced ones are allowed.

    Returns:
        Three pairs (low, high): for every x in the interval f(x), f'(x) and f''(x) lie in them.

    Raises:
        NotImplementedError: for a primitive without a rule, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> value, slope, curvature = jets(jnp.tanh, jnp.array(0.0), jnp.array(1.0))
        >>> [round(float(v), 4) for v in (*slope, *curvature)]
        [0.42, 1.0, -0.7698, 0.0]
    """
    checks.finite("low", low)
    checks.finite("high", high)
    dtype = jnp.result_type(low, high, float)
    low, high = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    leaves = jax.tree.leaves(theta)
    traced = not checks.is_concrete(leaves)
    program = program_of(fn, theta, traced=traced)
    ar = Arithmetic(jnp, low.dtype)
    return evaluate(program, ar, (low, high), tuple(leaves) if traced else ())


def predicates(
    program: Program, ar: Arithmetic, x: Interval, theta: tuple[Any, ...] = ()
) -> dict[Any, Truth]:
    """What is known over x of every predicate that chooses a branch, by its operands."""
    keys = _choices(program)
    if not keys:
        return {}
    known: dict[Any, Any] = {}
    evaluate(program, ar, x, theta, 0, record=known)
    return {key: known[key] for key in keys}


def _choices(program: Program) -> tuple[Any, ...]:
    """The operations whose results choose between branches of floats, each once."""
    made = {step.output: step for step in program.steps}
    chosen = (step.inputs[0] for step in program.steps if step.name == "select_n")
    return tuple(dict.fromkeys(_key(made[i]) for i in chosen if i in made))


def _key(step: Step) -> tuple[Any, ...]:
    def operand(value: Any) -> Any:
        return (
            ("constant", float(np.reshape(value.value, ()))) if isinstance(value, Known) else value
        )

    scalar = all(not isinstance(i, Known) or np.size(i.value) == 1 for i in step.inputs)
    return (step.name, *map(operand, step.inputs)) if scalar else (step.output,)


def restrict(
    key: Any, a: Any, b: Any, ar: Arithmetic, theta: tuple[Any, ...], *, way: bool
) -> tuple[Any, Any]:
    """The part of cells [a, b] where a predicate like x > c can hold (`way`) or fail.

    Only for cells that hold c; of a predicate that compares anything but x, all of the cell.
    """
    name, *operands = key
    if name not in ("gt", "ge", "lt", "le") or (operands[0] == 0) == (operands[1] == 0):
        return a, b
    other = operands[1] if operands[0] == 0 else operands[0]
    if isinstance(other, tuple):
        low, high = ar.constant(other[1])
    elif other <= len(theta) and not ar.xp.ndim(theta[other - 1]):
        low = high = ar.xp.asarray(theta[other - 1]).astype(ar.dtype)
    else:
        return a, b
    above = (name in ("gt", "ge")) == (operands[0] == 0)
    if above == way:
        return ar.xp.clip(low, a, b), b
    return a, ar.xp.clip(high, a, b)


def evaluate(
    program: Program, ar: Arithmetic, x: Interval, theta: tuple[Any, ...] = (), order: int = 2,
    rules: Callable[[Arithmetic, int], Rules] | None = None,
    *, branches: dict[Any, Any] | None = None, record: dict[Any, Any] | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """The jets of a program up to `order` (0, 1 or 2), every entry broadcast to x's shape.

    With `branches` (predicate -> whether it holds) they are those of the smooth function that
    continues the chosen branches; `record` receives what is known of every operation.
    """
    xp = ar.xp
    one = (xp.ones_like(x[0]), xp.ones_like(x[0]))
    slots: dict[int, Any] = {0: (x, one if order else None, None)}
    for i, leaf in enumerate(theta, 1):
        value = xp.asarray(leaf).astype(ar.dtype)
        slots[i] = ((value, value), None, None)

    def read(operand: Any) -> Any:
        if not isinstance(operand, Known):
            return slots[operand]
        value = np.asarray(operand.value)
        if value.dtype.kind == "b":
            return Truth(xp.asarray(value), xp.asarray(~value))
        return ar.constant(value), None, None

    use = (rules or Rules)(ar, order)
    for step in program.steps:
        found = use.apply(step, [read(i) for i in step.inputs])
        if isinstance(found, Truth) and (branches or record is not None):
            key = _key(step)
            if record is not None:
                record[key] = found
            if branches and key in branches:
                found = Truth(branches[key], ~branches[key])
        slots[step.output] = found
    result = read(program.result)
    if isinstance(result, Truth):
        result = use.number(result)
    shape = x[0].shape
    zero = xp.zeros(shape, ar.dtype)
    filled = [(zero, zero) if part is None else ar.undefined(part) for part in result[: order + 1]]
    return tuple(tuple(xp.broadcast_to(end, shape) for end in part) for part in filled)


class Rules:
    """The rule of every primitive."""

    def __init__(self, ar: Arithmetic, order: int) -> None:
        self.ar, self.order = ar, order

    def apply(self, step: Step, operands: list[Any]) -> Any:
        name = step.name
        if name in UNARY:
            return self.unary(UNARY[name], operands[0])
        if name in STRUCTURAL:
            jet = operands[0]
            if isinstance(jet, Truth):
                return Truth(structural(step, jet.yes), structural(step, jet.no))
            return tuple(
                None if part is None else tuple(structural(step, end) for end in part)
                for part in jet
            )
        rule = getattr(self, f"do_{name}", None)
        if rule is None:
            raise NotImplementedError(f"no interval rule for the primitive '{name}'")
        return rule(step, *operands)

    # ---- pieces shared by the rules

    def unary(self, rule: Any, a: Any) -> Any:
        """phi(a): phi, phi' and phi'' are evaluated over the range of a."""
        value, first, second = a
        active = self.order if first is not None or second is not None else 0
        v, p, q = rule(self.ar, value, active)
        d1 = d2 = None
        if active >= 1 and first is not None:
            d1 = self.ar.mul(p, first)
        if active >= 2:
            d2 = self.add_parts(
                None if first is None else self.ar.mul(q, self.ar.square(first)),
                None if second is None else self.ar.mul(p, second),
            )
        return v, d1, d2

    def add_parts(self, a: Interval | None, b: Interval | None) -> Interval | None:
        if a is None or b is None:
            return b if a is None else a
        return self.ar.add(a, b)

    def mul_parts(self, a: Interval | None, b: Interval | None) -> Interval | None:
        return None if a is None or b is None else self.ar.mul(a, b)

    def number(self, truth: Truth) -> Any:
        """A predicate as the number 0 or 1."""
        xp = self.ar.xp
        low = xp.where(truth.yes, 1.0, 0.0).astype(self.ar.dtype)
        high = xp.where(truth.no, 0.0, 1.0).astype(self.ar.dtype)
        known = truth.yes | truth.no
        return (low, high), self.unknown(known), self.unknown(known)

    def unknown(self, known: Any) -> Interval:
        """0 where known, else every real number."""
        xp = self.ar.xp
        return (
            xp.where(known, 0.0, -np.inf).astype(self.ar.dtype),
            xp.where(known, 0.0, np.inf).astype(self.ar.dtype),
        )

    def zeros(self, part: Interval | None, like: Any) -> Interval:
        if part is not None:
            return part
        zero = self.ar.xp.zeros_like(like)
        return zero, zero

    # ---- arithmetic

    def do_neg(self, _: Step, a: Any) -> Any:
        return tuple(None if part is None else self.ar.neg(part) for part in a)

    def do_add(self, _: Step, a: Any, b: Any) -> Any:
        return tuple(self.add_parts(p, q) for p, q in zip(a, b, strict=True))

    do_add_any = do_add

    def do_sub(self, step: Step, a: Any, b: Any) -> Any:
        if step.inputs[0] == step.inputs[1] and isinstance(step.inputs[0], int):
            zero = self.ar.xp.zeros_like(a[0][0])
            return (zero, zero), None, None
        return self.do_add(step, a, self.do_neg(step, b))

    def do_mul(self, step: Step, a: Any, b: Any) -> Any:
        if isinstance(step.inputs[0], int) and step.inputs[0] == step.inputs[1]:
            return self.unary(UNARY["square"], a)
        return self.product(a, b)

    def product(self, a: Any, b: Any) -> Any:
        ar = self.ar
        cross = self.mul_parts(a[1], b[1])
        d1 = self.add_parts(self.mul_parts(a[1], b[0]), self.mul_parts(a[0], b[1]))
        d2 = self.add_parts(self.mul_parts(a[2], b[0]), self.mul_parts(a[0], b[2]))
        if self.order >= 2 and cross is not None:
            d2 = self.add_parts(d2, ar.scale(cross, 2.0))
        return ar.mul(a[0], b[0]), d1, d2

    def do_div(self, step: Step, a: Any, b: Any) -> Any:
        if b[1] is None and b[2] is None:
            return tuple(None if part is None else self.quotient(part, b[0]) for part in a)
        return self.product(a, self.unary(UNARY["reciprocal"], b))

    def quotient(self, a: Interval, b: Interval) -> Interval:
        """A / b for a b that is constant over the interval."""
        ar, xp = self.ar, self.ar.xp
        ends = [x / y for x in a for y in b]
        low = xp.minimum(xp.minimum(ends[0], ends[1]), xp.minimum(ends[2], ends[3]))
        high = xp.maximum(xp.maximum(ends[0], ends[1]), xp.maximum(ends[2], ends[3]))
        low, high = ar.widen((low, high), 1.0)
        positive = ((a[0] >= 0) & (b[0] > 0)) | ((a[1] <= 0) & (b[1] < 0))
        negative = ((a[0] >= 0) & (b[1] < 0)) | ((a[1] <= 0) & (b[0] > 0))
        low = xp.where(positive, xp.maximum(low, 0), low)
        high = xp.where(negative, xp.minimum(high, 0), high)
        zero = (b[0] <= 0) & (b[1] >= 0)
        return xp.where(zero, -np.inf, low), xp.where(zero, np.inf, high)

    def do_integer_pow(self, step: Step, a: Any) -> Any:
        return self.unary(_power_rule(int(step.params["y"])), a)

    def do_pow(self, step: Step, a: Any, b: Any) -> Any:
        exponent = step.inputs[1]
        if isinstance(exponent, Known) and np.size(exponent.value) == 1:
            n = float(np.reshape(exponent.value, ()))
            if n == round(n) and abs(n) <= 64:
                return self.unary(_power_rule(int(n)), a)
            return self.unary(_real_power_rule(n), a)
        # a^b = exp(b log a), for a > 0
        return self.unary(UNARY["exp"], self.product(b, self.unary(UNARY["log"], a)))

    def do_logaddexp(self, step: Step, a: Any, b: Any) -> Any:
        return self.do_add(step, b, self.unary(softplus_rule, self.do_sub(step, a, b)))

    # ---- kinks and jumps

    def do_max(self, step: Step, a: Any, b: Any) -> Any:
        """Max never creates negative curvature, so the lower end of f'' survives a kink."""
        ar, xp = self.ar, self.ar.xp
        value = ar.maximum(a[0], b[0])
        first = a[0][0] >= b[0][1]
        second = b[0][0] >= a[0][1]
        parts: list[Any] = [value]
        for k in (1, 2):
            if k > self.order or (a[1] is None and b[1] is None):
                parts.append(None)
                continue
            p, q = self.zeros(a[k], value[0]), self.zeros(b[k], value[0])
            low = xp.minimum(p[0], q[0])
            high = xp.maximum(p[1], q[1]) if k == 1 else xp.full_like(low, np.inf)
            parts.append(
                tuple(
                    xp.where(first, x, xp.where(second, y, z))
                    for x, y, z in zip(p, q, (low, high), strict=True)
                )
            )
        return tuple(parts)

    def do_min(self, step: Step, a: Any, b: Any) -> Any:
        return self.do_neg(step, self.do_max(step, self.do_neg(step, a), self.do_neg(step, b)))

    def do_clamp(self, step: Step, low: Any, a: Any, high: Any) -> Any:
        return self.do_min(step, self.do_max(step, a, low), high)

    def do_abs(self, step: Step, a: Any) -> Any:
        _, first, second = self.do_max(step, a, self.do_neg(step, a))
        return self.ar.magnitude(a[0]), first, second

    def do_select_n(self, _: Step, which: Any, *cases: Any) -> Any:
        """Where the predicate is undetermined the branches may meet in a jump."""
        xp = self.ar.xp
        if not isinstance(which, Truth) or len(cases) != 2:
            raise NotImplementedError("no interval rule for the primitive 'select_n' with integers")
        no, yes = cases
        if isinstance(no, Truth) or isinstance(yes, Truth):
            no, yes = self.truth(no), self.truth(yes)
            return Truth(
                xp.where(which.yes, yes.yes, xp.where(which.no, no.yes, yes.yes & no.yes)),
                xp.where(which.yes, yes.no, xp.where(which.no, no.no, yes.no & no.no)),
            )
        value = tuple(
            xp.where(which.yes, y, xp.where(which.no, n, h))
            for y, n, h in zip(yes[0], no[0], self.ar.hull(yes[0], no[0]), strict=True)
        )
        parts: list[Any] = [value]
        for k in (1, 2):
            if k > self.order:
                parts.append(None)
                continue
            p, q = self.zeros(yes[k], value[0]), self.zeros(no[k], value[0])
            parts.append(
                tuple(
                    xp.where(which.yes, x, xp.where(which.no, y, wide))
                    for x, y, wide in zip(p, q, (-np.inf, np.inf), strict=True)
                )
            )
        return tuple(parts)

    def do_sign(self, _: Step, a: Any) -> Any:
        return self.stairs(a, self.ar.xp.sign(a[0][0]), self.ar.xp.sign(a[0][1]))

    def do_floor(self, _: Step, a: Any) -> Any:
        return self.stairs(a, self.ar.xp.floor(a[0][0]), self.ar.xp.floor(a[0][1]))

    def do_ceil(self, _: Step, a: Any) -> Any:
        return self.stairs(a, self.ar.xp.ceil(a[0][0]), self.ar.xp.ceil(a[0][1]))

    def do_round(self, _: Step, a: Any) -> Any:
        return self.stairs(a, self.ar.xp.floor(a[0][0]), self.ar.xp.ceil(a[0][1]))

    def stairs(self, a: Any, low: Any, high: Any) -> Any:
        if a[1] is None and a[2] is None:
            return (low, high), None, None
        known = low == high
        return (low, high), self.unknown(known), self.unknown(known)

    # ---- predicates

    def truth(self, a: Any) -> Truth:
        if isinstance(a, Truth):
            return a
        low, high = a[0]
        return Truth((low > 0) | (high < 0), (low == 0) & (high == 0))

    def do_gt(self, _: Step, a: Any, b: Any) -> Truth:
        return Truth(a[0][0] > b[0][1], a[0][1] <= b[0][0])

    def do_ge(self, _: Step, a: Any, b: Any) -> Truth:
        return Truth(a[0][0] >= b[0][1], a[0][1] < b[0][0])

    def do_lt(self, step: Step, a: Any, b: Any) -> Truth:
        return self.do_gt(step, b, a)

    def do_le(self, step: Step, a: Any, b: Any) -> Truth:
        return self.do_ge(step, b, a)

    def do_eq(self, step: Step, a: Any, b: Any) -> Truth:
        (al, ah), (bl, bh) = a[0], b[0]
        apart = (ah < bl) | (bh < al)
        same = (al == ah) & (bl == bh) & (al == bl)
        if step.inputs[0] == step.inputs[1] and isinstance(step.inputs[0], int):
            apart, same = self.ar.xp.zeros_like(apart), self.ar.xp.ones_like(same)
        return Truth(same, apart)

    def do_ne(self, step: Step, a: Any, b: Any) -> Truth:
        return self.do_not(step, self.do_eq(step, a, b))

    def do_not(self, _: Step, a: Any) -> Truth:
        a = self.truth(a)
        return Truth(a.no, a.yes)

    def do_and(self, _: Step, a: Any, b: Any) -> Truth:
        a, b = self.truth(a), self.truth(b)
        return Truth(a.yes & b.yes, a.no | b.no)

    def do_or(self, _: Step, a: Any, b: Any) -> Truth:
        a, b = self.truth(a), self.truth(b)
        return Truth(a.yes | b.yes, a.no & b.no)

    def do_is_finite(self, _: Step, a: Any) -> Truth:
        """The function is certified over the real numbers, where every value is finite."""
        yes = self.ar.xp.ones_like(a[0][0], dtype=bool)
        return Truth(yes, ~yes)

    def do_convert_element_type(self, step: Step, a: Any) -> Any:
        kind = np.dtype(step.params["new_dtype"]).kind
        if kind == "b":
            return self.truth(a)
        if isinstance(a, Truth):
            return self.number(a)
        if kind in "fV" or a[1] is None and a[2] is None:
            return a
        raise NotImplementedError(
            "no interval rule for the primitive 'convert_element_type' to integers"
        )


def _power_rule(n: int) -> Callable[..., Any]:
    def rule(ar: Arithmetic, v: Interval, order: int) -> tuple[Any, Any, Any]:
        first = second = None
        if order >= 1:
            first = ar.scale(ar.power(v, n - 1), float(n))
        if order >= 2:
            second = ar.scale(ar.power(v, n - 2), float(n * (n - 1)))
        return ar.power(v, n), first, second

    return rule


def _real_power_rule(n: float) -> Callable[..., Any]:
    def power(ar: Arithmetic, v: Interval, p: float) -> Interval:
        """x^p on x >= 0, monotone; outside, every real number."""
        xp = ar.xp
        low, high = xp.maximum(v[0], 0), xp.maximum(v[1], 0)
        exponent = xp.asarray(p, ar.dtype)
        # rounding the exponent and the logarithm inside pow is amplified by |p log x|
        ends = []
        for x in (low, high):
            y = xp.power(xp.where(x > 0, x, 1), exponent)
            y = xp.where(x > 0, y, 0.0 if p > 0 else np.inf)
            size = 1 + xp.abs(p * xp.log(xp.where(x > 0, x, 1)))
            err = (8 * ar.eps) * size * xp.abs(y) + ar.tiny
            ends.append(ar.undefined((xp.maximum(y - err, 0), y + err)))
        low, high = ar.hull(*ends)
        outside = ~((v[0] >= 0) & (v[1] >= 0))
        return xp.where(outside, -np.inf, low), xp.where(outside, np.inf, high)

    def rule(ar: Arithmetic, v: Interval, order: int) -> tuple[Any, Any, Any]:
        first = second = None
        if order >= 1:
            first = ar.mul(ar.constant(n), power(ar, v, n - 1))
        if order >= 2:
            second = ar.mul(ar.constant(n * (n - 1)), power(ar, v, n - 2))
        return power(ar, v, n), first, second

    return rule
