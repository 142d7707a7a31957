"""The seeded NumPy networks of the reference values (W is (out, in), convolutions are OIHW)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

CROWN = {
    "mlp1024_relu": [-30.63035, -29.21774, -30.74744, -28.63147, -27.90808]
    + [-30.90807, -31.09723, -27.93028, -31.25799],
    "mlp50_tanh": [1.77425, 1.72016, 0.65246, 1.20798, 0.44803]
    + [0.92042, 1.87681, 0.08228, 3.03733],
    "cnn_relu": [0.72764, 1.18320, 1.99298, -0.59065, 0.26897]
    + [-0.17246, 1.92486, 0.55353, 2.05776],
}
IBP_MEAN = {"mlp1024_relu": -2597.8137, "mlp50_tanh": -11.24085, "cnn_relu": -62.37220}


def make(name, dtype=np.float32):
    """(f, x): a plain JAX function of one sample, and 100 samples."""
    if name == "cnn_relu":
        return _cnn()
    widths, act, seed = {
        "mlp1024_relu": ([784, 1024, 1024, 1024, 10], jax.nn.relu, 0),
        "mlp1024_tanh": ([784, 1024, 1024, 1024, 10], jnp.tanh, 1),
        "mlp50_tanh": ([20] + [50] * 6 + [10], jnp.tanh, 3),
    }[name]
    rng = np.random.default_rng(seed)
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        w = (rng.standard_normal((n_out, n_in)) * np.sqrt(2 / n_in)).astype(np.float32)
        b = rng.uniform(-0.05, 0.05, n_out).astype(np.float32)
        layers.append((jnp.asarray(w, dtype), jnp.asarray(b, dtype)))
    size = (100, widths[0])
    x = rng.standard_normal(size) if name == "mlp50_tanh" else rng.uniform(0, 1, size)

    def f(v):
        for w, b in layers[:-1]:
            v = act(w @ v + b)
        return layers[-1][0] @ v + layers[-1][1]

    return f, x.astype(np.float32).astype(dtype)


def _cnn():
    rng = np.random.default_rng(4)

    def layer(shape, fan_in):
        w = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        return jnp.asarray(w), jnp.asarray(rng.uniform(-0.05, 0.05, shape[0]).astype(np.float32))

    w1, b1 = layer((16, 1, 4, 4), 16)
    w2, b2 = layer((32, 16, 4, 4), 256)
    w3, b3 = layer((100, 1568), 1568)
    w4, b4 = layer((10, 100), 100)
    x = rng.uniform(0, 1, (100, 1, 28, 28)).astype(np.float32)

    def conv(v, w, b):
        pad = ((1, 1), (1, 1))
        return jax.lax.conv_general_dilated(v, w, (2, 2), pad) + b.reshape(1, -1, 1, 1)

    def f(v):
        v = jax.nn.relu(conv(v[None], w1, b1))
        v = jax.nn.relu(conv(v, w2, b2)).reshape(-1)
        return w4 @ jax.nn.relu(w3 @ v + b3) + b4

    return f, x
