"""Is this backend computing right numbers? Versions, devices, precision and a sanity check."""

from __future__ import annotations

import platform
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.numerics import checks
from jaxact.numerics.pytrees import pytree

KNOWN_BAD = {
    "0.10.2": "computes wrong rows in jit(vmap(...)) on CPU",
    "0.11.1": "has a report of wrong numbers of its own",
}
WORKAROUND = "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type="
_PACKAGES = ("jaxact", "jax", "jaxlib", "flax", "optax", "numpy", "jaxtyping")
_ROWS = 20_000


@pytree(static=("versions", "devices", "checks", "warnings"))
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        versions: (package, version) pairs.
        devices: one line a device.
        checks: (what was checked, what was measured, whether it is right) triples.
        warnings: sentences a user should read; empty when all is well.
    """

    versions: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]
    checks: tuple[tuple[str, str, bool], ...]
    warnings: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether every check passed."""
        return all(right for _, _, right in self.checks)


def wrong_rows(dtype: str = "float64", rows: int = _ROWS) -> int:
    """Rows of jit(vmap(x -> |W x|.sum())) that differ from NumPy; 0 on a right backend.

    jaxlib 0.10.2 gets 3,616 of 20,000 rows wrong on some CPUs, for a 3 x 3 float64 W.

    Example:
        >>> wrong_rows()
        0
    """
    checks.choice("dtype", dtype, ("float32", "float64"))
    checks.integer("rows", rows, 1)
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        w, x = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 3), (rows, 3)))
        kernel = jax.jit(jax.vmap(lambda w, x: jnp.abs(w @ x).sum(), in_axes=(None, 0)))
        got = np.asarray(kernel(w, x), np.float64)
    exact = np.abs(x.astype(np.float64) @ w.astype(np.float64).T).sum(axis=1)
    # TPU and GPU matmuls may default to 8 or 10 bits: that is precision, not a wrong row
    tolerance = 1e-12 if dtype == "float64" else 3e-2
    return int((np.abs(got - exact) > tolerance * (1 + exact)).sum())


def _matmul_errors() -> tuple[float, float]:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)

    def error(precision: str) -> float:
        got = jnp.matmul(jnp.asarray(a), jnp.asarray(b), precision=precision)
        return float(np.abs(np.asarray(got, np.float64) - exact).max() / np.abs(exact).max())

    return error("default"), error("highest")


def _float64_works() -> bool:
    with jax.enable_x64(True):
        third = jnp.float64(1) / 3
        return third.dtype == jnp.float64 and float(third) == 1 / 3


def diagnose() -> Diagnosis:
    """Measure this machine: versions, devices, float64, matmul precision, wrong rows.

    Example:
        >>> diagnose().healthy
        True
    """
    versions = tuple((name, _version(name)) for name in ("python", *_PACKAGES))
    jaxlib = dict(versions)["jaxlib"]
    warnings = []
    if jaxlib in KNOWN_BAD:
        warnings.append(
            f"jaxlib {jaxlib} {KNOWN_BAD[jaxlib]}: install another version "
            f"(pip install 'jaxlib!={jaxlib}'), or set {WORKAROUND}"
        )
    checks = []
    for dtype in ("float64", "float32"):
        wrong = wrong_rows(dtype)
        checks.append((f"wrong rows of {_ROWS:,} in {dtype}", f"{wrong:,}", wrong == 0))
        if wrong:
            warnings.append(
                f"this backend gets {wrong:,} of {_ROWS:,} rows wrong in {dtype}: no number "
                f"computed here can be trusted; try {WORKAROUND} or another jaxlib"
            )
    checks.append(("float64 inside jax.enable_x64", "works", _float64_works()))
    default, highest = _matmul_errors()
    checks.append(("matmul error, precision highest", f"{highest:.1e}", highest < 1e-5))
    checks.append(("matmul error, default precision", f"{default:.1e}", True))
    if default > 1e-5:
        warnings.append(
            "matmuls default to less than float32 on this device; jaxact sets the precision "
            "in every bound, your own model may not"
        )
    devices = tuple(f"{d.platform} {d.id}: {d.device_kind}" for d in jax.devices())
    return Diagnosis(versions, devices, tuple(checks), tuple(warnings))


def _version(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
