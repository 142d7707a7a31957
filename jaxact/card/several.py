"""Cards of several activations, each kept as soon as it is measured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax

import jaxact
from jaxact.activation import Activation, activation
from jaxact.card.data import load_images
from jaxact.card.files import dump, load
from jaxact.card.measure import measure
from jaxact.card.section import Card
from jaxact.numerics import checks, files
from jaxact.numerics.fingerprint import fingerprint


def measure_all(
    acts: Sequence[Activation | Callable[..., Any]],
    *,
    folder: str | os.PathLike[str],
    data: str = "digits",
    seed: int = 0,
    quick: bool = False,
    mesh: Any = None,
    report: Callable[[int, str], None] = lambda index, stage: None,
) -> list[Card]:
    """The card of each activation; the same call after a kill measures only what is missing.

    Args:
        acts: activations, or scalar JAX functions, in the order of the cards.
        folder: gets one file a finished card, whole or not at all; made if absent. A file belongs
            to the activation, its parameters, the images, seed, size and versions, so several
            calls may share a folder.
        data: see `measure`.
        seed: likewise.
        quick: likewise.
        mesh: likewise.
        report: called with the activation's index and a word on what is being done.

    Returns:
        The cards, numbers to seven digits, as `load` reads them.

    Raises:
        TypeError: if acts is no sequence.
        ValueError: as `measure`; if acts is empty; or for a damaged file in the folder.
        FileNotFoundError: where the data are not.
        ImportError: without scikit-learn.

    Example:
        >>> import jaxact
        >>> both = [jaxact.get("relu"), jaxact.get("gelu")]
        >>> cards = jaxact.card.measure_all(both, folder="run", quick=True)  # doctest: +SKIP
        >>> jaxact.card.tradeoffs(cards)  # doctest: +SKIP
    """
    checks.integer("seed", seed, 0)
    chosen = [activation(act) for act in checks.sequence("acts", acts, 1)]
    place = checks.path("folder", folder)
    images, _ = load_images(data, seed=seed)
    place.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(place)
    cards = []
    for i, act in enumerate(chosen):
        words = (act.name, jaxact.__version__, jax.__version__)
        run = fingerprint(act, 0.0, (words, images, seed, quick, act.kink_points()))
        file = place / f"{run[:32]}.json"
        if not file.exists():
            card = measure(
                act, data=data, seed=seed, quick=quick, mesh=mesh,
                report=lambda stage, i=i: report(i, stage),
            )  # fmt: skip
            files.write_text(file, json.dumps(dump([card]), allow_nan=False))
        cards += load(file)
    return cards
