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
from fuzz_spoils import spoils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_public_api import MODULES, public

MODULES_OF_ENTRIES = (
    fuzz_spectra, fuzz_bounds, fuzz_memory, fuzz_inversion, fuzz_geometry, fuzz_nets, fuzz_rest,
)  # fmt: skip
ENTRIES = {
    f"{module.__name__.removeprefix('fuzz_')}-{index}-{entry.fn.__name__}": entry
    for module in MODULES_OF_ENTRIES
    for index, entry in enumerate(module.ENTRIES)
}
EXAMPLES = int(os.environ.get("JAXACT_FUZZ", "8"))
"""Spoiled calls an entry point; JAXACT_FUZZ=1000 is all of them."""


@pytest.mark.parametrize("name", ENTRIES)
def test_a_spoiled_argument_is_refused_by_name_or_answered(name):
    entry = ENTRIES[name]
    valid = entry.valid()
    every = spoils(valid)

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(every))
    def spoiled(spoil):
        with checks_only():
            found = complaint(entry, spoil)
        assert not found, f"{name}, {spoil}: {found}"

    spoiled()
