"""The blocked kernel of wide layers against the plain one, and its windows against whole rows."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxact.bounds import Ball, Box, crown, margin_spec
from jaxact.bounds.blocks import interval_at, is_wide
from jaxact.bounds.products import sparse_product
from jaxact.bounds.windows import one_hot
from jaxact.tracing import trace
from jaxact.tracing.convolution import is_plain, pull_convolution

RNG = np.random.default_rng(3)
kernels = importlib.import_module("jaxact.bounds.crown")


def weight(*shape):
    return jnp.asarray(RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), jnp.float32)


K1, K2, K3, W = weight(4, 2, 3, 3), weight(4, 4, 3, 3), weight(6, 4, 2, 2), weight(5, 24)
DENSE = [weight(40, 30), weight(40, 40), weight(6, 40)]
IMAGE = jnp.asarray(RNG.uniform(size=(2, 8, 8)), jnp.float32)


def conv(x, k, stride=1, pad="SAME"):
    return lax.conv_general_dilated(x, k, (stride, stride), pad)


def plain_conv(x):
    h = jax.nn.relu(conv(x[None], K1, 2, ((1, 1), (1, 1))) + 0.1)
    h = jax.nn.relu(conv(h, K3, 2, "VALID") - 0.05)
    return W @ h.reshape(-1)


def residual(x):
    """A skip connection, scaling per channel, average pooling and padding."""
    h = jax.nn.relu(conv(x[None], K1))
    g = jnp.tanh(conv(h, K2) * jnp.arange(1.0, 5.0).reshape(1, 4, 1, 1))
    h = jax.nn.relu(conv(g, K2) + h - 0.3)
    h = lax.reduce_window(h, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 4, 4), "VALID") / 4
    h = jnp.pad(h, ((0, 0), (0, 0), (0, 1), (0, 1)))
    return W @ jax.nn.relu(conv(h, K3)[:, :, :2, :2]).reshape(-1)


def channels_last(x):
    numbers = ("NHWC", "HWIO", "NHWC")
    k = jnp.transpose(K1, (2, 3, 1, 0))
    h = lax.conv_general_dilated(
        jnp.transpose(x, (1, 2, 0))[None], k, (3, 2), "SAME", dimension_numbers=numbers
    )
    h = jnp.sin(h)
    k = jnp.transpose(K3, (2, 3, 1, 0))
    h = lax.conv_general_dilated(h, k, (1, 1), "VALID", dimension_numbers=numbers)
    return W @ jax.nn.relu(h).reshape(-1)[:24]


def dense(x):
    h = x.reshape(-1)[:30]
    h = jax.nn.relu(DENSE[0] @ h - 0.2)
    h = jax.nn.relu(DENSE[1] @ h) + h
    return DENSE[2] @ h


NETS = {f.__name__: f for f in (plain_conv, residual, channels_last, dense)}
REGIONS = {
    "inf": lambda x: Ball(x, 0.05),
    "clipped": lambda x: Ball(x, 0.4, clip=(0.0, 1.0)),
    "two": lambda x: Ball(x, 0.3, 2),
    "one": lambda x: Ball(x, 0.5, 1),
    "box": lambda x: Box(x - 0.02, x + 0.1),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks, and products cut at small sizes."""
    monkeypatch.setattr("jaxact.bounds.blocks._SMALLEST", 8)
    monkeypatch.setattr("jaxact.bounds.blocks._LARGEST", 8)
    monkeypatch.setattr("jaxact.bounds.blocks._LARGEST_IN_IMAGE", 8)
    monkeypatch.setattr("jaxact.bounds.products._FEWEST_ROWS", 4)
    monkeypatch.setattr("jaxact.bounds.products._FEWEST_COLUMNS", 16)
    monkeypatch.setattr("jaxact.bounds.products._PARTS", 3)


def both(f, region):
    network = trace(f, region.sample)
    spec = jnp.eye(int(np.prod(network.output_shape)))[:4]
    spec = spec - jnp.roll(spec, 1, axis=1)
    plain = jax.jit(kernels._crown_of)(network, region, spec)
    blocked = jax.jit(functools.partial(kernels._crown_of, sparse=True))(network, region, spec)
    return plain, blocked


@pytest.mark.parametrize(
    ("name", "region"),
    [(n, "inf") for n in NETS] + [("residual", r) for r in ("two", "box")]
    + [("plain_conv", "one"), ("dense", "clipped")],
)  # fmt: skip
def test_blocks_equal_the_plain_kernel(name, region):
    plain, blocked = both(NETS[name], REGIONS[region](IMAGE))
    for a, b in ((plain.lower, blocked.lower), (plain.upper, blocked.upper)):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-5)


def test_stable_neurons_keep_their_interval():
    """relu units that interval arithmetic decides are not bounded again; tanh's all are."""
    net = trace(dense, IMAGE)
    plain, blocked = both(dense, Ball(IMAGE, 0.01))
    stable = 0
    for unit, (low, high), (wide_low, wide_high) in zip(
        net.units, plain.intermediate, blocked.intermediate, strict=True
    ):
        assert unit.operand.shape == low.shape
        decided = (wide_low >= 0) | (wide_high <= 0)
        stable += int((decided & ((wide_low < low - 1e-4) | (wide_high > high + 1e-4))).sum())
        # up to rounding, the decided ones may be looser and no other
        assert (wide_low <= low + 1e-5).all()
        assert (wide_high >= high - 1e-5).all()
        loose = (low - wide_low > 1e-5) | (wide_high - high > 1e-5)
        assert not (loose & ~decided).any()
    assert stable > 3  # loose, and rightly so


def test_interval_of_one_affine_step_is_known_to_be_exact():
    net = trace(dense, IMAGE)
    first, second = net.units
    (low, high), exact = interval_at(net, Ball(IMAGE, 0.1), first.operand, {})
    assert exact
    assert low.shape == high.shape == (40,)
    assert not interval_at(net, Ball(IMAGE, 0.1, 2), first.operand, {})[1]
    ranges = {first.output: (jnp.zeros(40), jnp.ones(40))}
    assert not interval_at(net, Ball(IMAGE, 0.1), second.operand, ranges)[1]


@pytest.mark.fast
@pytest.mark.parametrize("kept", [0, 5, 16, 17, 40])
def test_sparse_product(kept):
    seen = np.zeros(40, bool)
    seen[RNG.permutation(40)[:kept]] = True
    rows = np.where(seen, RNG.standard_normal((6, 40)), 0).astype(np.float32)
    matrix = RNG.standard_normal((40, 3, 2)).astype(np.float32)
    got = jax.jit(sparse_product)(jnp.asarray(rows), jnp.asarray(matrix), jnp.asarray(seen))
    np.testing.assert_allclose(got, np.tensordot(rows, matrix, 1), rtol=1e-5, atol=1e-5)


CONVOLUTIONS = [
    {"strides": (1, 1), "padding": "SAME"},
    {"strides": (2, 3), "padding": ((1, 0), (0, 2))},
    {"strides": (3, 2), "padding": "VALID"},
    {"strides": (2, 2), "padding": ((-1, 0), (0, -1))},
    {"strides": (5, 5), "padding": ((4, 4), (1, 1))},
]


@pytest.mark.fast
@pytest.mark.parametrize("setting", CONVOLUTIONS)
@pytest.mark.parametrize("layout", [("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NCHW")])
def test_pulled_convolutions_are_the_transpose(setting, layout):
    image = {"NCHW": (1, 2, 9, 8), "NHWC": (1, 9, 8, 2)}[layout[0]]
    kernel = weight(5, 2, 4, 3)
    kernel = kernel if layout[1] == "OIHW" else jnp.transpose(kernel, (2, 3, 1, 0))

    def f(x):
        return lax.conv_general_dilated(
            x, kernel, setting["strides"], setting["padding"], dimension_numbers=layout
        )

    node = trace(f, jnp.zeros(image)).graph.nodes[0]
    params = dict(node.params)
    assert is_plain(params)
    rows = jnp.asarray(RNG.standard_normal((3, *node.output.shape)), jnp.float32)
    back = jax.linear_transpose(f, jax.ShapeDtypeStruct(image, jnp.float32))
    want = jax.vmap(lambda r: back(r)[0])(rows)
    got = pull_convolution(rows, kernel, params, image)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["plain_conv", "residual", "channels_last"])
def test_windows_are_whole_rows(name):
    """Every step that a window passes gives the row that the step itself gives."""
    net = trace(NETS[name], IMAGE)
    passed = set()
    for node in net.graph.nodes:
        if not hasattr(node, "pull") or not node.output.shape:
            continue
        index = jnp.asarray(RNG.integers(node.output.size, size=6), jnp.int32)
        window = one_hot(node.output, index)
        rows = window.dense(node.output.shape)
        np.testing.assert_array_equal(
            rows.reshape(6, -1), np.eye(node.output.size, dtype=np.float32)[index]
        )
        pulled = window.pull(node, net.weights)
        if pulled is None:
            continue
        passed.add(node.name)
        for part, variable, want in zip(
            pulled, node.variables, node.pull(rows, net.weights), strict=True
        ):
            got = part.dense(variable.shape) if hasattr(part, "dense") else part
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert "conv_general_dilated" in passed


def test_batches_run_one_by_one_and_differentiate():
    """A wide network under vmap and grad: the same numbers, derivatives of the plain kernel."""
    rng = np.random.default_rng(0)  # its own: a kink within the step would spoil the difference
    big = [jnp.asarray(rng.standard_normal(s) / 4, jnp.float32) for s in ((260, 4), (3, 260))]

    def f(params, x):
        return params[1] @ jax.nn.relu(params[0] @ x)

    x = jnp.asarray(rng.standard_normal((3, 4)), jnp.float32)
    spec = margin_spec(0, 3)
    network = trace(jax.tree_util.Partial(f, big), x[0])
    assert is_wide(network)
    single = jnp.stack([crown(network, Ball(v, 0.1), spec).lower for v in x])
    batch = jax.vmap(lambda v: crown(network, Ball(v, 0.1), spec).lower)(x)
    np.testing.assert_allclose(batch, single, rtol=1e-5, atol=1e-6)

    def worst(eps, centre):
        return crown(network, Ball(centre, eps), spec).lower.sum()

    slope, tilt = jax.grad(worst, (0, 1))(0.1, x[0])
    step = 1e-3
    want = (worst(0.1 + step, x[0]) - worst(0.1 - step, x[0])) / (2 * step)
    assert abs(slope - want) < 2e-3 * abs(want)
    assert tilt.shape == (4,)
    assert jnp.isfinite(tilt).all()
    forward = jax.jvp(lambda e: worst(e, x[0]), (0.1,), (1.0,))[1]
    assert abs(forward - slope) < 1e-4 * abs(slope)
