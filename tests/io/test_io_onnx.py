"""ONNX networks equal onnxruntime's, operator by operator and on every public net."""

from __future__ import annotations

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from jaxact.bounds import Box, crown
from jaxact.io import load_onnx
from jaxact.tracing import trace
from tests.io.onnx_nets import build, mlp, runtime, save

RNG = np.random.default_rng(1)


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def one(operator, constants=None, shape=(1, 4), *, opset=13, inputs=None, **attributes):
    """A net of one operator, whose constants follow x."""
    constants = constants or {}
    names = inputs or ["x", *constants]
    return build([(operator, names, ["y"], attributes)], constants, list(shape), opset=opset)


IMAGE = (1, 2, 6, 5)
NETS = {
    "Gemm": one("Gemm", {"w": f32(4, 3), "b": f32(3)}),
    "Gemm scaled": one(
        "Gemm", {"w": f32(3, 4), "b": f32(1, 3)}, transB=1, alpha=0.5, beta=2.0
    ),
    "Gemm without bias": one("Gemm", {"w": f32(4, 3)}),
    "MatMul": one("MatMul", {"w": f32(4, 3)}),
    "MatMul from the left": one("MatMul", {"w": f32(3, 1)}, inputs=["w", "x"]),
    "Conv": one(
        "Conv", {"w": f32(3, 2, 3, 2), "b": f32(3)}, IMAGE, pads=[1, 0, 2, 1], strides=[2, 1]
    ),
    "Conv grouped": one("Conv", {"w": f32(4, 1, 2, 2)}, IMAGE, group=2, dilations=[2, 1]),
    "Conv same": one("Conv", {"w": f32(1, 2, 2, 3)}, IMAGE, auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv same lower": one("Conv", {"w": f32(1, 2, 2, 2)}, IMAGE, auto_pad="SAME_LOWER"),
    "Conv one axis": one("Conv", {"w": f32(3, 2, 3), "b": f32(3)}, (1, 2, 7)),
    "ConvTranspose": one(
        "ConvTranspose", {"w": f32(2, 3, 3, 2), "b": f32(3)}, IMAGE,
        strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 0],
    ),
    "ConvTranspose grouped": one(
        "ConvTranspose", {"w": f32(2, 2, 2, 2)}, IMAGE, group=2, dilations=[1, 2]
    ),
    "BatchNormalization": one(
        "BatchNormalization",
        {"s": f32(2), "b": f32(2), "m": f32(2), "v": np.abs(f32(2)) + np.float32(0.1)}, IMAGE,
        epsilon=1e-3,
    ),
    "Relu": one("Relu"), "Sigmoid": one("Sigmoid"), "Tanh": one("Tanh"), "Abs": one("Abs"),
    "Neg": one("Neg"), "Exp": one("Exp"), "Erf": one("Erf"), "Softplus": one("Softplus"),
    "Sin": one("Sin"), "Cos": one("Cos"), "Elu": one("Elu", alpha=0.7),
    "LeakyRelu": one("LeakyRelu", alpha=0.3), "LeakyRelu default": one("LeakyRelu"),
    "Identity": one("Identity"), "Dropout": one("Dropout", opset=10, ratio=0.3),
    "Cast": one("Cast", to=1),
    "Add": one("Add", {"c": f32(4)}), "Sub": one("Sub", {"c": f32(1, 1)}),
    "Sub reversed": one("Sub", {"c": f32(4)}, inputs=["c", "x"]),
    "Mul": one("Mul", {"c": f32(2, 1, 1)}, IMAGE), "Div": one("Div", {"c": np.float32(3.0)}),
    "Pow": one("Pow", {"c": np.float32(3.0)}),
    "Sqrt and Log": build(
        [("Exp", ["x"], ["a"], {}), ("Sqrt", ["a"], ["b"], {}), ("Log", ["b"], ["y"], {})],
        {}, [1, 4],
    ),
    "Flatten": one("Flatten", shape=IMAGE), "Flatten axis": one("Flatten", shape=IMAGE, axis=2),
    "Flatten negative": one("Flatten", shape=IMAGE, axis=-1),
    "Reshape": one("Reshape", {"s": ints(0, 4, -1)}, IMAGE),
    "Transpose": one("Transpose", shape=IMAGE, perm=[0, 2, 3, 1]),
    "Transpose default": one("Transpose", shape=IMAGE),
    "Concat": one("Concat", {"c": f32(1, 2, 6, 1)}, IMAGE, axis=-1),
    "Slice 9": one("Slice", shape=IMAGE, opset=9, starts=[1, -3], ends=[5, 1000], axes=[2, 3]),
    "Slice": one(
        "Slice", {"a": ints(-1, 0), "b": ints(-1000, 4), "c": ints(2, 3), "d": ints(-2, 1)}, IMAGE
    ),
    "Pad 2": one("Pad", shape=IMAGE, opset=2, pads=[0, 0, 1, 0, 0, 0, 2, 1], value=0.5),
    "Pad": one("Pad", {"p": ints(0, 0, 1, 0, 0, 0, 2, 1), "v": np.float32(-1.5)}, IMAGE),
    "Pad reflect": one("Pad", {"p": ints(0, 0, 1, 2, 0, 0, 2, 1)}, IMAGE, mode="reflect"),
    "MaxPool": one("MaxPool", shape=IMAGE, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1]),
    "MaxPool ceil": one("MaxPool", shape=IMAGE, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    "AveragePool": one(
        "AveragePool", shape=IMAGE, kernel_shape=[2, 3], strides=[2, 2], pads=[1, 0, 1, 2]
    ),
    "AveragePool with pads": one(
        "AveragePool", shape=IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "AveragePool same": one(
        "AveragePool", shape=IMAGE, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "AveragePool ceil": one(
        "AveragePool", shape=IMAGE, kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1
    ),
    "AveragePool ceil with pads": one(
        "AveragePool", shape=IMAGE, opset=19, kernel_shape=[3, 3], strides=[2, 2],
        pads=[1, 1, 1, 0], ceil_mode=1, count_include_pad=1,
    ),
    "GlobalAveragePool": one("GlobalAveragePool", shape=IMAGE),
    "Softmax": one("Softmax", shape=(1, 2, 3)),
    "Softmax 11": one("Softmax", shape=(1, 2, 3), opset=11),
    "Clip 6": one("Clip", opset=6, min=-0.5, max=0.25),
    "Clip": one("Clip", {"a": np.float32(-0.5), "b": np.float32(0.25)}),
    "Clip above": one("Clip", {"b": np.float32(0.25)}, inputs=["x", "", "b"]),
    "Squeeze 11": one("Squeeze", shape=(1, 3, 1, 2), opset=11, axes=[2]),
    "Squeeze": one("Squeeze", {"a": ints(2)}, (1, 3, 1, 2)),
    "Unsqueeze 11": one("Unsqueeze", opset=11, axes=[1, 3]),
    "Unsqueeze": one("Unsqueeze", {"a": ints(1, -1)}),
    "ReduceMean": one("ReduceMean", shape=IMAGE, axes=[2, 3], keepdims=0),
    "ReduceMean 18": one("ReduceMean", {"a": ints(1)}, IMAGE, opset=18),
    "ReduceSum": one("ReduceSum", {"a": ints(-1)}, IMAGE),
    "Gather": one("Gather", {"i": ints(2, 0, -1)}, IMAGE, axis=2),
    "Gather scalar": one("Gather", {"i": np.int64(1)}, IMAGE, axis=-1),
    "Resize": one(
        "Resize", {"r": f32(0), "s": np.array([1, 1, 2, 3], np.float32)}, IMAGE,
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "Resize half pixel": one(
        "Resize", {"r": f32(0), "s": np.array([1, 1, 1.5, 0.6], np.float32)}, IMAGE, mode="nearest"
    ),
    "Resize sizes": one(
        "Resize", {"r": f32(0), "s": f32(0), "z": ints(1, 2, 9, 10)}, IMAGE, mode="nearest",
        coordinate_transformation_mode="align_corners", nearest_mode="round_prefer_ceil",
    ),
    "Resize 10": one("Resize", {"s": np.array([1, 1, 2, 2], np.float32)}, IMAGE, opset=10),
    "Upsample 9": one("Upsample", {"s": np.array([1, 1, 2, 2], np.float32)}, IMAGE, opset=9),
    "Split": build(
        [
            ("Split", ["x", "s"], ["a", "b"], {"axis": 3}),
            ("Concat", ["b", "a"], ["y"], {"axis": 3}),
        ],
        {"s": ints(2, 3)}, list(IMAGE),
    ),
    "shape arithmetic": build(
        [
            ("Shape", ["x"], ["s"], {}), ("Gather", ["s", "zero"], ["n"], {}),
            ("Cast", ["n"], ["m"], {"to": 7}), ("Unsqueeze", ["m", "zeros"], ["u"], {}),
            ("Constant", [], ["rest"], {"value_ints": [-1]}),
            ("Concat", ["u", "rest"], ["t"], {"axis": 0}), ("Reshape", ["x", "t"], ["y"], {}),
        ],
        {"zero": np.int64(0), "zeros": ints(0)}, list(IMAGE),
    ),
    "no batch": one("MatMul", {"w": f32(4, 3)}, (4,)),
    "residual": build(
        [
            ("MatMul", ["x", "w"], ["h"], {}), ("Tanh", ["h"], ["t"], {}),
            ("Add", ["t", "x"], ["y"], {}),
        ],
        {"w": f32(4, 4)}, [1, 4],
    ),
    "symbolic batch": one("MatMul", {"w": f32(4, 3)}, ("N", 4)),
}  # fmt: skip


def agrees(net, model, path):
    x = np.random.default_rng(0).normal(size=net.input_shape).astype(np.float32)
    wanted = runtime(model, {net.input_name: net.file_input(x)})
    got = np.asarray(net(x))
    assert got.size == wanted.size, path
    assert got.shape in (wanted.shape, wanted.shape[1:])
    scale = max(float(np.abs(wanted).max()), 1e-6)
    np.testing.assert_allclose(got.reshape(-1), wanted.reshape(-1), rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", NETS)
def test_every_operator_equals_onnxruntime(name, tmp_path):
    path = save(NETS[name], tmp_path / "net.onnx")
    agrees(load_onnx(path), NETS[name], name)


def test_the_file_may_be_gzipped_under_any_name(tmp_path):
    path = save(NETS["Conv"], tmp_path / "net.onnx.gz")
    renamed = path.rename(tmp_path / "net.onnx")
    agrees(load_onnx(renamed), NETS["Conv"], "gz")


def test_every_public_net_equals_onnxruntime(shared):
    files = sorted((shared / "vnncomp").glob("**/*.onnx*"))
    acasxu = [f for f in files if "ACASXU" in f.name]
    chosen = [f for f in files if f not in acasxu[1:-1]]
    assert len(chosen) >= 19
    call = jax.jit(lambda net, x: net(x))
    for file in chosen:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
        net = load_onnx(file)
        x = np.random.default_rng(0).uniform(0, 1, net.input_shape).astype(np.float32)
        wanted = runtime(data, {net.input_name: net.file_input(x)}).reshape(-1)
        got = np.asarray(call(net, x)).reshape(-1)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max() + 1e-7)


def test_equal_architectures_compile_once(tmp_path):
    traces = 0

    @jax.jit
    def call(net, x):
        nonlocal traces
        traces += 1
        return net(x)

    x = jnp.ones(3)
    nets = [
        load_onnx(save(mlp((3, 4, 2), rng=np.random.default_rng(s)), tmp_path / f"{s}.onnx"))
        for s in (0, 1)
    ]
    first, second = (np.asarray(call(net, x)) for net in nets)
    assert traces == 1
    assert not np.allclose(first, second)
    assert trace(nets[0], x).graph == trace(nets[1], x).graph


def test_bounds_take_the_network_and_float64_is_float64(tmp_path, x64):
    net = load_onnx(save(mlp((3, 4, 2), rng=np.random.default_rng(0)), tmp_path / "n.onnx"))
    x = jnp.array([0.1, -0.2, 0.3])
    assert net(x).dtype == jnp.float64
    found = crown(net, Box(x - 0.1, x + 0.1))
    assert bool((found.lower <= net(x)).all() & (net(x) <= found.upper).all())
    tight = crown(net, Box(x, x))
    np.testing.assert_allclose(tight.lower, net(x), rtol=1e-12)


def test_derivatives_reach_the_weights(tmp_path):
    net = load_onnx(save(mlp((3, 4, 2), rng=np.random.default_rng(0)), tmp_path / "n.onnx"))
    gradient = jax.grad(lambda n: n(jnp.ones(3)).sum())(net)
    assert [g.shape for g in gradient.weights] == [w.shape for w in net.weights]
    assert float(jnp.abs(gradient.weights[0]).max()) > 0


def test_an_unknown_operator_is_named_with_its_node(tmp_path):
    path = save(one("Det", shape=(1, 3, 3)), tmp_path / "n.onnx")
    with pytest.raises(NotImplementedError, match=r"Det \(node 'y' of n.onnx\); supported .*Relu"):
        load_onnx(path)


def test_an_unknown_option_is_named_with_its_node(tmp_path):
    model = one(
        "Resize", {"r": f32(0), "s": np.array([1, 1, 2, 2], np.float32)}, IMAGE, mode="linear"
    )
    with pytest.raises(NotImplementedError, match=r"Resize \(node 'y'.*mode='linear'"):
        load_onnx(save(model, tmp_path / "n.onnx"))


def test_files_that_are_not_networks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must be an ONNX file"):
        load_onnx(tmp_path / "none.onnx")
    whole = mlp((3, 4, 2), rng=np.random.default_rng(0)).SerializeToString()
    for name, data in {
        "cut": whole[: len(whole) // 2],
        "text": b"hello, this is text",
        "zipped": gzip.compress(whole)[:-20],
        "empty": b"",
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=name):
            load_onnx(path)


def test_shapes_that_are_not_fixed_are_refused(tmp_path):
    path = save(one("Relu", shape=(1, "length")), tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"fixed axes but for the batch, got \[1, 'length'\]"):
        load_onnx(path)


def test_a_sample_of_another_shape_is_refused(tmp_path):
    net = load_onnx(save(one("Relu"), tmp_path / "n.onnx"))
    with pytest.raises(ValueError, match=r"x must have shape \(4,\)"):
        net(jnp.ones((1, 4)))
