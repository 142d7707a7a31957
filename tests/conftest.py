"""Strict JAX, typed shapes and the shared data, for every test."""

from __future__ import annotations

import os
import pathlib

# XLA compiles in half the time; `XLA_FLAGS= pytest` compiles as users do, and CI runs the fast
# subset so too. Optimisation level 0 with these fusions is not an option: it miscompiles
# (jaxlib 0.10.1: lines of tanh over narrow intervals came out wrong).
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"
)

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

with install_import_hook("jaxact", "beartype.beartype"):
    import jaxact  # noqa: F401

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# jax_debug_key_reuse costs an eighth of the time: JAX_DEBUG_KEY_REUSE=1 turns it on, as CI does
# for the fast subset.
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
os.environ.setdefault("MPLBACKEND", "Agg")

FINISHED = pytest.StashKey[int]()
MAPS = pathlib.Path("/proc/self/maps")
MAPS_KEPT = 25_000  # of the 65530 that Linux gives a process


def pytest_runtest_teardown(item, nextitem):
    """Drop compiled programs, each some maps of memory, before LLVM dies for want of maps."""
    del nextitem
    finished = item.session.stash[FINISHED] = item.session.stash.get(FINISHED, 0) + 1
    if finished % 20 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MAPS_KEPT:
        jax.clear_caches()


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded NumPy generator for oracles and data."""
    return np.random.default_rng(0)


@pytest.fixture
def shared() -> pathlib.Path:
    """The folder of shared data; skips where a checkout has none."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which a user's checkout does not have")
    return SHARED
