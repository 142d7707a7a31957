"""The graph of a function: what is one unit, what is affine, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxact.tracing import Network, Unit, trace

X = jnp.linspace(-1.0, 1.0, 6)
W = jnp.asarray(np.random.default_rng(0).standard_normal((6, 6)), jnp.float32)

UNITS = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "silu": jax.nn.silu,
    "x sigmoid(x)": lambda x: x * jax.nn.sigmoid(x),
    "softplus": jax.nn.softplus,
    "mish": jax.nn.mish,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "hard_swish": jax.nn.hard_swish,
    "leaky_relu": jax.nn.leaky_relu,
    "sin": jnp.sin,
    "where": lambda x: jnp.where(x > 0, x, 0.25 * x),
    "x + sin^2": lambda x: x + jnp.sin(x) ** 2,
    "snake": lambda x: x + jnp.sin(3 * x) ** 2 / 3,
}


class LinenConv(linen.Module):
    act: object

    @linen.compact
    def __call__(self, x):
        x = self.act(linen.Conv(3, (3, 3))(x))
        x = self.act(linen.Conv(4, (3, 3), strides=(2, 2))(x)).reshape(x.shape[0], -1)
        return linen.Dense(2)(self.act(linen.Dense(5)(x)))


class NnxNorm(nnx.Module):
    def __init__(self, act, rngs):
        self.first, self.last = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
        self.middle = nnx.Linear(8, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.drop = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.act = act

    def __call__(self, x):
        x = self.drop(self.act(self.norm(self.first(x))))
        return self.last(self.act(self.middle(x)))


@pytest.mark.fast
@pytest.mark.parametrize("name", UNITS)
def test_every_activation_is_one_unit_a_layer(name):
    example = jnp.linspace(-1, 1, 32).reshape(4, 4, 2)
    model = LinenConv(UNITS[name])
    shapes = jax.eval_shape(model.init, jax.random.key(0), example[None])
    params = jax.tree.map(lambda s: jnp.full(s.shape, 0.1, s.dtype), shapes)
    net = trace(lambda x: model.apply(params, x[None])[0], example)
    assert len(net.units) == 3
    assert len({u.fn for u in net.units}) == 1  # the three layers share one analysis
    np.testing.assert_allclose(
        net(example), model.apply(params, example[None])[0], rtol=2e-5, atol=1e-6
    )
    model = NnxNorm(UNITS[name], nnx.Rngs(0))
    net = trace(lambda x: model(x[None])[0], X)
    assert len(net.units) == 2
    np.testing.assert_allclose(net(X), model(X[None])[0], rtol=2e-5, atol=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: jnp.tanh(x * jnp.arange(6.0) + jnp.arange(6.0)), ["tanh"]),
        (lambda x: x + jnp.tanh(W @ x), ["tanh"]),
        (lambda x: W @ (x + jnp.tanh(x)), ["tanh add"]),
        (lambda x: W @ ((x - 0.13) / 0.3), []),
        (lambda x: jnp.concatenate([jnp.exp(x), jnp.tanh(x)]), ["exp", "tanh"]),
        (lambda x: jnp.stack([jnp.exp(x), jnp.tanh(x), x * 0 + 1]), ["exp", "tanh"]),
        (lambda x: jnp.split(W @ x, 2)[1] ** 2, ["integer_pow"]),
        (lambda x: jnp.where(jnp.arange(6) > 2, x, 1.0), []),
        (lambda x: jnp.cumsum(x)[::-1].reshape(2, 3).T.mean(), []),
        (lambda x: jnp.where(jnp.abs(x) > 1, jnp.zeros(6), x), ["abs gt broadcast select_n"]),
    ],
)
def test_groups(f, expected):
    net = trace(f, X)
    found = [" ".join(op.primitive.name for op in u.fn.ops) for u in net.units]
    assert [f.split()[0] for f in found] == [e.split()[0] for e in expected]
    np.testing.assert_allclose(net(X), f(X), rtol=1e-5, atol=1e-6)


@pytest.mark.fast
def test_calls_are_opened_and_units_are_hashable():
    straight_through = jax.custom_vjp(jnp.tanh)
    straight_through.defvjp(lambda x: (jnp.tanh(x), None), lambda _, g: (g,))
    f = jax.jit(lambda x: jax.checkpoint(lambda v: straight_through(W @ v))(x))
    (unit,) = trace(f, X).units
    (plain,) = trace(lambda x: jnp.tanh(W.T @ x), X).units
    assert isinstance(unit, Unit)
    assert unit.fn == plain.fn
    assert hash(unit.fn) == hash(plain.fn)
    (other,) = trace(lambda x: jnp.tanh(2 * (W @ x)), X).units
    assert unit.fn != other.fn
    jaxpr = jax.make_jaxpr(other.fn)(jnp.zeros(()))
    assert [e.primitive.name for e in jaxpr.eqns] == ["mul", "tanh"]


@pytest.mark.fast
def test_a_unit_works_in_both_precisions(x64):
    (unit,) = trace(lambda x: jax.nn.gelu(x.astype(jnp.float32)), X.astype(jnp.float32)).units
    for dtype in (jnp.float32, jnp.float64):
        x = jnp.linspace(-2, 2, 5, dtype=dtype)
        assert unit.fn(x).dtype == dtype
        np.testing.assert_allclose(unit.fn(x), jax.nn.gelu(x), atol=1e-6)


@pytest.mark.fast
def test_equal_architectures_compile_once():
    traces = []

    @jax.jit
    def run(net, x):
        traces.append(1)
        return net(x)

    for seed in range(3):
        model = NnxNorm(jax.nn.gelu, nnx.Rngs(seed))
        net = trace(lambda x, m=model: m(x[None])[0], X)
        np.testing.assert_allclose(run(net, X), model(X[None])[0], rtol=2e-5, atol=1e-6)
    assert len(traces) == 1


@pytest.mark.fast
def test_weights_are_read_at_every_trace():
    model = nnx.Linear(6, 2, rngs=nnx.Rngs(0))
    before = trace(model, X)(X)
    model.bias[...] = model.bias[...] + 1
    np.testing.assert_allclose(trace(model, X)(X), before + 1, rtol=1e-5)


@pytest.mark.fast
def test_traced_weights_and_traced_scalars():
    def tanh(w, beta):
        return trace(lambda x: jnp.tanh(beta * (x @ w)), X)(X).sum()

    got = jax.grad(tanh, argnums=(0, 1))(W, 1.5)
    want = jax.grad(lambda w, b: jnp.tanh(b * (X @ w)).sum(), argnums=(0, 1))(W, 1.5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)


@pytest.mark.fast
def test_bad_input():
    with pytest.raises(ValueError, match="does not depend on its input"):
        trace(lambda x: jnp.ones(3), X)
    with pytest.raises(ValueError, match="must return one array, got a result with 2"):
        trace(lambda x: (x, x), X)
    with pytest.raises(ValueError, match="must be a floating array, got dtype int32"):
        trace(jnp.abs, jnp.arange(3))
    with pytest.raises(TypeError, match="must be a function of one array"):
        trace(3.0, X)
    net = trace(jnp.tanh, X)
    assert trace(net, X) is net
    with pytest.raises(ValueError, match=r"takes shape \(6,\), got an array of \(5,\)"):
        trace(net, X[:5])
    assert isinstance(jax.tree.map(lambda a: a, net), Network)


@pytest.mark.fast
def test_affine_steps_agree_with_the_jacobian():
    image = jnp.asarray(np.random.default_rng(1).standard_normal((4, 4, 2)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(2).standard_normal((3, 3, 2, 3)), jnp.float32)

    def f(x):
        y = (
            jax.lax.reduce_window(x[None], 0.0, jax.lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")
            / 4
        )
        z = jax.lax.conv_general_dilated(
            x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        parts = [y.reshape(-1), (1.0 - z / 3).reshape(-1), jnp.pad(x[0, :, 0], 1)]
        return jnp.concatenate([*parts, jnp.take(x.reshape(-1), jnp.array([3, 1]))])

    net = trace(f, image)
    assert not net.units
    n = net.graph.target.size
    rows = {net.graph.target: jnp.eye(n)}
    for node in reversed(net.graph.nodes):
        pulled = node.pull(rows.pop(node.output).reshape(n, *node.output.shape), net.weights)
        for v, r in zip(node.variables, pulled, strict=True):
            rows[v] = rows[v] + r if v in rows else r
    np.testing.assert_allclose(rows[net.graph.source], jax.jacobian(f)(image), atol=1e-5)
    box = {net.graph.source: (image - 0.1, image + 0.1)}
    for node in net.graph.nodes:
        ends = [box[v] for v in node.variables]
        box[node.output] = node.interval([e[0] for e in ends], [e[1] for e in ends], net.weights)
    lower, upper = box[net.graph.target]
    radius = 0.1 * jnp.abs(jax.jacobian(f)(image)).sum((1, 2, 3))
    np.testing.assert_allclose(lower, f(image) - radius, atol=1e-5)
    np.testing.assert_allclose(upper, f(image) + radius, atol=1e-5)
