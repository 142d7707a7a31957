"""Neuron splitting: branch and bound over the pre-activations, for wide inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxact.decide.decision import Clock, Status
from jaxact.decide.layers import Layers
from jaxact.decide.neuron_search import Search
from jaxact.decide.neuron_state import load, save
from jaxact.decide.problem import Pieces
from jaxact.numerics import checks


@dataclasses.dataclass(frozen=True)
class NeuronSplit:
    """How to search.

    Attributes:
        batch: subdomains bounded at once.
        steps: of the ascent of a subdomain's bound; five times as many at the root.
        root_steps: of the ascent of a neuron's bound at the root.
        rebox: splits until the boxes of a subdomain are tightened again.
        rebox_steps: of the ascent of a neuron's bound then.
        rebox_batch: subdomains tightened at once.
        candidates: splits that are tried before one is taken.
        tries: ascents of one subdomain, while it promises to be closed, before it is split.
        hope: it promises that if its bound reaches 0 after so many times the last gain.
        goal: how far above 0 an ascent aims, relative to the bound at the root.
        block: neurons bounded at once.
        attacks: subdomains of a batch from which a counterexample is looked for.
        attack_steps: gradient steps for it.
        near: margins up to here are checked in float64.
        leaf: a linear program's margin, in float64, above which a leaf is closed.
        allowance: for rounding, relative to the sum of the absolute terms of a bound.
        capacity: subdomains in memory, about: above it the search goes strictly depth first.
        memory: bytes for the multipliers from which the tightening of boxes starts.
        save_every: seconds between checkpoints.
    """

    batch: int = 64
    steps: int = 30
    root_steps: int = 10
    rebox: int = 1
    rebox_steps: int = 8
    rebox_batch: int = 4
    candidates: int = 4
    tries: int = 4
    hope: float = 2.0
    goal: float = 0.5
    block: int = 256
    attacks: int = 16
    attack_steps: int = 10
    near: float = 1e-4
    leaf: float = 1e-5
    allowance: float = 1e-6
    capacity: int = 20_000
    memory: int = 512 * 2**20
    save_every: float = 20.0

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "root_steps", "rebox", "rebox_steps", "rebox_batch",
                     "candidates", "block", "attacks", "attack_steps", "capacity"):  # fmt: skip
            checks.integer(name, getattr(self, name), 1)
        checks.positive("allowance", self.allowance)


def neuron_split(
    layers: Layers,
    pieces: Pieces,
    method: NeuronSplit,
    clock: Clock,
    *,
    progress: Callable[[Status], None] | None = None,
    witness: Callable[[np.ndarray], Any] | None = None,
    state: Any = None,
    sound: bool = False,
) -> tuple[str, float, int, np.ndarray | None]:
    """Whether any piece's polyhedron is reached, by splitting pre-activations.

    A subdomain is an interval for every pre-activation. Its bound is a dual one (see
    `neuron_dual`), raised by a few steps; if it stays below 0 the neuron is split whose children
    promise most, and at every split all boxes are tightened for the inputs that would be
    unsafe, which is what closes most subdomains.

    Args:
        layers: from `layers_of`.
        pieces: the questions.
        method: options.
        clock: when to stop.
        progress: called about every second.
        witness: candidates (A, inputs), float64 -> a counterexample among them, or None.
        state: a folder in which what waits is kept, and from which a killed search goes on.
        sound: whether boxes and bounds must hold in real arithmetic, for `layers` as they are.

    Returns:
        "verified", "falsified" or "unknown"; the least certified margin (of what is open, for
        unknown); how many subdomains were bounded; the counterexample.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from jaxact.tracing import trace
        >>> from jaxact.decide import layers_of
        >>> net = trace(lambda x: (jax.nn.relu(x) - jax.nn.relu(x - 1))[:1], jnp.zeros(2))
        >>> row = np.array([[[-1.0]]])  # is the output ever 1.5?
        >>> ask = Pieces(-3 * np.ones((1, 2)), 3 * np.ones((1, 2)), row, np.array([[-1.5]]))
        >>> neuron_split(layers_of(net), ask, NeuronSplit(batch=4, block=4), Clock(60.0))[0]
        'verified'

    Source: Wang et al. 2021 (beta-CROWN); Shi et al. 2024 (GenBaB); Kotha et al. 2023 (INVPROP).
    """
    checks.instance("layers", layers, Layers)
    checks.finite("layers", layers)
    checks.instance("pieces", pieces, Pieces)
    checks.instance("method", method, NeuronSplit)
    checks.instance("clock", clock, Clock)
    if sound:
        pieces.check_exact()
    search = Search(layers, pieces, method, clock, witness, sound=sound)
    if not len(pieces):
        return "verified", float("inf"), 0, None
    name = pieces.fingerprint(layers, pieces.lower.shape[1:]) if state is not None else ""
    name += " sound" * sound
    kept = load(state, name) if state is not None else None
    if kept is None:
        search.start()
    else:
        search.queue.domains, more = kept
        search.goal = more["goal"]
        search.domains, search.margin = int(more["domains"]), float(more["margin"])
    times = {"shown": clock.seconds, "saved": clock.seconds}

    def tell() -> None:
        if progress is not None and clock.seconds - times["shown"] >= 1:
            times["shown"] = clock.seconds
            margin = min(search.queue.margin, search.margin)
            progress(Status(clock.seconds, search.domains, len(search.queue), margin))

    def keep() -> None:
        more = {"goal": search.goal, "domains": search.domains, "margin": search.margin}
        save(state, name, search.queue.domains + search.stuck, more)

    search.each = tell
    while len(search.queue) and search.x is None and not clock.late:
        search.advance()
        tell()
        if state is not None and clock.seconds - times["saved"] >= method.save_every:
            keep()
            times["saved"] = clock.seconds
    if search.x is not None:
        return "falsified", _margin(layers, pieces, search.x), search.domains, search.x
    if state is not None:
        keep()
    if not len(search.queue) and not search.stuck:
        return "verified", search.margin, search.domains, None
    open_ = min([search.queue.margin, *(d.bound for d in search.stuck)])
    return "unknown", min(open_, search.margin), search.domains, None


def _margin(layers: Layers, pieces: Pieces, x: np.ndarray) -> float:
    """Of a counterexample, in working precision."""
    return pieces.reached(x, np.asarray(layers(np.asarray(x, np.float32))))
