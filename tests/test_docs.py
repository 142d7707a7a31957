"""The pages: their code runs, from top to bottom, and the reference has every public name."""

from __future__ import annotations

import importlib
import pathlib
import re

import jax
import pytest
from test_public_api import MODULES, public

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
_FENCE = re.compile(r"(<!-- not run: .+ -->\n+)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page):
    """(line, code) of the blocks that run: those without a comment that says why they do not."""
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        if not found[1]:
            yield text[: found.start(2)].count("\n"), found[2]


PAGES = sorted(page.name for page in DOCS.glob("*.md") if any(_blocks(page)))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder of its own; what a page does to JAX's configuration ends with it."""
    monkeypatch.chdir(tmp_path)
    before = jax.config.jax_enable_x64
    yield tmp_path
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs(name, scratch):
    space = {"__name__": "page"}
    for line, code in _blocks(DOCS / name):
        # Blank lines in front: a traceback then has the line of the page.
        exec(compile("\n" * line + code, str(DOCS / name), "exec"), space)


@pytest.mark.fast
def test_the_reference_has_every_module():
    pages = "".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = re.findall(r"^::: (jaxact\.\S+)$", pages, re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert set(shown) >= {f"jaxact.{name}" for name in (*MODULES, "decide", "citations")}


@pytest.mark.fast
@pytest.mark.filterwarnings("default")
def test_the_reference_has_every_public_name():
    griffe = pytest.importorskip("griffe", reason="the docs extra is not installed")
    extensions = griffe.load_extensions(str(DOCS / "docstrings.py"))
    package = griffe.load("jaxact", search_paths=[str(ROOT)], extensions=extensions)
    for module in (*MODULES, "decide", "citations"):
        for name, value in public(importlib.import_module(f"jaxact.{module}")):
            found = package[f"{module}.{name}"]
            assert found.is_function or found.is_class, f"{module}.{name} is shown as {found.kind}"
            assert found.docstring, f"{module}.{name}"
            assert "Example:\n" not in found.docstring.value, value
