"""exp_chi of a numeric signature against bisection on a quadrature, and against a closed form.

The signature is t^1.5 without its closed forms. The peer is what one writes without a library:
log_chi by Gauss-Legendre in log t (8 panels of 64 nodes), inverted by 70 bisections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark

Q = 1.5
NAIVE = 512  # points that the naive peer does, at most
Z = 3.0  # points lie in e^-Z .. e^Z, in log_chi of it


def _benchmark(points: int, peer: str) -> Benchmark:
    names = {
        "make_peer": "quadrature 8 x 64 in log t and 70 bisections, NumPy",
        "make_closed": "jaxact's closed form of it",
    }
    share = min(1.0, NAIVE / points) if peer == "make_peer" else 1.0
    said = names[peer] + (f" (on {NAIVE} points, scaled)" if share < 1 else "")
    return Benchmark(
        name=f"exp_chi of a numeric signature, {points} points, against {said}",
        ours="jaxact.geometry.exp_chi, by table",
        peer=said,
        module="benchmarks.geometry_deformed",
        error=_error,
        repetitions=5,
        arguments=(str(points), peer),
        peer_share=share,
    )


def _error(ours: np.ndarray, peer: np.ndarray) -> float:
    """Largest relative difference; a peer that did a part did the first points."""
    return float(np.max(np.abs(ours[: len(peer)] / peer - 1)))


BENCHMARKS = {
    f"exp_chi_{kind}_{points}": _benchmark(points, peer)
    for points in (4096, 100_000)
    for kind, peer in (("bisection", "make_peer"), ("closed", "make_closed"))
}


def targets(points: int) -> np.ndarray:
    """Values of log_chi, in an order that has nothing of a table."""
    z = np.exp(np.random.default_rng(0).uniform(-Z, Z, points))
    return (z ** (1 - Q) - 1) / (1 - Q)


def make_ours(points: str, peer: str) -> Callable[[], np.ndarray]:
    """The numeric signature: q is an argument of the compiled function."""
    del peer
    return _exp(int(points), closed=False)


def make_peer(points: str, peer: str) -> Callable[[], np.ndarray]:
    """The closed form, or the naive inverse."""
    if peer == "make_closed":
        return _exp(int(points), closed=True)
    y = targets(int(points))[:NAIVE]
    return lambda: naive_exp(y)


def _exp(points: int, *, closed: bool) -> Callable[[], np.ndarray]:
    import jax
    import jax.numpy as jnp

    from jaxact import geometry

    with jax.enable_x64(True):
        y = jnp.asarray(targets(points))
        chi = geometry.tsallis(jnp.asarray(Q))
    chi = chi if closed else dataclasses.replace(chi, log=None, exp=None)

    def work() -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(geometry.exp_chi(chi, y))

    return work


def naive_exp(y: np.ndarray) -> np.ndarray:
    """exp_chi(y) of t^q by bisection for log z."""
    x, w = np.polynomial.legendre.leggauss(64)
    panels = np.linspace(0, 1, 9)
    u = (panels[:-1, None] + (x + 1) / 2 / 8).reshape(-1)
    w = np.tile(w / 16, 8)

    def log(s: np.ndarray) -> np.ndarray:
        t = np.exp(s[:, None] * u)
        return s * ((t / t**Q) @ w)

    low, high = np.full_like(y, -40.0), np.full_like(y, 40.0)
    for _ in range(70):
        middle = (low + high) / 2
        below = log(middle) < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.exp((low + high) / 2)
