"""Modules against NumPy twins and their linen twins; functions of modules as pytrees."""

from __future__ import annotations

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxact as ja
from jaxact import nets

SWISH = ja.get("swish", 1.5)


@functools.lru_cache
def _build(kind, act=SWISH, *, trainable=False, seed=0):
    rngs = nnx.Rngs(seed)
    if kind == "mlp":
        return nets.MLP((5, 7, 6, 3), act, trainable=trainable, rngs=rngs), (5,)
    if kind == "conv":
        made = nets.ConvNet((6, 5, 2), 3, act, features=(3, 4), trainable=trainable, rngs=rngs)
        return made, (6, 5, 2)
    made = nets.ConvGenerator(
        4, (6, 2), act, kernels=((3, 2), (2, 2)), bias=True, trainable=trainable, rngs=rngs
    )
    return made, (4,)


def _twin(kind, act=SWISH, *, trainable=False):
    if kind == "mlp":
        return nets.linen.MLP((5, 7, 6, 3), act, trainable=trainable)
    if kind == "conv":
        return nets.linen.ConvNet((6, 5, 2), 3, act, features=(3, 4), trainable=trainable)
    return nets.linen.ConvGenerator(
        4, (6, 2), act, kernels=((3, 2), (2, 2)), bias=True, trainable=trainable
    )


KINDS = ("mlp", "conv", "generator")


@pytest.mark.fast
def test_mlp_is_its_numpy_twin(rng):
    model, _ = _build("mlp", ja.get("relu"))
    _, params = nets.functional(model)
    x = rng.normal(size=5).astype(np.float32)
    h = x
    for i in range(3):
        layer = params["layers"][i]
        h = h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        h = np.maximum(h, 0) if i < 2 else h
    np.testing.assert_allclose(model(x), h, rtol=2e-5, atol=1e-6)


@pytest.mark.fast
def test_generator_is_a_transposed_convolution(rng):
    model = nets.ConvGenerator(
        4, (6, 2), ja.get("tanh"), kernels=((3, 2), (2, 3)), rngs=nnx.Rngs(0)
    )
    _, params = nets.functional(model)
    z = rng.normal(size=4).astype(np.float32)
    h = z.reshape(1, 1, 4)
    for i in range(2):
        kernel = np.asarray(params["kernels"][i])
        _, a, b, o = kernel.shape
        out = np.zeros((h.shape[0] * a, h.shape[1] * b, o), np.float32)
        for r in range(h.shape[0]):
            for c in range(h.shape[1]):
                block = np.tensordot(h[r, c], kernel, axes=1)
                out[r * a : (r + 1) * a, c * b : (c + 1) * b] = block
        h = np.tanh(out)
    assert "biases" not in params or not params["biases"]
    np.testing.assert_allclose(model(z), h, rtol=1e-5, atol=1e-6)
    # The same layer as XLA's strided transposed convolution.
    kernel = params["kernels"][1]
    x = jnp.asarray(rng.normal(size=(1, 3, 2, 6)), jnp.float32)
    expected = jax.lax.conv_transpose(
        x, jnp.flip(kernel, (1, 2)).transpose(1, 2, 0, 3), (2, 3), "VALID", precision="highest",
        transpose_kernel=False,
    )  # fmt: skip
    mine = nets.generator.block_layer(x, kernel)
    flipped = nets.generator.block_layer(x, jnp.flip(kernel, (1, 2)))
    matches = [np.allclose(v, expected, rtol=1e-4, atol=1e-5) for v in (mine, flipped)]
    assert any(matches)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("kernel", "stride"), [((4, 4), (2, 2)), ((3, 5), (1, 3)), ((6, 2), (4, 2))]
)
def test_a_layer_with_overlap_is_xlas_transposed_convolution(kernel, stride, rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 5, 4, 6)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(6, *kernel, 2)), jnp.float32)
    crop = [(a - s) // 2 for a, s in zip(kernel, stride, strict=True)]
    pads = [(a - 1 - c,) * 2 for a, c in zip(kernel, crop, strict=True)]
    expected = jax.lax.conv_transpose(
        x.reshape(6, 5, 4, 6), jnp.flip(weights, (1, 2)).transpose(1, 2, 0, 3), stride, pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    )  # fmt: skip
    found = nets.generator.transposed_layer(x, weights, stride)
    assert found.shape == (2, 3, 5 * stride[0], 4 * stride[1], 2)
    np.testing.assert_allclose(found.reshape(6, *found.shape[2:]), expected, rtol=1e-4, atol=1e-4)


def test_an_activation_for_every_layer_and_strides_below_the_kernel(rng):
    acts = (ja.get("relu"), SWISH, ja.get("tanh"))
    options = {
        "latent": 4, "features": (40, 30, 2), "act": acts,
        "kernels": ((3, 2), (4, 4), (4, 6)), "strides": ((3, 2), (2, 2), (2, 2)),
    }  # fmt: skip
    model = nets.ConvGenerator(**options, trainable=True, rngs=nnx.Rngs(0))
    _, params = nets.functional(model)
    x = jnp.asarray(rng.normal(size=(4, 4)), jnp.float32)
    h = x[:, None, None, :]
    for i, act in enumerate(acts):
        h = act(nets.generator.transposed_layer(h, params["kernels"][i], options["strides"][i]))
    assert h.shape == (4, 12, 8, 2)
    np.testing.assert_allclose(model(x), h, rtol=1e-5, atol=1e-6)
    assert params["act"][1]["theta"][0].shape == ()
    twin = nets.linen.ConvGenerator(**options, trainable=True)
    converted = nets.linen.to_linen(params)
    np.testing.assert_allclose(twin.apply(converted, x), h, rtol=1e-5, atol=1e-6)
    shapes, scales = nets.generator.kernel_plan(**options)
    assert scales[1] == pytest.approx(nets.gain(acts[0]) / (40 * 4) ** 0.5)
    assert shapes[2] == (30, 4, 6, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trainable", [False, True])
def test_linen_twin(kind, trainable, rng):
    model, shape = _build(kind, trainable=trainable)
    twin = _twin(kind, trainable=trainable)
    _, params = nets.functional(model)
    x = jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)
    variables = twin.init(jax.random.key(1), x)
    converted = nets.linen.to_linen(params)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables["params"], _pruned(converted["params"]))
    np.testing.assert_allclose(twin.apply(converted, x), model(x), rtol=1e-5, atol=1e-6)
    apply, _ = nets.functional(model)
    back = nets.linen.from_linen(variables)
    np.testing.assert_allclose(apply(back, x), twin.apply(variables, x), rtol=1e-5, atol=1e-6)
    assert isinstance(twin, nn.Module)


def _pruned(tree):
    """Without the empty groups that nnx keeps for parameters that are not there."""
    kept = {k: _pruned(v) if isinstance(v, dict) else v for k, v in tree.items()}
    return {k: v for k, v in kept.items() if not isinstance(v, dict) or v}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_single_samples_agree(kind, rng):
    f = nets.as_function(_build(kind)[0])
    shape = _build(kind)[1]
    x = jnp.asarray(rng.normal(size=(2, 3, *shape)), jnp.float32)
    single = jax.vmap(jax.vmap(f))(x)
    np.testing.assert_allclose(f(x), single, rtol=1e-5, atol=1e-5)


def test_theta_is_fixed_or_trained():
    fixed, params = nets.functional(_build("mlp")[0])
    assert len(jax.tree.leaves(fixed)) == 1
    assert len(jax.tree.leaves(params)) == 6
    free, params = nets.functional(_build("mlp", trainable=True)[0])
    assert len(jax.tree.leaves(free)) == 0
    slope = jax.grad(lambda p: free(p, jnp.ones(5)).sum())(params)["act"]["theta"][0]
    assert float(jnp.abs(slope)) > 1e-4
    plain, _ = nets.functional(_build("mlp", jnp.tanh)[0])
    assert not jax.tree.leaves(plain)


@pytest.mark.fast
def test_a_function_of_a_model_compiles_once_and_differentiates():
    one, two = (nets.as_function(_build("mlp", ja.get("swish", b), seed=s)[0])
                for s, b in ((0, 1.5), (1, 0.5)))  # fmt: skip

    @jax.jit
    @chex.assert_max_traces(n=1)
    def value(f, x):
        return f(x).sum()

    x = jnp.ones(5)
    assert float(value(one, x)) != float(value(two, x))
    slope = jax.grad(lambda f: f(x).sum())(one)
    assert jax.tree.structure(slope) == jax.tree.structure(one)
    assert float(jnp.abs(jax.tree.leaves(slope)[0]).sum()) > 0


@pytest.mark.fast
def test_gain_preserves_variance(rng):
    assert nets.gain(ja.get("relu")) == pytest.approx(2**0.5, rel=1e-6)
    assert nets.gain(jnp.tanh) == pytest.approx(0.394294490397841**-0.5, rel=1e-5)
    assert nets.gain(jnp.zeros_like) == 1.0
    for name in ("relu", "cubic", "exp"):
        model = nets.MLP((300, 300, 300), ja.get(name), rngs=nnx.Rngs(0))
        last = model(jnp.asarray(rng.normal(size=(20, 300)), jnp.float32))
        assert 0.5 < float(jnp.std(last)) < 2.0, name


def test_x64_models_are_float64(x64):
    model, _ = _build("conv", ja.get("leaky_relu", 0.2))
    assert model(jnp.ones((6, 5, 2))).dtype == jnp.float64


def test_bad_input():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match=r"widths must have at least 2 entries, got 1"):
        nets.MLP((3,), jnp.tanh, rngs=rngs)
    with pytest.raises(ValueError, match="widths must be at least 1, got 0"):
        nets.MLP((3, 0, 2), jnp.tanh, rngs=rngs)
    with pytest.raises(TypeError, match="act must be a function of one array"):
        nets.Unit("relu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="one entry a layer, got 2 features and 1 kernels"):
        nets.ConvGenerator(3, (4, 1), jnp.tanh, kernels=((2, 2),), rngs=rngs)
    two = {"latent": 3, "features": (4, 1), "kernels": ((2, 2), (4, 4)), "rngs": rngs}
    with pytest.raises(ValueError, match="act must have one entry a layer, 2, got 1"):
        nets.ConvGenerator(act=(jnp.tanh,), **two)
    with pytest.raises(ValueError, match="strides must have one entry a layer, 2, got 1"):
        nets.ConvGenerator(act=jnp.tanh, strides=((2, 2),), **two)
    with pytest.raises(ValueError, match="even number, got stride 3 for kernel 4"):
        nets.ConvGenerator(act=jnp.tanh, strides=((2, 2), (3, 4)), **two)
    with pytest.raises(ValueError, match="even number, got stride 4 for kernel 2"):
        nets.ConvGenerator(act=jnp.tanh, strides=((4, 4), (2, 2)), **two)
    with pytest.raises(ValueError, match="output must be None"):
        nets.ConvGenerator(act=(jnp.tanh, jnp.tanh), output=jnp.tanh, **two)
    with pytest.raises(ValueError, match="features must have at least 1 entries"):
        nets.ConvNet((8, 8, 1), 10, jnp.tanh, features=(), rngs=rngs)
    with pytest.raises(TypeError, match="model must be a flax.nnx Module, got function"):
        nets.functional(lambda x: x)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("kind", KINDS)
def test_lowers_for_accelerators(kind, platform):
    model, shape = _build(kind)
    f = nets.as_function(model)
    traced = jax.jit(lambda f, x: f(x)).trace(f, jnp.ones(shape))
    assert traced.lower(lowering_platforms=(platform,)).as_text()
