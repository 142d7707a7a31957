"""Verified, falsified or unknown: the entry to complete verification."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact import bounds
from jaxact.decide.decision import Clock, Decision, Status
from jaxact.decide.input_split import Found, InputSplit, input_split
from jaxact.decide.input_step import Flat
from jaxact.decide.layers import Layers, layers_of, written_exactly
from jaxact.decide.neuron import NeuronSplit, neuron_split
from jaxact.decide.problem import pairs_of, pieces_of
from jaxact.decide.sound import sound_margins
from jaxact.io.verdicts import compare
from jaxact.numerics import checks, files
from jaxact.numerics.pytrees import callable_pytree
from jaxact.tracing import trace
from jaxact.tracing.graph import Network
from jaxact.tracing.ranges import down, up

_BESIDE = 16
"""Starts of an attack beside each corner."""

_ALPHA = functools.partial(bounds.alpha_crown, intermediate=True)

_THOROUGH = NeuronSplit(steps=100, tries=2, rebox_steps=12)
"""For small boxes of few inputs, of which a subdomain costs little."""

FEW = 16
"""Inputs up to which their boxes are split and not the neurons."""


def decide(
    f: Callable[..., Any],
    cases: Any,
    *,
    method: InputSplit | NeuronSplit | None = None,
    timeout: float = float("inf"),
    state: str | os.PathLike[str] | None = None,
    progress: Callable[[Status], Any] | None = None,
    reference: Callable[[np.ndarray], Any] | None = None,
    sound: bool = False,
) -> Decision:
    r"""Whether any input of a region has an unsafe output: branch and bound until it is known.

    A region whose bound does not exclude the unsafe set is split and its parts are bounded
    again; inputs at which a bound is reached are tried as counterexamples. Equal architectures
    compile once, whatever their weights.

    A counterexample counts if the network, evaluated in float64, is unsafe there. Bounds are
    computed in float32 with an allowance for rounding; with `sound` every closed part is
    certified once more by bounds that hold in real arithmetic (`jaxact.bounds.crown`).

    Args:
        f: a function of one sample, such as `jaxact.io.load_onnx`'s network.
        cases: a pair (region, `jaxact.bounds.Unsafe`), several, or `Property.cases` of
            `jaxact.io.load_vnnlib`. A region is a `Box` or a `Ball` of norm inf, of the
            sample's shape or flat.
        method: `InputSplit(...)`, `NeuronSplit(...)`, or None: the boxes of up to 16 inputs are
            split, else the neurons of networks without branches; of any other network an attack
            and bounds without splitting are all there is.
        timeout: seconds of wall time, looked at between steps; a compilation is not cut short.
        state: a folder for checkpoints: the same call made again after a kill, or after time ran
            out, goes on from there.
        progress: called with `Status` about once a second.
        reference: another evaluation, x -> y, such as `jaxact.io.onnxruntime_evaluation`; a
            counterexample on which it disagrees is an error.
        sound: certify in real arithmetic. Neurons are split then only where the layers hold the
            network's own numbers, each one product and one sum (`written_exactly`); of other
            networks of more than 16 inputs CROWN is all there is.

    Returns:
        `Decision`. Not differentiable.

    Raises:
        TypeError: for cases that are no pairs of a region and an unsafe set.
        ValueError: for shapes that do not fit, a negative timeout, a method that does not fit the
            network, or a reference that disagrees.
        NotImplementedError: for a primitive with no certified rule.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxact.bounds import Box, Unsafe
        >>> f = lambda x: (jnp.tanh(x[0] + x[1]) - jnp.tanh(x[0] - x[1]))[None]
        >>> box = Box(-jnp.ones(2), jnp.ones(2))  # there f is at most 2 tanh(1) = 1.523
        >>> found = decide(f, (box, Unsafe.of([([[-1.0]], [-1.53])])))  # f >= 1.53?
        >>> found.status, found.method
        ('verified', 'input splitting')
        >>> found = decide(f, (box, Unsafe.of([([[-1.0]], [-1.52])])))  # f >= 1.52?
        >>> found.status, bool(found.y[0] >= 1.52)
        ('falsified', True)

    Source: Bunel et al. 2018, "A unified view of piecewise linear neural network verification";
    Wang et al. 2021 (beta-CROWN); Zhang et al. 2018 (CROWN).
    """
    checks.seconds("timeout", timeout)
    if method is not None:
        checks.instance("method", method, InputSplit, NeuronSplit)
    clock = Clock(float(timeout))
    problem = _Problem(f, cases, reference)
    if sound:
        problem.pieces.check_exact()
    if not len(problem.pieces):  # every box is empty
        return problem.decision(Found("verified", float("inf"), 0, None), "bounds", clock)
    few = problem.pieces.lower.shape[1] <= FEW
    options: Any = {"progress": progress, "state": problem.folder(state, sound=sound)}
    affine = problem.layers is not None and not problem.layers.fns
    layers = problem.layers
    if sound and not written_exactly(problem.network):
        layers = None
    if method is None and (few or affine) or isinstance(method, InputSplit):
        finish = None if layers is None or affine else functools.partial(
            neuron_split, layers, method=_THOROUGH, clock=clock, witness=problem.witness,
            sound=sound, **options,
        )  # fmt: skip
        found = input_split(
            problem.net, problem.pieces, method or InputSplit(), clock, witness=problem.witness,
            certify=problem.certified if sound else None, finish=finish, **options,
        )  # fmt: skip
        return problem.decision(found, "input splitting", clock)
    methods = (functools.partial(bounds.crown, sound=True),) if sound else (bounds.crown,)
    if layers is None:
        if method is not None:
            raise ValueError(f"method must be None or InputSplit here, got {method!r}")
        methods = methods if sound else (*methods, _ALPHA)
    if (found := problem.attacked()) is not None:
        return problem.decision(found, "attack", clock)
    margins, x = problem.whole(clock, *methods)
    left, least = np.flatnonzero(margins <= 0), float(margins.min())
    if x is not None:
        return problem.decision(Found("falsified", least, 0, x), "attack", clock)
    if layers is None or not len(left):
        status = "unknown" if len(left) else "verified"
        return problem.decision(Found(status, least, 0, None), "bounds", clock)
    status, margin, domains, x = neuron_split(
        layers, problem.pieces.take(left), method or NeuronSplit(), clock,
        witness=problem.witness, sound=sound, **options,
    )  # fmt: skip
    closed = np.delete(margins, left).min(initial=np.inf)
    found = Found(status, min(margin, float(closed)), domains, x)
    return problem.decision(found, "neuron splitting", clock)


class _Problem:
    """The network in the forms that are needed, and what is asked of it."""

    def __init__(self, f: Any, cases: Any, reference: Any) -> None:
        if not callable(f):
            raise TypeError(f"f must be a function of one array, got {f!r}")
        self.f, self.reference = f, reference
        shape = getattr(f, "input_shape", None)
        pairs = pairs_of(cases)
        if shape is None:
            if not pairs:
                raise ValueError("cases must hold at least one region to tell the input's shape")
            shape = np.shape(pairs[0][0].sample)
        self.shape = tuple(shape)
        self.network = trace(f, jax.ShapeDtypeStruct(self.shape, jnp.float32))
        outputs = int(np.prod(self.network.output_shape))
        self.pieces = pieces_of(cases, int(np.prod(self.shape)), outputs)
        self.layers: Layers | None = layers_of(self.network)
        self.found: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def net(self) -> Layers | Flat:
        """The network in the form that the search of boxes takes."""
        return Flat(self.network) if self.layers is None else self.layers

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """The outputs at a flat input, in float64."""
        f = self.f
        if isinstance(f, Network):  # its program is one of float32
            if self.layers is None:
                return np.asarray(f(jnp.asarray(x.reshape(self.shape), f.dtype)), np.float64)
            f = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), self.layers)
            return _evaluate(f, x)
        return _evaluate(f, x.reshape(self.shape))

    def witness(self, points: np.ndarray) -> np.ndarray | None:
        """The first of float64 inputs that is a counterexample, or None.

        Each is moved into the nearest box, which rounding may have let it leave.
        """
        p = self.pieces
        for x in points:
            outside = np.maximum(p.lower - x, x - p.upper).max(axis=1)
            x = np.clip(x, p.lower[outside.argmin()], p.upper[outside.argmin()])
            y = self.evaluate(x)
            if self.pieces.violated_by(x, y):
                compare(self.reference, x, y)
                self.found = x, y
                return x
        return None

    def groups(self) -> list[np.ndarray]:
        """Which pieces have the same box."""
        ends = np.concatenate([self.pieces.lower, self.pieces.upper], axis=1)
        which = np.unique(ends, axis=0, return_inverse=True)[1].reshape(-1)
        return [np.flatnonzero(which == k) for k in range(which.max() + 1)]

    def attacked(self) -> Found | None:
        """A counterexample by signed gradient descent in every box, or None."""
        for same in self.groups():
            x = self.attack(same, restarts=4 * len(same) + 28)
            if x is not None:
                return Found("falsified", -float("inf"), 0, x)
        return None

    def attack(self, same: np.ndarray, **options: Any) -> np.ndarray | None:
        """Signed gradient descent to the polyhedra of pieces of one box."""
        p = self.pieces
        unsafe = bounds.Unsafe(p.rows[same], p.thresholds[same])
        found = bounds.falsify(self.network, self.region(same[0]), unsafe, **options)
        return self.witness(np.asarray(found.point, np.float64).reshape(1, -1))

    def from_planes(self, k: int, slopes: Any) -> np.ndarray | None:
        """Attack from the corners at which a piece's planes are least, and from beside them."""
        lower, upper = self.region(k).box()
        corners = jnp.where(slopes > 0, lower[None], upper[None])
        near = jax.random.uniform(jax.random.key(0), (_BESIDE, 1, *self.shape), lower.dtype)
        near = lower[None, None] + near * (upper - lower)[None, None]
        part = jnp.linspace(0, 0.3, _BESIDE, dtype=lower.dtype)
        part = part.reshape(-1, *(1,) * (near.ndim - 1))
        starts = (corners[None] + part * (near - corners[None])).reshape(-1, *self.shape)
        options = {"steps": 100, "starts": starts, "restarts": len(starts), "reach": 0.05}
        return self.attack(np.array([k]), **options)

    def whole(self, clock: Clock, *methods: Callable[..., Any]) -> tuple[np.ndarray, Any]:
        """Bounds without splitting: margins of the pieces, and a counterexample or None."""
        margins = np.full(len(self.pieces), -np.inf)
        for method in methods:
            for same in self.groups():
                same = same[margins[same] <= 0]
                if not len(same) or clock.late:
                    continue
                rows = self.pieces.rows[same].astype(np.float32)
                found = method(self.network, self.region(same[0]), rows.reshape(-1, rows.shape[2]))
                lower = np.asarray(found.lower, np.float64).reshape(rows.shape[:2])
                own = (lower - self.pieces.thresholds[same]).max(axis=1)
                margins[same] = np.fmax(margins[same], own)
                slopes = found.lines.lower_slope.reshape(*rows.shape[:2], *self.shape)
                for k in np.flatnonzero(own <= 0):
                    if (x := self.from_planes(same[k], slopes[k])) is not None:
                        return margins, x
        return margins, None

    def region(self, k: Any) -> bounds.Box:
        """The box of a piece, rounded outward to float32."""
        p = self.pieces
        ends = down(p.lower[k], "float32"), up(p.upper[k], "float32")
        return bounds.Box(*(jnp.asarray(e.reshape(self.shape)) for e in ends))

    def folder(self, state: str | os.PathLike[str] | None, *, sound: bool) -> pathlib.Path | None:
        """The checkpoint's folder; refused if it holds the search of another problem."""
        if state is None:
            return None
        folder = checks.path("state", state)
        # a box that was closed without certificate must not count in a sound search
        name = f"{self.pieces.fingerprint(self.network, self.shape)}{' sound' if sound else ''}"
        mark = folder / "problem.txt"
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(folder)
        if not mark.is_file():
            files.write_text(mark, name)
        elif mark.read_bytes() != name.encode():
            raise ValueError(f"state must be the folder of this problem, got {folder} of another")
        return folder

    def certified(self, lower: np.ndarray, upper: np.ndarray, piece: np.ndarray) -> np.ndarray:
        """Whether boxes are closed in real arithmetic too."""
        return sound_margins(self.network, self.pieces, lower, upper, piece) > 0

    def decision(self, found: Found, method: str, clock: Clock) -> Decision:
        """The answer, with the counterexample's own margin."""
        x, y, margin = None, None, found.margin
        if found.status == "falsified" and self.found is not None:
            x, y = self.found
            margin = self.pieces.reached(x, y)
        by = "" if found.status == "unknown" else method
        late = found.status == "unknown" and clock.late
        return Decision(found.status, margin, by, x, y, found.domains, clock.seconds, late)


def _evaluate(f: Any, x: np.ndarray) -> np.ndarray:
    # weights that f closes over keep their dtype
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        return np.asarray(_call(callable_pytree(f), jnp.asarray(x))).reshape(-1)


@jax.jit
def _call(f: Any, x: Any) -> Any:
    return f(x)
