"""Entry points of `jaxact.memory`."""

from __future__ import annotations

import jax
import numpy as np
from fuzz_table import Entry

import jaxact as ja
from jaxact import memory

KEY = jax.random.key(0)
PATTERNS = np.where(np.arange(24).reshape(4, 6) % 5 < 2, 1.0, -1.0).astype(np.float32)
PROBE = PATTERNS[:2]
STATES = np.array([0.1, -0.2, 0.3, 0.4, 0.0, 0.2], np.float32)
MEMORIES = np.linspace(-0.9, 0.9, 15, dtype=np.float32).reshape(3, 5)  # 3 pixels, 2 classes
PIXELS = np.array([0.2, -0.4, 0.6], np.float32)
F = memory.polynomial(3)
DEGREE = {("F", "a number"): "an integer is a degree"}
STORED = {("memory", "nan in leaf 0"): "only store() writes it, which looks at every pattern"}
CLASS = {"memories": MEMORIES, "v": PIXELS, "F": F, "temperature": 1.0}


def joint() -> memory.JointEnergy:
    return memory.softmax(2.0)


def opened() -> memory.Store:
    return memory.open_store(3, 6)


def packed() -> memory.Packed:
    return memory.pack(PATTERNS)


ENTRIES = (
    Entry(memory.capacity, lambda: {"N": 100, "n": 2, "error": 0.005}),
    Entry(memory.alpha, lambda: {"n": 2, "error": 0.005}),
    Entry(memory.no_error_capacity, lambda: {"N": 100, "n": 2}),
    Entry(memory.basin_radius, lambda: {"N": 100, "F": F, "K": 20.0, "error": 0.005}, takes=DEGREE),
    Entry(memory.bit_error, lambda: {"N": 100, "F": F, "K": 20.0, "flips": 0.1}, takes=DEGREE),
    Entry(memory.finite_capacity, lambda: {"N": 100, "F": F, "error": 0.005}, takes=DEGREE),
    Entry(memory.joint, lambda: {"fn": lambda z: z, "beta": 1.0, "similarity": "dot"}),
    Entry(memory.store, lambda: {"memory": opened(), "pattern": STATES}, takes=STORED),
    Entry(memory.forget, lambda: {"memory": opened(), "index": 1}, takes=STORED),
    Entry(memory.open_store, lambda: {"capacity": 3, "N": 6, "dtype": np.float32}),
    Entry(memory.energy, lambda: {"patterns": PATTERNS, "state": PROBE, "F": F}),
    Entry(memory.class_fields, lambda: CLASS | {"weights": np.ones(3, np.float32)}),
    Entry(memory.class_outputs, lambda: dict(CLASS)),
    Entry(
        memory.init_memories,
        lambda: {"key": KEY, "K": 3, "inputs": 3, "classes": 2, "mean": -0.3, "spread": 0.3},
    ),
    Entry(
        memory.power_loss,
        lambda: {"fields": np.array([0.5, -0.5], np.float32), "label": np.int32(1), "m": 2},
    ),
    Entry(memory.update, lambda: {"patterns": PATTERNS, "state": STATES, "F": joint()}),
    Entry(
        memory.duality,
        lambda: CLASS | {"eps": (0.1, 0.01)},
        takes={("eps", "a number"): "one step"},
    ),
    Entry(memory.feed_forward, lambda: dict(CLASS)),
    Entry(
        memory.retrieve,
        lambda: {"patterns": PATTERNS, "probe": PROBE, "F": F, "mode": "async",
                 "order": "sequential", "key": KEY, "max_sweeps": 3, "chunk": 2},
    ),
    Entry(
        memory.gaps,
        lambda: {"patterns": PATTERNS, "state": PROBE, "F": F, "method": "auto"},
    ),
    Entry(memory.overlaps, lambda: {"patterns": PATTERNS, "state": PROBE}),
    Entry(memory.exponential, lambda: {"beta": 1.0}),
    Entry(memory.exponential_alpha, lambda: {"flips": 0.1}),
    Entry(memory.exponential_basin, lambda: {"N": 50, "K": 20.0}),
    Entry(memory.exponential_capacity, lambda: {"N": 50, "flips": 0.1}),
    Entry(memory.from_activation, lambda: {"act": ja.get("tanh")}),
    Entry(memory.polynomial, lambda: {"n": 3}),
    Entry(memory.rectified, lambda: {"n": 3}),
    Entry(memory.entmax, lambda: {"alpha": 1.5, "beta": 1.0, "similarity": "dot"}),
    Entry(memory.epanechnikov, lambda: {"beta": 1.0, "floor": 1e-6}),
    Entry(memory.softmax, lambda: {"beta": 1.0, "similarity": "dot"}),
    Entry(memory.sparsemax, lambda: {"beta": 1.0, "similarity": "dot"}),
    Entry(memory.pack, lambda: {"patterns": PATTERNS}),
    Entry(memory.unpack, lambda: {"stored": packed()}),
    Entry(memory.answering_memories, lambda: CLASS | {"share": 0.9}),
    Entry(memory.class_votes, lambda: {"memories": MEMORIES, "classes": 2, "cutoff": 0.0}),
    Entry(memory.measure_regime, lambda: CLASS | {"v": PIXELS[None], "share": 0.9, "cutoff": 0.0}),
    Entry(
        memory.measure_recall,
        lambda: {"key": KEY, "patterns": PATTERNS, "F": F, "flips": 0.2, "probes": 4,
                 "mode": "async", "max_sweeps": 3, "chunk": 2},
    ),
    Entry(
        memory.measure_capacity,
        lambda: {"key": KEY, "N": 6, "K": 3, "F": F, "flips": 0.0, "memories": 2, "probes": 2,
                 "chunk": 2},
    ),
    Entry(
        memory.memory_rule, lambda: {"rate": 0.1, "momentum": 0.6, "floor": 1e-30, "bound": 1.0}
    ),
    Entry(memory.project_to_box, lambda: {"bound": 1.0}),
    Entry(memory.scale_by_row_maximum, lambda: {"floor": 1e-30}),
    Entry(memory.xor, lambda: {"F": F}),
)  # fmt: skip
