"""Entry points of the ground floor, the catalogue, files, sweep, card and decide."""

from __future__ import annotations

import json
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
from fuzz_table import Entry

import jaxact as ja
from jaxact import bounds, card, catalog, decide, doctor, io, numerics, testing
from jaxact.activation import activation, derived_moments
from jaxact.decide.decision import Clock
from jaxact.decide.problem import Pieces
from jaxact.io.onnx_network import OnnxNetwork, Plan, Slot, Step
from jaxact.sweep import sweep
from jaxact.tracing import trace

ACT = ja.get("tanh")
X = np.array([0.5, -1.0], np.float32)
ONES = np.ones(2)
HERE = pathlib.Path(tempfile.mkdtemp(prefix="jaxact-fuzz-"))
UNSAFE = bounds.Unsafe.of([([[1.0, 0.0]], [-5.0])])
BOX = bounds.Box(-np.ones(2, np.float32), np.ones(2, np.float32))
CASES = {"cases": ("case", "unsafe", "rows", "thresholds", "lower", "upper")}


def net(x):
    return jnp.tanh(2 * x)


def traced():
    return trace(net, X)


def card_file() -> pathlib.Path:
    file = HERE / "card.json"
    file.write_text(json.dumps(card.dump([])))
    return file


def pieces() -> Pieces:
    return Pieces(-np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 1, 2)), np.full((1, 1), -5.0))


def file_network() -> OnnxNetwork:
    plan = Plan(
        (Step("Relu", (Slot(0),), (1,), ()),),
        Slot(1),
        batched=False,
        input_shape=(1,),
        output_shape=(1,),
    )
    return OnnxNetwork((), plan, "x", "y")


def file_property() -> io.Property:
    case = io.Case(bounds.Box(-ONES[:1], ONES[:1]), bounds.Unsafe.of([([[1.0]], [-0.5])]))
    return io.Property(1, 1, (case,))


def listed() -> pathlib.Path:
    """A list of instances that are not there."""
    file = HERE / "instances.csv"
    file.write_text("missing.onnx,missing.vnnlib,60\n")
    return file


def parameters(maker: str):
    """Makers of the catalogue that take numbers."""
    return {
        "leaky_relu": {"a": 0.1}, "prelu": {"a": 0.25}, "f_alpha": {"alpha": 0.5},
        "softplus": {"beta": 1.0}, "swish": {"beta": 1.0}, "elu": {"a": 1.0, "b": 1.0},
        "celu": {"alpha": 1.0}, "mu_relu": {"mu": 0.4}, "repu": {"n": 2},
        "polynomial": {"coefficients": (0.0, 1.0, 0.5)},
        "hermite": {"coefficients": (0.0, 0.8, 0.6)},
    }[maker]  # fmt: skip


MAKERS = (
    "leaky_relu", "prelu", "f_alpha", "softplus", "swish", "elu", "celu", "mu_relu", "repu",
    "polynomial", "hermite",
)  # fmt: skip

ENTRIES = (
    *(
        Entry(
            getattr(catalog, maker),
            lambda maker=maker: parameters(maker),
            {name: ("theta",) for name in parameters(maker)},
        )
        for maker in MAKERS
    ),
    Entry(catalog.get, lambda: {"/name": "tanh"}),
    Entry(activation, lambda: {"fn": jnp.tanh, "kinks": (0.0,)}),
    Entry(derived_moments, lambda: {"act": ACT, "scale": 1.0}),
    Entry(numerics.find_kinks, lambda: {"fn": jnp.tanh}),
    Entry(numerics.double, lambda: {"fn": jnp.tanh}),
    Entry(testing.battery, lambda: {"act": ACT}),
    Entry(testing.check, lambda: {"act": ACT}),
    Entry(doctor.wrong_rows, lambda: {"dtype": "float32", "rows": 10}),
    Entry(card.measure, lambda: {"act": ACT, "seed": 0}),
    Entry(
        card.measure_all,
        lambda: {"acts": [ACT], "folder": HERE / "cards", "seed": 0},
        takes={("folder", "a missing file"): "it is made"},
    ),
    Entry(card.dump, lambda: {"cards": ()}),
    Entry(card.tradeoffs, lambda: {"cards": ()}),
    Entry(card.load, lambda: {"path": card_file()}),
    Entry(card.resolve, lambda: {"text": "tanh"}, {"text": ("activation", "name")}),
    Entry(
        sweep,
        lambda: {"fn": jnp.sin, "inputs": X, "chunk": 2, "progress": lambda *_: None},
        takes={("inputs", how): "fn judges its samples" for how in ("nan", "complex")},
    ),
    Entry(io.load_digits, lambda: {"train": 1437, "seed": 0}),
    Entry(io.load_mnist, lambda: {"path": HERE / "mnist.npz"}),
    Entry(io.load_onnx, lambda: {"path": HERE / "net.onnx"}),
    Entry(io.load_vnnlib, lambda: {"path": HERE / "p.vnnlib"}),
    Entry(io.read_counterexample, lambda: {"path": HERE / "c.txt"}),
    Entry(io.write_counterexample, lambda: {"path": HERE / "c.txt", "x": X, "y": X}),
    Entry(
        io.check_property,
        lambda: {"network": file_network(), "prop": file_property(), "method": "ibp",
                 "timeout": 10.0, "steps": 3, "restarts": 2},
        {"prop": ("property", "box", "rows", "thresholds", "lower", "upper")},
    ),
    Entry(
        decide.decide,
        lambda: {"f": net, "cases": (BOX, UNSAFE), "method": decide.InputSplit(batch=4),
                 "timeout": 10.0},
        CASES,
    ),
    Entry(
        decide.decide_property,
        lambda: {"network": file_network(), "prop": file_property(), "method": "auto",
                 "timeout": 10.0, "restarts": 2},
        {"prop": ("property", "case", "box", "rows", "thresholds", "lower", "upper")},
    ),
    Entry(
        decide.decide_set,
        lambda: {"path": listed(), "out": HERE / "out", "timeout": 1.0, "method": "auto",
                 "restarts": 2},
        {"path": ("set",)},
        takes={("out", "a missing file"): "it is made"},
    ),
    Entry(decide.read_instances, lambda: {"path": listed()}, {"path": ("set",)}),
    Entry(
        decide.read_rows,
        lambda: {"path": HERE / "rows.jsonl"},
        takes={("path", "a missing file"): "no rows yet"},
    ),
    Entry(decide.layers_of, lambda: {"network": traced()}),
    Entry(
        decide.neuron_split,
        lambda: {"layers": decide.layers_of(traced()), "pieces": pieces(),
                 "method": decide.NeuronSplit(batch=4, block=4), "clock": Clock(10.0)},
    ),
    Entry(decide.pieces_of, lambda: {"cases": (BOX, UNSAFE), "inputs": 2, "outputs": 2}, CASES),
)  # fmt: skip
