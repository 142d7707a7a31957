"""A scalar function as a flat list of primitive operations of its own jaxpr.

Calls are opened (a custom_jvp is always opened: its hand-written derivative is never read), what
does not depend on the inputs is folded to constants in float64, and the few patterns whose
naive derivatives would be useless (logaddexp, log(1 + exp x)) become one `softplus` operation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from jaxact.numerics import checks

LOGADDEXP = "max:0,1 sub:0,1 ne:3,3 add:0,1 abs:3 neg:6 exp:7 log1p:8 add:2,9 select_n:4,10,5"


@dataclasses.dataclass(frozen=True)
class Known:
    """A constant operand, in float64 (or bool)."""

    value: Any


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation: `bind` is the primitive itself, `inputs` are slots or `Known` constants."""

    name: str
    params: dict[str, Any]
    inputs: tuple[Any, ...]
    output: int
    primitive: Any = None


@dataclasses.dataclass(frozen=True)
class Program:
    """Slots 0 .. arguments - 1 are the inputs; `result` is a slot or a constant.

    Attributes:
        steps: operations in order.
        result: where the value is.
        arguments: number of inputs, x first, then the leaves of a traced theta.
        slots: number of slots.
        constants: scalar constants met, candidates for places where the function changes.
    """

    steps: tuple[Step, ...]
    result: Any
    arguments: int
    slots: int
    constants: tuple[float, ...]


def program_of(fn: Callable[..., Any], theta: Any = (), *, traced: bool = False) -> Program:
    """Read fn(x, *theta).

    Args:
        fn: elementwise function.
        theta: its parameters. Concrete values become float64 constants; with `traced` they are
            inputs (only their shapes are read).
        traced: whether theta stays an input.

    Raises:
        NotImplementedError: for control flow and other primitives that hold sub-programs.
        ValueError: if fn does not return one array of the shape of x.
    """
    checks.function("fn", fn)
    checks.finite("theta", theta)
    with jax.ensure_compile_time_eval():
        return _read(fn, theta, traced)


def _read(fn: Callable[..., Any], theta: Any, traced: bool) -> Program:  # noqa: FBT001
    leaves, tree = jax.tree.flatten(theta)

    def call(x: Any, *rest: Any) -> Any:
        return fn(x, *jax.tree.unflatten(tree, rest if traced else leaves_wide()))

    def leaves_wide() -> list[Any]:
        return [_wide(leaf) for leaf in leaves]

    with jax.enable_x64(True):
        arguments = [jax.ShapeDtypeStruct((), np.float64)]
        if traced:
            arguments += [jax.ShapeDtypeStruct(np.shape(v), np.float64) for v in leaves]
        closed = jax.make_jaxpr(call)(*arguments)
        if len(closed.out_avals) != 1 or closed.out_avals[0].shape != ():
            raise ValueError(
                "fn must map a scalar to a scalar, got outputs "
                f"{[str(a) for a in closed.out_avals]}"
            )
        reader = _Reader()
        inputs = [reader.fresh() for _ in arguments]
        outputs = reader.run(closed.jaxpr, [Known(_host(c)) for c in closed.consts], inputs)
    steps, result = _rewrite(reader.steps, outputs[0])
    return Program(
        tuple(steps), result, len(arguments), reader.count, tuple(sorted(reader.constants))
    )


def _wide(leaf: Any) -> Any:
    """A theta leaf in float64; Python numbers stay weakly typed."""
    if isinstance(leaf, bool | int | float):
        return leaf
    array = np.asarray(leaf)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _host(value: Any) -> Any:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


class _Reader:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.count = 0
        self.constants: set[float] = set()

    def fresh(self) -> int:
        self.count += 1
        return self.count - 1

    def run(self, jaxpr: Any, consts: list[Any], inputs: list[Any]) -> list[Any]:
        slots: dict[Any, Any] = {}
        slots.update(zip(jaxpr.constvars, consts, strict=True))
        slots.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return Known(_host(atom.val)) if isinstance(atom, Literal) else slots[atom]

        for eqn in jaxpr.eqns:
            operands = [read(v) for v in eqn.invars]
            slots.update(zip(eqn.outvars, self.operation(eqn, operands), strict=True))
        return [read(v) for v in jaxpr.outvars]

    def operation(self, eqn: Any, operands: list[Any]) -> list[Any]:
        inner = _inner(eqn)
        if inner is None and all(isinstance(o, Known) for o in operands):
            return [Known(_host(v)) for v in _evaluate(eqn, operands)]
        if inner is not None:
            jaxpr = getattr(inner, "jaxpr", inner)
            consts = [Known(_host(c)) for c in getattr(inner, "consts", ())]
            known = all(isinstance(o, Known) for o in operands)
            if not known and wiring(jaxpr) == LOGADDEXP:
                out = self.fresh()
                self.steps.append(Step("logaddexp", {}, tuple(operands), out))
                return [out]
            return self.run(jaxpr, consts, operands[len(operands) - len(jaxpr.invars) :])
        if len(eqn.outvars) != 1 or eqn.effects:
            raise NotImplementedError(f"no interval rule for the primitive '{eqn.primitive.name}'")
        for operand in operands:
            if isinstance(operand, Known) and np.size(operand.value) == 1:
                value = float(np.reshape(operand.value, ()))
                if np.isfinite(value) and abs(value) <= 1e3:
                    self.constants.update((value, -value))
        out = self.fresh()
        self.steps.append(
            Step(eqn.primitive.name, dict(eqn.params), tuple(operands), out, eqn.primitive)
        )
        return [out]


def _inner(eqn: Any) -> Any:
    """The jaxpr that a call primitive runs; None for a plain primitive."""
    name = eqn.primitive.name
    for key in ("call_jaxpr", "jaxpr", "fun_jaxpr"):
        inner = eqn.params.get(key)
        if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
            jaxpr = getattr(inner, "jaxpr", inner)
            if len(jaxpr.outvars) == len(eqn.outvars) and name not in ("scan", "while", "cond"):
                return inner
    return None


def _evaluate(eqn: Any, operands: list[Any]) -> list[Any]:
    values = [jnp.asarray(o.value, v.aval.dtype) for o, v in zip(operands, eqn.invars, strict=True)]
    result = eqn.primitive.bind(*values, **eqn.params)
    return list(result) if eqn.primitive.multiple_results else [result]


def wiring(jaxpr: Any) -> str:
    """Primitives and wiring of a jaxpr as text, for recognising a known one."""
    if not jaxpr.eqns:
        return ""
    number = {v: i for i, v in enumerate(jaxpr.invars)}
    parts = []
    for eqn in jaxpr.eqns:
        if any(isinstance(v, Literal) or v not in number for v in eqn.invars):
            return ""
        parts.append(f"{eqn.primitive.name}:{','.join(str(number[v]) for v in eqn.invars)}")
        number[eqn.outvars[0]] = len(number)
    return " ".join(parts) if jaxpr.outvars[0] is jaxpr.eqns[-1].outvars[0] else ""


def _rewrite(steps: list[Step], result: Any) -> tuple[list[Step], Any]:
    """log1p(exp x), log(1 + exp x) and logaddexp(x, c) -> softplus; then drop what is unused."""
    made: dict[int, Step] = {}
    done: list[Step] = []
    for step in steps:
        new = [step]
        if step.name in ("log1p", "log"):
            source = made.get(step.inputs[0]) if isinstance(step.inputs[0], int) else None
            if step.name == "log" and source is not None and source.name == "add":
                ones = [i for i in source.inputs if isinstance(i, Known) and _is(i, 1.0)]
                rest = [i for i in source.inputs if not isinstance(i, Known)]
                source = made.get(rest[0]) if len(ones) == 1 else None
            elif step.name == "log":
                source = None
            if source is not None and source.name == "exp":
                new = [Step("softplus", {}, source.inputs, step.output)]
        for s in new:
            made[s.output] = s
        done.extend(new)
    needed = {result} if isinstance(result, int) else set()
    kept: list[Step] = []
    for step in reversed(done):
        if step.output in needed:
            kept.append(step)
            needed.update(i for i in step.inputs if isinstance(i, int))
    return kept[::-1], result


def _is(operand: Known, value: float) -> bool:
    return bool(np.size(operand.value) == 1 and float(np.reshape(operand.value, ())) == value)


@functools.lru_cache(maxsize=512)
def cached_program(fn: Callable[..., Any]) -> Program:
    """`program_of(fn)` for a function without parameters, read once."""
    return program_of(fn)


def plain(program: Program, x: Any, theta: tuple[Any, ...] = ()) -> Any:
    """Run the program on arrays, in the dtype of x: f without anybody's custom derivative."""
    dtype = x.dtype
    slots: dict[int, Any] = {0: x}
    slots.update(enumerate((jnp.asarray(t, dtype) for t in theta), 1))

    def read(operand: Any) -> Any:
        if not isinstance(operand, Known):
            return slots[operand]
        value = np.asarray(operand.value)
        return jnp.asarray(value.astype(dtype) if value.dtype.kind == "f" else value)

    for step in program.steps:
        slots[step.output] = _apply(step, [read(i) for i in step.inputs], dtype)
    result = read(program.result)
    return jnp.broadcast_to(result.astype(dtype), x.shape)


def _apply(step: Step, values: list[Any], dtype: Any) -> Any:
    if step.name == "softplus":
        return _softplus(values[0])
    if step.name == "logaddexp":
        return values[1] + _softplus(values[0] - values[1])
    if step.name == "convert_element_type":
        kind = np.dtype(step.params["new_dtype"]).kind
        return values[0].astype(dtype if kind in "fV" else step.params["new_dtype"])
    if step.name in STRUCTURAL:
        return structural(step, values[0])
    shape = jnp.broadcast_shapes(*(v.shape for v in values))
    values = [jnp.broadcast_to(v, shape) for v in values]
    return step.primitive.bind(*values, **step.params)


def _softplus(x: Any) -> Any:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


STRUCTURAL = frozenset(
    ("slice", "squeeze", "reshape", "rev", "broadcast_in_dim", "copy", "copy_p", "transpose")
    + ("stop_gradient", "optimization_barrier", "reduce_precision", "name")
)
"""Operations that move values of theta about, or pass them on."""


def structural(step: Step, value: Any) -> Any:
    """Apply an operation of `STRUCTURAL`; on a scalar input it passes the value on."""
    if step.name in ("copy", "copy_p", "stop_gradient", "optimization_barrier", "name"):
        return value
    if step.name == "reduce_precision":
        return value
    if step.name in ("broadcast_in_dim", "reshape") and not np.ndim(value):
        return value
    if step.name == "broadcast_in_dim" and step.params["shape"] == ():
        return value
    return step.primitive.bind(value, **step.params)
