"""Inverting the sheet's G2, 1x1x32 -> 7x7x16 -> 28x28x3 with ReLU, to a latent error of 1e-6.

64 problems at once, one start each, the same weights, measurements and starts on both sides.
"adam" compares 100 steps of Adam, ours and PyTorch's; the others run until the latents are
right, and the error is the largest difference between the two sides' latents. Compilation is
not in the times (its own column has the first call). Ours is the kernel `solve` under
`jit(vmap)` without the certificate, which no peer computes.

PyTorch and optimistix are optional: JAXACT_TORCH_PYTHON and JAXACT_OPTIMISTIX_PYTHON are
interpreters that have them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Benchmark, size

K, BATCH, FEW = 32, size(64, 8), size(8, 4)
RATE, TORCH_STEPS, ADAM_STEPS = 0.05, 310, 100
CASES = {
    "gauss_newton_torch": ("GaussNewton", f"PyTorch Adam, {TORCH_STEPS} steps", "torch"),
    "lbfgs_torch": ("LBFGS", f"PyTorch Adam, {TORCH_STEPS} steps", "torch"),
    "adam_torch": (f"Adam, {ADAM_STEPS} steps", f"PyTorch Adam, {ADAM_STEPS} steps", "torch"),
    "gauss_newton_adam": ("GaussNewton", "our Adam, to the same error", ""),
    "lm_optimistix": ("LevenbergMarquardt", "optimistix LevenbergMarquardt", "optimistix"),
}
_NEEDS = {"torch": "JAXACT_TORCH_PYTHON", "optimistix": "JAXACT_OPTIMISTIX_PYTHON", "": None}


def _benchmark(case: str) -> Benchmark:
    ours, peer, kind = CASES[case]
    variable = _NEEDS[kind]
    return Benchmark(
        name=f"inversion, G2 relu, {_count(case)} problems: {case}",
        ours=f"jaxact.inversion.{ours}",
        peer=peer,
        module="benchmarks.inversion_speed",
        python=(sys.executable, os.environ.get(variable or "", sys.executable)),
        arguments=(case,),
        requires=variable,
        imports=(kind,) if kind else (),
        repetitions=5,
    )


def _count(case: str) -> int:
    return FEW if case == "lm_optimistix" else BATCH


BENCHMARKS = {f"inversion_{case}": _benchmark(case) for case in CASES}


def data(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Both kernels, the measurements and the starts."""
    rng = np.random.default_rng(0)
    w1 = rng.standard_normal((K, 7, 7, 16)) * (2 / K) ** 0.5
    w2 = rng.standard_normal((16, 4, 4, 3)) * (2 / 16) ** 0.5
    z, starts = rng.standard_normal((2, _count(case), K))
    hidden = np.maximum(np.einsum("bc,cijd->bijd", z, w1), 0)
    y = np.maximum(np.einsum("bhwc,cijd->bhiwjd", hidden, w2), 0)
    y = y.reshape(-1, 28, 28, 3)
    return tuple(a.astype(np.float32) for a in (w1, w2, y, starts))  # pyright: ignore[reportReturnType]


def make_ours(case: str) -> Callable[[], np.ndarray]:
    """Our solver of the case."""
    from jaxact import inversion

    solvers = {
        "gauss_newton_torch": inversion.GaussNewton(tol=1e-6),
        "gauss_newton_adam": inversion.GaussNewton(tol=1e-6),
        "lbfgs_torch": inversion.LBFGS(tol=5e-7),
        "adam_torch": inversion.Adam(RATE, steps=ADAM_STEPS, tol=0.0),
        "lm_optimistix": inversion.LevenbergMarquardt(tol=1e-6),
    }
    return _solve(case, solvers[case])


def make_peer(case: str) -> Callable[[], np.ndarray]:
    """The peer's."""
    kind = CASES[case][2]
    if kind == "torch":
        from benchmarks.peers.latent_torch import adam

        return adam(*data(case), RATE, ADAM_STEPS if case == "adam_torch" else TORCH_STEPS)
    if kind == "optimistix":
        from benchmarks.peers.latent_optimistix import levenberg_marquardt

        return levenberg_marquardt(*data(case))
    from jaxact import inversion

    return _solve(case, inversion.Adam(RATE, tol=5e-7))


def _solve(case: str, solver: object) -> Callable[[], np.ndarray]:
    import jax
    import jax.numpy as jnp

    from jaxact import inversion

    w1, w2, y, starts = map(jnp.asarray, data(case))

    def generator(z: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(jnp.einsum("c,cijd->ijd", z, w1))
        return jax.nn.relu(jnp.einsum("hwc,cijd->hiwjd", hidden, w2)).reshape(28, 28, 3)

    posed = inversion.pose(generator, None, y.dtype, (K,))
    kernel = jax.jit(
        jax.vmap(lambda y, s: inversion.solve(posed.replace(y), solver, s[None]).latents[0])
    )
    return lambda: np.asarray(kernel(y, starts))
