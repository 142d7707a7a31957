"""A JAX function as one flat list of equations: calls opened, constants folded.

Everything that does not depend on the input is evaluated once, here; what remains are the
equations that see the perturbed array.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxact.numerics import checks
from jaxact.tracing.program import LOGADDEXP, wiring

ELEMENTWISE = frozenset(
    "abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy "
    "copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le lgamma log log1p logistic lt max min mul ne neg not or pow rem round rsqrt "
    "logaddexp select_n sign sin sinh sqrt square sub tan tanh xor".split()
)
_KEEPS_UNIFORM = ELEMENTWISE | {"broadcast_in_dim", "reshape", "squeeze", "transpose"}
_IDENTITIES = frozenset("stop_gradient copy copy_p optimization_barrier name".split())
_CALLS = ("call_jaxpr", "jaxpr", "fun_jaxpr")
_OPENED = frozenset(
    "jit pjit closed_call core_call call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr "
    "remat remat2 checkpoint custom_lin xla_call core_closed_call".split()
)


@dataclasses.dataclass(frozen=True)
class LogAddExp:
    """log(e^x + e^y) as one operation, for its own body would hide that it is smooth."""

    name: str = "logaddexp"

    def bind(self, x: Any, y: Any, **_: Any) -> Any:
        """Apply it."""
        return jnp.logaddexp(x, y)


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A constant operand.

    Attributes:
        value: the array; a tracer where the caller differentiates in it.
        uniform: whether it is one scalar, perhaps broadcast, by the way it was made.
        literal: whether it was written in the function's text, so that it is part of the
            architecture and not a weight.
    """

    value: Any
    uniform: bool
    literal: bool

    @property
    def concrete(self) -> bool:
        """Whether the value is not being traced by JAX."""
        return checks.is_concrete(self.value)

    @property
    def scalar(self) -> Any:
        """The one value of a uniform constant."""
        if not np.ndim(self.value):
            return self.value
        return evaluate(lambda v: v.reshape(-1)[0], self.value)


@dataclasses.dataclass(frozen=True, eq=False)
class Ref:
    """An array that depends on the input; compared by identity."""

    index: int
    shape: tuple[int, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Equation:
    """One primitive that sees the perturbed array.

    Attributes:
        primitive: the JAX primitive.
        params: its parameters.
        operands: `Ref` or `Known`, in order.
        outputs: the arrays it makes.
        where: "file:line (function)" where JAX knows it, else "".
    """

    primitive: Any
    params: dict[str, Any]
    operands: tuple[Any, ...]
    outputs: tuple[Ref, ...]
    where: str

    @property
    def name(self) -> str:
        """The primitive's name."""
        return self.primitive.name

    @property
    def refs(self) -> list[Ref]:
        """The operands that depend on the input."""
        return [o for o in self.operands if isinstance(o, Ref)]

    def renamed(self, old: Ref, new: Ref) -> Equation:
        """The same with one array for another."""
        operands, outputs = (
            tuple(new if o is old else o for o in side) for side in (self.operands, self.outputs)
        )
        return dataclasses.replace(self, operands=operands, outputs=outputs)

    @property
    def knowns(self) -> list[Known]:
        """The constant operands."""
        return [o for o in self.operands if isinstance(o, Known)]


def flatten(
    f: Callable[..., Any], shape: tuple[int, ...], dtype: Any
) -> tuple[Equations, Ref, Any]:
    """The equations, the input and the output (a `Ref`, or a `Known` if it ignores the input).

    Raises:
        ValueError: if f does not return exactly one array.
    """
    # a new function object each time: JAX caches traces by identity, and the weights that f
    # closes over may have been replaced since
    try:
        closed, out_shape = jax.make_jaxpr(lambda x: f(x), return_shape=True)(
            jax.ShapeDtypeStruct(shape, dtype)
        )
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise  # JAX's own kinds say more
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise type(error)(
            f"f must take an array x of shape {shape} and dtype {dtype}: {first}"
        ) from error
    leaves = jax.tree.leaves(out_shape)
    if len(leaves) != 1:
        raise ValueError(f"f must return one array, got a result with {len(leaves)} arrays")
    program = Equations()
    start = program.fresh(shape, dtype)
    (output,) = program.open(closed.jaxpr, [_constant(c) for c in closed.consts], [start])
    return program, start, output


class Equations:
    """Equations in order, each written once, and who makes which array."""

    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.maker: dict[Ref, Equation] = {}
        self._numbers = itertools.count()
        self._known: dict[Any, list[Ref]] = {}

    def fork(self) -> Equations:
        """An empty list that goes on with the same numbers and makers."""
        other = Equations()
        other.maker, other._numbers = self.maker, self._numbers
        return other

    def fresh(self, shape: tuple[int, ...], dtype: Any) -> Ref:
        """A new array."""
        return Ref(next(self._numbers), tuple(shape), np.dtype(dtype))

    def call(self, f: Callable[..., Any], operands: Sequence[Any], where: str) -> Any:
        """Append f of the operands; its result."""
        like = [jax.ShapeDtypeStruct(np.shape(_array(o)), _array(o).dtype) for o in operands]
        closed = jax.make_jaxpr(f)(*like)
        consts = [_constant(c) for c in closed.consts]
        (output,) = self.open(closed.jaxpr, consts, operands, where, fixed=True)
        return output

    def open(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        args: Sequence[Any],
        where: str = "",
        *,
        fixed: bool = False,
    ) -> list[Any]:
        """Append what a jaxpr does to `args`; its results.

        `where` is the place of the call; with `fixed` it is the place of everything inside.
        """
        scope = dict(zip(jaxpr.constvars, consts, strict=True))
        scope.update(zip(jaxpr.invars, args, strict=True))

        def read(v: Any) -> Any:
            return _literal(v) if isinstance(v, Literal) else scope[v]

        for eqn in jaxpr.eqns:
            operands = [read(v) for v in eqn.invars]
            place = where if fixed else _where(eqn) or where
            inner = _inner(eqn)
            if inner is not None and _is_logaddexp(eqn, inner[0], operands):
                outputs = self._emit(LogAddExp(), {}, operands, eqn, place)
            elif inner is not None:
                consts = [_constant(c) for c in inner[1]]
                outputs = self.open(inner[0], consts, operands, place, fixed=fixed)
            elif all(isinstance(o, Known) for o in operands):
                outputs = _fold(eqn, operands)
            elif (same := _unchanged(eqn, operands)) is not None:
                outputs = [same]
            else:
                outputs = self._emit(eqn.primitive, dict(eqn.params), operands, eqn, place)
            scope.update(zip(eqn.outvars, outputs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _emit(
        self, primitive: Any, params: dict[str, Any], operands: Sequence[Any], eqn: Any, place: str
    ) -> list[Ref]:
        """The arrays an equation makes: those of an equal one before it, if there is one."""
        key = _key(primitive, params, operands)
        if key is not None and key in self._known:
            return self._known[key]
        outputs = [self.fresh(v.aval.shape, v.aval.dtype) for v in eqn.outvars]
        equation = Equation(primitive, params, tuple(operands), tuple(outputs), place)
        self.equations.append(equation)
        self.maker.update(dict.fromkeys(outputs, equation))
        if key is not None:
            self._known[key] = outputs
        return outputs


def _array(operand: Any) -> Any:
    return operand if isinstance(operand, Ref) else operand.value


def _key(primitive: Any, params: dict[str, Any], operands: Sequence[Any]) -> Any:
    """Equal for equations that compute the same; None where that cannot be told."""
    names = []
    for operand in operands:
        if isinstance(operand, Ref):
            names.append(operand.index)
        elif operand.literal:
            value = np.asarray(operand.value)
            names.append((str(value.dtype), value.shape, value.tobytes()))
        else:
            names.append(("object", id(operand.value)))
    key = (primitive, tuple(sorted(params.items())), tuple(names))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _unchanged(eqn: Any, operands: Sequence[Any]) -> Any:
    """The operand that an equation hands on as it is, if it does."""
    if eqn.primitive.name in _IDENTITIES and len(operands) == 1:
        return operands[0]
    if eqn.primitive.name == "select_n" and isinstance(operands[0], Known):
        return _chosen(operands)
    if eqn.primitive.name in ("max", "min"):
        infinite = -np.inf if eqn.primitive.name == "max" else np.inf
        for one, other in (operands, operands[::-1]):
            if (
                isinstance(one, Known)
                and one.concrete
                and np.all(np.asarray(one.value) == infinite)
            ):
                return other if other.shape == tuple(eqn.outvars[0].aval.shape) else None
    return None


def _chosen(operands: Sequence[Any]) -> Any:
    """The case of a select whose predicate is one known value throughout."""
    which, cases = operands[0], operands[1:]
    if not which.concrete:
        return None
    values = np.unique(np.asarray(which.value))
    return cases[int(values[0])] if len(values) == 1 else None


def _is_logaddexp(eqn: Any, body: Any, operands: Sequence[Any]) -> bool:
    return (
        eqn.primitive.name == "custom_jvp_call"
        and any(isinstance(o, Ref) for o in operands)
        and wiring(body) == LOGADDEXP
    )


def _literal(v: Any) -> Known:
    value = np.asarray(v.val, v.aval.dtype)
    return Known(value, value.ndim == 0, value.ndim == 0)


def _constant(value: Any) -> Known:
    return Known(value, np.ndim(value) == 0, literal=False)


def _inner(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    if eqn.primitive.name not in _OPENED:
        return None
    for key in _CALLS:
        body = eqn.params.get(key)
        if body is not None:
            return (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())
    return None


def _fold(eqn: Any, operands: Sequence[Known]) -> list[Known]:
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # by JAX version
    result = evaluate(
        lambda *values: eqn.primitive.bind(*functions, *values, **params),
        *(o.value for o in operands),
    )
    results = result if eqn.primitive.multiple_results else [result]
    keeps = eqn.primitive.name in _KEEPS_UNIFORM and all(o.uniform for o in operands)
    literal = keeps and all(o.literal for o in operands)
    return [Known(r, keeps or np.ndim(r) == 0, literal) for r in results]


def evaluate(fn: Callable[..., Any], *values: Any) -> Any:
    """Apply fn to constants, at once unless JAX traces one of them."""
    if not checks.is_concrete(*values):
        return fn(*values)
    with jax.ensure_compile_time_eval():
        return fn(*values)


def _where(eqn: Any) -> str:
    traceback = getattr(eqn.source_info, "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        path = frame.file_name.replace("\\", "/")
        if not any(part in path for part in ("/jax/", "/flax/", "/jaxact/tracing/", "/jaxtyping/")):
            return f"{frame.file_name}:{frame.line_num} ({frame.function_name})"
    return ""
