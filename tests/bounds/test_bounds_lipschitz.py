"""A certified Jacobian against closed forms and against sampled Jacobians, kinks included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import Ball, Box, certified_radius, crown, lipschitz_bound, mean_value
from jaxact.tracing.slopes import slope_range

RNG = np.random.default_rng(3)
W = [jnp.asarray(RNG.normal(size=s) / np.sqrt(s[0]), jnp.float32) for s in ((4, 8), (8, 8), (8, 3))]
KERNEL = jnp.asarray(RNG.normal(size=(2, 1, 3)), jnp.float32)
X = jnp.asarray(RNG.normal(size=4), jnp.float32)
SPEC = jnp.array([[1.0, -1.0, 0.0], [0.5, 0.0, 2.0]])
DUALS = ((1, np.inf), (2, 2), (jnp.inf, 1))


def linear(x):
    return 2.0 - (x @ W[0])[:3] / -3.0


def relu_net(x):
    h = jax.nn.relu(jax.nn.relu(x @ W[0]) @ W[1])
    return jax.nn.relu(h @ W[1]) @ W[2]


def residual(x):
    h = jnp.tanh(x @ W[0])
    h = h + jax.nn.gelu(h @ W[1] - 0.2)
    return jnp.sin(h @ W[1]) @ W[2] - h[:3]


def convolution(x):
    h = jax.lax.conv_general_dilated(x.reshape(1, 1, 4), KERNEL, (1,), "SAME")
    return jax.nn.elu(h).reshape(-1)[:6].reshape(3, 2).sum(1) - 3 * jnp.abs(x[:3])


def samples(region, count=1500):
    draws = RNG.uniform(-1, 1, (count, 4))
    draws[: count // 2] = np.sign(draws[: count // 2])  # corners
    if isinstance(region, Box):
        low, high = (np.asarray(v) for v in region.box())
        return jnp.asarray((low + high) / 2 + draws * (high - low) / 2, jnp.float32)
    size = np.linalg.norm(draws, region.norm, axis=1, keepdims=True)
    reach = np.asarray(region.eps) * RNG.uniform(0.2, 1, (count, 1)) / size
    return jnp.asarray(np.asarray(region.center) + draws * reach, jnp.float32)


@pytest.mark.fast
@pytest.mark.parametrize(("norm", "dual"), DUALS)
def test_linear_nets_are_exact(norm, dual):
    row = np.asarray(W[0])[:, :3].T / 3
    found = lipschitz_bound(linear, Ball(X, 0.3, norm))
    np.testing.assert_allclose(found.constant, np.linalg.norm(row, dual, axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.lower, row, rtol=1e-6)
    np.testing.assert_allclose(found.upper, row, rtol=1e-6)
    rows = np.asarray(SPEC) @ row
    merged = lipschitz_bound(linear, Box(X - 1, X + 1), SPEC, norm=norm)
    np.testing.assert_allclose(merged.constant, np.linalg.norm(rows, dual, axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("f", "regions", "tighten"),
    [
        (relu_net, (Ball(KERNEL.reshape(-1)[:4], 2.0), Ball(X, 0.1, 2)), (0, 1)),
        (residual, (Ball(X, 0.3), Ball(X, 0.0)), (0, 1, 2)),
        (convolution, (Box(X - 0.4, X + 0.2),), (1,)),
    ],
)
def test_sampled_jacobians_never_leave_the_bound(f, regions, tighten):
    jacobian = jax.jit(jax.vmap(jax.jacrev(lambda x: SPEC @ f(x))))
    for region in regions:
        at = np.asarray(jacobian(samples(region)))
        found = [lipschitz_bound(f, region, SPEC, tighten=t) for t in tighten]
        norm = getattr(region, "norm", jnp.inf)
        true = np.linalg.norm(at, dict(DUALS)[norm], axis=2).max(0)
        for bound in found:
            slack = 1e-5 * (1 + abs(at).max())
            assert (at >= np.asarray(bound.lower) - slack).all()
            assert (at <= np.asarray(bound.upper) + slack).all()
            assert (true <= bound.constant * (1 + 1e-5)).all()
        for loose, tight in zip(found[:-1], found[1:], strict=True):
            assert (tight.constant <= loose.constant * (1 + 1e-6)).all()
        values = np.asarray(jax.vmap(lambda x: SPEC @ f(x))(samples(region)))
        mean = mean_value(f, region, SPEC)
        assert (values >= np.asarray(mean.lower) - 1e-5).all()
        assert (values <= np.asarray(mean.upper) + 1e-5).all()
        if isinstance(region, Ball) and region.eps == 0:  # at a point: exact
            np.testing.assert_allclose(found[0].constant, true, rtol=1e-4)


def test_the_recursion_is_tighter_than_interval_products():
    region = Ball(X, 0.3)
    products, recursion, full = (
        lipschitz_bound(residual, region, SPEC, tighten=t).constant for t in (0, 1, 2)
    )
    assert (recursion < 0.95 * products).all()
    assert (full < recursion).any()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("f", "kink", "slopes"),
    [
        (lambda x: jnp.maximum(x, 0), 0.0, (0.0, 1.0)),
        (lambda x: jnp.where(x > 0.5, 2 * x - 0.5, x), 0.5, (1.0, 2.0)),
        (lambda x: jax.nn.leaky_relu(x, 0.1), 0.0, (0.1, 1.0)),
        (lambda x: jnp.where(x > 0, 1.0, 0.0), 0.0, (0.0, np.inf)),
    ],
)
def test_every_subgradient_at_a_kink(f, kink, slopes):
    kink = jnp.float32(kink)
    for low, high in ((kink, kink), (kink, kink + 1), (kink - 1, kink), (kink - 1, kink + 1)):
        below, above = slope_range(f, low, high)
        assert below <= slopes[0]
        assert above >= slopes[1]
        if np.isfinite(slopes[1]):
            np.testing.assert_allclose((below, above), slopes, atol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize(
    "f", [jnp.tanh, jnp.sin, jax.nn.gelu, jax.nn.elu, lambda x: x * jnp.cos(2 * x)]
)
def test_slope_ranges_are_sound_and_tight(f):
    center, width = RNG.normal(size=3000) * 2, np.exp(RNG.uniform(-6, 1, 3000))
    low, high = (jnp.asarray(center + s * width, jnp.float32) for s in (-1, 1))
    below, above = (np.asarray(v) for v in jax.jit(lambda a, b: slope_range(f, a, b))(low, high))
    with jax.enable_x64(True):
        x = np.linspace(np.asarray(low, float), np.asarray(high, float), 129)
        slope = np.asarray(jax.vmap(jax.vmap(jax.grad(f)))(jnp.asarray(x)))
    assert (slope >= below - 1e-12).all()
    assert (slope <= above + 1e-12).all()
    excess = (above - below) - (slope.max(0) - slope.min(0))
    assert excess.max() < 0.12
    assert excess.mean() < 1e-3


@pytest.mark.fast
def test_radius_is_margin_over_the_constant():
    label = int(jnp.argmax(relu_net(X)))
    below = certified_radius(relu_net, X, label, method=mean_value)
    better = certified_radius(relu_net, X, label, method=crown)
    assert 0 < below.radius
    assert below.radius <= 3 * better.radius
    flat = certified_radius(linear, X, int(jnp.argmax(linear(X))), method=mean_value)
    exact = certified_radius(linear, X, int(jnp.argmax(linear(X))))
    np.testing.assert_allclose(flat.radius, exact.radius, rtol=2e-3)


def test_one_trace_and_a_derivative():
    from jaxact.bounds.lipschitz import _jacobian

    def short(x):
        return jnp.sin(x @ W[0]) @ W[2]

    def total(eps):
        return lipschitz_bound(short, Ball(X, eps)).constant.sum()

    total(0.1)
    before = _jacobian._cache_size()
    ends = float(total(0.101)), float(total(0.099))
    assert _jacobian._cache_size() == before
    np.testing.assert_allclose(jax.grad(total)(0.1), (ends[0] - ends[1]) / 0.002, rtol=5e-2)


@pytest.mark.fast
def test_a_jump_has_no_constant_and_a_product_no_rule():
    def steps(x):
        return jnp.where(x @ W[0] > 0, 1.0, 0.0) @ W[2]

    found = lipschitz_bound(steps, Ball(X, 2.0))
    assert np.isinf(np.asarray(found.constant)).all()
    assert not np.isnan(np.asarray(found.lower)).any()
    with pytest.raises(NotImplementedError, match="no certified derivative of product"):
        lipschitz_bound(lambda x: (x @ W[0]) * (x @ W[1][:4]), Ball(X, 0.1), method="ibp")


@pytest.mark.fast
def test_bad_input():
    with pytest.raises(ValueError, match="norm must be one of"):
        lipschitz_bound(linear, Ball(X, 0.1), norm=3)
    with pytest.raises(ValueError, match="tighten must be one of"):
        lipschitz_bound(linear, Ball(X, 0.1), tighten=5)
