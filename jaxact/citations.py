"""Whom to cite: BibTeX for jaxact, for an activation of the catalogue, for a public function.

A function's papers are those that the `Source:` of its docstring names, so there is one place to
change. A key of references.bib is the first author and the year, which is how they are found.
"""

from __future__ import annotations

import functools
import importlib.resources
import inspect
import re
import types
from typing import Any

from jaxact.activation import Activation
from jaxact.catalog import get, names

_SOFTWARE = "jaxact"
_LENS = {
    "spectra": "pennington2017",
    "bounds": "zhang2018",
    "memory": "krotov2016",
    "inversion": "ma2018",
    "geometry": "nock2017",
    "decide": "bunel2018",
}
_ACTIVATION = {
    "abs": "jarrett2009",
    "arctan": "zhang2018",
    "celu": "barron2017",
    "cos": "rahimi2007",
    "cubic": "chen2014",
    "elu": "clevert2016 nock2017",
    "erf": "williams1997",
    "exp": "nock2017",
    "f_alpha": "pennington2017",
    "gaussian": "broomhead1988",
    "gelu": "hendrycks2016",
    "gelu_tanh": "hendrycks2016",
    "hard_sigmoid": "howard2019",
    "hard_swish": "howard2019",
    "hardtanh": "collobert2011",
    "hermite": "daniely2016",
    "identity": "baldi1989",
    "leaky_relu": "maas2013",
    "lsu": "nock2017",
    "matsushita": "matsushita1956 nock2017",
    "mish": "misra2020",
    "mu_relu": "nock2017",
    "polynomial": "livni2014",
    "prelu": "he2015",
    "relu": "nair2010",
    "relu6": "sandler2018",
    "repu": "krotov2016",
    "selu": "klambauer2017",
    "sigmoid": "rumelhart1986",
    "sign": "hubara2016",
    "silu": "hendrycks2016 elfwing2018",
    "sin": "sitzmann2020",
    "softplus": "dugas2001",
    "softsign": "bergstra2009",
    "square": "livni2014",
    "step": "mcculloch1943",
    "swish": "ramachandran2017",
    "tanh": "lecun1998",
}


def cite(thing: Any = None) -> str:
    """BibTeX of the papers behind an activation or a public name of jaxact.

    Args:
        thing: an activation of the catalogue or its name; a function, class, method object or
            module of jaxact. None: jaxact itself.

    Returns:
        One BibTeX entry or more, apart by blank lines. For a function, the papers that its
        docstring names as its source; its lens's paper if it names none; jaxact outside of the
        lenses.

    Raises:
        ValueError: for an activation of your own, and for what does not belong to jaxact.

    Example:
        >>> import jaxact
        >>> print(jaxact.cite("gelu"))
        @misc{hendrycks2016,
          author = {Hendrycks, Dan and Gimpel, Kevin},
          title = {{G}aussian Error Linear Units ({GELU}s)},
          eprint = {1606.08415},
          archiveprefix = {arXiv},
          year = {2016}
        }
        >>> jaxact.cite(jaxact.memory.exponential_capacity).splitlines()[0]
        '@article{demircigil2017,'
    """
    if thing is None:
        keys = (_SOFTWARE,)
    elif isinstance(thing, Activation | str):
        keys = _of_activation(thing)
    else:
        keys = _of_name(thing)
    return "\n\n".join(_entries()[key] for key in keys)


@functools.cache
def _entries() -> dict[str, str]:
    text = importlib.resources.files("jaxact").joinpath("references.bib").read_text("utf-8")
    entries = [entry.strip() for entry in re.split(r"\n(?=@)", text)]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}


def _of_activation(thing: Activation | str) -> tuple[str, ...]:
    act = get(thing) if isinstance(thing, str) else thing
    # By its function: the name of an activation is its maker's choice.
    same = [name for name in names() if _same_function(get(name).fn, act.fn)]
    if not same:
        raise ValueError(
            f"the activation {act.name!r} is not of jaxact's catalogue: cite where you have it from"
        )
    return tuple(_ACTIVATION[act.name if act.name in same else same[0]].split())


def _same_function(one: Any, other: Any) -> bool:
    if isinstance(one, types.FunctionType) or type(one).__module__ != "jaxact.catalog":
        return one is other
    return type(one) is type(other)  # repu(2) and repu(3)


def _of_name(thing: Any) -> tuple[str, ...]:
    named = inspect.isroutine(inspect.unwrap(thing)) or isinstance(thing, type | types.ModuleType)
    owner = thing if named else type(thing)
    home = owner.__name__ if inspect.ismodule(owner) else getattr(owner, "__module__", None) or ""
    label = getattr(owner, "__qualname__", getattr(owner, "__name__", repr(owner)))
    if home.split(".")[0] != "jaxact" or "<lambda>" in label:
        raise ValueError(f"jaxact does not know where {label} of {home or 'nowhere'} comes from")
    lens = _LENS.get([*home.split("."), ""][1], _SOFTWARE)
    return _named(inspect.getdoc(owner) or "") or (lens,)


def _named(docstring: str) -> tuple[str, ...]:
    """Keys of the papers that the docstring's sources name: 'Krotov & Hopfield 2016, eq. 4'."""
    found = re.search(r"^Source:(.*?)(?:\n\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    parts = re.sub(r"[-'\n]", lambda m: " " * (m[0] == "\n"), found[1]).split(";") if found else ()
    return tuple(
        dict.fromkeys(
            key
            for part in parts
            for key in _entries()
            if key[-4:].isdigit() and re.search(rf"(?i)\b{key[:-4]}\b.*?\b{key[-4:]}\b", part)
        )
    )
