"""card.json: written whole or not at all, read back without running anything, checked."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import os
from collections.abc import Sequence
from typing import Any

from jaxact.card.section import Card, Section, Value, cards_of
from jaxact.numerics import checks

SCHEMA = 2
"""The version of card.json: it grows when a field changes its meaning or goes."""

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def dump(cards: Sequence[Card]) -> dict[str, Any]:
    """The content of card.json: the schema's version and the cards, in plain JSON types.

    Example:
        >>> dump([])
        {'schema': 2, 'cards': []}
    """
    return {"schema": SCHEMA, "cards": [card.to_dict() for card in cards_of(cards)]}


def load(path: str | os.PathLike[str]) -> list[Card]:
    """The cards of a card.json. It is data: nothing in it is run.

    Args:
        path: the file.

    Returns:
        The cards, as `measure` made them, numbers to seven digits; `write_html` takes them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a card.json of this version; it says where it differs.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "card.json"
        >>> _ = file.write_text(json.dumps(dump([])))
        >>> load(file)
        []
    """
    file = checks.path("path", path)
    try:
        payload = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file.name} is not JSON: {error}") from error
    if isinstance(payload, dict) and payload.get("schema") != SCHEMA:
        raise ValueError(
            f"{file.name} must be of schema {SCHEMA}, got {payload.get('schema')!r}; "
            "measure the card again"
        )
    wrong = differences(payload)
    if wrong:
        raise ValueError(f"{file.name} is not a card.json: {wrong[0]}")
    return [_card(found) for found in payload["cards"]]


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of card.json, as it is shipped beside this module.

    Example:
        >>> schema()["properties"]["schema"]["const"]
        2
    """
    file = importlib.resources.files("jaxact.card") / "card.schema.json"
    return json.loads(file.read_text(encoding="utf-8"))


def differences(payload: Any) -> list[str]:
    """Where a payload differs from `schema`, in words; empty where it does not.

    Example:
        >>> differences({"schema": 2})
        ['at top: cards is missing']
    """
    return _differences(payload, schema(), "top")


def _differences(value: Any, rule: dict[str, Any], where: str) -> list[str]:
    """The part of JSON Schema that card.schema.json uses."""
    if "$ref" in rule:
        rule = schema()["$defs"][rule["$ref"].rsplit("/", 1)[1]]
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"at {where}: expected {' or '.join(kinds)}, got {type(value).__name__}"]
    if "const" in rule and value != rule["const"]:
        return [f"at {where}: expected {rule['const']!r}, got {value!r}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"at {where}: expected one of {rule['enum']}, got {value!r}"]
    found = []
    if isinstance(value, dict):
        inner, others = rule.get("properties", {}), rule.get("additionalProperties", {})
        found += [f"at {where}: {k} is missing" for k in rule.get("required", ()) if k not in value]
        for key, child in value.items():
            found += _differences(child, inner.get(key, others), f"{where}.{key}")
    elif isinstance(value, list) and "items" in rule:
        for i, child in enumerate(value):
            found += _differences(child, rule["items"], f"{where}[{i}]")
    return found


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _card(found: dict[str, Any]) -> Card:
    sections = {
        lens: Section(
            lens,
            part["question"],
            tuple(Value(**_fields(Value, v)) for v in part["values"]),
            part["data"],
            part["reason"],
        )
        for lens, part in found["sections"].items()
    }
    fields = _fields(Card, found) | {"sections": sections, "kinks": tuple(found["kinks"])}
    return Card(**fields)


def _fields(cls: type, found: dict[str, Any]) -> dict[str, Any]:
    """What the class knows of it: a later card may say more."""
    return {f.name: found[f.name] for f in dataclasses.fields(cls) if f.name in found}


def _refuse(constant: str) -> float:
    raise ValueError(f"card.json holds finite numbers only, got {constant}") from None
