"""The exclusive or as a memory: four stored rows of its truth table, for any F."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxact.activation import Activation
from jaxact.memory.energy import energy
from jaxact.memory.interaction import Interaction
from jaxact.numerics.pytrees import Leaf, pytree

ROWS = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


@pytree()
class Xor:
    """What the memory of the truth table of z = x xor y makes of all eight states.

    Attributes:
        states: (8, 3), the states (x, y, z).
        energies: (8,), their energies E = -sum_mu F(h_mu).
        margin: energy of the four wrong states less that of the four stored rows.
        solves: whether the stored rows lie lower, by more than rounding, so that
            z = sign(E(x, y, -1) - E(x, y, +1)) is the exclusive or for every x, y.
    """

    states: Leaf
    energies: Leaf
    margin: Leaf
    solves: Leaf


def xor(F: Interaction | Activation) -> Xor:
    """Store the truth table of the exclusive or with F, and see whether it is recalled.

    A stored row has the overlaps 3, -1, -1, -1, its opposite -3, 1, 1, 1, and the eight states
    are these, so for any F
    E(row) = -F(3) - 3 F(-1), E(wrong) = -F(-3) - 3 F(1), margin = 2 (odd(3) - 3 odd(1)),
    where odd is the odd part of F: an even F cannot solve it, nor a linear one. Polynomial,
    n odd: E = C xyz with C = 3^n - 3; n even: all energies are -(3^n + 3); rectified: -3^n and
    -3.

    Args:
        F: an interaction, or an activation (then F is its primitive), on the raw overlaps.

    Returns:
        An `Xor`. Energies and margin differentiate in F's leaves.

    Raises:
        TypeError: if F is not an interaction or an activation.

    Example:
        >>> from jaxact import memory
        >>> [bool(xor(memory.polynomial(n)).solves) for n in (1, 2, 3)]
        [False, False, True]
        >>> float(xor(memory.rectified(3)).margin)
        24.0

    Source: Krotov & Hopfield 2016, section 2 (the example of XOR), for any F.
    """
    energies = energy(ROWS, _CUBE, F)
    stored = _CUBE.prod(axis=1) == -1
    margin = (jnp.sum(energies[~stored]) - jnp.sum(energies[stored])) / 4
    rounding = 16 * jnp.finfo(energies.dtype).eps * jnp.max(jnp.abs(energies))
    return Xor(jnp.asarray(_CUBE), energies, margin, margin > rounding)
