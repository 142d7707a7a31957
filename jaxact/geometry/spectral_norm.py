"""Spectral normalisation of a player's matrices, its power iteration carried as state."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

_HIGHEST = jax.lax.Precision.HIGHEST


def start_vectors(params: Any) -> list[Any]:
    """One unit vector for each matrix or kernel among the leaves, in their order."""
    drawn = []
    for leaf in filter(_is_matrix, jax.tree.leaves(params)):
        vector = jax.random.normal(jax.random.key(len(drawn)), leaf.shape[-1:], leaf.dtype)
        drawn.append(_unit(vector))
    return drawn


def normalized(params: Any, vectors: list[Any], *, steps: int = 1) -> tuple[Any, list[Any]]:
    """Every matrix over its largest singular value, as `steps` of power iteration see it.

        u <- W^T W u / |.|,   sigma = |W u|,   W / sigma;

    a kernel of more axes counts as the matrix of its last axis against all others. The gradient
    goes through sigma with the singular vectors held, as in Miyato et al. 2018, section 2.1.
    """
    leaves, structure = jax.tree.flatten(params)
    moved, scaled, waiting = [], [], iter(vectors)
    for leaf in leaves:
        if _is_matrix(leaf):
            matrix = leaf.reshape(math.prod(leaf.shape[:-1]), leaf.shape[-1])
            right = next(waiting)
            held = jax.lax.stop_gradient(matrix)
            for _ in range(steps):
                right = _unit(_times(_times(held, right), held))
            left = _unit(_times(held, right))
            sigma = jnp.dot(left, _times(matrix, right), precision=_HIGHEST)
            leaf = leaf / jnp.where(sigma > 0, sigma, jnp.ones_like(sigma))
            moved.append(right)
        scaled.append(leaf)
    return jax.tree.unflatten(structure, scaled), moved


def _is_matrix(leaf: Any) -> bool:
    return jnp.ndim(leaf) >= 2


def _times(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=_HIGHEST)


def _unit(vector: Any) -> Any:
    square = jnp.sum(vector**2)
    return vector / jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))
