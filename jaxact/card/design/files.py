"""Files of a design: the found activation as JSON, a checkpoint as npz; each written whole."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np

from jaxact.activation import Activation
from jaxact.card.design.families import FAMILIES, Family
from jaxact.numerics import files

SCHEMA, VERSION = "jaxact.activation", 1


def save_activation(
    path: str | os.PathLike[str], act: Activation, *, about: dict[str, Any] | None = None
) -> pathlib.Path:
    """Write a member of a family to a small JSON file, whole or not at all.

    Args:
        path: the file, which should end in .json for `jaxact card` to know it.
        act: a member of one of `FAMILIES`.
        about: plain JSON values to keep beside it: the objective, the result.

    Returns:
        The path.

    Raises:
        TypeError: if act is no member of a family, or `about` is not plain JSON.
        ValueError: if theta, or a number in `about`, is not finite.

    Example:
        >>> import tempfile, jaxact
        >>> act = FAMILIES["hermite_bump"](order=3).start(jaxact.get("tanh"))
        >>> file = save_activation(tempfile.mkdtemp() + "/found.json", act)
        >>> bool(load_activation(file)(0.5) == act(0.5))
        True
    """
    family = act.fn
    if not isinstance(family, Family):
        raise TypeError(f"act must be a member of a family of jaxact.card.design, got {act.name}")
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "name": act.name,
        "family": family.name,
        "options": dataclasses.asdict(family),
        "theta": [np.asarray(leaf, np.float64).tolist() for leaf in act.theta],
        "about": about or {},
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(target, text)
    return target


def load_activation(path: str | os.PathLike[str]) -> Activation:
    """Read an activation from a file of `save_activation`; nothing in the file is run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, is of a newer version, or a part of it is broken;
            it says which.
    """
    file = pathlib.Path(path)
    content = read_design(file)
    name = content.get("family")
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"{file}: family must be one of {', '.join(sorted(FAMILIES))}, got {name}")
    options, theta, label = (content.get(k) for k in ("options", "theta", "name"))
    if not isinstance(options, dict) or not isinstance(theta, list) or not isinstance(label, str):
        raise ValueError(f"{file}: name, options and theta must be a string, an object and a list")
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    try:
        family = FAMILIES[name](**plain)
        leaves = tuple(_numbers(leaf) for leaf in theta)
        return family.activation(leaves, name=label)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def read_design(file: pathlib.Path) -> dict[str, Any]:
    """The content of a found activation's file, its schema and version checked."""
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: expected an activation saved by `jaxact design`")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON, or is cut short: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f'{file} is not a saved activation: it has no "schema": "{SCHEMA}"')
    if content.get("version") != VERSION:
        raise ValueError(
            f"{file} has version {content.get('version')!r}, this jaxact reads {VERSION}"
        )
    return content


def save_state(path: pathlib.Path, state: Any, run: dict[str, Any]) -> None:
    """Write a pytree of arrays and what run it belongs to."""
    arrays = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    described = np.frombuffer(json.dumps(run).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_arrays(path, {"run": described} | arrays)


def load_state(path: pathlib.Path, like: Any, run: dict[str, Any]) -> Any:
    """Read a checkpoint of this run back into the structure of `like`.

    Raises:
        ValueError: if the file is broken, or of another run; it says what differs.
    """
    leaves, structure = jax.tree.flatten(like)
    advice = "it is no checkpoint, or is broken: remove it to start again"
    stored = files.read_arrays(path, advice=advice)
    try:
        found = json.loads(stored["run"].tobytes())
        arrays = [stored[f"leaf{i}"] for i in range(len(leaves))] if found == run else []
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: {advice} ({error})") from error
    if found != run:
        other = [k for k in run if not isinstance(found, dict) or found.get(k) != run[k]]
        raise ValueError(
            f"{path} belongs to another run, with another {', '.join(other)}: remove it or give "
            "another folder"
        )
    fits = all(
        a.shape == np.shape(b) and a.dtype == np.asarray(b).dtype
        for a, b in zip(arrays, leaves, strict=True)
    )
    if not fits:
        raise ValueError(f"{path} is of another version of jaxact: remove it to start again")
    return structure.unflatten(arrays)


def _numbers(value: Any) -> np.ndarray:
    """A number, or a list of numbers."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if (
            isinstance(entry, bool)
            or not isinstance(entry, int | float)
            or not math.isfinite(entry)
        ):
            raise ValueError(f"theta must hold finite numbers, got {entry!r}")
    return np.asarray(value, np.float64)
