"""Subdomains that wait: in memory, and on disk from time to time."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from jaxact.numerics import files

FILE = "neuron.npz"


@dataclasses.dataclass
class Domain:
    """A subdomain of one piece, and where its ascent goes on.

    Attributes:
        piece: its number.
        lower, upper: boxes of the pre-activations, float32, shape (N,).
        places, mu: multipliers, float16, shapes (M,) and (N,): any values are sound.
        weights: of the half-spaces, float32, shape (H,).
        bound: the best known.
        depth: splits so far.
        age: splits since its boxes were tightened.
        tries: ascents since it was split.
    """

    piece: int
    lower: np.ndarray
    upper: np.ndarray
    places: np.ndarray
    mu: np.ndarray
    weights: np.ndarray
    bound: float = -np.inf
    depth: int = 0
    age: int = 0
    tries: int = 0


class Queue:
    """A stack: depth first, so that few wait; above `capacity` one at a time is taken."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.domains = capacity, list[Domain]()

    def __len__(self) -> int:
        return len(self.domains)

    @property
    def margin(self) -> float:
        """The least bound."""
        return min((d.bound for d in self.domains), default=float("inf"))

    def take(self, most: int) -> list[Domain]:
        """Those on top."""
        most = most if len(self) <= self.capacity else 1
        taken = self.domains[-most:]
        del self.domains[-most:]
        return taken

    def put(self, domains: list[Domain]) -> None:
        """On top, the one of the least bound last."""
        self.domains += sorted(domains, key=lambda d: -d.bound)


def save(folder: Any, name: str, domains: list[Domain], more: dict[str, Any]) -> None:
    """Write what waits, so that a kill leaves the old file or the new one."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        f.name: np.array([getattr(d, f.name) for d in domains]) for f in dataclasses.fields(Domain)
    }
    arrays = {f"more_{k}": v for k, v in more.items()} | columns
    files.write_arrays(folder / FILE, {"fingerprint": np.array(name)} | arrays)


def load(folder: Any, name: str) -> tuple[list[Domain], dict[str, Any]] | None:
    """What waited, or None: no file, or one of another question."""
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        return None
    fields = [f.name for f in dataclasses.fields(Domain)]
    advice = "remove its folder to start again"
    data = files.read_arrays(path, advice=advice)
    if not {"fingerprint", *fields} <= set(data):
        raise ValueError(f"{path} is damaged: it lacks what a search needs; {advice}")
    if str(data["fingerprint"]) != name:
        return None
    columns = [data[f] for f in fields]
    more = {k.removeprefix("more_"): v for k, v in data.items() if k.startswith("more_")}
    plain = {"piece": int, "depth": int, "age": int, "tries": int, "bound": float}
    domains = [
        Domain(**{f: plain.get(f, np.asarray)(v) for f, v in zip(fields, row, strict=True)})
        for row in zip(*columns, strict=True)
    ]
    return domains, more
