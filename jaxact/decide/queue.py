"""The boxes that wait: a stack in memory of bounded size, the rest of it on disk."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np

from jaxact.numerics import files


@dataclasses.dataclass(frozen=True)
class Boxes:
    """Boxes that wait; arrays with one row a box.

    Attributes:
        lower, upper: shape (n, inputs).
        piece: which question, shape (n,).
        margin: the certified margin of the box it came from, shape (n,).
    """

    lower: np.ndarray
    upper: np.ndarray
    piece: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.piece)

    def take(self, rows: Any) -> Boxes:
        """Some of them, in the order of `rows`."""
        return Boxes(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: list[Boxes]) -> Boxes:
        """One after the other."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


class Stack:
    """Last in, first out. Past `limit` boxes the oldest half goes to a file.

    Args:
        limit: boxes in memory, at most.

    Example:
        >>> import numpy as np
        >>> def box(k):
        ...     ends = np.full((1, 2), k), np.full((1, 2), k + 1)
        ...     return Boxes(*ends, np.zeros(1, int), np.zeros(1))
        >>> stack = Stack(limit=2)
        >>> for k in range(5):
        ...     stack.push(box(k))
        >>> len(stack), stack.in_memory <= 2, [int(stack.pop(1).lower[0, 0]) for _ in range(5)]
        (5, True, [4, 3, 2, 1, 0])
        >>> stack.close()
    """

    def __init__(self, limit: int) -> None:
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        self.limit = limit
        self.parts: list[Boxes] = []
        self.spilled: list[tuple[pathlib.Path, int, float]] = []
        self.written = 0

    def __len__(self) -> int:
        return self.in_memory + sum(count for _, count, _ in self.spilled)

    @property
    def in_memory(self) -> int:
        """Boxes that are not on disk."""
        return sum(map(len, self.parts))

    @property
    def margin(self) -> float:
        """The least margin of all that wait; inf if none does."""
        least = [float(p.margin.min()) for p in self.parts if len(p)]
        return min([*least, *(m for _, _, m in self.spilled)], default=float("inf"))

    def push(self, boxes: Boxes) -> None:
        """Put boxes on top, the last one first to come back."""
        if not len(boxes):
            return
        self.parts.append(boxes)
        if self.in_memory > self.limit:
            self._spill()

    def pop(self, count: int) -> Boxes:
        """Take up to so many from the top."""
        if not self.parts and self.spilled:
            path, _, _ = self.spilled.pop()
            self.parts.append(read_boxes(path))
            path.unlink()
        taken: list[Boxes] = []
        while self.parts and count > 0:
            top = self.parts.pop()
            if len(top) > count:
                self.parts.append(top.take(slice(None, len(top) - count)))
                top = top.take(slice(len(top) - count, None))
            taken.append(top)
            count -= len(top)
        return Boxes.joined(taken[::-1])

    def _spill(self) -> None:
        together = Boxes.joined(self.parts)
        half = max(len(together) - self.limit // 2, 1)
        old = together.take(slice(None, half))
        path = self._file(f"boxes-{self.written:06d}.npz")
        write_boxes(path, old)
        self.written += 1
        self.spilled.append((path, half, float(old.margin.min())))
        self.parts = [together.take(slice(half, None))]

    def close(self) -> None:
        """Remove the files."""
        if self.folder is not None:
            self.folder.cleanup()

    def save(self, folder: pathlib.Path, number: int) -> list[str]:
        """Leave copies of all that waits in a folder; their names, from the bottom of the stack.

        What is on disk already is linked and not read.
        """
        names = []
        for path, _, _ in self.spilled:
            names.append(path.name)
            if not (folder / path.name).exists():
                _link(path, folder / path.name)
        if self.parts:
            names.append(f"memory-{number:06d}.npz")
            write_boxes(folder / names[-1], Boxes.joined(self.parts))
        return names

    def load(self, folder: pathlib.Path, names: list[str]) -> None:
        """Take what `save` left; the copies stay."""
        for name in names:
            boxes = read_boxes(folder / name)
            if name.startswith("memory"):
                self.push(boxes)
                continue
            self.written = max(self.written, int(name[6:12]) + 1)
            path = self._file(name)
            _link(folder / name, path)
            self.spilled.append((path, len(boxes), float(boxes.margin.min())))

    def _file(self, name: str) -> pathlib.Path:
        if self.folder is None:  # removed with the stack
            self.folder = tempfile.TemporaryDirectory(prefix="jaxact-")
        return pathlib.Path(self.folder.name) / name


def _link(old: pathlib.Path, new: pathlib.Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # another file system
        with open(old, "rb") as source, files.replacing(new) as target:
            shutil.copyfileobj(source, target)


def write_boxes(path: pathlib.Path, boxes: Boxes) -> None:
    """Write boxes, whole or not at all."""
    files.write_arrays(path, {f.name: getattr(boxes, f.name) for f in dataclasses.fields(boxes)})


def read_boxes(path: pathlib.Path) -> Boxes:
    """Read boxes back."""
    names = [f.name for f in dataclasses.fields(Boxes)]
    stored = files.read_arrays(path, names, advice="remove its folder to start again")
    return Boxes(*(stored[n] for n in names))
