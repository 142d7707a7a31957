"""Primitives of several perturbed arrays, written in those that have a certified rule.

Each is an identity over the real numbers, so nothing is lost but what the relaxations of its
parts lose: a maximum over many entries is one of maxima of two, a quotient a product with a
reciprocal, a matrix product of two perturbed arrays a sum of entrywise products.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxact.tracing.flatten import Equation, Known, Ref

_COMPARISONS = {"gt": True, "ge": True, "lt": False, "le": False}


def expand(equation: Equation, maker: Mapping[Ref, Equation]) -> tuple[Any, list[Any]] | None:
    """A function and its operands that make the equation's output; None if there is no such."""
    if equation.name == "div" and isinstance(equation.operands[1], Ref):
        return _quotient(equation, maker)
    if equation.name == "select_n":
        return _two_slopes(equation, maker)
    recipe = _RECIPES.get(equation.name)
    made = None if recipe is None else recipe(equation)
    return None if made is None else (made, list(equation.operands))


def _above(a: Any, b: Any) -> Any:
    """The larger of an array and a constant."""
    return b + jnp.maximum(a - b, 0)


def _maximum(a: Any, b: Any) -> Any:
    return jnp.maximum(*jnp.broadcast_arrays(a, b))


def _minimum(a: Any, b: Any) -> Any:
    return -_maximum(-a, -b)


def _clamp(low: Any, x: Any, high: Any) -> Any:
    low, high = jnp.broadcast_to(low, x.shape), jnp.broadcast_to(high, x.shape)
    return _minimum(_maximum(x, low), high)


def _logaddexp(a: Any, b: Any) -> Any:
    return jnp.logaddexp(*jnp.broadcast_arrays(a, b))


def _above_smoothly(a: Any, b: Any) -> Any:
    """log(e^a + e^b) for a constant b."""
    return b + jax.nn.softplus(a - b)


def _product(a: Any, b: Any) -> Any:
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    return jnp.broadcast_to(a, shape) * jnp.broadcast_to(b, shape)


def fold(x: Any, pair: Callable[[Any, Any], Any]) -> Any:
    """The entries along axis 0 joined two by two: the steps grow with the logarithm."""
    while (count := x.shape[0]) > 1:
        half = count // 2
        joined = pair(lax.slice_in_dim(x, 0, half), lax.slice_in_dim(x, half, 2 * half))
        rest = [lax.slice_in_dim(x, 2 * half, count)] if count % 2 else []
        x = lax.concatenate([joined, *rest], 0) if rest else joined
    return lax.squeeze(x, (0,))


def _reduction(pair: Callable[[Any, Any], Any], equation: Equation) -> Callable[[Any], Any]:
    axes = tuple(int(a) for a in equation.params["axes"])

    def reduce(x: Any) -> Any:
        kept = [d for d in range(x.ndim) if d not in axes]
        x = lax.transpose(x, (*axes, *kept))
        return fold(x.reshape(-1, *x.shape[len(axes) :]), pair)

    return reduce


def _window_reduction(
    pair: Callable[[Any, Any], Any], equation: Equation
) -> Callable[[Any], Any] | None:
    p, shape = equation.params, equation.refs[0].shape
    if any(d != 1 for d in p["base_dilation"]):
        return None
    places = [
        _window_places(size, *of_axis)
        for size, *of_axis in zip(
            shape, p["window_dimensions"], p["window_strides"], p["padding"],
            p["window_dilation"], strict=True,
        )
    ]  # fmt: skip
    found = [place for place in places if place is not None]
    if len(found) < len(places):
        return None

    def reduce(x: Any) -> Any:
        return fold(_windows(x, found), pair)

    return reduce


def _window_places(
    size: int, window: int, stride: int, padding: tuple[int, int], dilation: int
) -> np.ndarray | None:
    """Entries (window, places) of an axis that each window reads.

    Padding never wins, so an entry outside is replaced by the first one inside.
    """
    count = (size + sum(padding) - dilation * (window - 1) - 1) // stride + 1
    at = np.arange(count) * stride - padding[0] + dilation * np.arange(window)[:, None]
    inside = (at >= 0) & (at < size)
    if not inside.any(0).all():
        return None
    first = np.take_along_axis(at, inside.argmax(0)[None], 0)
    return np.where(inside, at, first)


def _windows(x: Any, places: list[np.ndarray]) -> Any:
    """The entries of each window along a new axis 0."""
    whole = [p.T.reshape(-1) for p in places]
    if all((w == np.arange(len(w))).all() for w in whole):  # side by side: no entry is copied
        x = lax.slice(x, [0] * x.ndim, [len(w) for w in whole])
        x = x.reshape(*itertools.chain(*(p.shape[::-1] for p in places)))
        x = lax.transpose(x, (*range(1, x.ndim, 2), *range(0, x.ndim, 2)))
        return x.reshape(-1, *(p.shape[1] for p in places))
    strides = np.cumprod([1, *x.shape[:0:-1]])[::-1]
    rank = len(places)
    index = np.zeros((), np.int64)
    for d, (place, stride) in enumerate(zip(places, strides, strict=True)):
        split = [1] * (2 * rank)
        split[d], split[rank + d] = place.shape
        index = index + place.reshape(split) * stride
    index = index.reshape(-1, *(p.shape[1] for p in places)).astype(np.int32)
    return x.reshape(-1).at[index].get(mode="promise_in_bounds")


def _matrix_product(equation: Equation) -> Callable[[Any, Any], Any] | None:
    if len(equation.refs) != 2:
        return None
    contract, batch = equation.params["dimension_numbers"]

    def split(x: Any, side: int) -> Any:
        """Batch, free and contracted axes, each as one."""
        free = [d for d in range(x.ndim) if d not in (*contract[side], *batch[side])]
        x = lax.transpose(x, (*batch[side], *free, *contract[side]))
        cut = len(batch[side]), len(batch[side]) + len(free)
        parts = x.shape[: cut[0]], x.shape[cut[0] : cut[1]], x.shape[cut[1] :]
        return x.reshape(*(int(np.prod(p)) for p in parts))

    def multiply(a: Any, b: Any) -> Any:
        a, b = split(a, 0)[:, :, None], split(b, 1)[:, None]
        return _product(a, b).sum(-1).reshape(equation.outputs[0].shape)

    return multiply


def _quotient(equation: Equation, maker: Mapping[Ref, Equation]) -> tuple[Any, list[Any]]:
    """A / b = a (1 / b), the reciprocal taken before b is broadcast."""
    top, bottom = equation.operands
    spread = maker.get(bottom)
    if spread is None or spread.name != "broadcast_in_dim" or len(spread.operands) != 1:
        return lambda a, b: _product(a, 1 / b), [top, bottom]

    def divide(a: Any, b: Any) -> Any:
        return _product(a, spread.primitive.bind(1 / b, **spread.params))

    return divide, [top, spread.operands[0]]


def _two_slopes(equation: Equation, maker: Mapping[Ref, Equation]) -> Any:
    """Where(x > 0, a x, b x) = b x + (a - b) relu(x), for arrays a and b (PReLU by channel)."""
    which, below, above = equation.operands
    test = maker.get(which) if isinstance(which, Ref) else None
    if test is None or test.name not in _COMPARISONS:
        return None
    (x,), (threshold,) = test.refs, test.knowns
    if not _is_zero(threshold):
        return None
    if _COMPARISONS[test.name] != (x is test.operands[0]):
        below, above = above, below
    slopes = [_slope(branch, x, maker) for branch in (below, above)]
    if None in slopes:
        return None

    def sides(x: Any, low: Any, high: Any) -> Any:
        return low * x + (high - low) * jnp.maximum(x, 0)

    return sides, [x, *slopes]


def _slope(branch: Any, x: Ref, maker: Mapping[Ref, Equation]) -> Known | None:
    """The constant that x is multiplied with to make a branch."""
    if branch is x:
        return Known(np.ones((), x.dtype), uniform=True, literal=True)
    if isinstance(branch, Known):
        return branch if _is_zero(branch) else None
    made = maker.get(branch)
    return made.knowns[0] if made is not None and made.name == "mul" and made.refs == [x] else None


def _is_zero(known: Known) -> bool:
    return known.concrete and not np.any(np.asarray(known.value))


def _of_two(both: Any, with_constant: Any, equation: Equation) -> Any:
    """The recipe for two perturbed arrays, or for one and a constant in either place."""
    if len(equation.refs) == 2:
        return both
    constant_first = isinstance(equation.operands[0], Known)
    return (lambda a, b: with_constant(b, a)) if constant_first else with_constant


_RECIPES: dict[str, Callable[[Equation], Callable[..., Any] | None]] = {
    "max": functools.partial(_of_two, _maximum, _above),
    "min": lambda _: _minimum,
    "clamp": lambda _: _clamp,
    "logaddexp": functools.partial(_of_two, _logaddexp, _above_smoothly),
    "mul": lambda _: _product,
    "dot_general": _matrix_product,
    "reduce_max": functools.partial(_reduction, _maximum),
    "reduce_min": functools.partial(_reduction, _minimum),
    "reduce_prod": functools.partial(_reduction, _product),
    "reduce_window_max": functools.partial(_window_reduction, _maximum),
    "reduce_window_min": functools.partial(_window_reduction, _minimum),
}
EXPANDED = tuple(sorted({*_RECIPES, "div"}))
