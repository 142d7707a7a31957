"""Exact log density of 1e5 points through four layers, against automatic log determinants.

The peer is what one writes without a library: each point's inverse pass with `solve`, its
Jacobian by `jax.jacfwd` and the determinant by `slogdet`, vmapped and compiled, with the same
closed inverse of the activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import harness

MU, DEPTH, POINTS = 0.4, 4, harness.size(100_000, 10_000)
_AUTODIFF = "vmap(jacfwd of the inverse) + slogdet (jax)"


def _row(width: int, act: str) -> harness.Benchmark:
    return harness.Benchmark(
        name=f"generator density, {POINTS:,} points, d = {width}, {DEPTH} layers of {act}, float64",
        ours="jaxact.geometry.Generator.log_density",
        peer=_AUTODIFF,
        module="benchmarks.geometry_density",
        arguments=(str(width), act),
        repetitions=5,
    )


BENCHMARK = _row(2, "mu_relu")
BENCHMARKS = {
    "geometry_density_8": _row(8, "mu_relu"),
    "geometry_density_leaky": _row(2, "leaky_relu"),
}


def _problem(width: int, act: str) -> tuple[Any, np.ndarray]:
    """A generator and samples of it, the same in both children; float64 must be on."""
    import jaxact
    from jaxact import geometry

    rng = np.random.default_rng(0)
    noise = 0.35 / np.sqrt(width / 2)
    g = geometry.generator(
        np.eye(width) + noise * rng.normal(size=(DEPTH, width, width)),
        0.5 + 0.3 * rng.normal(size=(DEPTH, width)),
        act=jaxact.get(act, MU),
        gamma=np.eye(width) + noise * rng.normal(size=(width, width)),
    )
    return g, np.asarray(g(rng.normal(size=(POINTS, width))))


def make_ours(width: str, act: str) -> Callable[[], np.ndarray]:
    """One compiled call over all points."""
    import jax

    with jax.enable_x64(True):
        g, x = _problem(int(width), act)

    def work() -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(g.log_density(x))

    return work


def make_peer(width: str, act: str) -> Callable[[], np.ndarray]:
    """Log q_in(z) + log |det dz/dx|, by differentiating the inverse."""
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        g, x = _problem(int(width), act)
    weights, biases, gamma = (np.asarray(v) for v in (g.weights, g.biases, g.gamma))

    def unit(y: Any) -> Any:
        if act == "leaky_relu":
            return jnp.where(y > 0, y, y / MU)
        return y - (1 - MU) ** 2 / (4 * y)

    def inverse(x: Any) -> Any:
        phi = jnp.linalg.solve(gamma, x)
        for w, b in zip(weights[::-1], biases[::-1], strict=True):
            phi = jnp.linalg.solve(w, unit(phi) - b)
        return phi

    def log_density(x: Any) -> Any:
        z, jacobian = inverse(x), jax.jacfwd(inverse)(x)
        base = -(z @ z + z.size * jnp.log(2 * jnp.pi)) / 2
        return base + jnp.linalg.slogdet(jacobian)[1]

    compiled = jax.jit(jax.vmap(log_density))

    def work() -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(compiled(x))

    return work
