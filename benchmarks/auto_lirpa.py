"""Bounds of the reference networks: ours against auto_LiRPA (PyTorch, CPU).

The peer is optional. JAXACT_AUTO_LIRPA names a checkout of its public repository and
JAXACT_TORCH_PYTHON the interpreter that has PyTorch (this one by default); 2.13, since under 2.14
the peer's slopes stay where they start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark, size
from benchmarks.reference_nets import MLPS, as_jax, as_torch, margin_rows

EPS = 0.01
PEER = "auto_LiRPA 0.7.1"
STEPS = size(20, 4)  # of the slopes' ascent
MANY = size(16, 4)
CASES = (
    ("mlp50_tanh", "crown", 1), ("mlp50_tanh", "crown", 16), ("mlp50_tanh", "crown", 100),
    ("mlp1024_relu", "ibp", 1), ("mlp1024_relu", "crown_ibp", 1), ("mlp1024_relu", "crown", 1),
    ("mlp1024_relu", "crown", MANY), ("mlp1024_relu", "alpha", 1),
    ("mlp1024_relu", "alpha_all", 1), ("mlp1024_tanh", "crown", 1), ("cnn_relu", "crown", 1),
    ("cnn_relu", "crown", MANY),
)  # fmt: skip
_OURS = {"crown": "crown", "ibp": "ibp", "crown_ibp": "crown_ibp", "alpha": "alpha_crown",
         "alpha_all": "alpha_crown, intermediate slopes too"}  # fmt: skip
_THEIRS = {"crown": "CROWN", "ibp": "IBP", "crown_ibp": "CROWN-IBP", "alpha": "CROWN-Optimized",
           "alpha_all": "CROWN-Optimized"}  # fmt: skip


def _products(name: str, batch: int) -> float | None:
    """Of an MLP's backward passes: two matrices, from every layer through all below it."""
    if name not in MLPS:
        return None
    widths = MLPS[name][0]
    below = [n * m for n, m in zip(widths[1:], widths[:-1], strict=True)]
    # The pass of a hidden layer starts from its own weights, that of the margins from their rows
    # (one side of them is asked for).
    hidden = sum(2 * 2 * n * sum(below[:k]) for k, n in enumerate(widths[2:-1], start=1))
    return float(batch * (hidden + 2 * (widths[-1] - 1) * sum(below)))


def _traffic(name: str) -> float:
    """Of interval arithmetic on one sample: every weight and its size are read once."""
    widths = MLPS[name][0]
    return 2.0 * 4 * sum(n * m for n, m in zip(widths[1:], widths[:-1], strict=True))


def _benchmark(name: str, method: str, batch: int) -> Benchmark:
    return Benchmark(
        name=f"{method} of {name}, batch {batch}, eps {EPS}",
        ours=f"jaxact.bounds.{_OURS[method]}",
        peer=f"{PEER} {_THEIRS[method]}",
        module="benchmarks.auto_lirpa",
        repetitions=3 if method.startswith("alpha") or (batch == MANY and "50" not in name) else 9,
        python=(sys.executable, os.environ.get("JAXACT_TORCH_PYTHON", sys.executable)),
        arguments=(name, method, str(batch)),
        requires="JAXACT_AUTO_LIRPA",
        imports=("torch",),
        flop=_products(name, batch) if method == "crown" else None,
        moved=_traffic(name) if method == "ibp" else None,
    )


BENCHMARKS = {f"{case[1]}_{case[0]}_{case[2]}": _benchmark(*case) for case in CASES}


def make_ours(name: str, method: str, batch: str) -> Callable[[], np.ndarray]:
    """Lower bounds of the margins by one jitted call on the traced network."""
    import jax
    import jax.numpy as jnp

    from jaxact import bounds
    from jaxact.tracing import trace

    f, inputs = as_jax(name)
    x = jnp.asarray(inputs[: int(batch)])
    network = trace(f, x[0])
    specs = jnp.asarray(margin_rows(np.asarray(jax.vmap(f)(x))))
    answer = {
        "alpha": lambda *a: bounds.alpha_crown(*a, steps=STEPS, upper=False),
        "alpha_all": lambda *a: bounds.alpha_crown(
            *a, steps=STEPS, intermediate=True, intermediate_steps=size(7, 2), upper=False
        ),
    }.get(method) or getattr(bounds, method)
    if batch == "1":
        return lambda: np.asarray(answer(network, bounds.Ball(x[0], EPS), specs[0]).lower)
    many = jax.jit(
        jax.vmap(lambda n, v, s: answer(n, bounds.Ball(v, EPS), s).lower, in_axes=(None, 0, 0))
    )
    return lambda: np.asarray(many(network, x, specs))


def make_peer(name: str, method: str, batch: str) -> Callable[[], np.ndarray]:
    """The same through BoundedModule.compute_bounds."""
    sys.path.insert(0, os.environ["JAXACT_AUTO_LIRPA"])
    import torch  # pyright: ignore[reportMissingImports]
    from auto_LiRPA import (  # pyright: ignore[reportMissingImports]
        BoundedModule,
        BoundedTensor,
        PerturbationLpNorm,
    )

    torch.set_num_threads(1)
    model, inputs = as_torch(name)
    x = torch.from_numpy(inputs[: int(batch)])
    specs = torch.from_numpy(margin_rows(model(x).detach().numpy()))
    options = {"optimize_bound_args": {"iteration": STEPS, "lr_alpha": 0.5}}
    bounded = BoundedModule(model, torch.empty_like(x), bound_opts=options)
    perturbed = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), eps=EPS))

    def crown_boxes() -> dict[str, object]:
        with torch.no_grad():
            bounded.compute_bounds(x=(perturbed,), C=specs, method="CROWN", bound_upper=False)
        return {
            node.name: [node.lower.detach(), node.upper.detach()]
            for layer in bounded.perturbed_optimizable_activations for node in layer.inputs
        }  # fmt: skip

    def work() -> np.ndarray:
        # "alpha" fixes the intermediate bounds to those of a CROWN pass, as ours does
        kept = {"interm_bounds": crown_boxes()} if method == "alpha" else {}
        lower, _ = bounded.compute_bounds(
            x=(perturbed,), C=specs, method=_THEIRS[method], bound_upper=False, **kept
        )
        return lower.detach().numpy().copy()

    if method.startswith("alpha"):
        return work

    def without_gradients() -> np.ndarray:
        with torch.no_grad():
            return work()

    return without_gradients
