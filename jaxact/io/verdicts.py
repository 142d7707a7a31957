"""A network file against a property file: verified, falsified or unknown, with the evidence."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import bounds
from jaxact.io.onnx_network import OnnxNetwork
from jaxact.io.properties import Case, Property
from jaxact.numerics import checks
from jaxact.tracing import trace
from jaxact.tracing.graph import Network
from jaxact.tracing.ranges import down, up

METHODS: dict[str, Callable[..., Any]] = {
    "ibp": bounds.ibp,
    "crown": bounds.crown,
    "alpha": functools.partial(bounds.alpha_crown, intermediate=True),
    "sound": functools.partial(bounds.crown, sound=True),
}
"""Name -> bound, from cheap to tight; "sound" is CROWN with an allowance for its own rounding."""

AUTO = ("ibp", "crown", "alpha")
"""What `auto` tries, in order."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a property, and why.

    Attributes:
        status: "verified", "falsified" or "unknown".
        margin: the best certified lower bound of the distance to the unsafe set, the smallest
            over the cases (positive: verified), nan if no bound was taken, inf without cases;
            for a falsified property the margin of the counterexample, <= 0.
        method: what decided it: a bound's name, "attack", or "" for unknown.
        x: the counterexample, flattened, float64; None unless falsified.
        y: the network's output there, evaluated in float64.
        seconds: wall time.
        timed_out: whether time ran out before everything was tried.
    """

    status: str
    margin: float
    method: str
    x: np.ndarray | None
    y: np.ndarray | None
    seconds: float
    timed_out: bool


def check_property(
    network: OnnxNetwork,
    prop: Property,
    *,
    method: str = "auto",
    timeout: float = float("inf"),
    reference: Callable[[np.ndarray], np.ndarray] | None = None,
    steps: int = 50,
    restarts: int = 32,
) -> Outcome:
    """Decide a property by bounds and attack, without splitting.

    First an attack on every case, then the bounds on every case that is left. The search and the
    bounds are float32; boxes are rounded outward before they are bounded, and a counterexample
    counts only if its point lies in the float64 box and the network, evaluated in float64,
    reaches the unsafe set there. Equal architectures compile once, whatever their weights.

    Args:
        network: from `load_onnx`.
        prop: from `load_vnnlib`.
        method: one of `METHODS`, "auto": ibp, crown and alpha in turn until one verifies, or
            "attack": no bound at all.
        timeout: seconds of wall time; looked at between the steps, so a long compilation is
            not cut short.
        reference: another evaluation of the network, x -> y, such as `onnxruntime_evaluation`;
            a counterexample on which the two disagree is an error.
        steps: of the attack.
        restarts: of the attack; 0 for none.

    Returns:
        `Outcome`.

    Raises:
        ValueError: if network and property do not fit, or the reference disagrees.
        NotImplementedError: for a network with a primitive that has no certified rule.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxact.bounds import Box, Unsafe
        >>> from jaxact.io.onnx_network import Plan, Slot, Step
        >>> relu = Plan((Step("Relu", (Slot(0),), (1,), ()),), Slot(1), False, (1,), (1,))
        >>> case = Case(Box(np.array([-1.0]), np.array([1.0])), Unsafe.of([([[1.0]], [-0.5])]))
        >>> out = check_property(OnnxNetwork((), relu, "x", "y"), Property(1, 1, (case,)))
        >>> out.status, out.margin, out.method
        ('verified', 0.5, 'ibp')
    """
    checks.choice("method", method, ("auto", "attack", *METHODS))
    checks.seconds("timeout", timeout)
    checks.integer("steps", steps, 1)
    checks.integer("restarts", restarts, 0)
    names = AUTO if method == "auto" else (method,)
    chosen = {name: METHODS[name] for name in names if name in METHODS}
    check_sizes(network, prop)
    start = time.monotonic()
    traced = trace(network, jax.ShapeDtypeStruct(network.input_shape, jnp.float32))

    def outcome(status: str, margin: float, by: str = "", **found: Any) -> Outcome:
        late = found.pop("late", False)
        seconds = time.monotonic() - start
        return Outcome(status, margin, by, found.get("x"), found.get("y"), seconds, late)

    def late() -> bool:
        return time.monotonic() - start > timeout

    for case in prop.cases if restarts else ():
        found = _attack(network, traced, prop, case, steps=steps, restarts=restarts)
        if found is not None:
            compare(reference, *found)
            margin = float((case.unsafe.rows @ found[1] - case.unsafe.thresholds).max(1).min())
            return outcome("falsified", margin, "attack", x=found[0], y=found[1])
        if late():
            return outcome("unknown", float("nan"), late=True)
    margins = dict.fromkeys(range(len(prop.cases)), float("nan"))
    by = ""
    for name, bound in chosen.items():
        for index, case in enumerate(prop.cases):
            if margins[index] > 0:
                continue
            if late():
                return outcome("unknown", _smallest(margins), late=True)
            found = float(verdict(traced, case, bound).margin)
            margins[index], by = float(np.fmax(margins[index], found)), name
        if all(m > 0 for m in margins.values()):
            return outcome("verified", _smallest(margins), by or name)
    if not prop.cases:  # every box is empty
        return outcome("verified", float("inf"))
    return outcome("unknown", _smallest(margins))


def verdict(network: Network, case: Case, method: Callable[..., Any]) -> bounds.Verdict:
    """`bounds.certify` on one case: the box and the thresholds rounded outward to float32.

    Args:
        network: the traced network.
        case: of a property.
        method: called (network, box, spec).

    Returns:
        `bounds.Verdict`.
    """
    dtype = str(network.dtype)
    box = bounds.Box(
        jnp.asarray(down(case.box.lower, dtype).reshape(network.input_shape)),
        jnp.asarray(up(case.box.upper, dtype).reshape(network.input_shape)),
    )
    rows = np.asarray(case.unsafe.rows, dtype)
    unsafe = bounds.Unsafe(rows, up(case.unsafe.thresholds, dtype))
    return bounds.certify(network, box, unsafe, method=method)


def _attack(
    network: OnnxNetwork, traced: Network, prop: Property, case: Case, **options: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """A point of the box that is unsafe in float64, or None."""
    shape, dtype = traced.input_shape, str(traced.dtype)
    lower, upper = up(case.box.lower, dtype), down(case.box.upper, dtype)
    # rounded inward; an interval without a float32 number inside is the number nearest to it
    upper = np.maximum(lower, upper)
    box = bounds.Box(jnp.asarray(lower.reshape(shape)), jnp.asarray(upper.reshape(shape)))
    # what float32 finds on the very edge may be safe in float64: then aim a little further
    for shift in (0.0, 1e-5, 1e-3):
        thresholds = case.unsafe.thresholds - shift * (1 + np.abs(case.unsafe.thresholds))
        unsafe = bounds.Unsafe(case.unsafe.rows, thresholds)
        found = bounds.falsify(traced, box, unsafe, **options)
        if not found.success:
            return None
        x = np.asarray(found.point, np.float64).reshape(-1)
        x = np.clip(x, case.box.lower, case.box.upper)
        y = evaluate(network, x)
        if prop.violated_by(x, y):
            return x, y
    return None


def evaluate(network: OnnxNetwork, x: Any) -> np.ndarray:
    """The network's flattened output at a flattened sample, in float64.

    Args:
        network: from `load_onnx`.
        x: one sample, any shape of the right size.

    Returns:
        A float64 array (outputs,).
    """
    with jax.enable_x64(True):
        sample = jnp.asarray(np.asarray(x, np.float64).reshape(network.input_shape))
        return np.asarray(_call(network, sample)).reshape(-1)


@jax.jit
def _call(network: OnnxNetwork, x: Any) -> Any:
    return network(x)


def check_sizes(network: OnnxNetwork, prop: Property) -> None:
    """Raise `ValueError` or `TypeError` where a property is not about such a network."""
    checks.instance("network", network, OnnxNetwork)
    checks.instance("prop", prop, Property)
    pairs: Sequence[tuple[str, int, tuple[int, ...]]] = (
        ("inputs", prop.inputs, network.input_shape),
        ("outputs", prop.outputs, network.output_shape),
    )
    for what, declared, shape in pairs:
        if declared != int(np.prod(shape)):
            raise ValueError(
                f"the property must declare the network's {what}, shape {shape}, got {declared}"
            )


def compare(reference: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Raise `ValueError` where a reference, if there is one, has other outputs than y at x."""
    if reference is None:
        return
    other = np.asarray(reference(x), np.float64).reshape(-1)
    if not np.allclose(other, y, rtol=1e-4, atol=1e-4 * (1 + np.abs(y).max())):
        raise ValueError(
            "the reference must agree with float64 at the counterexample, got a difference of "
            f"{np.abs(other - y).max():g}"
        )


def _smallest(margins: dict[int, float]) -> float:
    return float(min(margins.values(), default=float("inf"))) if not any(
        np.isnan(m) for m in margins.values()
    ) else float("nan")  # fmt: skip
