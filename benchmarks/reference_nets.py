"""The seeded networks of the comparisons with auto_LiRPA, as NumPy arrays.

Dense matrices are (out, in), convolutions OIHW; drawn in float32 from N(0, 2 / fan_in), biases
from U(-0.05, 0.05), then 100 inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MLPS = {
    "mlp1024_relu": ((784, 1024, 1024, 1024, 10), "relu", 0),
    "mlp1024_tanh": ((784, 1024, 1024, 1024, 10), "tanh", 1),
    "mlp2048_relu": ((3072, 2048, 2048, 2048, 2048, 2048, 10), "relu", 2),
    "mlp50_tanh": ((20, 50, 50, 50, 50, 50, 50, 10), "tanh", 3),
}
NAMES = (*MLPS, "cnn_relu")
_CNN = ((16, 1, 4, 4), (32, 16, 4, 4), (100, 1568), (10, 100))


def make(name: str) -> tuple[list[tuple[np.ndarray, np.ndarray]], str, np.ndarray]:
    """Layers (weight, bias), the activation's name, and 100 inputs."""
    shapes, act, seed = _CNN, "relu", 4
    if name != "cnn_relu":
        widths, act, seed = MLPS[name]
        shapes = tuple(zip(widths[1:], widths[:-1], strict=True))
    rng = np.random.default_rng(seed)
    layers = []
    for shape in shapes:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        weight = (rng.standard_normal(shape) * scale).astype(np.float32)
        layers.append((weight, rng.uniform(-0.05, 0.05, shape[0]).astype(np.float32)))
    size = (100, 1, 28, 28) if name == "cnn_relu" else (100, shapes[0][1])
    x = rng.standard_normal(size) if name == "mlp50_tanh" else rng.uniform(0, 1, size)
    return layers, act, x.astype(np.float32)


def as_jax(name: str, dtype: Any = np.float32) -> tuple[Any, np.ndarray]:
    """A plain JAX function of one sample, its weights arguments of a Partial, and the inputs."""
    import jax
    import jax.numpy as jnp

    layers, act, x = make(name)
    apply = {"relu": jax.nn.relu, "tanh": jnp.tanh}[act]

    def affine(v: Any, w: Any, b: Any) -> Any:
        if w.ndim == 2:
            return w @ v.reshape(-1) + b
        image = v if v.ndim == 4 else v[None]
        pad = ((1, 1), (1, 1))
        return jax.lax.conv_general_dilated(image, w, (2, 2), pad) + b.reshape(1, -1, 1, 1)

    def f(params: Any, v: Any) -> Any:
        for w, b in params[:-1]:
            v = apply(affine(v, w, b))
        return affine(v, *params[-1])

    params = [(jnp.asarray(w, dtype), jnp.asarray(b, dtype)) for w, b in layers]
    return jax.tree_util.Partial(f, params), x.astype(dtype)


def as_torch(name: str) -> tuple[Any, np.ndarray]:
    """The same network as a torch module on batches."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    layers, act, x = make(name)
    parts: list[Any] = []
    for i, (w, b) in enumerate(layers):
        if w.ndim == 4:
            part = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], stride=2, padding=1)
        else:
            if name == "cnn_relu" and i == 2:
                parts.append(nn.Flatten())
            part = nn.Linear(w.shape[1], w.shape[0])
        part.weight.data, part.bias.data = torch.from_numpy(w), torch.from_numpy(b)
        parts.append(part)
        if i < len(layers) - 1:
            parts.append({"relu": nn.ReLU, "tanh": nn.Tanh}[act]())
    return nn.Sequential(*parts), x


def margin_rows(logits: np.ndarray) -> np.ndarray:
    """e_pred - e_j, j != pred ascending, of every row of logits: (batch, classes - 1, classes)."""
    classes = logits.shape[1]
    eye = np.eye(classes, dtype=np.float32)
    best = logits.argmax(1)
    return np.stack([eye[[k]] - np.delete(eye, k, axis=0) for k in best])
