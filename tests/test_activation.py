"""The noun: leaves, derived functions, refusals."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact.activation import derived_moments


def swish(x, beta):
    return x * jax.nn.sigmoid(beta * x)


ACT = ja.activation(swish, theta=(1.5,))


@pytest.mark.fast
def test_theta_is_a_leaf_and_compiles_once():
    @jax.jit
    @chex.assert_max_traces(1)
    def apply(act, x):
        return act(x)

    for beta in (0.5, 1.0, 2.0):
        np.testing.assert_allclose(apply(ACT.replace(beta), 2.0), swish(2.0, beta), rtol=1e-6)


@pytest.mark.fast
def test_vmap_and_grad_over_theta(x64):
    betas = jnp.linspace(0.5, 2.0, 5)
    swept = jax.vmap(lambda act: act(1.3))(ACT.replace(betas))
    np.testing.assert_allclose(swept, [swish(1.3, b) for b in betas], rtol=1e-12)
    gradient = jax.grad(lambda act: act.moments().eta)(ACT).theta[0]
    h = 1e-5
    plus, minus = (ACT.replace(1.5 + d).moments().eta for d in (h, -h))
    np.testing.assert_allclose(gradient, (plus - minus) / (2 * h), rtol=1e-8)


@pytest.mark.fast
def test_same_name_is_the_same_compiled_function():
    leaves, tree = jax.tree.flatten(ja.get("repu", 3))
    assert not leaves
    assert tree == jax.tree.structure(ja.get("repu", 3))
    assert tree != jax.tree.structure(ja.get("repu", 2))
    assert hash(ja.get("gelu").primitive.fn) == hash(ja.get("gelu").primitive.fn)
    assert ja.get("mish").primitive.fn == ja.get("mish").primitive.fn


@pytest.mark.fast
def test_activation_is_idempotent_and_named():
    assert ja.activation(ACT) is ACT
    assert ACT.name == "swish"
    assert ja.activation(lambda x: x + 1).name == "custom"
    assert ja.activation(jnp.tanh, name="t").name == "t"


def test_derived_functions_of_a_lambda(x64):
    act = ja.activation(lambda x: jnp.logaddexp(0.0, x - 1) + 0.1 * x)
    x = jnp.linspace(-6.0, 6.0, 13)
    slope = jax.vmap(jax.grad(act.fn))
    np.testing.assert_allclose(act.derivative(x), slope(x), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(jax.grad(act.primitive))(x), act(x), rtol=1e-12)
    np.testing.assert_allclose(act.inverse(act(x)), x, atol=1e-9)
    inverse_slope = jax.vmap(jax.grad(act.inverse))(act(x))
    np.testing.assert_allclose(inverse_slope, 1 / slope(x), rtol=1e-8)
    # the inverse function's second derivative, -f'' / f'^3
    second = jax.vmap(jax.grad(jax.grad(act.inverse)))(act(x))
    np.testing.assert_allclose(
        second, -jax.vmap(jax.grad(jax.grad(act.fn)))(x) / slope(x) ** 3, rtol=1e-6, atol=1e-9
    )


@pytest.mark.fast
def test_made_and_inverted_inside_jit(x64):
    @jax.jit
    def f(y):
        act = ja.activation(lambda x: jnp.maximum(x, 0.5 * x) + x)
        assert act.kinks == (0.0,)
        return act.inverse(y)

    np.testing.assert_allclose(f(jnp.array([-3.0, 4.0])), [-2.0, 2.0], atol=1e-12)


def test_inverse_of_a_decreasing_function_and_outside_the_image(x64):
    act = ja.activation(lambda x: -jnp.tanh(x) + 2)
    np.testing.assert_allclose(act.inverse(jnp.array([1.5, 2.0])), [np.arctanh(0.5), 0], atol=1e-12)
    np.testing.assert_array_equal(act.inverse(jnp.array([0.5, 3.5])), [np.inf, -np.inf])


def test_inverse_differentiates_in_theta(x64):
    act = ja.activation(lambda x, b: jnp.sinh(b * x), theta=(1.5,))

    def at(b):
        return act.replace(b).inverse(0.7)

    np.testing.assert_allclose(at(1.5), np.arcsinh(0.7) / 1.5, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(at)(1.5), -np.arcsinh(0.7) / 1.5**2, rtol=1e-10)
    np.testing.assert_allclose(jax.grad(jax.grad(at))(1.5), 2 * np.arcsinh(0.7) / 1.5**3, rtol=1e-9)


@pytest.mark.parametrize("where", [0.3, -0.6])
def test_kinks_that_move_with_theta(x64, where):
    """A jump at t: E f = P(xi > t), whose derivative in t is minus the Gaussian density."""
    act = ja.activation(
        lambda x, t: jnp.where(x > t, 1.0, 0.0), theta=(where,), kinks=lambda t: (t,)
    )
    np.testing.assert_allclose(act.moments().mean, jax.scipy.stats.norm.sf(where), rtol=1e-13)
    slope = jax.grad(lambda a: a.moments().mean)(act).theta[0]
    np.testing.assert_allclose(slope, -jax.scipy.stats.norm.pdf(where), rtol=1e-12)
    np.testing.assert_allclose(act.primitive(2.0), 2.0 - max(where, 0), rtol=1e-13)
    np.testing.assert_allclose(
        jax.grad(lambda t: act.replace(t).primitive(2.0))(where),
        -1.0 if where > 0 else 0.0,
        atol=1e-12,
    )


def test_moments_at_extreme_scales(x64):
    """tanh at a steep and a flat scale, against 2e6 midpoint cells in NumPy."""
    xi = (np.arange(2_000_000) + 0.5) / 2_000_000 * 26 - 13
    weight = np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi) * 26 / 2_000_000
    for scale in (1e-3, 10.0, 30.0):
        value = np.tanh(scale * xi)
        got = ja.get("tanh").moments(scale)
        np.testing.assert_allclose(got.eta, weight @ value**2, rtol=1e-11)
        np.testing.assert_allclose(got.zeta, (weight @ (xi * value)) ** 2, rtol=1e-11)


@pytest.mark.fast
def test_float32_follows_the_input():
    act = ja.get("mish")
    for value in (act(jnp.float32(1)), act.primitive(jnp.float32(1)), act.moments().eta):
        assert value.dtype == jnp.float32
    wide = ja.numerics.double(derived_moments)(act)
    assert wide.eta.dtype == jnp.float64
    np.testing.assert_allclose(act.moments().eta, wide.eta, rtol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ja.activation(3),
            TypeError,
            "an activation must be a function of one array, got 3",
        ),
        (lambda: ja.activation(jax.nn.softmax), ValueError, "must be elementwise"),
        (lambda: ja.activation(jnp.sum), ValueError, r"must be elementwise.*gave \(\)"),
        (lambda: ja.activation(lambda x: np.tanh(x)), TypeError, "cannot be traced by JAX"),
        (lambda: ja.activation(lambda x: x if x > 0 else 0 * x), TypeError, "cannot be traced"),
        (lambda: ja.activation(jnp.log), ValueError, r"must be finite on \[-8, 8\]"),
        (lambda: ja.activation(lambda x: x > 0), ValueError, "must return real floating values"),
        (lambda: ja.activation(swish, theta=(np.nan,)), ValueError, "theta must be finite"),
        (
            lambda: ja.activation(lambda x, t: jnp.maximum(x - t, 0), theta=(1.0,)),
            ValueError,
            "declare them as a function",
        ),
        (lambda: ACT.replace(1.0, 2.0), ValueError, "theta must have 1 entries, got 2"),
        (lambda: ja.get("gelu").inverse, ValueError, "gelu has no inverse"),
        (lambda: ja.get("gelo"), ValueError, "unknown activation 'gelo'; did you mean gelu"),
        (lambda: ja.get("elu", c=1), TypeError, "unexpected keyword argument 'c'"),
        (lambda: ja.get("repu", 0), ValueError, "n must be at least 1, got 0"),
        (lambda: ja.get("hermite", ()), ValueError, "coefficients must be a non-empty vector"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.fast
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowers_for_accelerators(platform):
    kernels = [
        lambda a, x: a.primitive(x),
        lambda a, x: a.derivative(x),
        lambda a, x: a.moments(x).eta,
        lambda a, x: functools.reduce(jnp.add, (a.inverse(x), a(x))),
    ]
    for kernel in kernels:
        act = ja.activation(lambda x, b: jnp.sinh(b * x), theta=(1.5,))
        jax.jit(kernel).trace(act, jnp.float32(0.5)).lower(lowering_platforms=(platform,))
