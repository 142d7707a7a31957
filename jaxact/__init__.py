"""jaxact: the mathematics of activation functions in JAX.

An activation is a value, and every theory about it is a pure, differentiable, compiled function
of that value. The five lenses (`spectra`, `bounds`, `memory`, `inversion`, `geometry`) and the
upper floors load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jaxact.activation import Activation as Activation
from jaxact.activation import ClosedForms as ClosedForms
from jaxact.activation import Moments as Moments
from jaxact.activation import activation as activation
from jaxact.catalog import get as get
from jaxact.catalog import names as names
from jaxact.citations import cite as cite

if TYPE_CHECKING:
    from jaxact import bounds as bounds
    from jaxact import card as card
    from jaxact import geometry as geometry
    from jaxact import inversion as inversion
    from jaxact import io as io
    from jaxact import memory as memory
    from jaxact import nets as nets
    from jaxact import numerics as numerics
    from jaxact import spectra as spectra
    from jaxact import sweep as sweep
    from jaxact import testing as testing
    from jaxact import tracing as tracing

__version__ = "0.1.0"

_LAZY = frozenset(
    ("spectra", "bounds", "memory", "inversion", "geometry", "tracing", "numerics")
    + ("nets", "io", "sweep", "testing", "card")
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"jaxact.{name}")
    raise AttributeError(f"module 'jaxact' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
