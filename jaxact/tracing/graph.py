"""A JAX function as a graph of affine steps, elementwise units and products."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.tracing.affine import (
    SUPPORTED,
    Affine,
    Variable,
    Weight,
    Written,
    exact_params,
    is_affine,
)
from jaxact.tracing.elementwise import OWN, Constant, Elementwise, Op
from jaxact.tracing.expand import EXPANDED, expand
from jaxact.tracing.flatten import ELEMENTWISE, Equation, Equations, Known, Ref, flatten
from jaxact.tracing.joint import Maximum, Product
from jaxact.tracing.patterns import recognise

_ARITHMETIC = ("add", "add_any", "sub", "mul", "div", "neg", "copy", "copy_p")
_JOINT = ("mul", "max", "logaddexp")


@dataclasses.dataclass(frozen=True)
class Unit:
    """An elementwise unit: `output = fn(operand, *theta)`, theta being scalar leaves.

    Attributes:
        fn: the activation, hashable; equal for equal activations.
        operand: the variable it acts on.
        theta: which leaves of the network are its parameters (scalars that are being traced).
        output: the variable it makes, of the operand's shape.
    """

    fn: Elementwise
    operand: Variable
    theta: tuple[Weight, ...]
    output: Variable

    @property
    def variables(self) -> tuple[Variable]:
        """The operand, as every node names what it reads."""
        return (self.operand,)

    def parameters(self, weights: Sequence[Any]) -> tuple[Any, ...]:
        """The values of theta."""
        return tuple(weights[t.index] for t in self.theta)


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """The architecture: nodes in topological order. Equal graphs are compiled once."""

    nodes: tuple[Affine | Unit | Product | Maximum, ...]
    source: Variable
    target: Variable

    def maker(self, variable: Variable) -> Affine | Unit | Product | Maximum | None:
        """The node that makes a variable; None for the source."""
        return self._makers.get(variable)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self.nodes, self.source, self.target

    def __post_init__(self) -> None:
        """Hash once: a jitted call compares graphs every time."""
        object.__setattr__(self, "_makers", {node.output: node for node in self.nodes})
        object.__setattr__(self, "_hash", hash(self._parts))

    def __hash__(self) -> int:
        """The hash of the structure."""
        return self._hash  # pyright: ignore[reportAttributeAccessIssue]

    def __eq__(self, other: object) -> bool:
        """Whether the structures are equal."""
        if self is other:
            return True
        return (
            isinstance(other, Graph) and hash(self) == hash(other) and self._parts == other._parts
        )


@pytree(static=("graph",))
class Network:
    """A traced network: a pytree whose leaves are the weights and whose structure is the graph.

    Calling it evaluates it on one sample.

    Attributes:
        weights: the constants that the affine steps use, a tuple of arrays.
        graph: the architecture, hashable.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = trace(lambda x: jnp.tanh(2 * x + jnp.arange(3.0)).sum(), jnp.zeros(3))
        >>> net
        Network((3,) -> (): mul, add, [tanh], reduce_sum)
        >>> round(float(net(jnp.zeros(3))), 4)
        1.7256
    """

    weights: Leaf
    graph: Graph

    @property
    def units(self) -> tuple[Unit, ...]:
        """The elementwise units, from the input on."""
        return tuple(n for n in self.graph.nodes if isinstance(n, Unit))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.graph.source.shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output for one sample."""
        return self.graph.target.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the input."""
        return np.dtype(self.graph.source.dtype)

    def values(self, x: Any) -> dict[Variable, Any]:
        """Every variable at one sample, the source and the target among them."""
        values = {self.graph.source: jnp.asarray(x)}
        for node in self.graph.nodes:
            if isinstance(node, Unit):
                value = node.fn(values[node.operand], *node.parameters(self.weights))
            else:
                value = node.apply([values[v] for v in node.variables], self.weights)
            values[node.output] = value
        return values

    def __call__(self, x: Any) -> Any:
        """The network's value at one sample."""
        return self.values(x)[self.graph.target]

    def __repr__(self) -> str:
        """The nodes in order, units in brackets."""
        nodes = ", ".join(
            f"[{' '.join(op.primitive.name for op in n.fn.ops)}]" if isinstance(n, Unit) else n.name
            for n in self.graph.nodes
        )
        return f"Network({self.input_shape} -> {self.output_shape}: {nodes})"


def trace(f: Callable[..., Any], example: Any) -> Network:
    """A JAX function of one array as a graph of affine steps, elementwise units and products.

    Calls are opened, what does not depend on the input is evaluated once, and the rest becomes
    three kinds of node: primitives that are affine in the input, maximal groups of elementwise
    primitives that depend on one array of one shape, and entrywise products of two arrays. Such
    a group is an activation: gelu in ten primitives is one unit, and so is any function of your
    own. What else takes several perturbed arrays is written in these: a maximum (pooling too) as
    a sum with a relu, a quotient as a product with a reciprocal, a matrix product as a sum of
    products, softmax by the differences of its inputs.

    The weights that f closes over are read now: after changing them in place (a Flax nnx module),
    trace again. A new trace with other weights has an equal graph, so nothing compiles again.
    Scalar constants inside a unit belong to the graph, unless they are being traced by JAX.

    Args:
        f: a function of one array without a batch axis; for a model that needs one, write
            `lambda x: model(x[None])[0]`. A `Network` is returned as it is.
        example: an array (or `jax.ShapeDtypeStruct`) of the shape and dtype of one sample.

    Returns:
        A `Network`; differentiable in the weights if f closes over traced ones.

    Raises:
        TypeError: if f is not callable.
        ValueError: if the example is not floating, f returns more than one array, or ignores its
            input.
        NotImplementedError: for a primitive that is none of these, with its name, its source line
            and what is supported.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> w = jnp.ones((3, 2))
        >>> trace(lambda x: jax.nn.silu(x @ w), jnp.zeros(3))
        Network((3,) -> (2,): dot_general, [logistic mul])
        >>> trace(lambda x: x / x.sum(), jnp.zeros(3))
        Network((3,) -> (3,): reduce_sum, [div], broadcast_in_dim, product)
        >>> trace(jnp.sort, jnp.zeros(3))
        Traceback (most recent call last):
        ...
        NotImplementedError: no certified rule for 'sort' of perturbed arrays ...
    """
    shape, dtype = _signature(example)
    if isinstance(f, Network):
        if f.input_shape != shape:
            raise ValueError(f"the network takes shape {f.input_shape}, got an array of {shape}")
        return f
    if not callable(f):
        raise TypeError(f"f must be a function of one array, got {f!r}")
    program, source, output = flatten(f, shape, dtype)
    if isinstance(output, Known):
        raise ValueError("f does not depend on its input")
    return _Builder(program, source, output).network()


def _signature(example: Any) -> tuple[tuple[int, ...], Any]:
    given = hasattr(example, "shape") and hasattr(example, "dtype")
    like = example if given else checks.numbers("example", example)
    if like.dtype.kind not in "biufcV":
        raise TypeError(f"example must be a floating array, got dtype {like.dtype}")
    dtype = jax.dtypes.canonicalize_dtype(like.dtype)
    if dtype.kind != "f" and not jax.numpy.issubdtype(dtype, jax.numpy.floating):
        raise ValueError(f"the example must be a floating array, got dtype {dtype}")
    return tuple(like.shape), dtype


def _live(equations: Sequence[Equation], output: Ref) -> list[Equation]:
    needed, kept = {output}, []
    for equation in reversed(equations):
        if needed.intersection(equation.outputs):
            needed.update(equation.refs)
            kept.append(equation)
    return kept[::-1]


class _Builder:
    """Groups equations into units (the rest must be affine) and numbers what they make."""

    def __init__(self, program: Equations, source: Ref, output: Ref) -> None:
        self.program, self.source, self.output = program, source, output
        self.equations: list[Equation] = []
        self.root: dict[Ref, Ref] = {source: source}
        self.straight: dict[Ref, bool] = {source: True}
        self.numbers: dict[Ref, Variable] = {}
        self.nodes: list[Affine | Unit | Product | Maximum] = []
        self.weights: list[Any] = []

    def network(self) -> Network:
        for equation in self._recognised():
            self._admit(equation)
        self.equations = _live(self.equations, self.output)
        sinks = self._sinks()
        self._number(self.source)
        for equation in self.equations:
            first = equation.outputs[0]
            if self.root[first] is first:
                self._step(equation)
            elif first in sinks and first not in self.numbers:
                self._unit(first)
        target = self.numbers[self.output]
        graph = Graph(tuple(self.nodes), self.numbers[self.source], target)
        return Network(tuple(self.weights), graph)

    def _recognised(self) -> list[Equation]:
        """The live equations, a softmax and its kin written by differences."""
        found: list[Equation] = []
        for equation in _live(self.program.equations, self.output):
            match = recognise(equation, self.program.maker)
            if match is None:
                found.append(equation)
            else:
                found += self._rewritten(equation, match[0], [match[1]])
        return _live(found, self.output)

    def _rewritten(self, equation: Equation, f: Any, operands: Sequence[Any]) -> list[Equation]:
        """Equations that make the equation's output as f of the operands."""
        part = self.program.fork()
        result = part.call(f, operands, equation.where)
        return [e.renamed(result, equation.outputs[0]) for e in part.equations]

    def _admit(self, equation: Equation) -> None:
        """Take an equation that has a rule; another is written in such, if it can be."""
        self._find_root(equation)
        ruled = self.root[equation.outputs[0]] is not equation.outputs[0] or is_affine(equation)
        other = None if ruled or _is_joint(equation) else expand(equation, self.program.maker)
        if other is None:
            self.equations.append(equation)
            return
        for part in self._rewritten(equation, *other):
            self._admit(part)

    def _find_root(self, equation: Equation) -> None:
        for ref in equation.outputs:
            self.root[ref], self.straight[ref] = ref, True
        if not _is_elementwise(equation):
            return
        roots = {self.root[ref] for ref in equation.refs}
        if len(roots) == 1:
            (root,) = roots
            output = equation.outputs[0]
            self.root[output] = root
            self.straight[output] = (
                equation.name in _ARITHMETIC
                and is_affine(equation)
                and all(self.straight[ref] for ref in equation.refs)
            )

    def _sinks(self) -> set[Ref]:
        sinks = {self.output}
        for equation in self.equations:
            group = self.root[equation.outputs[0]]
            sinks.update(ref for ref in equation.refs if self.root[ref] is not group)
        return {ref for ref in sinks if self.root[ref] is not ref}

    def _group(self, sink: Ref) -> list[Equation]:
        needed, found = {sink}, []
        root = self.root[sink]
        for equation in reversed(self.equations):
            output = equation.outputs[0]
            if output in needed and output is not root:
                found.append(equation)
                needed.update(equation.refs)
        return found[::-1]

    def _unit(self, sink: Ref) -> None:
        group = self._group(sink)
        if self.straight[sink]:
            for equation in group:
                if equation.outputs[0] not in self.numbers:
                    self._step(equation)
            return
        root = self.root[sink]
        traced = {id(k.value): k for e in group for k in e.knowns if not k.concrete}
        slots: dict[Any, int] = {root: 0}
        slots.update({key: i for i, key in enumerate(traced, 1)})
        ops = []
        for equation in group:
            operands = tuple(_slot(o, slots, root.dtype) for o in equation.operands)
            params = tuple(sorted((k, _own(v, root.dtype)) for k, v in equation.params.items()))
            ops.append(Op(equation.primitive, params, operands))
            slots[equation.outputs[0]] = len(slots)
        theta = tuple(self._weight(k.scalar) for k in traced.values())
        fn = Elementwise(tuple(ops), 1 + len(theta))
        if sink.dtype != root.dtype:
            raise _unsupported(group[-1], f"an elementwise unit must return {root.dtype}")
        self.nodes.append(Unit(fn, self.numbers[root], theta, self._number(sink)))

    def _step(self, equation: Equation) -> None:
        if _is_joint(equation):
            self._joint(equation)
            return
        if not is_affine(equation):
            raise _unsupported(equation)
        if equation.name == "split":
            self._split(equation)
            return
        operands = tuple(self._operand(o) for o in equation.operands)
        output = self._number(equation.outputs[0])
        self.nodes.append(Affine(equation.primitive, exact_params(equation), operands, output))

    def _joint(self, equation: Equation) -> None:
        first, second = (self.numbers[ref] for ref in equation.refs)
        (made,) = equation.outputs
        if equation.name == "mul":
            self.nodes.append(Product((first, second), self._number(made)))
            return
        difference = self._number(self.program.fresh(made.shape, made.dtype))
        self.nodes.append(Affine(jax.lax.sub_p, (), (first, second), difference))
        smooth = equation.name == "logaddexp"
        self.nodes.append(Maximum((first, second, difference), self._number(made), smooth))

    def _split(self, equation: Equation) -> None:
        axis, start = equation.params["axis"], 0
        whole = self._operand(equation.operands[0])
        for size, ref in zip(equation.params["sizes"], equation.outputs, strict=True):
            low = [start if d == axis else 0 for d in range(len(ref.shape))]
            high = [start + size if d == axis else n for d, n in enumerate(ref.shape)]
            params = (
                ("limit_indices", tuple(high)),
                ("start_indices", tuple(low)),
                ("strides", None),
            )
            self.nodes.append(Affine(jax.lax.slice_p, params, (whole,), self._number(ref)))
            start += size

    def _operand(self, operand: Any) -> Any:
        if isinstance(operand, Ref):
            return self.numbers[operand]
        if operand.literal:
            value = np.asarray(operand.scalar)
            return Written(value.item(), tuple(np.shape(operand.value)), str(operand.value.dtype))
        return self._weight(operand.value)

    def _weight(self, value: Any) -> Weight:
        for index, known in enumerate(self.weights):
            if known is value:
                return Weight(index)
        self.weights.append(value)
        return Weight(len(self.weights) - 1)

    def _number(self, ref: Ref) -> Variable:
        self.numbers[ref] = Variable(len(self.numbers), ref.shape, str(ref.dtype))
        return self.numbers[ref]


def _is_joint(equation: Equation) -> bool:
    """Whether it is a product or a maximum of two perturbed arrays of one shape."""
    shapes = {ref.shape for ref in equation.refs}
    return equation.name in _JOINT and len(equation.refs) == 2 and len(shapes) == 1


def _is_elementwise(equation: Equation) -> bool:
    if equation.name not in ELEMENTWISE or len(equation.outputs) != 1:
        return False
    output = equation.outputs[0]
    if any(ref.shape != output.shape for ref in equation.refs):
        return False
    if equation.name == "convert_element_type" and _changes_float(equation):
        return False
    joins_constants = equation.name not in ("add", "sub", "mul", "div")
    return all(k.uniform or (joins_constants and _is_flat(k)) for k in equation.knowns)


def _changes_float(equation: Equation) -> bool:
    before, after = equation.refs[0].dtype, equation.outputs[0].dtype
    return before.kind != "b" and after.kind != "b" and before != after


def _is_flat(known: Known) -> bool:
    """Whether an array happens to hold one value (np.zeros of the right shape in a where)."""
    if not known.concrete or np.asarray(known.value).dtype.kind == "b":
        return False
    values = np.asarray(known.value)
    return bool(values.size) and bool((values == values.reshape(-1)[0]).all())


def _slot(operand: Any, slots: dict[Any, int], dtype: Any) -> Any:
    if isinstance(operand, Ref):
        return slots[operand]
    if not operand.concrete:
        return slots[id(operand.value)]
    value = np.asarray(operand.scalar)
    return Constant(value.item(), OWN if value.dtype == dtype else str(value.dtype))


def _own(param: Any, dtype: Any) -> Any:
    return OWN if isinstance(param, np.dtype) and param == dtype else param


def _unsupported(equation: Equation, reason: str = "") -> NotImplementedError:
    place = f", at {equation.where}" if equation.where else ""
    shapes = ", ".join(str(ref.shape) for ref in equation.refs)
    return NotImplementedError(
        f"no certified rule for '{equation.name}' of perturbed arrays of shape {shapes}{place}"
        f"{': ' + reason if reason else ''}. Supported are elementwise functions of one array "
        f"(any composition; constants in it must be scalars), {_listed(EXPANDED)} of "
        f"several, and what is affine in the input: {_listed(SUPPORTED)}."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
