"""A JAX function as one flat list of equations: calls opened, constants folded.

Everything that does not depend on the input is evaluated once, here; what remains are the
equations that see the perturbed array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxact.numerics import checks
from jaxact.tracing.program import _LOGADDEXP, _shape_of

ELEMENTWISE = frozenset(
    "abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy "
    "copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow "
    "is_finite le lgamma log log1p logistic lt max min mul ne neg not or pow rem round rsqrt "
    "logaddexp select_n sign sin sinh sqrt square sub tan tanh xor".split()
)
_KEEPS_UNIFORM = ELEMENTWISE | {"broadcast_in_dim", "reshape", "squeeze", "transpose"}
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
        return _evaluate(lambda v: v.reshape(-1)[0], self.value)


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

    @property
    def knowns(self) -> list[Known]:
        """The constant operands."""
        return [o for o in self.operands if isinstance(o, Known)]


def flatten(
    f: Callable[..., Any], shape: tuple[int, ...], dtype: Any
) -> tuple[Ref, list[Equation], Any]:
    """The input, the equations and the output (a `Ref`, or a `Known` if it ignores the input).

    Raises:
        ValueError: if f does not return exactly one array.
    """
    # a new function object each time: JAX caches traces by identity, and the weights that f
    # closes over may have been replaced since
    closed, out_shape = jax.make_jaxpr(lambda x: f(x), return_shape=True)(
        jax.ShapeDtypeStruct(shape, dtype)
    )
    leaves = jax.tree.leaves(out_shape)
    if len(leaves) != 1:
        raise ValueError(f"f must return one array, got a result with {len(leaves)} arrays")
    walk = _Walk()
    start = walk.fresh(shape, dtype)
    (output,) = walk.open(closed.jaxpr, [_constant(c) for c in closed.consts], [start])
    return start, walk.equations, output


class _Walk:
    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.count = 0

    def fresh(self, shape: tuple[int, ...], dtype: Any) -> Ref:
        self.count += 1
        return Ref(self.count - 1, tuple(shape), np.dtype(dtype))

    def open(
        self, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], where: str = ""
    ) -> list[Any]:
        scope = dict(zip(jaxpr.constvars, consts, strict=True))
        scope.update(zip(jaxpr.invars, args, strict=True))

        def read(v: Any) -> Any:
            return _literal(v) if isinstance(v, Literal) else scope[v]

        for eqn in jaxpr.eqns:
            operands = [read(v) for v in eqn.invars]
            inner = _inner(eqn)
            if inner is not None and _is_logaddexp(eqn, inner[0], operands):
                outputs = [self.fresh(v.aval.shape, v.aval.dtype) for v in eqn.outvars]
                self.emit(LogAddExp(), operands, outputs, eqn, where)
            elif inner is not None:
                outputs = self.open(
                    inner[0], [_constant(c) for c in inner[1]], operands, _where(eqn) or where
                )
            elif all(isinstance(o, Known) for o in operands):
                outputs = _fold(eqn, operands)
            else:
                outputs = [self.fresh(v.aval.shape, v.aval.dtype) for v in eqn.outvars]
                self.emit(eqn.primitive, operands, outputs, eqn, where)
            scope.update(zip(eqn.outvars, outputs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def emit(
        self, primitive: Any, operands: Sequence[Any], outputs: Sequence[Ref], eqn: Any, call: str
    ) -> None:
        params = {} if isinstance(primitive, LogAddExp) else dict(eqn.params)
        self.equations.append(
            Equation(primitive, params, tuple(operands), tuple(outputs), _where(eqn) or call)
        )


def _is_logaddexp(eqn: Any, body: Any, operands: Sequence[Any]) -> bool:
    return (
        eqn.primitive.name == "custom_jvp_call"
        and any(isinstance(o, Ref) for o in operands)
        and _shape_of(body) == _LOGADDEXP
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
    result = _evaluate(
        lambda *values: eqn.primitive.bind(*functions, *values, **params),
        *(o.value for o in operands),
    )
    results = result if eqn.primitive.multiple_results else [result]
    keeps = eqn.primitive.name in _KEEPS_UNIFORM and all(o.uniform for o in operands)
    literal = keeps and all(o.literal for o in operands)
    return [Known(r, keeps or np.ndim(r) == 0, literal) for r in results]


def _evaluate(fn: Callable[..., Any], *values: Any) -> Any:
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
