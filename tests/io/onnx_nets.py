"""Small ONNX nets written by the tests, and onnxruntime as the oracle of what they compute."""

from __future__ import annotations

import gzip
import pathlib

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def build(nodes, constants, shape, *, opset=13, outputs=1, name="y"):
    """A model from x of a shape to y: nodes are (operator, inputs, outputs, attributes)."""
    made = [helper.make_node(o, i, out, **a) for o, i, out, a in nodes]
    graph = helper.make_graph(
        made,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for _ in range(outputs)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8  # what old runtimes read
    return model


def save(model, path: pathlib.Path) -> pathlib.Path:
    data = model.SerializeToString()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def runtime(model_or_bytes, feed):
    """The output of onnxruntime, without its remarks and rewrites of the graph."""
    data = model_or_bytes
    data = data if isinstance(data, bytes) else data.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def mlp(widths, *, rng, shape=None, relu="Relu"):
    """A fully connected net by Gemm; x has a batch axis."""
    nodes, constants, last = [], {}, "x"
    for i, (n, m) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        constants[f"w{i}"] = (rng.normal(size=(m, n)) / np.sqrt(n)).astype(np.float32)
        constants[f"b{i}"] = rng.normal(size=m).astype(np.float32) * np.float32(0.1)
        done = i == len(widths) - 2
        out = "y" if done else f"h{i}"
        nodes.append(("Gemm", [last, f"w{i}", f"b{i}"], [out], {"transB": 1}))
        if not done:
            nodes.append((relu, [out], [f"a{i}"], {}))
            last = f"a{i}"
    return build(nodes, constants, shape or [1, widths[0]])
