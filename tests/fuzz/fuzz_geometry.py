"""Entry points of `jaxact.geometry`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from fuzz_table import Entry

import jaxact as ja
from jaxact import geometry

KEY = jax.random.key(0)
ACT = ja.get("mu_relu", 0.4)
P, Q = np.array([0.5, 0.3, 0.2], np.float32), np.array([0.2, 0.5, 0.3], np.float32)
CHI = geometry.tsallis(1.5)
X = np.array([-0.2, 0.1, 0.7], np.float32)
POINTS = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2)
SMALL = geometry.ring(modes=3)


def family() -> geometry.DeformedFamily:
    return geometry.DeformedFamily(CHI, lambda x: x, geometry.interval(-1.0, 1.0))


def drawn() -> geometry.Generator:
    return geometry.draw_generator(jax.random.key(7), 2, 1, ja.get("softplus"))


def both() -> geometry.VariationalIdentity:
    return geometry.VariationalIdentity(
        jnp.float32(1), jnp.float32(1), jnp.float32(0), jnp.float32(0), jnp.ones(4), jnp.ones(4),
        jnp.ones(4),
    )  # fmt: skip


def rules() -> geometry.Game:
    return geometry.game(
        lambda p, z: p @ z, lambda p, x: p @ x, geometry.ProperComposite("gan"), latent=2
    )


def begun() -> geometry.GameState:
    return rules().init(jnp.eye(2), jnp.zeros(2))


def normal(x):
    return -(x**2) / 2 - 0.9189385


FAMILY = {"family": ("theta", "chi", "base", "points", "weights", "jumps")}
G = {"g": ("weights", "biases", "gamma", "beta", "act", "theta")}

ENTRIES = (
    Entry(geometry.admissibility, lambda: {"act": ACT}),
    Entry(geometry.box, lambda: {"*sides": ((0.0, 1.0), (0.0, 2.0)), "panels": 2, "nodes": 4},
          takes={("sides", how): "Python's own error" for how in ("a number", "nothing")}),
    Entry(geometry.finite_set, lambda: {"points": X, "weights": P}),
    Entry(geometry.interval, lambda: {"low": -1.0, "high": 1.0, "panels": 2, "nodes": 4}),
    Entry(geometry.line, lambda: {"scale": 1.0, "panels": 4, "nodes": 4}),
    Entry(geometry.signature, lambda: {"act": ACT}),
    Entry(
        geometry.divergence_integral,
        lambda: {"which": "kl", "log_p": normal, "log_q": normal, "low": -3.0, "high": 3.0},
    ),
    Entry(geometry.divergence_sample, lambda: {"which": "kl", "log_ratio": X}),
    Entry(geometry.variational_bound, lambda: {"which": "gan", "t_p": -0.5, "t_q": -0.9}),
    Entry(
        geometry.convexity,
        lambda: {"composite": geometry.ProperComposite("gan"), "low": -6.0, "high": 6.0},
    ),
    Entry(geometry.exp_chi, lambda: {"chi": CHI, "y": X}),
    Entry(geometry.log_chi, lambda: {"chi": CHI, "z": P}),
    Entry(geometry.activation_from_divergence, lambda: {"which": "gan", "margin": 1.0}),
    Entry(geometry.signature_of_divergence, lambda: {"which": "gan"}),
    Entry(geometry.activation_distance, lambda: {"first": ACT, "second": ja.get("relu")}),
    Entry(geometry.divergence, lambda: {"which": "alpha", "alpha": 3.0}),
    Entry(geometry.divergence_value, lambda: {"which": "kl", "p": P, "q": Q}),
    Entry(geometry.matched_divergence, lambda: {"act": ACT, "p": P, "q": Q}, {"act": ("which",)}),
    Entry(geometry.escort, lambda: {"chi": CHI, "p": P, "weights": np.ones(3, np.float32)}),
    Entry(geometry.rescale, lambda: {"chi": CHI, "p": 0.3}),
    Entry(geometry.escort_factors, lambda: {"g": drawn(), "x": POINTS}, G),
    Entry(geometry.escort_normalisers, lambda: {"g": drawn(), "key": KEY, "count": 4}, G),
    Entry(geometry.bregman, lambda: {"family": family(), "theta": 0.3, "other": -0.2}, FAMILY),
    Entry(geometry.cumulant, lambda: {"family": family(), "theta": 0.3}, FAMILY),
    Entry(geometry.density, lambda: {"family": family(), "theta": 0.3, "x": X}, FAMILY),
    Entry(
        geometry.escort_expectation,
        lambda: {"family": family(), "theta": 0.3, "fn": lambda x: x**2},
        FAMILY,
    ),
    Entry(geometry.escort_mean, lambda: {"family": family(), "theta": 0.3}, FAMILY),
    Entry(geometry.metric, lambda: {"family": family(), "theta": 0.3}, FAMILY),
    Entry(
        geometry.fit,
        lambda: {"family": family(), "x": X, "start": 0.0, "objective": "chi", "steps": 3},
        FAMILY,
    ),
    Entry(
        geometry.natural_gradient,
        lambda: {"family": family(), "theta": 0.3, "gradient": np.float32(0.1)},
        FAMILY,
        takes={("gradient", "a number"): "a gradient too"},
    ),
    Entry(
        geometry.game,
        lambda: {"generator": lambda p, z: p @ z, "discriminator": lambda p, x: p @ x,
                 "composites": geometry.ProperComposite("gan"), "latent": 2,
                 "loss": "non-saturating",
                 "optimizers": (optax.adam(1e-3), optax.adam(1e-3)), "penalty": 0.1, "clip": 0.1,
                 "critic_steps": 1, "limit": 1e6},
    ),
    Entry(geometry.latent, lambda: {"log_density": "normal"}),
    Entry(
        geometry.generator,
        lambda: {"weights": 2 * np.eye(2, dtype=np.float32)[None],
                 "biases": np.zeros((1, 2), np.float32), "act": ja.get("softplus"),
                 "gamma": np.eye(2, dtype=np.float32), "beta": np.zeros(2, np.float32),
                 "output": ja.get("softplus"), "base": "normal"},
    ),
    Entry(
        geometry.draw_generator,
        lambda: {"key": KEY, "width": 2, "depth": 1, "act": ja.get("softplus"), "scale": 1.0,
                 "output": ja.get("softplus"), "base": "normal"},
    ),
    Entry(
        geometry.variational_identity,
        lambda: {"family": family(), "theta": 0.3, "vt": -0.2},
        FAMILY,
    ),
    Entry(
        geometry.variational_value,
        lambda: {"family": family(), "both": both(), "theta": 0.3, "vt": -0.2,
                 "witness": np.ones(4, np.float32)},
        FAMILY | {"both": ("witness",)},
    ),
    Entry(
        geometry.fit_generator,
        lambda: {"g": drawn(), "x": drawn().sample(jax.random.key(8), 4), "train": ("weights",),
                 "optimizer": optax.adam(1e-3),
                 "steps": 3, "tol": 0.05},
        G,
    ),
    Entry(geometry.negative_log_likelihood, lambda: {"g": drawn(), "x": POINTS}, G),
    Entry(geometry.matsushita, lambda: {"b": 0.5}),
    Entry(
        geometry.kde_bandwidth,
        lambda: {"samples": POINTS, "candidates": (0.1, 0.5), "folds": 2, "block": 4},
    ),
    Entry(
        geometry.kde_log_likelihood,
        lambda: {"samples": POINTS, "x": POINTS, "bandwidth": 1.0, "block": 4},
    ),
    Entry(
        geometry.play,
        lambda: {"rules": rules(), "state": begun(), "data": POINTS, "steps": 4, "batch": 4,
                 "every": 2, "check": 4, "key": KEY},
    ),
    Entry(geometry.diverged_report, lambda: {"rules": rules(), "state": begun()}),
    Entry(geometry.ring, lambda: {"modes": 4, "radius": 2.0, "deviation": 0.1}),
    Entry(geometry.ring_coverage, lambda: {"x": POINTS, "law": SMALL, "reach": 4.0}),
    Entry(geometry.sample, lambda: {"family": family(), "theta": 0.3, "key": KEY, "count": 3},
          FAMILY),
    Entry(geometry.parametric_curve, lambda: {"act": ACT, "t": X}),
    Entry(geometry.tsallis, lambda: {"q": 1.5}),
    Entry(
        geometry.ProperComposite,
        lambda: {"divergence": "gan", "link": "matsushita"},
    ),
)  # fmt: skip
