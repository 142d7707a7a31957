"""Primitives of several perturbed arrays: what they become, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from jaxact.tracing import Maximum, Product, trace

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((4, 6)), jnp.float32)
W = jnp.asarray(RNG.standard_normal((6, 6)), jnp.float32)
C = jnp.linspace(-1.0, 1.0, 6)[None]
IMAGE = (1, 4, 6, 1)


def by_hand(x):
    return jnp.exp(x - x.max(1, keepdims=True)) / jnp.exp(x - x.max(1, keepdims=True)).sum(
        1, keepdims=True
    )


def batched(x):
    x = x.reshape(2, 2, 6)
    return jnp.einsum("bij,bkj->bik", x, x)


def dilated(x):
    return window(x, -jnp.inf, lax.max, window_dilation=(1, 2))


def window(x, lowest, pair, **options):
    return lax.reduce_window(x, lowest, pair, (2, 3), (2, 1), "SAME", **options)


CASES = {
    "product": (lambda x: x * (x @ W), "product"),
    "gate": (lambda x: jax.nn.glu(x @ W), "[logistic] product"),
    "matmul": (lambda x: x @ (x @ W).T, "product"),
    "batched": (batched, "product"),
    "quotient": (lambda x: x / (1 + x.max()), "maximum " * 5 + "[add div] product"),
    "constant / x": (lambda x: C / (x + 9), "[add div]"),
    "norm": (lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True), "[mul] [sqrt div] product"),
    "prod": (lambda x: jnp.prod(x[:, :3], 1), "product product"),
    "max": (lambda x: jnp.maximum(x, x @ W), "maximum"),
    "min": (lambda x: jnp.minimum(x, x @ W), "maximum"),
    "row max": (lambda x: x.max(1), "maximum maximum maximum"),
    "row min": (lambda x: x.min(1), "maximum maximum maximum"),
    "max with a constant": (lambda x: jnp.maximum(C, x), "[max]"),
    "clip": (lambda x: jnp.clip(x, C - 1, C + 1), "[max] [max]"),
    "clamp": (lambda x: lax.clamp(-0.5, x, 0.5), "[clamp]"),
    "prelu": (lambda x: jnp.where(x >= 0, x, C * x), "[max]"),
    "prelu the other way": (lambda x: jnp.where(x < 0, C * x, 0), "[max]"),
    "logaddexp": (lambda x: jnp.logaddexp(x, x @ W), "logaddexp"),
    "max pool": (lambda x: linen.max_pool(x.reshape(IMAGE), (2, 2), (2, 2)), "maximum maximum"),
    "nnx pool": (lambda x: nnx.max_pool(x.reshape(IMAGE), (3, 3), padding="SAME"), "maximum " * 4),
    "min pool": (lambda x: window(x, jnp.inf, lax.min), "maximum " * 3),
    "dilated pool": (dilated, "maximum " * 3),
    "softmax": (jax.nn.softmax, "[exp] [max div]"),
    "softmax by hand": (by_hand, "[exp] [max div]"),
    "softmax of all": (lambda x: jax.nn.softmax(x, axis=(0, 1)), "[exp] [max div]"),
    "softmax of two": (lambda x: jax.nn.softmax(x.reshape(12, 2)), "[logistic]"),
    "log softmax": (lambda x: jax.nn.log_softmax(x, axis=0), "[exp] [max log neg]"),
    "log softmax of two": (lambda x: jax.nn.log_softmax(x.reshape(12, 2)), "[logaddexp neg]"),
    "logsumexp": (lambda x: jax.nn.logsumexp(x, axis=1), "logaddexp " * 3),
    "logsumexp, kept": (lambda x: jax.nn.logsumexp(x, axis=0, keepdims=True), "logaddexp " * 2),
    "log of a sum": (lambda x: jnp.log(jnp.exp(x).sum(0)), "logaddexp " * 2),
    "layer norm": (nnx.LayerNorm(6, rngs=nnx.Rngs(0)), "[square] [div max] [add rsqrt] product"),
    "rms norm": (nnx.RMSNorm(6, rngs=nnx.Rngs(0)), "[square] [add rsqrt] product"),
    "standardize": (jax.nn.standardize, "[square] [max add rsqrt] product"),
    "attention": (
        nnx.MultiHeadAttention(2, 6, decode=False, rngs=nnx.Rngs(0)),
        "product [exp] [max div] product",
    ),
}  # fmt: skip


def nonlinear(net):
    """Units in brackets and joint nodes, in order."""
    names = []
    for node in net.graph.nodes:
        if isinstance(node, Product | Maximum):
            names.append(node.name)
        elif hasattr(node, "fn"):
            names.append(f"[{' '.join(op.primitive.name for op in node.fn.ops)}]")
    return names


@pytest.mark.fast
@pytest.mark.parametrize("name", CASES)
def test_values_are_kept(name):
    f, expected = CASES[name]
    net = trace(f, X)
    assert " ".join(nonlinear(net)) == expected.strip()
    for x in (X, 3 * X[::-1]):
        np.testing.assert_allclose(net(x), f(x), rtol=2e-5, atol=2e-6)


@pytest.mark.fast
def test_the_shift_of_a_softmax_must_be_common():
    """What only looks like a softmax is not rewritten as one."""

    def f(x):
        return jnp.exp(x - x.max(0)[None]) / jnp.exp(x - x.max(0)[None]).sum(1, keepdims=True)

    def g(x):
        return jnp.exp(x) / jnp.exp(x).sum(0)[None, ::-1]

    for h in (f, g):
        np.testing.assert_allclose(trace(h, X)(X), h(X), rtol=2e-5)
    assert "product" in nonlinear(trace(g, X))


@pytest.mark.fast
def test_equal_equations_are_one():
    net = trace(lambda x: jnp.tanh(x @ W) + jnp.exp(x) @ jnp.tanh(x @ W).T @ X, X)
    assert len(net.units) == 2
    (unit,) = trace(lambda x: lax.stop_gradient(jnp.maximum(-jnp.inf, jnp.tanh(x))), X).units
    assert repr(unit.fn) == "Elementwise(tanh)"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: jnp.sort(x), "sort"),
        (lambda x: jnp.argmax(x, 0), "argmax"),
        (lambda x: x ** (x @ W), "pow"),
        (lambda x: jnp.where(x > 0, x @ W, x), "gt"),
        (lambda x: lax.while_loop(lambda v: v[0, 0] < 9, lambda v: v + 1, x), "while"),
        (
            lambda x: lax.conv(x[None, :2], x[None, 2:, :3].reshape(1, 2, 3), (1,), "VALID"),
            "conv_general_dilated",
        ),
    ],
)
def test_what_has_no_rule_is_named_with_its_line(f, name):
    with pytest.raises(NotImplementedError, match=rf"'{name}' of perturbed arrays") as error:
        trace(f, X)
    assert "test_tracing_several.py:" in str(error.value)
    for supported in ("reduce_window_max", "conv_general_dilated, ", "dot_general, "):
        assert supported in str(error.value)


@pytest.mark.fast
def test_traced_weights_pass_through():
    def value(w):
        return trace(lambda x: jax.nn.softmax(x @ w) * (x @ w), X)(X).sum()

    def plain(w):
        return (jax.nn.softmax(X @ w) * (X @ w)).sum()

    np.testing.assert_allclose(jax.grad(value)(W), jax.grad(plain)(W), rtol=1e-4, atol=1e-5)
