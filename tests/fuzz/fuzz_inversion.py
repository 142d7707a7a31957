"""Entry points of `jaxact.inversion`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from fuzz_table import Entry

from jaxact import inversion

KEY = jax.random.key(0)
W = np.linspace(-1, 1.3, 10, dtype=np.float32).reshape(5, 2)
Z = np.array([0.5, -0.3], np.float32)
Y = np.tanh(W @ Z)
AT = {"generator": lambda z: jnp.tanh(W @ z), "z": Z}
GRID = np.array([0.0, 0.5, 1.0], np.float32)
LAYERS = ((W, np.zeros(5, np.float32), jax.nn.relu),)


def see(x):
    return x[:3]


def generator(z):
    return jnp.tanh(W @ z)


SOLVERS = {
    "Adam": lambda: {"learning_rate": 0.05, "steps": 10, "tol": 1e-5},
    "LBFGS": lambda: {"memory": 4, "steps": 10, "tol": 1e-5},
    "GaussNewton": lambda: {"damping": 1e-3, "cg_steps": 3, "steps": 5, "tol": 1e-5,
                            "cg_tol": 1e-3},
    "LevenbergMarquardt": lambda: {"damping": 1e-3, "steps": 5, "tol": 1e-5},
}  # fmt: skip


def solving(name: str):
    """A method object is checked by what it is given to."""

    def solve(**options):
        solver = getattr(inversion, name)(**options)
        return inversion.invert(generator, Y, latent=2, solver=solver, restarts=2, key=KEY)

    solve.__name__ = f"invert_by_{name}"
    return solve


ENTRIES = (
    *(Entry(solving(name), valid) for name, valid in SOLVERS.items()),
    Entry(inversion.certificate, lambda: AT | {"operator": see, "tolerance": 1e-4}),
    Entry(
        inversion.pose,
        lambda: {"generator": generator, "operator": see, "dtype": np.float32, "shape": (2,)},
    ),
    Entry(
        inversion.compose,
        lambda: {"*operators": (see, see)},
        takes={("operators", how): "Python's own error" for how in ("a number", "nothing")},
    ),
    Entry(
        inversion.expansion_report,
        lambda: {"weights": (W,), "activation": jax.nn.relu, "pairs": 4, "key": KEY},
    ),
    Entry(inversion.wdc_limit, lambda: {"x": Z, "y": Z + 1}),
    Entry(
        inversion.invert,
        lambda: {"generator": generator, "y": Y[:3], "latent": 2, "operator": see,
                 "solver": inversion.LevenbergMarquardt(steps=3), "restarts": 2, "prior": 0.1,
                 "noise": inversion.HuberNoise(0.1), "key": KEY},
        {"noise": ("delta",)},
    ),
    Entry(
        inversion.invert_intermediate,
        lambda: {"stages": (lambda z: jnp.tanh(W @ z), lambda h: W.T @ h), "y": Z, "latent": 2,
                 "radius": (2.0,), "norm": "l1", "steps": 3, "key": KEY},
        takes={("radius", "a number"): "one radius"},
    ),
    Entry(
        inversion.neighbourhoods, lambda: {"z": Z, "depth": 2, "eps": 1e-4, "constant": 1.0}
    ),
    Entry(inversion.ray, lambda: {"t": GRID, "depth": 2}),
    Entry(inversion.rho, lambda: {"depth": 2}),
    Entry(inversion.slope_at_zero, lambda: {"angle": GRID, "depth": 2, "length": 1.0}),
    Entry(
        inversion.laplace,
        lambda: AT | {"noise": 0.1, "operator": see, "prior": 1.0, "y": Y[:3]},
    ),
    Entry(
        inversion.langevin,
        lambda: AT | {"y": Y, "noise": 0.1, "prior": 1.0, "chains": 2, "warmup": 4, "draws": 4,
                      "key": KEY},
    ),
    Entry(inversion.forward, lambda: {"layers": LAYERS, "z": Z}),
    Entry(
        inversion.invert_layerwise,
        lambda: {"layers": LAYERS, "x": np.maximum(W @ Z, 0), "norm": "l2", "steps": 5},
        {"layers": ("layer",)},
    ),
    Entry(
        inversion.interval_least_squares,
        lambda: {"a": W, "low": Y, "high": Y + 1, "weight": np.ones(5, np.float32), "power": 2,
                 "steps": 5},
    ),
    Entry(inversion.block_mask, lambda: {"shape": (3, 4), "size": (1, 2), "corner": (0, 0)}),
    Entry(inversion.checkerboard_mask, lambda: {"shape": (3, 4), "cell": 1}),
    Entry(inversion.half_mask, lambda: {"shape": (3, 4), "hidden": "bottom"}),
    Entry(inversion.mask, lambda: {"where": np.array([0, 2])}),
    Entry(inversion.random_mask, lambda: {"key": KEY, "shape": (3, 4), "share": 0.5}),
    Entry(
        inversion.noise_bound,
        lambda: AT | {"error": np.full(5, 0.1, np.float32), "radius": 0.1},
    ),
    Entry(inversion.noise_bound, lambda: AT | {"level": 0.1, "confidence": 0.95}),
    Entry(inversion.blur, lambda: {"kernel": np.full((3, 3), 1 / 9, np.float32)}),
    Entry(
        inversion.dense,
        lambda: {"matrix": W},
        takes={("matrix", "complex"): "measurements may be complex"},
    ),
    Entry(inversion.downsample, lambda: {"factor": 2}),
    Entry(inversion.fourier_magnitude, lambda: {"oversampling": 2}),
    Entry(inversion.gaussian, lambda: {"key": KEY, "m": 3, "shape": (2, 2)}),
    Entry(inversion.project_l1, lambda: {"v": Z, "radius": 1.0}),
    Entry(inversion.project_l2, lambda: {"v": Z, "radius": 1.0}),
    Entry(
        inversion.loss_surface,
        lambda: AT | {"first": GRID, "second": GRID, "plane": np.eye(2, dtype=np.float32)},
    ),
    Entry(inversion.ray_profile, lambda: AT | {"t": GRID, "operator": see}),
    Entry(
        inversion.zero_slopes,
        lambda: AT | {"directions": np.eye(2, dtype=np.float32), "operator": see},
    ),
    Entry(
        inversion.uniqueness,
        lambda: AT | {"operator": see, "y": Y[:3], "radius": 0.1, "largest": 1.0},
    ),
)  # fmt: skip
