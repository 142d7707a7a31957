"""Branch and bound over boxes of inputs: for networks of few inputs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxact.decide.decision import Clock, Status
from jaxact.decide.input_step import Flat, step
from jaxact.decide.layers import Layers
from jaxact.decide.neuron_state import FILE as NEURONS
from jaxact.decide.problem import Pieces
from jaxact.decide.queue import Boxes, Stack
from jaxact.decide.zoom import zoom
from jaxact.numerics import checks, files
from jaxact.tracing.ranges import down, up

_AGAIN = "remove its folder to start again"

_STARTS = 4
"""Near misses that are remembered, to search around."""

_NEARLY = 1e-5
"""Slacks in float32, of 1 + |threshold|, that are looked at in float64."""

_PIECES = 1024
"""Boxes that are enough for neurons to decide each of them soon."""

_EVERY = 20.0
"""Seconds between checkpoints."""


@dataclasses.dataclass(frozen=True)
class InputSplit:
    """Split the boxes of inputs.

    Attributes:
        batch: boxes bounded at once; what fits the cache is fastest.
        capacity: neurons of each box and layer that get backward CROWN, the widest.
        joint_steps: of the search for a convex combination of a polyhedron's half-spaces.
        memory: boxes that wait in memory, at most; more go to files.
        patience: boxes bounded before those that wait are left to neuron splitting, where there
            is one: along a surface on which two outputs are nearly equal boxes never end.
    """

    batch: int = 128
    capacity: int = 12
    joint_steps: int = 20
    memory: int = 1 << 18
    patience: int = 1 << 16

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, least in (("batch", 1), ("capacity", 1), ("joint_steps", 0), ("memory", 2),
                            ("patience", 1)):  # fmt: skip
            checks.integer(name, getattr(self, name), least)


@dataclasses.dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        status: as in `Decision`.
        margin: the least certified margin of what is left, or of all that was closed.
        domains: boxes bounded.
        x: a counterexample, float64, or None.
    """

    status: str
    margin: float
    domains: int
    x: np.ndarray | None


def input_split(
    net: Layers | Flat,
    pieces: Pieces,
    method: InputSplit,
    clock: Clock,
    *,
    witness: Callable[[np.ndarray], np.ndarray | None],
    progress: Callable[[Status], Any] | None = None,
    state: pathlib.Path | None = None,
    certify: Callable[..., np.ndarray] | None = None,
    finish: Callable[[Pieces], tuple[str, float, int, np.ndarray | None]] | None = None,
) -> Found:
    """Decide pieces by splitting their boxes.

    A stack of boxes, the nearest miss on top. One compiled step bounds a batch, cuts each box by
    its planes (a counterexample satisfies all of a polyhedron's half-spaces, so none is lost),
    and says which input costs the planes most; there the box is halved.

    Args:
        net: the network, float32.
        pieces: what to decide.
        method: sizes.
        clock: when to stop.
        witness: of float64 inputs, shape (points, inputs), one that is a counterexample, or None;
            rounding may have let them leave their boxes.
        progress: called with `Status`, about once a second.
        state: a folder for a checkpoint, written every 20 seconds and when time runs out; a
            search of the same folder goes on from it.
        certify: (lower, upper, piece) -> which boxes are closed beyond doubt; asked of every box
            that the planes close, and the others are split on. Boxes are not cut then.
        finish: pieces -> status, margin, subdomains, counterexample: what decides the boxes that
            wait when patience ends.

    Returns:
        `Found`.
    """
    pieces = pieces.padded(-(-pieces.rows.shape[1] // 4) * 4)
    search = _Search(net, pieces, method, state, certify)
    told = saved = clock.seconds
    while len(search.stack):
        if clock.late:
            search.save()
            search.stack.close()
            return search.found("unknown")
        if finish is not None and search.domains >= method.patience:
            if not search.spreading:
                search.save()
                search.begin()
            if len(search.stack) >= _PIECES:
                found = search.finished(finish)
                if found.status != "unknown" or clock.late:
                    return found
                search.begin()  # what neurons could not close boxes may
                finish = None
            x = search.spread(witness)
        else:
            x = search.advance(witness)
        if x is not None:
            search.clear()
            return dataclasses.replace(search.found("falsified"), x=x)
        if progress is not None and clock.seconds - told > 1:
            told = clock.seconds
            progress(Status(told, search.domains, len(search.stack), search.stack.margin))
        if clock.seconds - saved > _EVERY:
            saved = clock.seconds
            search.save()
    search.clear()
    return search.found("unknown" if search.stuck else "verified")


class _Search:
    def __init__(
        self,
        net: Layers | Flat,
        pieces: Pieces,
        method: InputSplit,
        state: pathlib.Path | None,
        certify: Callable[..., np.ndarray] | None,
    ) -> None:
        self.net, self.pieces, self.method, self.state = net, pieces, method, state
        self.certify = certify
        self.rows, self.thresholds = (
            pieces.rows.astype(np.float32),
            up(pieces.thresholds, "float32"),
        )
        self.lower, self.upper = down(pieces.lower, "float32"), up(pieces.upper, "float32")
        self.scale = 1 + np.abs(pieces.thresholds).max(1)
        self.domains = self.steps = 0
        self.search = 4
        self.wanted = method.batch
        self.least = float("inf")
        self.stuck = False
        self.near: list[tuple[float, int, np.ndarray]] = []
        self.stack, self.spreading = Stack(method.memory), False
        if not self.resume():
            self._push_pieces()

    def _push_pieces(self) -> None:
        margin = np.full(len(self.pieces), -np.inf, np.float32)
        numbers = np.arange(len(self.pieces), dtype=np.int32)
        self.stack.push(Boxes(self.lower, self.upper, numbers, margin))

    def begin(self) -> None:
        """Begin again, the largest boxes first: what waits is tiny boxes and huge ones."""
        self.stack.close()
        self.stack, self.spreading, self.stuck = Stack(self.method.memory), True, False
        self._push_pieces()

    def advance(self, witness: Callable[[np.ndarray], np.ndarray | None]) -> np.ndarray | None:
        """Bound one batch; a counterexample, or None."""
        boxes = self.stack.pop(self.wanted)
        count = len(boxes)
        rows = np.minimum(np.arange(self.method.batch), count - 1)
        padded = boxes.take(rows)
        out = step(
            self.net, padded.lower, padded.upper, self.rows[padded.piece],
            self.thresholds[padded.piece], np.arange(self.method.batch) < count,
            capacity=self.method.capacity, joint_steps=self.method.joint_steps,
        )  # fmt: skip
        out = jax.tree.map(lambda v: np.asarray(v)[:count], out)
        margin, lower, upper = out.margin, out.lower, out.upper
        whole = int(out.whole.sum())
        # as many at once as get all their bounds
        self.wanted = min(self.method.batch, 2 * count if whole == count else max(whole, 1))
        self.domains += count
        self.steps += 1
        closed = margin > 0
        if self.certify is not None:
            lower, upper = boxes.lower, boxes.upper
            part = boxes.take(closed)
            if len(part):
                closed[closed] = self.certify(part.lower, part.upper, part.piece)
        if closed.any():
            self.least = min(self.least, float(margin[closed].min()))
        x = self.attack(boxes.piece, out.point, out.slack, witness)
        if x is not None:
            return x
        left = Boxes(lower, upper, boxes.piece, margin)
        half = ~closed & ~out.whole
        half[:1] &= whole > 0  # but something must be split
        self.stack.push(left.take(half))
        rest = ~closed & ~half
        # the nearest miss on top: where there is a counterexample it is found soon
        rest = np.flatnonzero(rest)[np.argsort(-out.slack[rest], kind="stable")]
        self.split(left.take(rest), out.score[rest])
        return None

    def waiting(self) -> Boxes:
        """All that waits, taken from the stack."""
        parts = []
        while len(self.stack):
            parts.append(self.stack.pop(len(self.stack)))  # a file at a time
        return Boxes.joined(parts[::-1])

    def spread(self, witness: Callable[[np.ndarray], np.ndarray | None]) -> np.ndarray | None:
        """Bound and split the largest boxes; a counterexample, or None."""
        boxes = self.waiting()
        width = (self.upper - self.lower)[boxes.piece].astype(np.float64)
        share = (boxes.upper - boxes.lower) / np.where(width > 0, width, np.inf)
        order = np.argsort(np.where(width > 0, share, 1).prod(1), kind="stable")
        self.stack.push(boxes.take(order))
        return self.advance(witness)

    def finished(self, finish: Callable[[Pieces], Any]) -> Found:
        """Leave the boxes that wait to neurons."""
        boxes = self.waiting()
        self.stack.close()
        status, margin, domains, x = finish(
            Pieces(
                boxes.lower.astype(np.float64), boxes.upper.astype(np.float64),
                self.pieces.rows[boxes.piece], self.pieces.thresholds[boxes.piece],
            )
        )  # fmt: skip
        self.domains += domains
        if status == "verified" and self.stuck:
            status = "unknown"
        if status != "unknown":
            self.clear()
        return Found(status, min(margin, self.least), self.domains, x)

    def attack(
        self, piece: np.ndarray, point: np.ndarray, slack: np.ndarray, witness: Any
    ) -> np.ndarray | None:
        """Check the best points; at steps 4, 16, 64... search around the nearest."""
        near = np.argsort(slack)[:4]
        near = near[slack[near] <= _NEARLY * self.scale[piece[near]]]
        if len(near):
            x = witness(np.asarray(point[near], np.float64))
            if x is not None:
                return x
        self.near.append((float(slack.min()), int(piece[slack.argmin()]), point[slack.argmin()]))
        self.near = sorted(self.near, key=lambda miss: miss[0])[:_STARTS]
        if self.steps != self.search:
            return None
        self.search *= 4
        for k in dict.fromkeys(k for _, k, _ in self.near):
            start = next(x for _, j, x in self.near if j == k)
            points, slacks = zoom(
                self.net, self.lower[k], self.upper[k], self.rows[k], self.thresholds[k],
                start[None], jax.random.key(self.steps),
            )  # fmt: skip
            near = np.asarray(slacks) <= _NEARLY * self.scale[k]
            x = witness(np.asarray(points, np.float64)[near])
            if x is not None:
                return x
        self.near = []
        return None

    def split(self, boxes: Boxes, score: np.ndarray) -> None:
        """Halve each box where the planes move most."""
        width = boxes.upper - boxes.lower
        middle = boxes.lower + width / 2
        thin = (middle <= boxes.lower) | (middle >= boxes.upper)
        # without planes to tell (they are flat, or unknown) the widest side
        weight = np.where(np.isfinite(score) & (score > 0), score, 1e-30 * width)
        side = np.where(thin, -1, weight).argmax(1)
        each = np.arange(len(boxes))
        open_ = ~thin[each, side]
        # a single number to which float32 has no answer
        self.stuck = self.stuck or not open_.all()
        low, high = boxes.lower.copy(), boxes.upper.copy()
        high[each, side] = low[each, side] = middle[each, side]
        halves = [
            Boxes(boxes.lower, high, boxes.piece, boxes.margin).take(open_),
            Boxes(low, boxes.upper, boxes.piece, boxes.margin).take(open_),
        ]
        order = np.arange(2 * len(halves[0])).reshape(2, -1).T.reshape(-1)  # siblings together
        self.stack.push(Boxes.joined(halves).take(order))

    def found(self, status: str) -> Found:
        left = self.stack.margin if len(self.stack) else self.least
        return Found(status, min(left, self.least), self.domains, None)

    def save(self) -> None:
        """Write all that waits, so that a kill leaves the old files or the new ones."""
        if self.state is None:
            return
        found = {
            "domains": self.domains, "steps": self.steps, "least": self.least,
            "stuck": self.stuck, "files": self.stack.save(self.state, self.steps),
        }  # fmt: skip
        files.write_text(self.state / "search.json", json.dumps(found))
        self.keep_only(found["files"])

    def keep_only(self, names: list[str]) -> None:
        """Remove boxes that the checkpoint does not name: of a save that was killed half-way.

        A later save would take them for its own, whose names may be the same.
        """
        for path in self.state.glob("*.npz") if self.state else ():
            if path.name not in (*names, NEURONS):  # neurons know their own pieces
                path.unlink()

    def resume(self) -> bool:
        if self.state is None:
            return False
        file = self.state / "search.json"
        if not file.is_file():
            self.keep_only([])
            return False
        names = ("domains", "steps", "least", "stuck", "files")
        found = files.guarded(
            file, lambda: {n: json.loads(file.read_bytes())[n] for n in names}, advice=_AGAIN
        )
        self.keep_only(found["files"])
        self.domains, self.steps = found["domains"], found["steps"]
        self.least, self.stuck = found["least"], found["stuck"]
        while self.search <= self.steps:
            self.search *= 4
        self.stack.load(self.state, found["files"])
        return True

    def clear(self) -> None:
        """Remove what a finished search does not need."""
        self.stack.close()
        for path in (*self.state.glob("*.npz"), self.state / "search.json") if self.state else ():
            path.unlink(missing_ok=True)
