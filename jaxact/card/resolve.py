"""From what a user types to an activation: a name, name(parameters), module:attribute or a file."""

from __future__ import annotations

import ast
import importlib
import os
import sys

from jaxact.activation import Activation, activation
from jaxact.catalog import get
from jaxact.numerics import checks


def resolve(text: str) -> Activation:
    """The activation that `text` names.

    Args:
        text: a catalogue name ("gelu"), one with parameters ("elu(0.7, 1.3)", "swish(beta=2)"),
            "package.module:attribute" for an activation or a scalar function of your own (the
            current folder is searched first), or a file "found.json" of `jaxact design`.

    Raises:
        ValueError: if there is no such name, module or attribute; it says which.
        FileNotFoundError, ValueError: if there is no such file, or it is broken.

    Example:
        >>> resolve("elu(a=0.7, b=1.3)").theta
        (0.7, 1.3)
    """
    checks.instance("text", text, str)
    if text.endswith(".json"):
        from jaxact.card.design import frozen, load_activation

        return frozen(load_activation(text))
    if ":" in text:
        return _imported(text)
    if "(" not in text:
        return get(text)
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError("not a call")
        args = [ast.literal_eval(a) for a in call.args]
        kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"cannot read {text!r}: expected a form like elu(0.7, b=1.3)") from error
    try:
        return get(call.func.id, *args, **kwargs)
    except TypeError as error:
        raise ValueError(f"cannot make {text!r}: {error}") from error


def _imported(text: str) -> Activation:
    module_name, _, attribute = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise ValueError(
                f"no module {module_name!r} here or installed; in {text!r} the part before ':' "
                "is a Python module (file mymodule.py is mymodule)"
            ) from error
        raise
    finally:
        sys.path.pop(0)
    if not hasattr(module, attribute):
        public = ", ".join(n for n in vars(module) if not n.startswith("_")) or "nothing"
        raise ValueError(f"module {module_name!r} has no {attribute!r}; it has {public}")
    found = getattr(module, attribute)
    if isinstance(found, Activation):
        return found
    return activation(found, name=attribute)
