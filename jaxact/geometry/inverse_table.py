"""exp_chi between e^-40 and e^40 by one polynomial a panel, for `quadrature.exp_by_table`.

Within a panel of s = log t, let w(y) be the share of the panel where log_chi would be y if its
integrand were proportional to e^(c s). That is exact for a power law, so s(w) is nearly linear
and a polynomial through the panel's cell ends carries the rest, without a call of chi at any
point. Its last divided difference tells its error: where that is too large, as where chi has a
feature or is itself rounded, another method has to answer.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxact.numerics.quadrature import panel_rule

_CELLS = 7  # to a panel, and the degree of its polynomial
_NODES = 4  # of the quadrature in a cell
_STEEPEST = 30.0
_REACH = 40.0


@functools.cache
def reach() -> np.ndarray:
    """Panel edges in s: close where chi has its features, wider where it is nearly a power."""
    half = np.concatenate([np.arange(0.0, 8.0, 0.125), np.arange(8.0, _REACH + 0.5, 0.5)])
    return np.concatenate([-half[:0:-1], half])


@functools.cache
def _largest_product() -> float:
    """Of |x (x - 1/n) ... (x - 1)| on [0, 1], n cells."""
    x = np.linspace(0, 1, 1001)
    return float(np.max(np.abs(np.prod(x[:, None] - np.arange(_CELLS + 1) / _CELLS, axis=1))))


def inverse_table(integrand: Any, edges: Any) -> tuple[Any, Any]:
    """log_chi at the edges, and a row for each panel that `inverse` reads.

    Args:
        integrand: a function of s, elementwise; its integral from 0 is log_chi.
        edges: ascending, with 0 among them.
    """
    length = edges[1:] - edges[:-1]
    share = jnp.asarray(np.arange(_CELLS + 1) / _CELLS, edges.dtype)
    ends = edges[:-1, None] + length[:, None] * share[None]
    cells = _cell_masses(integrand, ends)
    # Outward from s = 0, so that small sums are not differences of large ones.
    right = edges[1:] > 0
    cells = jnp.where(right[None], cells, cells[::-1])
    partial = jnp.cumsum(cells, axis=0)
    mass = partial[-1]
    up = jnp.cumsum(jnp.where(right, mass, 0))
    down = jnp.cumsum(jnp.where(right, 0, mass)[::-1])[::-1]
    zero = jnp.zeros((1,), edges.dtype)
    table = jnp.concatenate([zero, up]) - jnp.concatenate([down, zero])

    start = jnp.where(right, edges[:-1], edges[1:])
    base = jnp.where(right, table[:-1], table[1:])
    # Elsewhere the panel is empty, or the integrand over- or underflows.
    full = (mass < jnp.inf) & jnp.all(cells > 0, axis=0)
    ratio = jnp.where(full, cells[-1], 1) / jnp.where(full, cells[0], 1)
    c = jnp.clip(jnp.log(ratio) * (_CELLS / (_CELLS - 1)), -_STEEPEST, _STEEPEST)
    c = jnp.where(jnp.abs(c) > 1e-6, c, 1e-6)  # at c = 0 the limit
    partial = jnp.where(full[None], partial / jnp.where(full, mass, 1)[None], share[1:, None])
    w = jnp.log1p(partial * jnp.expm1(c)[None]) / c[None]
    terms, error = _interpolation(jnp.concatenate([jnp.zeros_like(w[:1]), w]), share)
    good = full & (length * error < float(jnp.finfo(edges.dtype).eps) ** 0.75)
    factor = jnp.expm1(c) / jnp.where(full & right, mass, jnp.where(full, -mass, 1))
    length = jnp.where(right, length, -length)
    rows = jnp.stack([base, factor, 1 / c, start, *(length[None] * terms)])
    good &= jnp.all(jnp.isfinite(rows), axis=0)
    rows = jnp.where(good[None], rows, 0)
    return table, jnp.concatenate([rows, good[None].astype(rows.dtype)])


def _cell_masses(integrand: Any, ends: Any) -> Any:
    """The integral over each cell, (cells, panels)."""
    panels = ends.shape[0]
    flat = jnp.concatenate([ends[:, :-1].reshape(-1), ends[-1:, -1]])
    s, weight = panel_rule(flat, _NODES)
    return jnp.sum(weight * integrand(s), axis=1).reshape(panels, _CELLS).T


def _interpolation(w: Any, share: Any) -> tuple[Any, Any]:
    """Coefficients of w^0 .. w^7 of the polynomial through (w, share), and an error bound.

    By Newton's divided differences of share - w, which is 0 for a power law. The error has one
    difference more than the polynomial, and those fall from each to the next.
    """
    rank = jnp.arange(_CELLS + 1)[:, None]

    def divide(order: Any, state: Any) -> Any:
        differences, earlier = state
        earlier = jnp.roll(earlier, 1, axis=0)
        quotients = (differences - jnp.roll(differences, 1, axis=0)) / (w - earlier)
        return jnp.where(rank >= order, quotients, differences), earlier

    # Loops, not unrolled: half the compilation of exp_chi would be here.
    newton, _ = jax.lax.fori_loop(1, _CELLS + 1, divide, (share[:, None] - w, w))

    def multiply(terms: Any, node: Any) -> Any:
        at, constant = node
        shifted = jnp.roll(terms, 1, axis=0) - at[None] * terms
        return jnp.where(rank == 0, shifted + constant[None], shifted), None

    last = jnp.where(rank == 0, newton[-1:], 0)
    terms, _ = jax.lax.scan(multiply, last, (w[:-1], newton[:-1]), reverse=True)
    return jnp.where(rank == 1, terms + 1, terms), jnp.abs(newton[-1]) * _largest_product()


def inverse(table: Any, rows: Any, y: Any) -> tuple[Any, Any]:
    """The s where log_chi is y, and whether it is known there."""
    left = jnp.clip(jnp.searchsorted(table, y, side="right") - 1, 0, len(table) - 2)
    # Column by column: XLA on a CPU fuses these gathers with the arithmetic.
    base, factor, inverse_c, start, *terms, good = (row[left] for row in rows)
    known = (good > 0) & (y > table[0]) & (y < table[-1])
    w = jnp.log1p(jnp.where(known, (y - base) * factor, 0)) * inverse_c
    s = terms[-1]
    for term in terms[-2::-1]:
        s = s * w + term
    return start + s, known
