"""Softmax, logsumexp and the variance, recognised and written by differences of their inputs.

softmax_i = 1 / sum_j exp(x_j - x_i): what the entries share cancels exactly, and so does the shift
by the maximum that the usual code subtracts, whatever it is. Relaxing the usual code step by step
would lose both. Just so the mean square of the differences from the mean is the variance, where
the mean square less the squared mean relaxes two large terms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.tracing.expand import fold
from jaxact.tracing.flatten import Equation, Ref, evaluate

_LAYOUT = frozenset("broadcast_in_dim reshape squeeze transpose".split())


def recognise(
    equation: Equation, maker: Mapping[Ref, Equation]
) -> tuple[Callable[[Any], Any], Ref] | None:
    """The function and the array it acts on that make the equation's output, if it is one."""
    for rule in _RULES.get(equation.name, ()):
        if (found := rule(equation, maker)) is not None:
            return found
    return None


@dataclasses.dataclass(frozen=True)
class _Exponentials:
    """An array that holds sums of exp(exponent) over some axes.

    Attributes:
        exponent: what is exponentiated.
        terms: exp of it.
        axes: summed over.
        rows: for each entry of `exponent`, the number of its sum.
        held: for each entry of the array, the number of the sum it holds.
    """

    exponent: Ref
    terms: Ref
    axes: tuple[int, ...]
    rows: np.ndarray
    held: np.ndarray


def _exponentials(ref: Any, maker: Mapping[Ref, Equation]) -> _Exponentials | None:
    origin, held = _layout(ref, maker, _LAYOUT | {"abs"})
    total = maker.get(origin)
    if total is None or total.name != "reduce_sum":
        return None
    (terms,) = total.refs
    power = maker.get(terms)
    if power is None or power.name != "exp":
        return None
    (exponent,) = power.refs
    axes = tuple(int(a) for a in total.params["axes"])
    number = np.expand_dims(np.arange(held.max() + 1).reshape(origin.shape), axes)
    return _Exponentials(exponent, terms, axes, np.broadcast_to(number, terms.shape), held)


def _layout(
    ref: Ref, maker: Mapping[Ref, Equation], through: frozenset[str] = _LAYOUT
) -> tuple[Ref, np.ndarray]:
    """The array that `ref` is a rearranged copy of, and which of its entries each entry is."""
    steps = []
    while (made := maker.get(ref)) is not None and made.name in through and len(made.operands) == 1:
        steps.append(made)
        (ref,) = made.refs
    entries = np.arange(int(np.prod(ref.shape)), dtype=np.int32).reshape(ref.shape)
    for made in reversed(steps):
        if made.name != "abs":
            bind = made.primitive.bind
            entries = evaluate(lambda v, bind=bind, made=made: bind(v, **made.params), entries)
    return ref, np.asarray(entries)


def _shift(z: Ref, axes: Sequence[int], maker: Mapping[Ref, Equation]) -> Any:
    """Where z = y - b with b constant along the axes: y, what b is a copy of, and its entries."""
    made = maker.get(z)
    if made is None or made.name != "sub" or len(made.refs) != 2:
        return None
    y, b = made.refs
    if y.shape != z.shape:
        return None
    origin, entries = _layout(b, maker)
    entries = np.broadcast_to(entries, z.shape)
    for axis in axes:
        if (entries != entries.take([0], axis)).any():
            return None
    return y, origin, entries


def _unshifted(z: Ref, axes: Sequence[int], maker: Mapping[Ref, Equation]) -> Ref:
    while (found := _shift(z, axes, maker)) is not None:
        z = found[0]
    return z


def _softmax(equation: Equation, maker: Mapping[Ref, Equation]) -> Any:
    if len(equation.refs) != 2:
        return None
    top, bottom = equation.refs
    sums = _exponentials(bottom, maker)
    if sums is None or top is not sums.terms or not _aligned(sums.held, sums.rows):
        return None
    return _over(sums.axes, softmax), _unshifted(sums.exponent, sums.axes, maker)


def _log_softmax(equation: Equation, maker: Mapping[Ref, Equation]) -> Any:
    if len(equation.refs) != 2:
        return None
    z, log = equation.refs
    sums, held = _log_of_exponentials(log, maker)
    if sums is None or z is not sums.exponent or not _aligned(held, sums.rows):
        return None
    return _over(sums.axes, log_softmax), _unshifted(z, sums.axes, maker)


def _shifted_sum(equation: Equation, maker: Mapping[Ref, Equation]) -> Any:
    """Log sum exp(y - b) + b."""
    for log, shift in (equation.operands, equation.operands[::-1]):
        if not isinstance(log, Ref) or not isinstance(shift, Ref):
            return None
        sums, held = _log_of_exponentials(log, maker)
        found = None if sums is None else _shift(sums.exponent, sums.axes, maker)
        if sums is None or found is None:
            continue
        y, origin, entries = found
        shape = equation.outputs[0].shape
        added, which = _layout(shift, maker)
        wanted = np.zeros(sums.rows.max() + 1, np.int32)
        wanted[sums.rows.reshape(-1)] = entries.reshape(-1)
        held = np.broadcast_to(held, shape)
        if added is origin and _aligned(which, wanted[held]):
            return _sum_over(sums.axes, held), y
    return None


def _plain_sum(equation: Equation, maker: Mapping[Ref, Equation]) -> Any:
    sums, held = _log_of_exponentials(equation.outputs[0], maker)
    return None if sums is None else (_sum_over(sums.axes, held), sums.exponent)


def _log_of_exponentials(ref: Ref, maker: Mapping[Ref, Equation]) -> Any:
    """The sums whose logarithm `ref` holds, and for each of its entries which."""
    origin, entries = _layout(ref, maker)
    made = maker.get(origin)
    if made is None or made.name != "log":
        return None, None
    sums = _exponentials(made.refs[0], maker)
    return (None, None) if sums is None else (sums, sums.held.reshape(-1)[entries])


def _aligned(have: np.ndarray, want: np.ndarray) -> bool:
    """Whether `have` is `want` once broadcast."""
    fits = have.ndim == want.ndim and all(
        h in (1, w) for h, w in zip(have.shape, want.shape, strict=True)
    )
    return fits and bool((have == want).all())


def _over(axes: tuple[int, ...], f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Apply a function of the last axis over `axes`."""

    def apply(x: Any) -> Any:
        order = [d for d in range(x.ndim) if d not in axes] + list(axes)
        moved = jnp.transpose(x, order)
        flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
        return jnp.transpose(f(flat).reshape(moved.shape), tuple(int(d) for d in np.argsort(order)))

    return apply


def _sum_over(axes: tuple[int, ...], held: np.ndarray) -> Callable[[Any], Any]:
    """Logsumexp over `axes`, its entries laid out as `held` says."""

    def apply(x: Any) -> Any:
        order = [d for d in range(x.ndim) if d not in axes] + list(axes)
        moved = jnp.transpose(x, order)
        return _laid_out(logsumexp(moved.reshape(held.max() + 1, -1)), held)

    return apply


def _laid_out(values: Any, held: np.ndarray) -> Any:
    """The entries of an array in the places that `held` gives."""
    if held.size == values.size and (held.reshape(-1) == np.arange(held.size)).all():
        return values.reshape(held.shape)
    return values.reshape(-1).at[held].get(mode="promise_in_bounds")


def _variance(equation: Equation, maker: Mapping[Ref, Equation]) -> Any:
    """The mean square less the squared mean, whose relaxations are of terms far too large."""
    if len(equation.refs) != 2:
        return None
    squares, (root, turn) = _mean(equation.refs[0], maker), _layout(equation.refs[1], maker)
    mean = _squared(root, maker)
    means = None if mean is None else _mean(mean, maker)
    if squares is None or means is None:
        return None
    x, axes, held = means
    if _squared(squares[0], maker) is not x or squares[1] != axes:
        return None
    if not _aligned(held.reshape(-1)[turn], squares[2]):
        return None

    def variance(v: Any) -> Any:
        apart = v - v.mean(axes, keepdims=True)
        return _laid_out(jnp.square(apart).mean(axes), squares[2])

    return variance, x


def _mean(ref: Ref, maker: Mapping[Ref, Equation]) -> tuple[Ref, tuple[int, ...], Any] | None:
    """What `ref` is a mean of, over which axes, and the number of the mean in each entry."""
    origin, outer = _layout(ref, maker)
    made = maker.get(origin)
    if (
        made is None
        or made.name != "div"
        or len(made.refs) != 1
        or origin.shape != made.refs[0].shape
    ):
        return None
    root, held = _layout(made.refs[0], maker)
    total = maker.get(root)
    if total is None or total.name != "reduce_sum":
        return None
    axes = tuple(int(a) for a in total.params["axes"])
    count = np.prod([total.refs[0].shape[a] for a in axes])
    (by,) = made.knowns
    if not by.concrete or np.any(np.asarray(by.value) != count):
        return None
    return total.refs[0], axes, held.reshape(-1)[outer]


def _squared(ref: Ref, maker: Mapping[Ref, Equation]) -> Ref | None:
    """X where `ref` is x^2."""
    made = maker.get(ref)
    if made is None:
        return None
    power = made.name == "integer_pow" and made.params["y"] == 2
    product = made.name == "mul" and len(made.refs) == 2 and made.refs[0] is made.refs[1]
    return made.refs[0] if made.name == "square" or power or product else None


_RULES = {
    "div": (_softmax,),
    "sub": (_log_softmax, _variance),
    "add": (_shifted_sum,),
    "log": (_plain_sum,),
}


def softmax(x: Any) -> Any:
    """Softmax of the last axis: 1 / (1 + sum of exp(x_j - x_i) over the others)."""
    if x.shape[-1] == 2:
        return jax.nn.sigmoid(x - x[..., ::-1])
    return 1 / jnp.maximum(_relative(x), 1)


def log_softmax(x: Any) -> Any:
    """The logarithm of `softmax`."""
    if x.shape[-1] == 2:
        return -jax.nn.softplus(x[..., ::-1] - x)
    return -jnp.log(jnp.maximum(_relative(x), 1))


def logsumexp(x: Any) -> Any:
    """Logsumexp of the last axis, two entries at a time."""
    return fold(jnp.moveaxis(x, -1, 0), jnp.logaddexp)


def _relative(x: Any) -> Any:
    """Sum_j exp(x_j - x_i), for every i; at least 1, the term of i itself."""
    return jnp.exp(x[..., None, :] - x[..., :, None]).sum(-1)
