"""Bounds of whole networks: pooling, norms, attention, products; attacked, and against sampling."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from jaxact.bounds import Ball, Box, crown, ibp
from jaxact.bounds.joint import product_planes

RNG = np.random.default_rng(11)
W = jnp.asarray(RNG.standard_normal((6, 6)), jnp.float32)
SCALE = jnp.asarray([0.1, 0.3, -0.5, 1.0, 2.0, 0.0])
X = jnp.asarray(RNG.standard_normal((3, 6)), jnp.float32)


def attacked(f, region, count=10000):
    """Values at random points, corners, and points that keep to the boundary of the box."""
    lower, upper = region.box()
    u = jax.random.uniform(jax.random.key(0), (count // 2, *lower.shape))
    u = jnp.concatenate([jnp.round(u), jnp.clip(1.5 * u - 0.25, 0, 1)])
    return jax.jit(jax.vmap(f))(lower[None] + (upper - lower)[None] * u)


def check(f, x, eps, slack=2e-5):
    """No attacked point beats a bound; crown within ibp. Widths: sampled, crown, ibp."""
    ball = Ball(x, eps)
    tight, loose, values = crown(f, ball), ibp(f, ball), attacked(f, ball)
    room = slack * (1 + jnp.abs(values).max(0))
    low, high = values.min(0), values.max(0)
    for bounds in (tight, loose):
        assert (low >= bounds.lower - room).all()
        assert (high <= bounds.upper + room).all()
    assert (tight.lower >= loose.lower - room).all()
    assert (tight.upper <= loose.upper + room).all()
    return high - low, tight.upper - tight.lower, loose.upper - loose.lower


def several(x):
    """Functions of two perturbed arrays, and of one with a constant for each channel."""
    y = x @ W
    parts = (
        x * y,
        x / (4 + y**2),
        jnp.where(x > 0, x, SCALE[None] * x),
        jnp.maximum(y, SCALE[None]),
        jnp.maximum(x, y),
        x[:2].min(0, keepdims=True) - jnp.prod(x[:2], 0, keepdims=True),
    )
    return jnp.concatenate(parts)


def elementary(x):
    """Units with a domain: roots, logarithms, powers."""
    parts = (jnp.sqrt(x + 4), jnp.log(x + 4), jnp.exp(x))
    return jnp.concatenate(parts) @ W


def soft(x):
    """Softmax of the rows, and its logarithm."""
    return jnp.concatenate([jax.nn.softmax(x), jax.nn.log_softmax(x)])


@pytest.mark.parametrize("f", [several, elementary], ids=lambda f: f.__name__)
def test_functions_of_several_arrays(f):
    for eps in (0.02, 0.3):
        sampled, tight, _ = check(f, X, eps)
        assert tight.mean() < 1.5 * sampled.mean()
    exact = f(X)
    zero = crown(f, Ball(X, 0.0))
    np.testing.assert_allclose(zero.lower, exact, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(zero.upper, exact, atol=1e-4, rtol=1e-4)


def test_softmax_is_nearly_exact():
    """Over a box each entry is attained at a corner: a sharp reference."""
    ball = Ball(X, 0.3)
    low, high = X - 0.3, X + 0.3
    up = jnp.exp(high) / (jnp.exp(high) + jnp.exp(low).sum(1, keepdims=True) - jnp.exp(low))
    down = jnp.exp(low) / (jnp.exp(low) + jnp.exp(high).sum(1, keepdims=True) - jnp.exp(high))
    b = crown(soft, ball)
    np.testing.assert_allclose(b.upper[:3], up, rtol=1e-4)
    np.testing.assert_allclose(b.lower[:3], down, rtol=1e-4)
    np.testing.assert_allclose(b.upper[3:], jnp.log(up), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b.lower[3:], jnp.log(down), rtol=1e-4, atol=1e-5)
    sampled, tight, _ = check(soft, X, 0.01)
    assert (tight < 1.1 * sampled + 1e-5).all()
    wide = ibp(jax.nn.softmax, Ball(X, 60.0))  # exp overflows, the bounds do not
    assert (wide.lower >= 0).all()
    assert (wide.upper <= 1 + 1e-6).all()


def test_logsumexp_is_monotone_for_intervals():
    def f(x):
        return jax.nn.logsumexp(x, axis=1)

    for method in (crown, ibp):
        low, high = X[:, :4] - 0.2, X[:, :4] + 50.0
        b = method(f, Box(low, high))
        np.testing.assert_allclose(b.lower, f(low), atol=1e-4)
        np.testing.assert_allclose(b.upper, f(high), atol=1e-4)


class Pooled(linen.Module):
    """Convolution, batch norm, both poolings."""

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(3, (3, 3))((x - 0.13) / 0.3)
        x = linen.max_pool(linen.relu(linen.BatchNorm(use_running_average=True)(x)), (2, 2), (2, 2))
        x = linen.max_pool(jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0))), (2, 1), padding="SAME")
        x = linen.avg_pool(x, (2, 2), count_include_pad=False)
        return linen.Dense(4)(x.reshape(x.shape[0], -1))


def pooled():
    image = jax.random.uniform(jax.random.key(1), (6, 6, 1))
    variables = Pooled().init(jax.random.key(2), image[None])
    stats = jax.tree.map(lambda v: v + 0.3, variables["batch_stats"])
    return image, variables | {"batch_stats": stats}


def test_pooling_flax_and_plain():
    """Linen, nnx and plain JAX agree, under attack."""
    image, variables = pooled()
    params, stats = variables["params"], variables["batch_stats"]["BatchNorm_0"]
    conv = nnx.Conv(1, 3, (3, 3), rngs=nnx.Rngs(0))
    norm = nnx.BatchNorm(3, use_running_average=True, rngs=nnx.Rngs(0))
    dense = nnx.Linear(params["Dense_0"]["kernel"].shape[0], 4, rngs=nnx.Rngs(0))
    for layer, name in ((conv, "Conv_0"), (dense, "Dense_0")):
        layer.kernel[...], layer.bias[...] = params[name]["kernel"], params[name]["bias"]
    norm.mean[...], norm.var[...] = stats["mean"], stats["var"]

    def tail(x, last):
        x = nnx.max_pool(jax.nn.relu(x), (2, 2), (2, 2))
        x = nnx.max_pool(jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0))), (2, 1), padding="SAME")
        return last(nnx.avg_pool(x, (2, 2), count_include_pad=False).reshape(1, -1))[0]

    def modules(x):
        return tail(norm(conv(((x - 0.13) / 0.3)[None])), dense)

    def plain(x):
        x = lax.conv_general_dilated(
            ((x - 0.13) / 0.3)[None], params["Conv_0"]["kernel"], (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        own = params["BatchNorm_0"]
        scale = own["scale"] / jnp.sqrt(stats["var"] + 1e-5)
        shift = (params["Conv_0"]["bias"] - stats["mean"]) * scale + own["bias"]
        x = x * scale.reshape(1, 1, 1, 3) + shift.reshape(1, 1, 1, 3)
        last = params["Dense_0"]
        return tail(x, lambda v: v @ last["kernel"] + last["bias"][None])

    def flax(x):
        return Pooled().apply(variables, x[None])[0]

    sampled, tight, loose = check(flax, image, 0.05)
    assert tight.mean() < 2.5 * sampled.mean()
    assert tight.mean() < 0.85 * loose.mean()
    found = [ibp(f, Ball(image, 0.05)) for f in (flax, modules, plain)]
    for other in found[1:]:
        np.testing.assert_allclose(found[0].lower, other.lower, atol=2e-5)
        np.testing.assert_allclose(found[0].upper, other.upper, atol=2e-5)


class Block(nnx.Module):
    """The attention half of a transformer block."""

    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)

    def __call__(self, x):
        return x + self.attention(self.norm(x))


def test_attention_with_layer_norm():
    block, x = Block(nnx.Rngs(0)), X[:2, :4]
    sampled, tight, loose = check(lambda x: block(x)[0], x, 0.01)
    assert tight.mean() < 1.5 * sampled.mean()
    assert tight.mean() < 0.4 * loose.mean()
    kernel = sys.modules["jaxact.bounds.crown"]._crown
    before = kernel._cache_size()
    other = Block(nnx.Rngs(1))
    crown(lambda x: other(x)[0], Ball(x + 0.5, 0.02))
    assert kernel._cache_size() == before  # other weights, centre and eps: nothing compiles


@pytest.mark.fast
@pytest.mark.parametrize("method", [crown, ibp])
def test_division_by_what_may_be_zero_is_unbounded(method):
    b = method(lambda x: x[:2] / x[2], Ball(jnp.array([1.0, 2.0, 0.05]), 0.1))
    assert (b.lower == -jnp.inf).all()
    assert (b.upper == jnp.inf).all()


@pytest.mark.fast
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_planes_hold_at_every_point_of_the_box(dtype, x64):
    """Checked in exact-enough arithmetic: float64 for float32, long double for float64."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.integers(-6, 6, (4, 4000))
    ends = np.sort((rng.standard_normal((2, 2, 4000)) * size[:2]), axis=1).astype(dtype)
    (a, b) = ((jnp.asarray(e[0]), jnp.asarray(e[1])) for e in ends)
    planes = product_planes(a, b)
    wide = np.longdouble if dtype == "float64" else np.float64
    low, high = (np.asarray(v, wide) for v in (ends[:, 0], ends[:, 1]))
    weights = np.concatenate([rng.random((20, 2, 4000)), rng.integers(0, 2, (20, 2, 4000))])
    p, q = np.moveaxis(low + (high - low) * weights.astype(wide), 1, 0)
    p, q = np.clip(p, low[0], high[0]), np.clip(q, low[1], high[1])

    def plane(slopes, intercept):
        s, t, c = (np.asarray(v, wide) for v in (*slopes, intercept))
        return s * p + t * q + c

    assert (plane(planes.lower_slopes, planes.lower_intercept) <= p * q).all()
    assert (plane(planes.upper_slopes, planes.upper_intercept) >= p * q).all()
    # least volume: the gap at the centre is a quarter of the product of the widths
    p, q = (low + high) / 2
    gap = p * q - plane(planes.lower_slopes, planes.lower_intercept)
    ideal = np.prod(high - low, axis=0) / 4
    scale = np.prod(np.abs(ends).max(1), axis=0)
    assert (gap <= ideal + 20 * np.finfo(dtype).eps * scale).all()


@pytest.mark.fast
def test_planes_where_nothing_is_known():
    half_known = (jnp.array([-jnp.inf, 0.0]), jnp.array([1.0, jnp.inf]))
    planes = product_planes(half_known, (jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0])))
    assert not any(jnp.isnan(v).any() for v in jax.tree.leaves(planes))
    assert planes.lower_intercept[0] == -jnp.inf


def test_derivatives_through_products_and_maxima(x64):
    w, x = W.astype(jnp.float64)[:4, :4], X[0, :4].astype(jnp.float64)

    def lowest(w, eps):
        def f(v):
            y = v @ w
            return (jnp.maximum(y, v) * y).sum()

        b = crown(f, Ball(x, eps))
        return b.lower - 0.5 * b.upper

    at, eps = w, jnp.asarray(0.1)
    grads = jax.grad(lowest, argnums=(0, 1))(at, eps)
    direction = jnp.asarray(RNG.standard_normal(w.shape))
    h = 1e-6
    along = (lowest(w + h * direction, eps) - lowest(w - h * direction, eps)) / (2 * h)
    np.testing.assert_allclose((grads[0] * direction).sum(), along, rtol=1e-4)
    wider = (lowest(w, eps + h) - lowest(w, eps - h)) / (2 * h)
    np.testing.assert_allclose(grads[1], wider, rtol=1e-4)


@pytest.mark.fast
@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (jnp.inf, 1)])
def test_linear_parts_are_exact(norm, dual):
    """Padding, concatenation, pooling, scaling by channel, normalisation of the input."""

    def f(x):
        x = (x - 0.13) / jnp.asarray([[0.2, 0.3, 0.1, 0.4, 0.5, 0.6]])
        y = jnp.pad(jnp.concatenate([x, x[:1] * SCALE[None]]), ((0, 1), (1, 0)))
        y = linen.avg_pool(y[None, ..., None], (2, 2), (2, 1), count_include_pad=False)
        return y.reshape(-1) + jnp.var(jnp.ones(3))

    b = crown(f, Ball(X, 0.3, norm))
    jacobian = np.asarray(jax.jacrev(f)(X)).reshape(b.lower.size, -1)
    half = 0.3 * np.linalg.norm(jacobian, dual, axis=1)
    np.testing.assert_allclose(b.lower, f(X) - half, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(b.upper, f(X) + half, rtol=1e-5, atol=1e-5)
