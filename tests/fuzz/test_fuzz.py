"""Every public entry point refuses bad arguments by name, or answers rightly."""

from __future__ import annotations

import importlib
import inspect
import os

import fuzz_bounds
import fuzz_geometry
import fuzz_inversion
import fuzz_memory
import fuzz_nets
import fuzz_rest
import fuzz_spectra
import pytest
from fuzz_judge import Reached, checks_only, complaint
from fuzz_known import EXEMPT, KNOWN
from fuzz_spoils import spoils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TABLES = (
    fuzz_spectra, fuzz_bounds, fuzz_memory, fuzz_inversion, fuzz_geometry, fuzz_nets, fuzz_rest,
)  # fmt: skip
ENTRIES = {
    f"{table.__name__.removeprefix('fuzz_')}-{index:02d}-{entry.fn.__name__}": entry
    for table in TABLES
    for index, entry in enumerate(table.ENTRIES)
}
MODULES = (
    "spectra", "bounds", "memory", "inversion", "geometry", "tracing", "numerics", "nets", "io",
    "sweep", "testing", "doctor", "catalog", "activation", "card", "decide",
)  # fmt: skip
EXAMPLES = int(os.environ.get("JAXACT_FUZZ", "6"))
"""Spoiled calls an entry point; with JAXACT_FUZZ=1000 all of them, also those that may pass."""


@pytest.mark.parametrize("name", ENTRIES)
def test_a_spoiled_argument_is_refused_by_name_or_answered(name):
    entry = ENTRIES[name]
    every = [
        spoil
        for spoil in spoils(entry.valid())
        if (spoil.refused or EXAMPLES >= 1000)
        and (entry.fn.__name__, spoil.name.strip("*/"), spoil.how) not in KNOWN
    ]
    if not every:
        pytest.skip("nothing to spoil")

    fewer = entry.heavy and EXAMPLES < 1000

    @settings(
        max_examples=min(EXAMPLES, 2) if fewer else EXAMPLES, derandomize=True, deadline=None,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(every))
    def spoiled(spoil):
        with checks_only():
            found = complaint(entry, spoil)
        assert not found, f"{name}, {spoil}: {found}"

    spoiled()


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.__name__)
def test_valid_arguments_pass_the_checks(table):
    """Else the errors above would be about something else."""
    needs_a_file = {"load_mnist", "load_onnx", "load_vnnlib", "read_counterexample"}
    for entry in table.ENTRIES:
        if entry.fn.__name__ in needs_a_file:
            continue
        valid = entry.valid()
        with checks_only():
            try:
                entry.call(valid)
            except Reached:
                continue


def public_functions():
    for name in MODULES:
        module = importlib.import_module(f"jaxact.{name}")
        for attribute, value in vars(module).items():
            home = getattr(value, "__module__", "") or ""
            whole = hasattr(module, "__path__") or home == module.__name__
            routine = inspect.isroutine(inspect.unwrap(value)) if callable(value) else False
            if routine and attribute[0] != "_" and home.startswith("jaxact") and whole:
                yield name, attribute, value


def test_the_table_holds_every_public_function():
    held = {inspect.unwrap(entry.fn) for entry in ENTRIES.values()}
    missing = [
        f"{module}.{name}"
        for module, name, value in public_functions()
        if inspect.unwrap(value) not in held and name not in EXEMPT
    ]
    assert not missing
    names = {name for _, name, _ in public_functions()}
    assert set(EXEMPT) <= names, "an exemption of a function that is gone"
