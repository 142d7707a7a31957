"""The search over subdomains: bound a batch, close, split, and tighten boxes now and then."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxact.decide.decision import Clock
from jaxact.decide.layers import Layers
from jaxact.decide.neuron_attack import descend
from jaxact.decide.neuron_dual import Question
from jaxact.decide.neuron_leaf import leaf_margin
from jaxact.decide.neuron_lines import cut, host_lines, places
from jaxact.decide.neuron_root import Root
from jaxact.decide.neuron_sound import Certifier
from jaxact.decide.neuron_state import Domain, Queue
from jaxact.decide.neuron_step import Batch, step
from jaxact.decide.problem import Pieces
from jaxact.decide.unit_lines import is_relu
from jaxact.tracing.ranges import up

_LEAST_GOAL = 1e-6


class Search:
    """What is open of a question, and how it is worked off.

    Attributes:
        queue: the open subdomains.
        domains: how many were bounded.
        margin: the least bound of those that were closed.
        stuck: those that cannot be split and were not closed.
        x: a counterexample, or None.
    """

    def __init__(
        self, layers: Layers, pieces: Pieces, method: Any, clock: Clock,
        witness: Callable[[np.ndarray], Any] | None, *, sound: bool,
    ) -> None:  # fmt: skip
        self.layers, self.method, self.clock, self.witness = layers, method, clock, witness
        self.relu = tuple(is_relu(f, t) for f, t in zip(layers.fns, layers.thetas, strict=True))
        self.certifier = Certifier(layers, self.relu) if sound else None
        self.middle = (pieces.lower / 2 + pieces.upper / 2).astype(np.float32)
        half = np.maximum(pieces.upper - self.middle, self.middle - pieces.lower)
        self.half = up(np.nextafter(half, np.inf), "float32")
        self.rows = pieces.rows.astype(np.float32)
        self.thresholds = up(pieces.thresholds, "float32")
        self.root = Root(
            layers, self.relu, method.block, method.allowance, self.rows.shape[1],
            method.rebox_batch, method.memory, self.certifier,
        )  # fmt: skip
        self.goal = np.full(len(pieces), _LEAST_GOAL, np.float32)
        self.queue, self.stuck = Queue(method.capacity), list[Domain]()
        self.domains, self.margin, self.x = 0, float("inf"), None
        self.each: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Boxes at the root, and every piece as a subdomain; a first, longer ascent."""
        boxes, which = np.unique(
            np.concatenate([self.middle, self.half], 1), axis=0, return_inverse=True
        )
        middle, half = np.split(boxes, 2, axis=1)
        size = self.method.rebox_batch
        ends = [
            self.root.boxes(middle[k : k + size], half[k : k + size], self.method.root_steps)
            for k in range(0, len(boxes), size)
        ]
        lower, upper = (np.concatenate(v) for v in zip(*ends, strict=True))
        widths = self.layers.widths
        numbers = sum(places(r) * n for r, n in zip(self.relu, widths, strict=True))
        h = self.rows.shape[1]
        for piece, box in enumerate(which):
            start = np.full(numbers, 0.5, np.float16), np.zeros(sum(widths), np.float16)
            weights = np.full(h, 1 / h, np.float32)
            self.queue.put([
                Domain(piece, lower[box], upper[box], *start, weights, age=self.method.rebox)
            ])  # fmt: skip
        waiting, self.queue.domains = self.queue.domains, []
        size = self.method.batch
        for k in range(0, len(waiting), size):
            self._round(waiting[k : k + size], first=True)

    def advance(self) -> None:
        """One batch."""
        self._round(self.queue.take(self.method.batch), first=False)

    def _round(self, taken: list[Domain], *, first: bool) -> None:
        method, n = self.method, len(taken)
        batch = self._batch(taken)
        lines = self._lines(batch)
        out = step(
            self.layers, batch, lines, np.int32(method.steps * (5 if first else 1)),
            np.float32(method.allowance), relu=self.relu, first=first,
            candidates=min(method.candidates, sum(self.layers.widths)),
        )  # fmt: skip
        out = self._certain(batch, lines, jax.tree.map(np.asarray, out))
        out = jax.tree.map(lambda v: v[:n], out)
        self.domains += n
        open_ = []
        for i, (domain, bound) in enumerate(zip(taken, out.bound, strict=True)):
            if bound > 0:
                self.margin = min(self.margin, float(bound))
                continue
            domain.bound = max(domain.bound, float(bound))
            domain.places, domain.mu = out.places[i].astype(np.float16), _half(out.mu[i])
            domain.weights = out.weights[i]
            if first:
                self.goal[domain.piece] = max(method.goal * -bound, _LEAST_GOAL)
            open_.append(i)
        if open_ and self._falsified(batch, out, open_):
            return
        put, tighten = [], []
        for i in open_:
            domain, rise = taken[i], out.bound[i] - out.half[i]
            hopeful = out.bound[i] + method.hope * rise > 0
            if not first and hopeful and domain.tries < method.tries:
                domain.tries += 1
                put.append(domain)
            elif domain.age >= method.rebox:
                tighten.append(domain)
            else:
                put += self._split(domain, out, i)
        put += self._tightened(tighten)
        self.queue.put(put)

    def _certain(self, batch: Batch, lines: Any, out: Any) -> Any:
        """With bounds above 0 that hold in real arithmetic, where that is asked for."""
        if self.certifier is None or not (out.bound > 0).any():
            return out
        question = Question(batch.middle, batch.half, batch.rows, batch.thresholds)
        sure = self.certifier(
            batch.lower, batch.upper, lines, question, out.places, out.mu, out.weights
        )
        return dataclasses.replace(out, bound=np.where(out.bound > 0, sure, out.bound))

    def _batch(self, taken: list[Domain]) -> Batch:
        size = self.method.batch
        filled = [taken[k % len(taken)] for k in range(size)]
        piece = np.array([d.piece for d in filled])

        def column(name: str) -> np.ndarray:
            return np.stack([getattr(d, name) for d in filled]).astype(np.float32)

        return Batch(
            column("lower"), column("upper"), column("places"), column("mu"), column("weights"),
            self.middle[piece], self.half[piece], self.rows[piece], self.thresholds[piece],
            np.arange(size) < len(taken), self.goal[piece],
        )  # fmt: skip

    def _lines(self, batch: Batch) -> Any:
        widths = self.layers.widths
        ends = (cut(np.asarray(v), widths) for v in (batch.lower, batch.upper))
        return host_lines(self.layers, self.relu, zip(*ends, strict=True))

    def _split(self, domain: Domain, out: Any, i: int) -> list[Domain]:
        """Both children at the best candidate, without those that are closed already."""
        neuron = int(out.neuron[i, 0])
        if neuron < 0:
            self._leaf(domain)
            return []
        found = []
        for side, name in enumerate(("upper", "lower")):
            bound = float(out.children[i, 0, side])
            if bound > 0 and self.certifier is None:  # never of rough lines
                self.domains += 1
                self.margin = min(self.margin, bound)
                continue
            if self.certifier is not None or not all(self.relu):  # an estimate
                bound = domain.bound
            child = Domain(
                domain.piece, domain.lower, domain.upper, domain.places, domain.mu,
                domain.weights, max(bound, domain.bound), domain.depth + 1, domain.age + 1,
            )  # fmt: skip
            ends = getattr(child, name).copy()
            ends[neuron] = out.point[i, 0]
            setattr(child, name, ends)
            found.append(child)
        return found

    def _leaf(self, domain: Domain) -> None:
        """Close what cannot be split, or set it aside."""
        p, least = domain.piece, -np.inf
        if all(self.relu):
            arguments = (self.middle[p], self.half[p], self.rows[p], self.thresholds[p])
            wide = (v.astype(np.float64) for v in arguments)
            least, x, *multipliers = leaf_margin(self.layers, domain, *wide)
            if least <= self.method.near and self.witness is not None:
                self.x = self.witness(x[None])
            if self.certifier is not None and least > self.method.leaf:
                question = Question(*(v[None] for v in arguments))
                ends, none = (domain.lower[None], domain.upper[None]), (None,) * len(self.relu)
                at = (v[None] for v in (domain.places, *multipliers))
                least = float(self.certifier(*ends, none, question, *at)[0])
        if least > (self.method.leaf if self.certifier is None else 0):
            self.margin = min(self.margin, least)
        else:
            self.stuck.append(domain)

    def _tightened(self, domains: list[Domain]) -> list[Domain]:
        """With boxes of the inputs that are still to be excluded; without the empty ones."""
        left, size = [], self.method.rebox_batch
        for start in range(0, len(domains), size):
            part = domains[start : start + size]
            if self.clock.late:
                left += domains[start:]
                break
            self.each()
            piece = np.array([d.piece for d in part])
            question = Question(
                self.middle[piece], self.half[piece], self.rows[piece], self.thresholds[piece]
            )
            lower, upper = (np.stack([getattr(d, k) for d in part]) for k in ("lower", "upper"))
            self.root.refine(lower, upper, question, piece, self.method.rebox_steps)
            for domain, low, high in zip(part, lower, upper, strict=True):
                if (low > high).any():
                    self.domains += 1
                    continue
                domain.lower, domain.upper, domain.age, domain.tries = low, high, 0, 0
                left.append(domain)
        return left

    def _falsified(self, batch: Batch, out: Any, rows: list[int]) -> bool:
        """Whether a minimiser, or a point down from it, is a counterexample."""
        if self.witness is None:
            return False
        order = sorted(rows, key=lambda i: float(out.margin[i]))
        chosen = np.resize(order[: self.method.attacks], self.method.attacks)
        question = Question(*(v[chosen] for v in (batch.middle, batch.half, batch.rows,
                                                  batch.thresholds)))  # fmt: skip
        points, least = (
            np.asarray(v)
            for v in descend(self.layers, out.x[chosen], question, steps=self.method.attack_steps)
        )
        near = [out.x[i] for i in order if out.margin[i] <= self.method.near]
        near += list(points[least <= self.method.near])
        if near:
            self.x = self.witness(np.stack(near).astype(np.float64))
        return self.x is not None


def _half(x: np.ndarray) -> np.ndarray:
    """In half precision, without overflow."""
    return np.clip(x, -6e4, 6e4).astype(np.float16)
