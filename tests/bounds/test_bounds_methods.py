"""The other methods: reference values, their order, exact cases, attacks, transformations."""

import sys

import bounds_reference_nets as nets
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxact.bounds import (
    Ball,
    Box,
    crown,
    crown_ibp,
    crown_quad,
    fastlin,
    forward,
    ibp,
    intersect,
    margin_spec,
)

METHODS = {m.__name__: m for m in (fastlin, crown_ibp, forward, crown_quad)}
RNG = np.random.default_rng(7)
X = jnp.asarray(RNG.standard_normal(4), jnp.float32)
WEIGHTS = [jnp.asarray(RNG.standard_normal(s), jnp.float32) for s in ((8, 4), (8, 8), (3, 8))]


def net(weights, act=jax.nn.relu):
    def f(x):
        for w in weights[:-1]:
            x = act(w @ x + 0.1)
        return weights[-1] @ x

    return f


SHALLOW, DEEP = net([WEIGHTS[0], WEIGHTS[2]]), net(WEIGHTS)


def inside(norm, eps, count=10_000):
    """Displacements in the ball, many of them on its surface and at its corners."""
    delta = np.random.default_rng(3).standard_normal((count, 4))
    delta[::3] = np.sign(delta[::3]) if norm == jnp.inf else delta[::3] ** 5
    size = np.linalg.norm(delta, ord=norm, axis=1, keepdims=True)
    return jnp.asarray(0.999999 * eps * delta / size, jnp.float32)


@pytest.mark.parametrize(("name", "want"), [("cnn_relu", -27.83364)])
def test_crown_ibp_reference_values(name, want):
    """Against auto_LiRPA's mean."""
    f, x = nets.make(name)
    spec = margin_spec(int(jnp.argmax(f(x[0]))), 10)
    got = crown_ibp(f, Ball(x[0], 0.01), spec).lower.mean()
    assert abs(got - want) < 2e-5 * abs(want)


@pytest.mark.parametrize("norm", [2, jnp.inf])
def test_methods_are_sound_and_in_order(norm):
    values = jax.vmap(DEEP)(X[None] + inside(norm, 0.3))
    found = {name: m(DEEP, Ball(X, 0.3, norm)) for name, m in METHODS.items()}
    found |= {"crown": crown(DEEP, Ball(X, 0.3, norm)), "ibp": ibp(DEEP, Ball(X, 0.3, norm))}
    for b in found.values():
        assert (values >= b.lower[None] - 1e-5).all()
        assert (values <= b.upper[None] + 1e-5).all()
        if b.lines is not None:
            x = X[None] + inside(norm, 0.3, 500)
            y = jax.vmap(DEEP)(x)
            assert (y >= x @ b.lines.lower_slope.T + b.lines.lower_intercept[None] - 1e-4).all()
            assert (y <= x @ b.lines.upper_slope.T + b.lines.upper_intercept[None] + 1e-4).all()
    order = ["crown_quad", "crown", "crown_ibp", "ibp"]
    for tight, loose in zip(order[:-1], order[1:], strict=True):
        assert (found[tight].lower >= found[loose].lower - 1e-4).all()
        assert (found[tight].upper <= found[loose].upper + 1e-4).all()
    width = {name: float((b.upper - b.lower).mean()) for name, b in found.items()}
    assert width["crown"] < width["forward"] + 1e-4
    assert width["forward"] <= width["ibp"] + 1e-4
    assert width["crown_quad"] < width["crown"] - 1e-3
    best = intersect(*found.values())
    np.testing.assert_array_equal(best.lower, np.max([b.lower for b in found.values()], axis=0))
    np.testing.assert_array_equal(best.upper, np.min([b.upper for b in found.values()], axis=0))


def test_crown_is_tighter_than_fastlin_on_average():
    """Not on every ball: an adaptive slope that is better here may be worse behind."""

    def gain(x):
        tight, loose = (m(DEEP, Ball(x, 0.1)) for m in (crown, fastlin))
        return (tight.lower - loose.lower + loose.upper - tight.upper).mean()

    centres = jnp.asarray(np.random.default_rng(8).standard_normal((64, 4)), jnp.float32)
    gains = jax.jit(jax.vmap(gain))(centres)
    assert gains.mean() > 0.002
    assert (gains > -1e-5).mean() > 0.6


@pytest.mark.parametrize("norm", [1, 2, jnp.inf])
def test_quadratic_certificate_is_below_the_least_value(norm):
    """Between the linear bound and the least value of the quadratic itself, densely sampled."""
    region = Ball(jnp.zeros(4), 0.8, norm)
    linear, quad = crown(SHALLOW, region), crown_quad(SHALLOW, region)
    x = np.asarray(inside(norm, 0.8, 40_000), np.float64)
    x = np.concatenate([x, x * np.random.default_rng(0).uniform(0, 1, (len(x), 1))])
    first, last = np.asarray(WEIGHTS[0], np.float64), np.asarray(WEIGHTS[2], np.float64)
    shift = np.float64(np.float32(0.1))  # belongs to the unit
    y = x @ first.T + shift
    low, high = (np.asarray(v, np.float64) + shift for v in linear.intermediate[0])
    curve, above = _quadratic_and_line(y, low, high)
    for rows, got, at_least in (
        (last, quad.lower, linear.lower), (-last, -quad.upper, -linear.upper),
    ):  # fmt: skip
        q = curve @ np.maximum(rows, 0).T + above @ np.minimum(rows, 0).T
        # (where the linear bound is better, it is the answer)
        assert (np.asarray(got) <= np.maximum(q.min(0), np.asarray(at_least)) + 1e-4).all()
        assert (np.asarray(got) >= q.min(0) - 0.1 * np.abs(q.min(0)).max()).all()
        assert (got >= at_least).all()
    assert (quad.lower > linear.lower + 1e-2).any()


def _quadratic_and_line(y, low, high):
    """The paper's lower parabola and the upper line at pre-activations y (NumPy)."""
    width = np.where((low < 0) & (high > 0), high - low, 1)
    curve = np.where(high <= -low, 0, np.where(high >= -2 * low, y, y * (y - low) / width))
    curve = np.where(low >= 0, y, np.where(high <= 0, 0, curve))
    above = np.where(low >= 0, y, np.where(high <= 0, 0, high * (y - low) / width))
    return curve, above


@pytest.mark.parametrize("name", ["fastlin", "crown_ibp", "forward"])
def test_linear_nets_are_exact_and_so_is_a_point(name):
    for norm, dual in ((1, np.inf), (2, 2), (jnp.inf, 1)):
        b = METHODS[name](lambda x: WEIGHTS[0] @ x + 0.5, Ball(X, 0.3, norm))
        half = 0.3 * np.linalg.norm(np.asarray(WEIGHTS[0]), dual, axis=1)
        np.testing.assert_allclose(b.lower, WEIGHTS[0] @ X + 0.5 - half, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(b.upper, WEIGHTS[0] @ X + 0.5 + half, rtol=1e-5, atol=1e-5)
    point, ball, larger = (METHODS[name](DEEP, Ball(X, e)) for e in (0.0, 0.1, 0.2))
    np.testing.assert_allclose(point.lower, DEEP(X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(point.upper, DEEP(X), rtol=1e-4, atol=1e-4)
    assert (ball.lower >= larger.lower).all()
    assert (ball.upper <= larger.upper).all()


def test_forward_equals_crown_with_one_hidden_layer():
    """The two orders of multiplication agree where there is one layer of lines."""
    a, b = (m(SHALLOW, Ball(X, 0.3, 2), margin_spec(0, 3)) for m in (forward, crown))
    np.testing.assert_allclose(a.lower, b.lower, atol=1e-5)
    np.testing.assert_allclose(a.upper, b.upper, atol=1e-5)


ACTIVATIONS = {
    "tanh": jnp.tanh,
    "lambda": lambda x: x * jnp.sin(x) + jnp.abs(x - 0.3),
}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(["fastlin", "crown_ibp", "forward"]),
    st.integers(0, 1000),
    st.floats(0.01, 2.0),
)
def test_points_never_beat_a_bound(act, name, seed, eps):
    """Any activation, weights and radius drawn, 1e4 points each."""
    rng = np.random.default_rng(seed)
    weights = [jnp.asarray(rng.standard_normal(w.shape), jnp.float32) for w in WEIGHTS]
    f = net(weights, ACTIVATIONS[act])
    b = METHODS[name](f, Ball(X, eps))
    values = jax.vmap(f)(X[None] + inside(jnp.inf, eps))
    assert (values >= b.lower[None] - 1e-4 * (1 + abs(b.lower[None]))).all()
    assert (values <= b.upper[None] + 1e-4 * (1 + abs(b.upper[None]))).all()


def test_transformations_and_no_retrace():
    xs = jnp.stack([X, X + 1])
    for name, kernel in (
        ("fastlin", "_fastlin"), ("forward", "_forward"), ("crown_quad", "_quad"),
        ("crown_ibp", "_crown_ibp"),
    ):  # fmt: skip
        method = METHODS[name]
        module = "hybrid" if name == "crown_ibp" else {"crown_quad": "quadratic"}.get(name, name)
        compiled = getattr(sys.modules[f"jaxact.bounds.{module}"], kernel)
        one = method(SHALLOW, Ball(xs[1], 0.2))
        before = compiled._cache_size()
        method(net([WEIGHTS[0] * 2, WEIGHTS[2]]), Ball(xs[0], 0.4))
        assert compiled._cache_size() == before
        both = jax.vmap(lambda x, m=method: m(SHALLOW, Ball(x, 0.2)))(xs)
        np.testing.assert_allclose(both.lower[1], one.lower, rtol=1e-4, atol=1e-4)
        slope = jax.grad(lambda e, m=method: m(SHALLOW, Ball(X, e)).lower.sum())(0.2)
        assert np.isfinite(slope)
        assert slope < 0


def test_bad_input():
    with pytest.raises(NotImplementedError, match="crown_quad needs a relu"):
        crown_quad(net(WEIGHTS, jnp.tanh), Ball(X, 0.1))
    with pytest.raises(ValueError, match="iterations"):
        crown_quad(DEEP, Ball(X, 0.1), iterations=0)
    with pytest.raises(ValueError, match="got none"):
        intersect()
    with pytest.raises(ValueError, match="one shape"):
        intersect(ibp(DEEP, Ball(X, 0.1)), ibp(SHALLOW, Box(X, X), jnp.ones((2, 3))))
