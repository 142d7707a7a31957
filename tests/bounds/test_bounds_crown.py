"""CROWN and IBP: reference values, exact cases, attacks by sampling, transformations."""

import sys

import bounds_reference_nets as nets
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxact.bounds import Ball, Bounds, Box, crown, ibp, margin_spec
from jaxact.tracing import trace

RNG = np.random.default_rng(5)
W1, W2, W3 = (
    jnp.asarray(RNG.standard_normal(s) / 2, jnp.float32) for s in ((6, 8), (8, 8), (8, 4))
)
X = jnp.asarray(RNG.standard_normal(6), jnp.float32)


def mlp(act):
    return lambda x: act(act(x @ W1 + 0.1) @ W2) @ W3


def residual(x):
    h = jnp.tanh(x @ W1)
    h = h + jnp.tanh(h @ W2)
    return (h - jax.nn.relu(h @ W2 + h)) @ W3 + jnp.tile(x[:2], 2)


def conv(x):
    k = jnp.reshape(W2[:4, :6], (2, 2, 1, 6))
    numbers = ("NHWC", "HWIO", "NHWC")
    y = x.reshape(1, 2, 3, 1)
    y = jax.lax.conv_general_dilated(y, k, (1, 1), "SAME", dimension_numbers=numbers)
    y = (
        jax.lax.reduce_window(jax.nn.relu(y), 0.0, jax.lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")
        / 4
    )
    return jnp.tanh(y.reshape(-1)[:8] @ W2) @ W3


NETS = {
    "mish by hand": mlp(lambda x: x * jnp.tanh(jnp.log1p(jnp.exp(x)))),
    "x + sin^2": mlp(lambda x: x + jnp.sin(x) ** 2),
    "elu by where": mlp(lambda x: jnp.where(x > 0, x, jnp.expm1(jnp.minimum(x, 0.0)))),
    "tanh": mlp(jnp.tanh),
    "residual": residual,
    "conv": conv,
}


def points(region, count):
    """Random points and corners of an infinity ball or box."""
    lower, upper = region.box()
    key = jax.random.key(0)
    u = jax.random.uniform(key, (count, *lower.shape))
    u = jnp.concatenate([u, jnp.round(u), u**4])
    return lower[None] + (upper - lower)[None] * u


@pytest.mark.parametrize("name", ["mlp50_tanh", "cnn_relu", "mlp1024_relu"])
def test_reference_values(name):
    """Against auto_LiRPA's numbers (float32)."""
    f, x = nets.make(name)
    spec = margin_spec(int(jnp.argmax(f(x[0]))), 10)
    ball = Ball(x[0], 0.01)
    want = np.array(nets.CROWN[name])
    got = crown(f, ball, spec)
    gain = (np.asarray(got.lower) - want) / np.abs(want).max()
    assert gain.min() > -5e-5 / np.abs(want).max() - 1e-5
    if name != "mlp50_tanh":  # there exact tangents gain
        assert gain.max() < 1e-5
    loose = ibp(f, ball, spec).lower
    assert abs(loose.mean() - nets.IBP_MEAN[name]) < 2e-5 * abs(nets.IBP_MEAN[name])
    assert (loose <= got.lower).all()


def test_reference_tanh_in_float64(x64):
    """Exact tangents: at least as tight as auto_LiRPA's table."""
    f, x = nets.make("mlp50_tanh", np.float64)
    spec = margin_spec(int(jnp.argmax(f(x[0]))), 10)
    got = crown(f, Ball(x[0], 0.01), spec).lower
    assert got.dtype == jnp.float64
    assert (got >= np.array(nets.CROWN["mlp50_tanh"]) - 1e-5).all()


@pytest.mark.fast
@pytest.mark.parametrize("method", [crown, ibp])
@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (jnp.inf, 1)])
def test_linear_nets_are_exact_for_every_norm(method, norm, dual):
    def f(x):
        return x @ W1 + 0.5

    b = method(f, Ball(X, 0.3, norm))
    half = 0.3 * np.linalg.norm(np.asarray(W1), dual, axis=0)
    np.testing.assert_allclose(b.lower, f(X) - half, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(b.upper, f(X) + half, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_samples_never_beat_a_bound(name):
    f, spec = NETS[name], margin_spec(1, 4)
    exact = f(X)
    for eps in (0.02, 0.5):
        ball = Ball(X, eps)
        tight, loose = crown(f, ball, spec), ibp(f, ball, spec)
        x = points(ball, 2000)
        values = jax.vmap(f)(x) @ spec.T
        assert (values >= tight.lower[None] - 1e-5).all()
        assert (values <= tight.upper[None] + 1e-5).all()
        assert (tight.lower >= loose.lower - 1e-5).all()
        assert (tight.upper <= loose.upper + 1e-5).all()
        # the affine functions hold at every point too
        line = tight.lines
        low = x @ line.lower_slope.T + line.lower_intercept[None]
        high = x @ line.upper_slope.T + line.upper_intercept[None]
        assert (values >= low - 1e-5).all()
        assert (values <= high + 1e-5).all()
    zero = crown(f, Ball(X, 0.0), spec)
    np.testing.assert_allclose(zero.lower, spec @ exact, atol=5e-5)
    np.testing.assert_allclose(zero.upper, spec @ exact, atol=5e-5)


def test_other_norms_are_sound():
    f = NETS["tanh"]
    delta = jax.random.normal(jax.random.key(1), (3000, 6)) ** 3
    for norm, length in ((1, jnp.abs(delta).sum(1)), (2, jnp.sqrt((delta**2).sum(1)))):
        b = crown(f, Ball(X, 0.7, norm))
        y = jax.vmap(f)(X[None] + 0.7 * delta / length[:, None])
        assert (y >= b.lower[None] - 1e-5).all()
        assert (y <= b.upper[None] + 1e-5).all()
        assert (crown(f, Ball(X, 0.7)).lower < b.lower).all()


@pytest.mark.fast
def test_boxes_and_clipped_balls_agree():
    f = NETS["tanh"]
    x = jnp.clip(X, -0.5, 2.0)
    clipped = crown(f, Ball(x, 0.3, clip=(-0.5, 2.0)))
    box = crown(f, Box(jnp.maximum(x - 0.3, -0.5), jnp.minimum(x + 0.3, 2.0)))
    np.testing.assert_allclose(clipped.lower, box.lower, atol=1e-5)
    assert (clipped.lower >= crown(f, Ball(x, 0.3)).lower - 1e-6).all()


def test_flax_and_plain_functions_have_equal_bounds():
    deep = nnx.Sequential(
        nnx.Linear(6, 8, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(8, 4, rngs=nnx.Rngs(1))
    )
    first, last = deep.layers[0], deep.layers[2]

    class Twin(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = jnp.tanh(linen.Dense(8)(x))
            return linen.Dense(4)(x)

    def weights(layer):
        return {"kernel": layer.kernel[...], "bias": layer.bias[...]}

    params = {"params": {"Dense_0": weights(first), "Dense_1": weights(last)}}
    w, v = weights(first), weights(last)
    functions = [
        lambda x: deep(x),
        lambda x: deep(x[None])[0],
        lambda x: Twin().apply(params, x),
        lambda x: jnp.tanh(x @ w["kernel"] + w["bias"]) @ v["kernel"] + v["bias"],
    ]
    found = [crown(f, Ball(X, 0.2)) for f in functions]
    for other in found[1:]:
        np.testing.assert_allclose(found[0].lower, other.lower, atol=1e-6)
        np.testing.assert_allclose(found[0].upper, other.upper, atol=1e-6)


@pytest.mark.fast
def test_nothing_compiles_twice():
    f, kernel = NETS["tanh"], sys.modules["jaxact.bounds.crown"]._crown
    crown(f, Ball(X, 0.1))
    before = kernel._cache_size()
    for eps in (0.2, 1, np.float32(0.3), jnp.asarray(0.4)):
        crown(f, Ball(X + eps, eps))
    crown(mlp(jnp.tanh), Ball(X, 0.1))
    crown(trace(f, X), Ball(np.asarray(X), 0.1))
    assert kernel._cache_size() == before


def test_derivatives_match_finite_differences(x64):
    w = (W1.astype(jnp.float64), W2.astype(jnp.float64), W3.astype(jnp.float64))
    x = X.astype(jnp.float64)

    def lowest(eps, scale, x):
        def f(v):
            return jnp.tanh(jnp.tanh(v @ (w[0] * scale)) @ w[1]) @ w[2]

        b = crown(f, Ball(x, eps), margin_spec(2, 4))
        return b.lower.sum() - b.upper[0]

    at = (jnp.asarray(0.2), jnp.asarray(1.1), x)
    grads = jax.grad(lowest, argnums=(0, 1, 2))(*at)
    h = 1e-5
    for i in (0, 1, 2):
        step = [jnp.zeros_like(a) for a in at]
        step[i] = step[i] + h if i < 2 else step[i].at[3].set(h)
        up = lowest(*(a + s for a, s in zip(at, step, strict=True)))
        down = lowest(*(a - s for a, s in zip(at, step, strict=True)))
        got = grads[i] if i < 2 else grads[i][3]
        np.testing.assert_allclose(got, (up - down) / (2 * h), rtol=2e-4, atol=1e-6)


@pytest.mark.fast
def test_vmap_and_jit():
    f, xs = NETS["tanh"], jnp.stack([X, X + 1])
    eps = jnp.array([0.1, 0.2])
    both = jax.jit(jax.vmap(lambda x, e: crown(f, Ball(x, e))))(xs, eps)
    assert isinstance(both, Bounds)
    for i in range(2):
        np.testing.assert_allclose(both.lower[i], crown(f, Ball(xs[i], eps[i])).lower, atol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowering(platform):
    net = trace(NETS["tanh"], X)
    for method in (crown, ibp):
        traced = jax.jit(lambda n, e, m=method: m(n, Ball(X, e))).trace(net, 0.1)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "HIGHEST" in text
        assert "DEFAULT" not in text


@pytest.mark.fast
@pytest.mark.parametrize(
    ("region", "spec", "message"),
    [
        (Ball(X, -0.1), None, "eps must be non-negative, got -0.1"),
        (Ball(X.at[2].set(jnp.nan), 0.1), None, r"center must be finite, got nan at index \(2,\)"),
        (Ball(X, 0.1, norm=3), None, "norm must be one of 1, 2, inf, got 3"),
        (Ball(X, 0.1, norm=2, clip=(0, 1)), None, "clip needs norm=jnp.inf"),
        (Ball(jnp.zeros(6), 0.1, clip=(0.5, 1.0)), None, "must not exceed"),
        (Ball(X, jnp.ones(6)), None, r"eps must be a scalar, got shape \(6,\)"),
        (Box(jnp.ones(6), jnp.zeros(6)), None, r"lower must not exceed upper, got 1 > 0"),
        (Box(jnp.ones(6), jnp.zeros(5)), None, "must have one shape"),
        (Ball(X, 0.1), jnp.ones((2, 3)), r"spec must have shape \(rows, 4\), got \(2, 3\)"),
    ],
)
def test_bad_input(region, spec, message):
    for method in (crown, ibp):
        with pytest.raises(ValueError, match=message):
            method(NETS["tanh"], region, spec)


@pytest.mark.fast
def test_bad_shapes_and_labels():
    with pytest.raises(ValueError, match=r"takes shape \(6,\), got an array of \(5,\)"):
        crown(trace(NETS["tanh"], X), Ball(X[:5], 0.1))
    with pytest.raises(TypeError, match="region must be a Ball or a Box"):
        crown(NETS["tanh"], X)
    with pytest.raises(ValueError, match=r"label must be in \[0, 4\), got 4"):
        margin_spec(4, 4)
    with pytest.raises(TypeError, match="label must be an integer"):
        margin_spec(1.5, 4)
    traced = jax.jit(lambda label: margin_spec(label, 4))(2)
    np.testing.assert_array_equal(traced, margin_spec(2, 4))


def test_float64_weights_take_a_float32_input(x64):
    """Bounds are then those of the float64 network at the same point."""
    weights = jnp.asarray(np.random.default_rng(3).standard_normal((3, 4)))

    def f(x):
        return jnp.tanh(weights @ x.astype(weights.dtype))

    x = jnp.asarray([0.1, -0.2, 0.3, 0.4], jnp.float32)
    spec = margin_spec(0, 3)
    narrow = crown(f, Ball(x, 0.1), spec)
    wide = crown(f, Ball(x.astype(jnp.float64), 0.1), spec)
    assert narrow.lower.dtype == jnp.float64
    np.testing.assert_allclose(narrow.lower, wide.lower, rtol=1e-12)


def test_kept_magnitudes_follow_the_weights():
    """|W| is kept for a concrete weight only: other weights, and traced ones, get their own."""
    from jaxact.bounds import magnitudes

    def bounds(weights):
        return ibp(lambda x: jnp.maximum(weights @ x, 0), Ball(jnp.ones(64), 0.1))

    first, second = (jnp.full((64, 64), v) for v in (0.5, -0.25))
    for weights in (first, second, first):
        np.testing.assert_allclose(
            bounds(weights).lower,
            np.maximum(64 * (np.asarray(weights)[0, 0] - 0.1 * abs(float(weights[0, 0]))), 0),
            rtol=1e-5,
        )
    slope = jax.grad(lambda w: bounds(w).lower.sum())(first)
    np.testing.assert_allclose(slope, 0.9, rtol=1e-5)
    kept = len(magnitudes._kept)
    del weights, first, second
    assert len(magnitudes._kept) < kept
