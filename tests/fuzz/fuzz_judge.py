"""Run a spoiled call up to its first large compilation, and judge how it ended."""

from __future__ import annotations

import contextlib
import linecache
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest
from fuzz_spoils import Broken, Spoil
from fuzz_table import Entry
from jax._src import compiler

import jaxact

HOME = str(pathlib.Path(jaxact.__file__).parent)
LARGE = 400
"""Operations from which a program is not host checks any more."""


AS_A_USER = {
    "jax_traceback_filtering": "off",
    "jax_numpy_dtype_promotion": "standard",
    "jax_debug_key_reuse": False,
}
"""Integers are promoted, as by default; the last line of a traceback is where it was raised."""


class Reached(BaseException):
    """The call got past its checks to a large compilation."""


@contextlib.contextmanager
def checks_only() -> Iterator[None]:
    """As a user sees errors: no beartype, whole tracebacks, and no large compilation."""
    compile_ = compiler.compile_or_get_cached

    def small_only(backend: Any, computation: Any, *args: Any, **kwargs: Any) -> Any:
        size = sum(_size(op) for op in computation.body.operations)
        if size > LARGE:
            raise Reached
        return compile_(backend, computation, *args, **kwargs)

    jaxtyping.config.update("jaxtyping_disable", True)  # noqa: FBT003
    before = {name: getattr(jax.config, name) for name in AS_A_USER}
    for name, value in AS_A_USER.items():
        jax.config.update(name, value)
    patch = pytest.MonkeyPatch()
    patch.setattr(compiler, "compile_or_get_cached", small_only)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        patch.undo()
        for name, value in before.items():
            jax.config.update(name, value)
        jaxtyping.config.update("jaxtyping_disable", False)  # noqa: FBT003


def _size(op: Any) -> int:
    return 1 + sum(_size(o) for r in op.regions for b in r.blocks for o in b.operations)


def complaint(entry: Entry, spoil: Spoil) -> str:
    """What is wrong with how the spoiled call ends, or ""."""
    taken = (spoil.name.strip("*/"), spoil.how) in entry.takes
    try:
        result = entry.call(entry.valid() | {spoil.name: spoil.value})
    except Reached:
        return "" if taken or not spoil.refused else "was accepted and compiled"
    except Exception as error:
        return "" if taken else _of_error(entry, spoil, error)
    if spoil.refused and not taken:
        return f"was accepted, and gave {_short(result)}"
    if spoil.how not in ("inf", "huge", "nan") and not taken and _has_nan(result):
        return f"gave a NaN: {_short(result)}"
    return ""


def _of_error(entry: Entry, spoil: Spoil, error: Exception) -> str:
    if isinstance(error, Broken):
        return ""
    if not isinstance(error, TypeError | ValueError | NotImplementedError | OSError):
        return f"raised {type(error).__name__}: {_short(error)} {_place(error)}"
    name = spoil.name.strip("*/")
    if isinstance(error, OSError) and spoil.how == "a missing file":
        return ""  # the system's own error names the path
    file, line = _last(error)
    source = linecache.getline(file, line).strip()
    if not file.startswith(HOME) or not source.startswith("raise"):
        return f"was not refused by jaxact: {type(error).__name__}: {_short(error)} {_place(error)}"
    words = [name, *entry.names.get(name, ()), *_ALIASES.get(name, ())]
    if hasattr(spoil.value, "__name__"):
        words.append(spoil.value.__name__)  # of the user's function
    if not any(word in str(error) for word in words):
        return f"is not named by: {_short(error)} {_place(error)}"
    return ""


_ACTIVATION = ("activation", "theta", "fn")
_ALIASES = {
    **dict.fromkeys(("act", "acts", "fn", "first", "second", "activation"), _ACTIVATION),
    "F": (*_ACTIVATION, "interaction", "gain", "unit", "origin", "beta"),
    "subject": ("law",),
    "key": ("typed key",),
    "output": _ACTIVATION,
    "base": ("latent",),
    "low": ("sides",),
    "high": ("sides",),
    "log_density": ("latent",),
}
"""Argument -> other words by which an error may name it, everywhere."""


def _last(error: Exception) -> tuple[str, int]:
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def _place(error: Exception) -> str:
    file, line = _last(error)
    own = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(HOME):
            own = f"{trace.tb_frame.f_code.co_filename[len(HOME) + 1 :]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"[{own}; {pathlib.Path(file).name}:{line}]"


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:160]


def _has_nan(result: Any) -> bool:
    for leaf in jax.tree.leaves(result):
        if isinstance(leaf, np.ndarray | jax.Array | float):
            array = np.asarray(leaf) if _plain(leaf) else np.zeros(())
            if array.dtype.kind in "fc" and np.isnan(array).any():
                return True
    return False


def _plain(leaf: Any) -> bool:
    return not (hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))
