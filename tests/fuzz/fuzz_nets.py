"""Entry points of `jaxact.nets`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from fuzz_table import Entry

import jaxact as ja
from jaxact import memory, nets

KEY = jax.random.key(0)
ACT = ja.get("tanh")
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2)
LABELS = (np.arange(12) % 2).astype(np.int32)
IMAGES = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 4, 4)
FIT = {"epochs": 2, "batch": 4, "key": KEY}


def line(p, v):
    return p * v


def model() -> nnx.Module:
    return nets.MLP((2, 3, 1), ACT, rngs=nnx.Rngs(0))


def start():
    return {"apply": line, "params": jnp.array(0.0), "data": (X[:, 0], X[:, 1])}


ENTRIES = (
    Entry(nets.functional, lambda: {"model": model()}),
    Entry(nets.as_function, lambda: {"model": model()}),
    Entry(nets.layers, lambda: {"model": model()}),
    Entry(nets.MLP, lambda: {"widths": (2, 3, 1), "act": ACT, "rngs": nnx.Rngs(0)}),
    Entry(
        nets.ConvNet,
        lambda: {"shape": (8, 8, 1), "classes": 3, "act": ACT, "features": (2,),
                 "rngs": nnx.Rngs(0)},
    ),
    Entry(
        nets.ConvGenerator,
        lambda: {"latent": 3, "features": (2, 1), "act": ACT, "kernels": ((2, 2), (2, 2)),
                 "rngs": nnx.Rngs(0)},
    ),
    Entry(
        nets.InvertibleGenerator,
        lambda: {"width": 2, "depth": 2, "act": ja.get("softplus"), "rngs": nnx.Rngs(0)},
    ),
    Entry(
        nets.DenseAssociativeMemory,
        lambda: {"inputs": 6, "classes": 2, "F": memory.rectified(3), "memories": 4,
                 "temperature": 8.0, "rngs": nnx.Rngs(0)},
    ),
    Entry(
        nets.Unit,
        lambda: {"act": ja.get("prelu")},
        takes={("act", how): "the nets that hold it check it" for how in ("a vector", "nan")},
    ),
    Entry(nets.gain, lambda: {"act": ACT}),
    Entry(
        nets.mlp_players,
        lambda: {"latent": 2, "data": 2, "act": ACT, "hidden": (3,), "key": KEY},
    ),
    Entry(
        nets.train,
        lambda: start() | {"loss": nets.mse, "optimizer": optax.adam(0.1), "steps": 3,
                           "batch": 4, "key": KEY},
    ),
    Entry(
        nets.train_resumable,
        lambda: start() | {"loss": nets.mse, "optimizer": optax.adam(0.1), "epochs": 2,
                           "batch": 4, "every": 1, "key": KEY},
    ),
    Entry(
        nets.train_classifier,
        lambda: {"x": X, "y": LABELS, "act": ACT, "widths": (3,), "test": (X, LABELS)} | FIT,
        heavy=True,
    ),
    Entry(
        nets.train_certified,
        lambda: {"x": X, "y": LABELS, "act": ACT, "eps": 0.1, "method": "ibp", "clean": 0.5,
                 "widths": (3,)} | FIT,
        heavy=True,
    ),
    Entry(
        nets.train_autoencoder,
        lambda: {"images": IMAGES, "latent": 2, "act": ACT, "hidden": (3,)} | FIT,
        heavy=True,
    ),
    Entry(
        nets.train_vae,
        lambda: {"images": IMAGES, "act": ACT, "latent": 2, "features": (2,),
                 "kernels": ((2, 2),), "encoder": (3,), "rate": 1e-3} | FIT,
        heavy=True,
    ),
    Entry(
        nets.train_memory,
        lambda: {"x": np.abs(X), "y": LABELS, "F": memory.rectified(2), "memories": 3} | FIT,
        heavy=True,
    ),
)  # fmt: skip
