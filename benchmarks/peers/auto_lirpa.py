"""auto_LiRPA's bounds on one case after the other; runs where PyTorch is, without jaxact."""

from __future__ import annotations

import contextlib
import gzip
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np
import onnx
import torch
from auto_LiRPA import BoundedModule, BoundedTensor
from auto_LiRPA.perturbations import PerturbationLpNorm
from onnx import numpy_helper


class Affine(torch.nn.Module):
    """(x + shift) * scale with constants."""

    def __init__(self, scale: Any, shift: Any) -> None:
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(np.array(scale)))
        self.register_buffer("shift", torch.as_tensor(np.array(shift)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return (x + self.shift) * self.scale


def load(path: str) -> tuple[torch.nn.Module, list[int]]:
    """A chain of the operators that the public sets use, as a torch module."""
    data = pathlib.Path(path).read_bytes()
    graph = onnx.load_from_string(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).graph
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    layers: list[torch.nn.Module] = []
    for node in graph.node:
        if node.op_type == "Constant":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        constants = [known[n] for n in node.input if n in known]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "MatMul" and node.input[0] in known:  # W x is x W^T
            attributes["transB"] = 1
        layers += layer(node.op_type, constants, attributes)
    source = next(i for i in graph.input if i.name not in known)
    shape = [max(d.dim_value, 1) for d in source.type.tensor_type.shape.dim]
    return torch.nn.Sequential(*layers).eval(), shape if len(shape) > 1 else [1, *shape]


def layer(operator: str, constants: list[np.ndarray], attributes: dict[str, Any]) -> list[Any]:
    """One ONNX node as torch modules."""
    if operator in ("Gemm", "MatMul"):
        weight = constants[0] if attributes.get("transB", 0) else constants[0].T
        bias = constants[1] if len(constants) > 1 else np.zeros(len(weight), np.float32)
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data = torch.tensor(weight)
        linear.bias.data = torch.tensor(bias.reshape(-1))
        return [linear]
    if operator == "Conv":
        weight, bias = constants
        conv = torch.nn.Conv2d(
            weight.shape[1], weight.shape[0], weight.shape[2:],
            stride=tuple(attributes.get("strides", (1, 1))),
            padding=tuple(attributes.get("pads", (0,) * 4)[:2]),
        )  # fmt: skip
        conv.weight.data, conv.bias.data = torch.tensor(weight), torch.tensor(bias)
        return [conv]
    if operator in ("Add", "Sub", "Mul", "Div"):
        (value,) = constants
        one, zero = np.float32(1), np.float32(0)
        return [
            {
                "Add": lambda: Affine(one, value),
                "Sub": lambda: Affine(one, -value),
                "Mul": lambda: Affine(value, zero),
                "Div": lambda: Affine(1 / value, zero),
            }[operator]()
        ]
    return {
        "Relu": lambda: [torch.nn.ReLU()],
        "Sigmoid": lambda: [torch.nn.Sigmoid()],
        "Flatten": lambda: [torch.nn.Flatten()],
        "Dropout": lambda: [],
    }[operator]()


def margin(module: Any, shape: list[int], case: Any, method: str) -> float:
    """The min over polyhedra of the max over half-spaces of the lower bound less threshold."""
    lower, upper = (
        torch.tensor(case[n], dtype=torch.float32).reshape(shape) for n in ("lower", "upper")
    )
    rows = torch.tensor(case["rows"], dtype=torch.float32)
    thresholds = torch.tensor(case["thresholds"], dtype=torch.float32)
    ball = PerturbationLpNorm(norm=np.inf, x_L=lower, x_U=upper)
    x = BoundedTensor((lower + upper) / 2, ball)
    with torch.no_grad():
        low, _ = module.compute_bounds(
            x=(x,), C=rows.reshape(1, -1, rows.shape[-1]), method=method, bound_upper=False
        )
    return float((low.reshape(thresholds.shape) - thresholds).max(dim=1).values.min())


def main() -> None:
    """Answer JSON lines; one module a network and method is kept."""
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(1)
    held: dict[str, Any] = {}
    for line in sys.stdin:
        question = json.loads(line)
        name = question["network"]
        if name not in held:
            module, shape = load(name)
            with contextlib.redirect_stdout(sys.stderr):
                held = {name: (BoundedModule(module, torch.zeros(shape)), shape)}
        began = time.process_time()
        with np.load(question["case"]) as case:
            found = margin(*held[name], case, question["method"])
        answers.write(json.dumps({"margin": found, "cpu": time.process_time() - began}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
