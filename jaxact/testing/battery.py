"""The battery over one activation: every derived quantity against an independent one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation, activation
from jaxact.numerics.kinks import SCAN_RANGE, find_kinks
from jaxact.testing.measure import SCALES, dense_grid, measure, stencil_slope, test_points


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: what was compared.
        error: the largest relative error found; inf where a value was not finite.
        tolerance: the largest error that passes.
        detail: where, or what, in words; empty if it passed.
    """

    name: str
    error: float
    tolerance: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of the battery on one activation.

    Attributes:
        activation: its name.
        checks: one `Check` each, in the order they were made.
    """

    activation: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(c for c in self.checks if not c.passed)

    def __str__(self) -> str:
        """A table, one line a check."""
        lines = [
            f"{'ok  ' if c.passed else 'FAIL'} {c.name:<38} {c.error:9.1e} <= {c.tolerance:.0e}"
            f"{'  ' + c.detail if c.detail else ''}"
            for c in self.checks
        ]
        return "\n".join([f"activation {self.activation}", *lines])


def check(act: Activation | Callable[..., Any]) -> Report:
    """Run the battery on an activation and refuse it if anything disagrees.

    Args:
        act: an `Activation`, or a plain function (its kinks are then found by a scan).

    Returns:
        The report, all of whose checks passed.

    Raises:
        AssertionError: naming each check that failed, with its error, tolerance and place.
        TypeError, ValueError: for a function that is not elementwise or cannot be traced.

    Example:
        >>> report = check(lambda x: x * jax.nn.sigmoid(1.5 * x))
        >>> [c.name for c in report.checks][:3]
        ['finite values', 'finite derivatives', 'derivative']
    """
    report = battery(act)
    if report.failures:
        raise AssertionError(
            f"{report.activation} failed {len(report.failures)} of {len(report.checks)} checks: "
            f"{', '.join(c.name for c in report.failures)}\n{report}"
        )
    return report


def battery(act: Activation | Callable[..., Any]) -> Report:
    """Run the battery on an activation, and report without raising.

    In float64, on points of [-6, 6] away from the declared kinks: the derivative against finite
    differences, the primitive against the function, the inverse by a round trip, the Gaussian
    moments against a dense sum that knows no kinks, the declared kinks against a scan, theta's
    gradient against differences, every closed form against its derived value; then float32
    against float64, and that a change of theta does not recompile.

    Args:
        act: an `Activation`, or a plain function.

    Returns:
        A `Report`.

    Example:
        >>> import jaxact
        >>> all(check.passed for check in battery(jaxact.get("tanh")).checks)
        True
    """
    act = activation(act)
    with jax.enable_x64(True):  # noqa: FBT003
        wide = act.replace(*jax.tree.map(lambda t: jnp.asarray(t, jnp.float64), act.theta))
        sign = wide.monotone()
        kinks = np.asarray(wide.kink_points(), np.float64).reshape(-1)
        x = test_points(kinks)
        got = jax.tree.map(np.asarray, measure(wide, x, dense_grid(), sign=sign))
    checks = [
        *_calculus(x, kinks, got),
        *_inverse(x, got),
        *_moments(got),
        *_closed(x, got),
        _kinks(wide, kinks),
        *_compiled(wide, act, x, got),
    ]
    return Report(act.name, tuple(checks))


def _compare(name: str, x: Any, got: Any, wanted: Any, scale: Any, tolerance: float) -> Check:
    """The largest |got - wanted| / scale, and where it is."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(np.asarray(got, np.float64) - np.asarray(wanted, np.float64)) / scale
    error = np.where(np.isfinite(error), error, np.inf).reshape(-1)
    worst = int(np.argmax(error))
    value = float(error[worst])
    if value <= tolerance:
        return Check(name, value, tolerance)
    place = np.broadcast_to(x, np.shape(got)).reshape(-1)[worst]
    seen, right = (np.broadcast_to(v, np.shape(got)).reshape(-1)[worst] for v in (got, wanted))
    return Check(name, value, tolerance, f"at {place:.6g}: {seen:.9g} against {right:.9g}")


def _finite(name: str, x: np.ndarray, values: np.ndarray) -> Check:
    bad = ~np.isfinite(values)
    detail = f"at {x[bad.reshape(-1, x.size).any(0)][0]:.6g}" if bad.any() else ""
    return Check(name, math.inf if bad.any() else 0.0, 0.0, detail)


def _calculus(x: np.ndarray, kinks: np.ndarray, got: Any) -> Iterator[Check]:
    value, slope = got["value"], got["slope"]
    scale = 1 + np.abs(value) + np.abs(slope)
    yield _finite("finite values", x, value)
    edge = np.concatenate([kinks, got["edge_points"]])
    yield _finite("finite derivatives", edge, got["edge_slopes"])
    yield _compare("derivative", x, slope, stencil_slope(got["near"]), scale, 1e-7)
    primitive_scale = scale + np.abs(got["primitive"])
    yield _compare("primitive: derivative by JAX", x, got["primitive_slope"], value, scale, 1e-9)
    yield _compare(
        "primitive: derivative by differences",
        x, stencil_slope(got["primitive_near"]), value, primitive_scale, 1e-6,
    )  # fmt: skip
    yield _compare("primitive: zero at 0", 0.0, got["primitive_at_zero"], 0.0, 1.0, 1e-12)
    for i, (exact, near) in enumerate(zip(got["theta_slopes"], got["theta_near"], strict=True)):
        rough = stencil_slope(near)
        yield _compare(f"gradient in theta[{i}]", x, exact, rough, scale + np.abs(exact), 1e-6)


def _inverse(x: np.ndarray, got: Any) -> Iterator[Check]:
    for kind in ("inverse", "closed_inverse"):
        if got[kind] is None:
            continue
        label = "inverse: round trip" if kind == "inverse" else "inverse, closed: round trip"
        scale = 1 + np.abs(got["value"])
        yield _compare(label, x, got[f"{kind}_back"], got["value"], scale, 1e-9)
        if got["sign"]:
            # Where f is flat to rounding, x cannot be told from f(x).
            steep = np.abs(got["slope"]) / (1 + np.abs(got["slope"]))
            with np.errstate(invalid="ignore"):
                error = np.where(steep > 1e-6, steep * np.abs(got[kind] - x), 0.0)
            yield _compare(f"{label} to x", x, error, 0.0, 1 + np.abs(x), 1e-8)


def _moments(got: Any) -> Iterator[Check]:
    for i, scale in enumerate(SCALES):
        size = 1 + got["dense_moments"][i][1] + got["dense_moments"][i][0] ** 2
        for j, part in enumerate(("mean", "eta", "zeta")):
            name = f"moments at scale {scale:g}: {part}"
            mine, dense = got["moments"][i][j], got["dense_moments"][i][j]
            yield _compare(name, scale, mine, dense, size, 3e-5)


def _closed(x: np.ndarray, got: Any) -> Iterator[Check]:
    if got["derived_moments"] is not None:
        wanted = np.asarray(got["derived_moments"])
        size = 1 + wanted[:, 1:2] + wanted[:, :1] ** 2
        at = np.asarray(SCALES)[:, None]
        mine = np.asarray(got["moments"])
        yield _compare("closed moments = derived", at, mine, wanted, size, 1e-9)
    if got["derived_primitive"] is not None:
        wanted = got["derived_primitive"]
        scale = 1 + np.abs(wanted)
        yield _compare("closed primitive = derived", x, got["primitive"], wanted, scale, 1e-9)
    if got["signature"] is not None:
        scale = 1 + np.abs(got["slope"])
        yield _compare("closed signature = f'", x, got["signature"], got["slope"], scale, 1e-6)


def _kinks(act: Activation, declared: np.ndarray) -> Check:
    found = find_kinks(act.fn, act.theta)
    inside = np.concatenate([declared, [np.inf]])
    missing = [k for k in found if np.abs(inside - k).min() > 1e-6]
    detail = f"not smooth at {', '.join(f'{k:g}' for k in missing)}, which is not declared"
    unsorted = bool((np.diff(declared) < 0).any())
    if unsorted:
        detail = f"kinks must ascend, got {declared.tolist()}"
    count = len(missing) + unsorted
    return Check(
        f"kinks on [-{SCAN_RANGE:g}, {SCAN_RANGE:g}]", float(count), 0.0, detail * bool(count)
    )


def _compiled(wide: Activation, act: Activation, x: np.ndarray, got: Any) -> Iterator[Check]:
    narrow = act.replace(*jax.tree.map(lambda t: jnp.asarray(t, jnp.float32), act.theta))
    single = jnp.asarray(x, jnp.float32)
    applied = jax.jit(lambda a, v: a(v))
    out = applied(narrow, single)
    applied(jax.tree.map(lambda t: t * 1.01, narrow), single)
    traces = applied._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    yield Check("compiles once over theta", float(traces - 1), 0.0)
    wrong = out.dtype != jnp.float32
    yield Check("float32 in, float32 out", float(wrong), 0.0, f"got {out.dtype}" if wrong else "")
    # The input's own rounding moves the value by |x f'| / 2^24.
    scale = 1 + np.abs(got["value"]) + np.abs(x * got["slope"])
    yield _compare("float32 = float64", x, out, got["value"], scale, 3e-5)
    yield _compare("vmap = the whole array", x, got["mapped"], got["value"], scale, 1e-12)
