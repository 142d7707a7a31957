"""The table's row: an entry point, valid arguments, and what is different about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry point and arguments that it takes.

    Attributes:
        fn: the entry point.
        valid: makes the arguments, by name; "*name" is spread as positional arguments.
        names: argument -> other words by which an error may name it.
        heavy: whether it works for seconds before its last check: then fewer are tried.
        takes: (argument, spoil) pairs that are valid here after all, each with the reason.
    """

    fn: Callable[..., Any]
    valid: Callable[[], dict[str, Any]]
    names: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    takes: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    heavy: bool = False

    def call(self, arguments: dict[str, Any]) -> Any:
        """The entry point at arguments by name."""
        spread = [v for n, v in arguments.items() if n[0] == "*"]
        positional = [item for values in spread for item in values]
        first = [v for n, v in arguments.items() if n[0] == "/"]
        named = {n: v for n, v in arguments.items() if n[0] not in "*/"}
        return self.fn(*first, *positional, **named)
