"""ONNX files as JAX functions of one sample."""

from __future__ import annotations

import dataclasses
import gzip
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.io.onnx_network import OnnxNetwork, Plan, Slot, Step, Weight, apply_step
from jaxact.io.onnx_operators import RULES
from jaxact.numerics import checks, files


def load_onnx(path: str | os.PathLike[str]) -> OnnxNetwork:
    """Read an ONNX network (.onnx or .onnx.gz) as a JAX function of one sample.

    A leading input axis that is symbolic, or 1 beside other axes, is the batch and is dropped,
    from the output too. What depends on constants only (Constant, Shape, Cast and the arithmetic
    of shapes) is folded by onnx's reference evaluator; floating constants become the weights.
    Networks of one architecture have equal plans, so a jitted function compiles once for all.

    Args:
        path: the file; gzipped if it begins like one, whatever its name.

    Returns:
        An `OnnxNetwork`, which `jaxact.tracing.trace` and every bound take. Differentiable in
        the input and in the weights.

    Raises:
        ImportError: without onnx.
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not an ONNX model with one floating input and one output, or
            an axis other than the batch is symbolic.
        NotImplementedError: for an operator or option that has no rule, by name and node.

    Example:
        >>> import tempfile, numpy as np, onnx
        >>> from onnx import TensorProto, helper, numpy_helper
        >>> nodes = [("MatMul", ["x", "w"], ["h"]), ("Relu", ["h"], ["y"])]
        >>> graph = helper.make_graph(
        ...     [helper.make_node(*node) for node in nodes],
        ...     "net",
        ...     [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        ...     [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        ...     [numpy_helper.from_array(np.array([[1.0], [-2.0]], np.float32), "w")],
        ... )
        >>> file = tempfile.mkdtemp() + "/net.onnx"
        >>> onnx.save(helper.make_model(graph), file)
        >>> load_onnx(file), load_onnx(file)(np.array([3.0, 1.0], np.float32)).tolist()
        (OnnxNetwork((2,) -> (1,): MatMul, Relu), [1.0])
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("load_onnx needs onnx: pip install 'jaxact[onnx]'") from error
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"path must be an ONNX file, got {file}")
    return files.guarded(file, lambda: _Reader(onnx, _parse(onnx, file), file.name).network())


def _parse(onnx: Any, file: pathlib.Path) -> Any:
    data = file.read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf and gzip have many exceptions for one fact
        raise ValueError(f"{file.name} is not an ONNX file, or a truncated one: {error}") from error
    if not model.graph.node or not model.graph.output:
        raise ValueError(f"{file.name} holds no ONNX graph")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        model = onnx.load(str(file))
    return model


class _Reader:
    """Walks the nodes once: folds constants, numbers the rest."""

    def __init__(self, onnx: Any, model: Any, name: str) -> None:
        self.onnx, self.graph, self.name = onnx, model.graph, name
        domains = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        self.opset = domains[0] if domains else 1
        self.known: dict[str, np.ndarray] = {
            t.name: onnx.numpy_helper.to_array(t) for t in self.graph.initializer
        }
        self.slots: dict[str, Slot] = {}
        self.shapes: dict[int, jax.ShapeDtypeStruct] = {}
        self.weights: list[Any] = []
        self.places: dict[str, Weight] = {}
        self.steps: list[Step] = []

    def network(self) -> OnnxNetwork:
        inputs = [i for i in self.graph.input if i.name not in self.known]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise ValueError(
                f"{self.name} must have one input and one output, got "
                f"{len(inputs)} and {len(self.graph.output)}"
            )
        shape, batched = self._input_shape(inputs[0])
        self._fill(inputs[0].name, jax.ShapeDtypeStruct(shape, jnp.float32))
        for node in self.graph.node:
            self._node(node)
        output = self.graph.output[0].name
        if output not in self.slots:
            raise ValueError(f"the output of {self.name} does not depend on its input")
        target = self.slots[output]
        found = self.shapes[target.index].shape
        drop = batched and len(found) > 0 and found[0] == 1
        plan = Plan(
            tuple(self.steps), target, batched, shape[1:] if batched else shape,
            found[1:] if drop else found,
        )  # fmt: skip
        return OnnxNetwork(tuple(self.weights), plan, inputs[0].name, output)

    def _input_shape(self, info: Any) -> tuple[tuple[int, ...], bool]:
        tensor = info.type.tensor_type
        if tensor.elem_type not in (1, 10, 11, 16):  # float, float16, double, bfloat16
            raise ValueError(f"the input {info.name!r} of {self.name} must be floating")
        sizes = [d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim]
        if any(s is None for s in sizes[1:]) or (len(sizes) == 1 and sizes[0] is None):
            names = [d.dim_value or d.dim_param or "?" for d in tensor.shape.dim]
            raise ValueError(
                f"the input {info.name!r} of {self.name} must have fixed axes but for the batch, "
                f"got {names}"
            )
        batched = len(sizes) > 1 and sizes[0] in (None, 1)
        return tuple(1 if s is None else s for s in sizes), batched

    def _fill(self, name: str, value: jax.ShapeDtypeStruct) -> int:
        slot = Slot(len(self.shapes))
        self.slots[name], self.shapes[slot.index] = slot, value
        return slot.index

    def _node(self, node: Any) -> None:
        names = [n for n in node.input if n]
        missing = [n for n in names if n not in self.known and n not in self.slots]
        if missing:
            raise ValueError(f"{self._where(node)} uses {missing[0]!r}, which nothing makes")
        if node.op_type == "Shape" and names[0] in self.slots:
            sizes = self.shapes[self.slots[names[0]].index].shape
            window = {a.name: a.i for a in node.attribute}
            chosen = slice(window.get("start", 0), window.get("end", len(sizes)))
            self.known[node.output[0]] = np.asarray(sizes[chosen], np.int64)
        elif all(n in self.known for n in names):
            self._fold(node)
        else:
            self._step(node)

    def _fold(self, node: Any) -> None:
        from onnx.reference import ReferenceEvaluator

        helper = self.onnx.helper
        names = [n for n in node.input if n]
        infos = [helper.make_tensor_value_info(n, 0, None) for n in (*names, *node.output)]
        inner = helper.make_graph([node], "fold", infos[: len(names)], infos[len(names) :])
        model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", self.opset)])
        try:
            run = ReferenceEvaluator(model).run(None, {n: self.known[n] for n in names})
        except Exception as error:  # whatever the evaluator does not know
            raise NotImplementedError(
                f"{self._where(node)}: constants that could not be folded: {error}"
            ) from error
        self.known.update(zip(node.output, map(np.asarray, run), strict=True))

    def _step(self, node: Any) -> None:
        rule = RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            raise NotImplementedError(
                f"no rule for {self._where(node)}; supported are {', '.join(sorted(RULES))}"
            )
        operands = tuple(
            self._operand(n, static=i in rule.static) for i, n in enumerate(node.input)
        )
        attributes = {a.name: self._attribute(node, a) for a in node.attribute}
        attributes |= {"opset": self.opset, "operator": node.op_type, "outputs": len(node.output)}
        first = len(self.shapes)
        outputs = tuple(range(first, first + len(node.output)))
        step = Step(node.op_type, operands, outputs, tuple(sorted(attributes.items())))
        dependent = sorted({o.index for o in operands if isinstance(o, Slot)})

        def result(*values: Any) -> dict[int, Any]:
            held = dict(zip(dependent, values, strict=True))
            apply_step(step, held, self.weights, jnp.float32)
            return {i: v for i, v in held.items() if i >= first}

        try:
            made = jax.eval_shape(result, *(self.shapes[i] for i in dependent))
        except NotImplementedError as error:
            raise NotImplementedError(f"{self._where(node)}: {error}") from error
        except (ValueError, TypeError, IndexError, KeyError) as error:
            raise ValueError(f"{self._where(node)} does not fit its operands: {error}") from error
        for name, index in zip(node.output, outputs, strict=True):
            if index in made:  # Dropout's mask and batch normalisation's statistics are not made
                self._fill(name, made[index])
        if len(made) < len(outputs):
            self.steps.append(dataclasses.replace(step, outputs=outputs[: len(made)]))
        else:
            self.steps.append(step)

    def _operand(self, name: str, *, static: bool) -> Any:
        if not name:
            return None
        if name in self.slots:
            return self.slots[name]
        value = self.known[name]
        if static or value.dtype.kind not in "fV":
            return _nested(value)
        if name not in self.places:
            if not np.isfinite(value.astype(np.float64)).all():
                raise ValueError(f"the constant {name!r} of {self.name} is not finite")
            self.places[name] = Weight(len(self.weights))
            self.weights.append(jnp.asarray(value, jnp.result_type(float, jnp.float32)))
        return self.places[name]

    def _attribute(self, node: Any, attribute: Any) -> Any:
        value = self.onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, int | float):
            return value
        if isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
            return tuple(value)
        raise NotImplementedError(f"{self._where(node)}: attribute {attribute.name!r}")

    def _where(self, node: Any) -> str:
        label = node.name or (node.output[0] if node.output else "?")
        return f"{node.op_type} (node {label!r} of {self.name})"


def _nested(value: np.ndarray) -> Any:
    """An array as nested tuples, which hash by value."""
    listed = value.tolist()

    def freeze(item: Any) -> Any:
        return tuple(map(freeze, item)) if isinstance(item, list) else item

    return freeze(listed)
