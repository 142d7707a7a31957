"""Multipliers of single neurons' bounds: an ascent starts where the last one of its kind ended."""

from __future__ import annotations

from typing import Any

import numpy as np


class Memory:
    """Where the bounds of the neurons of a piece were found last: the next ascents start there.

    Any values are sound; subdomains of one piece have much in common.

    Args:
        neurons: N.
        places: M.
        half_spaces: H.
        limit: bytes; the pieces that were used least recently are forgotten.
    """

    def __init__(self, neurons: int, places: int, half_spaces: int, limit: int) -> None:
        self.widths, self.neurons = (places, neurons, half_spaces), neurons
        size = 2 * neurons * (2 * places + 2 * neurons + 4 * half_spaces)
        self.most, self.pieces = limit // size, dict[int, list[np.ndarray]]()

    def recall(self, piece: np.ndarray, side: np.ndarray, neuron: np.ndarray) -> list[np.ndarray]:
        """Of rows: places < 0 where nothing is known."""
        found = self._new(len(piece))
        for p in set(piece.tolist()) & set(self.pieces):
            rows = piece == p
            for into, of in zip(found, self.pieces[p], strict=True):
                into[rows] = of[side[rows], neuron[rows]]
        return found

    def keep(self, piece: np.ndarray, side: np.ndarray, neuron: np.ndarray, found: Any) -> None:
        """Of rows; `found` as of `neuron_bounds`."""
        for p in set(piece.tolist()) if self.most else ():
            mine = self.pieces.pop(p, None) or self._new(2 * self.neurons)
            mine = [v.reshape(2, self.neurons, -1) for v in mine]
            self.pieces[p] = mine
            rows = piece == p
            for into, of in zip(mine, found, strict=True):
                into[side[rows], neuron[rows]] = of[rows]
            while len(self.pieces) > self.most:
                del self.pieces[next(iter(self.pieces))]

    def _new(self, rows: int) -> list[np.ndarray]:
        kinds = np.float16, np.float16, np.float32
        made = [np.zeros((rows, w), k) for w, k in zip(self.widths, kinds, strict=True)]
        made[0][:] = -1
        return made
