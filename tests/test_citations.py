"""Citations: every activation and every public function of a lens has its papers."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import re
from collections import Counter

import jax.numpy as jnp
import pytest
from test_public_api import public

import jaxact as ja
from jaxact import citations

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIB = (ROOT / "jaxact" / "references.bib").read_text("utf-8")
LENSES = ("spectra", "bounds", "memory", "inversion", "geometry", "decide")
VENUES = {"booktitle", "journal", "eprint", "publisher", "institution", "version"}


def _keys(bibtex):
    return re.findall(r"^@\w+\{(\w+),$", bibtex, re.MULTILINE)


def _fields(entry):
    """Fields of one entry, one a line; every brace must close on its line."""
    head, *lines, end = entry.strip().splitlines()
    assert re.fullmatch(r"@\w+\{\w+,", head), head
    assert end == "}", head
    fields = {}
    for line in lines:
        name, value = re.fullmatch(r"  (\w+) = \{(.*)\},?", line).groups()
        depth = [value[:i].count("{") - value[:i].count("}") for i in range(len(value) + 1)]
        assert depth[-1] == 0, line
        assert min(depth) == 0, line
        assert name not in fields, line
        fields[name] = value
    return fields


@pytest.mark.fast
def test_the_bibliography_parses_and_is_complete():
    keys = _keys(BIB)
    assert len(keys) == BIB.count("\n\n") + 1
    assert not [key for key, times in Counter(keys).items() if times > 1]
    for key, entry in citations._entries().items():
        fields = _fields(entry)
        assert {"author", "title", "year"} <= set(fields), key
        assert VENUES & set(fields), key
        assert key == "jaxact" or key.endswith(fields["year"]), key
        assert all(
            ", " in name or name == "others" for name in fields["author"].split(" and ")
        ) or (key == "jaxact"), key


@pytest.mark.fast
def test_every_activation_and_every_public_function_has_its_papers():
    used = Counter(["jaxact"])
    for name in ja.names():
        assert ja.cite(name) == ja.cite(ja.get(name))
        used.update(_keys(ja.cite(name)))
    for lens in (*LENSES, "numerics", "nets", "io"):
        for name, value in public(importlib.import_module(f"jaxact.{lens}")):
            keys = _keys(ja.cite(value))
            assert keys, name
            assert "jaxact" not in keys or lens not in LENSES, f"{lens}.{name}"
            used.update(keys)
    assert not set(_keys(BIB)) - set(used), "papers that nothing cites"


@pytest.mark.fast
@pytest.mark.parametrize("lens", [*LENSES, "numerics", "nets", "io"])
def test_every_paper_that_a_source_names_is_in_the_bibliography(lens):
    for name, value in public(importlib.import_module(f"jaxact.{lens}")):
        source = re.search(r"^Source:(.*?)(\n\n|\Z)", inspect.getdoc(value) or "", re.M | re.S)
        years = re.findall(r"\b(?:19|20)\d\d\b", source[1]) if source else []
        assert len(citations._named(inspect.getdoc(value) or "")) == len(years), f"{lens}.{name}"


@pytest.mark.fast
def test_what_is_cited():
    assert _keys(ja.cite()) == ["jaxact"]
    assert _keys(ja.cite(ja.spectra)) == ["pennington2017"]
    assert _keys(ja.cite(ja.sweep)) == ["jaxact"]
    assert _keys(ja.cite(ja.bounds.alpha_crown)) == ["xu2021"]
    assert _keys(ja.cite(ja.inversion.LBFGS())) == ["nocedal2006", "hager2005"]
    assert _keys(ja.cite(ja.memory.rectified(3))) == ["krotov2016"]
    assert _keys(ja.cite(ja.get("repu", 5))) == ["krotov2016"]
    assert _keys(ja.cite(ja.get("prelu"))) == ["he2015"]
    assert _keys(ja.cite(ja.activation(jnp.tanh, name="mine"))) == ["lecun1998"]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (lambda x: x, "jaxact does not know where .*<lambda> of .* comes from"),
        (jnp.sin, "jaxact does not know where"),
        (3, "jaxact does not know where int of builtins comes from"),
        (jnp, "jaxact does not know where jax.numpy of jax.numpy comes from"),
        ("gelo", "gelu"),
    ],
)
def test_what_is_not_known_is_refused(thing, message):
    with pytest.raises(ValueError, match=message):
        ja.cite(thing)


@pytest.mark.fast
def test_an_activation_of_ones_own_is_not_the_catalogues():
    with pytest.raises(ValueError, match="the activation 'gelu' is not of jaxact's catalogue"):
        ja.cite(ja.activation(lambda x: x * jnp.exp(-x * x), name="gelu"))
    with pytest.raises(ValueError, match="not of jaxact's catalogue"):
        ja.cite(ja.get("tanh").derivative)


@pytest.mark.fast
def test_the_citation_file_says_the_same():
    cff = (ROOT / "CITATION.cff").read_text("utf-8")
    own = _fields(ja.cite())
    assert f'title: "{own["title"]}"' in cff
    assert f"version: {own['version']}" in cff
    assert own["version"] == ja.__version__
    assert f'date-released: "{own["year"]}-' in cff
    for lens in LENSES[:5]:
        title = _fields(ja.cite(getattr(ja, lens)))["title"].replace("{", "").replace("}", "")
        assert f'title: "{title}"' in cff
