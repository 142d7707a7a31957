"""Measure a card: train on real digits with the activation, then ask each lens."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

import jaxact
from jaxact.activation import Activation, activation
from jaxact.card import sections
from jaxact.card.data import load_images
from jaxact.card.section import Card, Section, round_to, settled
from jaxact.io import Images
from jaxact.numerics import checks, double


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work a card is.

    Attributes:
        quick: whether numbers that take long to compile are left out.
        matrix: inputs n0 of the simulated random layer.
        widths: hidden layers of the classifier.
        test: test digits that get a certified radius.
        decided: test digits that are searched completely.
        epochs: passes of the classifier and of the decoder over the training digits.
        probes: corrupted digits recalled at each corruption.
        memories: simulated memories beside the capacity.
        inversions: digits inverted.
        restarts: starts of each inversion.
        mesh: the devices that certify, recall and invert; None for one.
    """

    quick: bool = False
    matrix: int = 400
    widths: tuple[int, ...] = (48, 48)
    test: int = 100
    decided: int = 16
    epochs: int = 40
    probes: int = 120
    memories: int = 32
    inversions: int = 24
    restarts: int = 8
    mesh: Any = None


QUICK = Sizes(
    quick=True, matrix=200, widths=(48,), test=24, decided=0, epochs=15, probes=40, memories=8,
    inversions=8, restarts=4,
)  # fmt: skip


def measure(
    act: Activation | Callable[..., Any],
    *,
    data: str = "digits",
    seed: int = 0,
    quick: bool = False,
    mesh: Any = None,
    report: Callable[[str], None] = lambda stage: None,
) -> Card:
    """What all five lenses say about an activation, on real handwritten digits.

    Args:
        act: an activation, or any scalar JAX function.
        data: "digits" (scikit-learn's, embedded), "mnist" or the path of an npz file; see
            `jaxact.card.data.load_images`.
        seed: of all randomness; the same seed gives the same card.
        quick: smaller sizes and fewer samples; the numbers that take longest are left out.
        mesh: a `jax.sharding.Mesh` of this process's devices, over which digits that are
            certified, attacked, recalled or inverted are split.
        report: called with a word on what is being done, for progress.

    Returns:
        A `Card`. A lens that has no answer for this activation gives the reason.

    Raises:
        ValueError: if act is not a scalar function that is finite on [-8, 8], or seed < 0.
        FileNotFoundError: where the data are not.
        ImportError: without scikit-learn.

    Example:
        >>> import jaxact
        >>> card = jaxact.card.measure(jaxact.get("relu"), quick=True)  # doctest: +SKIP
        >>> round(card["spectra"]["eta"], 4)  # doctest: +SKIP
        0.3408
    """
    checks.integer("seed", seed, 0)
    act = activation(act)
    sizes = dataclasses.replace(QUICK if quick else Sizes(), mesh=mesh)
    start = time.perf_counter()
    keys = dict(zip(_STAGES, jax.random.split(jax.random.key(seed), len(_STAGES)), strict=True))
    report("reading the digits")
    digits, words = load_images(data, seed=seed)
    # two at a time: most of a cold run is compilation, which leaves the other core idle
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = {
            lens: pool.submit(_run, report, doing, build, act, digits, sizes, keys[lens])
            for lens, (doing, build) in _STAGES.items()
        }
        made = {lens: running[lens].result() for lens in _ORDER}
    return Card(
        name=act.name,
        theta=_theta_text(act),
        kinks=tuple(float(k) for k in np.asarray(act.kink_points()).reshape(-1)),
        curve=_curve(act),
        sections=made,
        setting={
            "data": words,
            "seed": seed,
            "quick": quick,
            "jaxact": jaxact.__version__,
            "jax": jax.__version__,
            "backend": jax.default_backend(),
            "seconds": round(time.perf_counter() - start, 1),
        },
    )


def _spectra(act: Activation, digits: Images, sizes: Sizes, key: Any) -> Section:
    section = functools.partial(sections.spectra, size=sizes.matrix, quick=sizes.quick)
    return double(section)(act, digits, key)


def _bounds(act: Activation, digits: Images, sizes: Sizes, key: Any) -> Section:
    return sections.bounds(
        act, digits, key,
        widths=sizes.widths, test=sizes.test, epochs=sizes.epochs, decided=sizes.decided,
        mesh=sizes.mesh,
    )  # fmt: skip


def _memory(act: Activation, digits: Images, sizes: Sizes, key: Any) -> Section:
    return sections.memory(
        act, digits, key, probes=sizes.probes, memories=sizes.memories, mesh=sizes.mesh
    )


def _inversion(act: Activation, digits: Images, sizes: Sizes, key: Any) -> Section:
    return sections.inversion(
        act, digits, key,
        count=sizes.inversions, restarts=sizes.restarts, epochs=sizes.epochs, mesh=sizes.mesh,
    )  # fmt: skip


def _geometry(act: Activation, digits: Images, sizes: Sizes, key: Any) -> Section:
    return double(functools.partial(sections.geometry, quick=sizes.quick))(act, digits)


def _run(
    report: Callable[[str], None],
    words: str,
    build: Callable[[Activation, Images, Sizes, Any], Section],
    act: Activation,
    digits: Images,
    sizes: Sizes,
    key: Any,
) -> Section:
    report(words)
    return settled(build(act, digits, sizes, key))


_ORDER = ("spectra", "bounds", "memory", "inversion", "geometry")

# the longest first
_STAGES: dict[str, tuple[str, Callable[[Activation, Images, Sizes, Any], Section]]] = {
    "bounds": ("training a classifier, certifying test digits", _bounds),
    "inversion": ("training a decoder, inverting it from half an image", _inversion),
    "spectra": ("spectrum of random features", _spectra),
    "memory": ("storing and recalling digits", _memory),
    "geometry": ("signature and matched divergence", _geometry),
}


def _theta_text(act: Activation) -> str:
    parts = []
    for leaf in jax.tree.leaves(act.theta):
        values = np.asarray(leaf, float).reshape(-1)
        parts.extend(f"{round_to(float(v), 4):g}" for v in values[:4])
        if values.size > 4:
            parts.append("...")
    return ", ".join(parts)


def _curve(act: Activation) -> dict[str, Any]:
    x = np.linspace(-5, 5, 201)
    f, slope = double(jax.jit(lambda a, v: (a(v), a.derivative(v))))(act, x)
    return {"x": x, "f": np.asarray(f), "slope": np.asarray(slope)}
