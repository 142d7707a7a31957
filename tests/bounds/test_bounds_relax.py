"""Lines around scalar functions: sound at every attacked point, tight, differentiable."""

from __future__ import annotations

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact.bounds import relax_few, relax_pieces
from jaxact.bounds.relax import relax, relax_unit
from jaxact.bounds.relax_touch import plans
from jaxact.tracing.analysis import analyse

_PATH = pathlib.Path(__file__).parents[1] / "tracing" / "test_tracing_jets.py"
_SPEC = importlib.util.spec_from_file_location("relax_cases", _PATH)
cases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)

COUNT = 2048
GENERAL = {"sin", "cos", "snake", "|sin|", "step", "sign", "jump", "x exp(-x^2)", "power"}


def hull_at(x, y, m):
    """The lower hull of samples at m, by cutting planes."""
    column = np.arange(x.shape[1])
    a, b = np.zeros(x.shape[1], int), np.full(x.shape[1], len(x) - 1)
    for _ in range(60):
        run = x[b, column] - x[a, column]
        s = (y[b, column] - y[a, column]) / np.where(run > 0, run, 1)
        k = np.argmin(y - s * x, 0)
        better = (y[k, column] - s * x[k, column]) < (y[a, column] - s * x[a, column]) - 1e-15
        if not better.any():
            break
        left = x[k, column] <= m
        a, b = np.where(better & left, k, a), np.where(better & ~left, k, b)
    return y[a, column] + s * (m - x[a, column])


def numbers(lines):
    parts = lines.lower_slope, lines.lower_intercept, lines.upper_slope, lines.upper_intercept
    return [np.asarray(v, np.float64) for v in parts]


def violation(lines, x, y, dtype):
    """How far the exact lines cross f, beyond what evaluating this in float64 blurs."""
    s, t, p, q = numbers(lines)
    blur = 1e-15 * (1 + np.abs(y))
    if dtype == np.float64:
        blur = blur + 4e-16 * (np.abs(s * x) + np.abs(t) + np.abs(p * x) + np.abs(q))
    return max((s * x + t - y - blur).max(), (y - p * x - q - blur).max())


def check(name, dtype):
    """Lines hold at attacked points, and are as tight as the hull of samples."""
    fn, theta = cases.ALL[name]
    low, high = (v.astype(np.float32).astype(np.float64) for v in cases.intervals(COUNT))
    x = cases.inside(low, high, 50)
    y = cases.exact(fn, theta, x)
    grid = np.clip(low + (high - low) * np.linspace(0, 1, 201)[:, None], low, high)
    kinks = [np.clip(k + 0 * low, low, high) for k in (-3, -1, 0, 1, 3, 6)]
    grid = np.sort(np.concatenate([grid, kinks]), 0)
    values = cases.exact(fn, theta, grid)
    m = (low + high) / 2
    best = -hull_at(grid, -values, m) - hull_at(grid, values, m)
    with jax.enable_x64(dtype == np.float64):
        lines = jax.jit(lambda a, b: relax_unit(fn, a, b, theta))(
            jnp.asarray(low, dtype), jnp.asarray(high, dtype)
        )
    s, t, p, q = numbers(lines)
    assert violation(lines, x, y, dtype) <= 0
    area = ((p - s) * m + q - t) * (high - low)
    optimum = (best * (high - low)).sum()
    excess = area.sum() / optimum - 1 if optimum > 1e-6 else area.max()
    if name == "large":  # a value of 1e8 has few digits for a slope of 1e6
        return
    general = plans(analyse(fn, theta)) is None
    assert general == (name in GENERAL)
    assert excess < (5e-3 if general else 1e-4)


@pytest.mark.parametrize("name", sorted(set(cases.ALL) - {"swish", "prelu", "log1p exp"}))
def test_sound_and_tight(name):
    check(name, np.float32)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "exp", "hard_swish", "sin", "jump"])
def test_sound_and_tight_in_float64(name):
    """One of each pattern of pieces."""
    check(name, np.float64)


@pytest.mark.fast
def test_relu_is_the_adaptive_rule_of_crown():
    lines = relax(
        jaxact.get("relu"), jnp.array([-1.0, -3.0, 1.0, -2.0]), jnp.array([3.0, 1.0, 2.0, -1.0])
    )
    np.testing.assert_array_equal(lines.lower_slope, [1, 0, 1, 0])
    np.testing.assert_allclose(lines.upper_slope, [0.75, 0.25, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(lines.upper_intercept, [0.75, 0.75, 0, 0], atol=1e-6)


def test_tanh_tangent_points():
    """The tangent from (u, tanh u) touches at the d of the table: the slope there is tanh'(d)."""
    u = np.array([0.051, 0.201, 0.501, 1.001, 2.001, 4.001])
    d = [-0.025493, -0.100097, -0.244520, -0.458688, -0.770125, -1.111123]
    with jax.enable_x64(True):
        # the midpoint must lie right of d for the tangent from u to be the best line
        lines = relax(jnp.tanh, jnp.asarray(1.9 * np.array(d)), jnp.asarray(u))
    found = -np.arctanh(np.sqrt(1 - np.asarray(lines.lower_slope)))
    np.testing.assert_allclose(found, d, atol=1e-6)


def test_intervals_where_a_table_of_tangents_fails():
    """Published lines of sin and of gelu were false here by 0.1 and more (sin), 4e-3 (gelu)."""
    for fn, lows, highs in (
        (
            jnp.sin,
            [1.4613791704, -4.9190268517, -3.7771077],
            [3.9519250393, -2.2893946171, 2.7834427],
        ),
        (lambda x: jax.nn.gelu(x, approximate=False), [0.0016857], [7.367]),
    ):
        low, high = np.float32(lows), np.float32(highs)
        lines = relax(fn, jnp.asarray(low), jnp.asarray(high))
        x = low + (high - low).astype(np.float64) * np.linspace(0, 1, 20001)[:, None]
        y = cases.exact(fn, (), np.clip(x, low, high))
        assert violation(lines, np.clip(x, low.astype(float), high), y, np.float32) <= 0
    low, high = jnp.float32(1.4613791704), jnp.float32(3.9519250393)
    lines = relax(jnp.sin, low, high)
    ends = jnp.stack([low, high])
    assert (lines.lower_slope * ends + lines.lower_intercept).min() <= -0.72452
    assert (lines.upper_slope * ends + lines.upper_intercept).max() >= 1.0


@pytest.mark.parametrize("name", ["gelu", "sin", "elu", "exp", "softsign"])
def test_degenerate_intervals_give_numbers_and_gradients(name):
    act = jaxact.get(name)
    low = jnp.array([150.0, -200.0, 1.0, 0.0, -1e4, -3.0], jnp.float32)
    high = jnp.array([151.0, 300.0, 1.0, 0.0, 1e4, -3.0], jnp.float32)
    if name == "exp":
        low, high = jnp.minimum(low, 50), jnp.minimum(high, 60)

    def total(a, b):
        return sum(v.sum() for v in jax.tree.leaves(relax_unit(act.fn, a, b, act.theta)))

    value, slopes = jax.jit(jax.value_and_grad(total, (0, 1)))(low, high)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in slopes)
    lines = jax.jit(lambda a, b: relax_unit(act.fn, a, b, act.theta))(low, high)
    x = np.clip(cases.inside(np.float64(low), np.float64(high), 200), low, high).astype(np.float64)
    assert violation(lines, x, cases.exact(act.fn, act.theta, x), np.float32) <= 0


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin"])
def test_gradient_equals_differences(name):
    act = jaxact.get(name)
    low, high = np.array([-2.0, -0.5, 0.3, -3.0]), np.array([1.0, 0.7, 2.0, 2.5])
    step = 1e-4
    with jax.enable_x64(True):
        f = jax.jit(lambda a, b: jnp.stack(jax.tree.leaves(relax_unit(act.fn, a, b, act.theta))))
        for which in (0, 1):
            ends = [jnp.asarray(low), jnp.asarray(high)]
            tangent = [jnp.zeros(4), jnp.zeros(4)]
            tangent[which] = jnp.ones(4)
            found = jax.jvp(f, tuple(ends), tuple(tangent))[1]
            up = f(*(e + step * t for e, t in zip(ends, tangent, strict=True)))
            down = f(*(e - step * t for e, t in zip(ends, tangent, strict=True)))
            np.testing.assert_allclose(found, (up - down) / (2 * step), atol=2e-5)


@pytest.mark.parametrize("name", ["swish", "elu", "leaky_relu"])
def test_traced_theta(name):
    """Sound and tight, also where a select bends or jumps; one trace for every theta."""
    act = jaxact.get(name)
    low, high = (v.astype(np.float32).astype(np.float64) for v in cases.intervals(1000))
    theta = tuple(1.5 * t for t in act.theta)
    traces = []

    @jax.jit
    def f(a, b, t):
        traces.append(1)
        return relax_unit(act.fn, a, b, t)

    ends = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    x = cases.inside(low, high, 50)
    grid = np.clip(low + (high - low) * np.linspace(0, 1, 201)[:, None], low, high)
    grid = np.sort(np.concatenate([grid, [np.clip(0 * low, low, high)]]), 0)
    m = (low + high) / 2
    for scale in (1.0, 1.25):
        th = tuple(jnp.float32(scale * t) for t in theta)
        lines = f(*ends, th)
        exact = tuple(map(float, th))
        assert violation(lines, x, cases.exact(act.fn, exact, x), np.float32) <= 0
        values = cases.exact(act.fn, exact, grid)
        best = -hull_at(grid, -values, m) - hull_at(grid, values, m)
        s, t, p, q = numbers(lines)
        area = ((p - s) * m + q - t) * (high - low)
        assert area.sum() / (best * (high - low)).sum() - 1 < 5e-3
    assert len(traces) == 1


def test_a_select_that_jumps_with_a_traced_threshold():
    """The value on the other side of the threshold counts where an interval only touches it."""

    def fn(x, c):
        return jnp.where(x > c, x + 2, x)

    low = jnp.array([0.5, -1.0, 0.5, -2.0, 0.6], jnp.float32)
    high = jnp.array([2.0, 0.5, 0.5, 3.0, 0.7], jnp.float32)
    lines = jax.jit(lambda a, b, c: relax_unit(fn, a, b, (c,)))(low, high, jnp.float32(0.5))
    x = np.clip(cases.inside(np.float64(low), np.float64(high), 50), low, high).astype(np.float64)
    x = np.concatenate([x, np.clip(np.nextafter(np.float32(0.5), 1) + 0 * x[:1], low, high)])
    assert violation(lines, x, cases.exact(fn, (0.5,), x), np.float32) <= 0


def test_a_theta_for_every_neuron():
    act = jaxact.get("prelu")
    low, high = (v.astype(np.float32).astype(np.float64) for v in cases.intervals(60))
    theta = jnp.asarray(np.linspace(-0.5, 1.5, 60), jnp.float32)
    ends = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    lines = jax.jit(lambda a, b, t: relax_unit(act.fn, a, b, (t,)))(*ends, theta)
    x = cases.inside(low, high, 50)
    y = np.where(x > 0, x, np.asarray(theta, np.float64) * x)
    assert violation(lines, x, y, np.float32) <= 0
    one = jax.jit(lambda a, b, t: relax_unit(act.fn, a, b, (t,)))(*ends, theta[7])
    np.testing.assert_allclose(lines.lower_slope[7], one.lower_slope[7], rtol=1e-6)
    np.testing.assert_allclose(lines.upper_intercept[7], one.upper_intercept[7], atol=1e-6)


def test_a_false_derivative_rule_is_not_believed():
    """The slopes of a straight-through tanh are those of tanh."""
    ends = jnp.array([1.0, -2.0], jnp.float32), jnp.array([1.1, 1.0], jnp.float32)
    lines = jax.jit(lambda a, b: relax_unit(cases.straight_through, a, b))(*ends)
    x = np.float64(ends[0]) + np.float64(ends[1] - ends[0]) * np.linspace(0, 1, 101)[:, None]
    assert violation(lines, x, np.tanh(x), np.float32) <= 0
    assert (np.asarray(lines.upper_slope) < 0.6).all()


def test_traced_theta_gradient():
    """Slopes match differences; intercepts up to the curvature inside a cell."""
    fn = jaxact.get("swish").fn
    with jax.enable_x64(True):
        low, high = jnp.array([-1.0, 0.2, -2.0, -0.5]), jnp.array([2.0, 3.0, 0.3, 4.0])
        f = jax.jit(lambda t: jnp.stack(jax.tree.leaves(relax_unit(fn, low, high, (t,)))))
        at = jnp.float64(1.37)
        found = jax.jvp(f, (at,), (jnp.ones_like(at),))[1]
        expected = (f(at + 1e-5) - f(at - 1e-5)) / 2e-5
    np.testing.assert_allclose(found[::2], expected[::2], atol=2e-5)
    np.testing.assert_allclose(found[1::2], expected[1::2], atol=2e-3)


@pytest.mark.fast
def test_bad_input_is_refused():
    one = jnp.ones(2)
    with pytest.raises(ValueError, match="lower and upper must have one shape"):
        relax(jnp.tanh, one, jnp.ones(3))
    with pytest.raises(ValueError, match="lower must not exceed upper"):
        relax(jnp.tanh, one, -one)
    with pytest.raises(ValueError, match="upper must be finite"):
        relax(jnp.tanh, one, jnp.array([2.0, jnp.inf]))
    with pytest.raises(TypeError, match="act must be a function of one array"):
        relax("tanh", one, one)
    with pytest.raises(NotImplementedError, match="primitive 'lgamma'"):
        relax(jax.scipy.special.gammaln, one, one)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_lowering_and_vmap(name):
    fn = jaxact.get(name).fn
    f = jax.jit(lambda a, b: relax_unit(fn, a, b))
    ends = jnp.zeros(3, jnp.float32), jnp.ones(3, jnp.float32)
    for platform in ("tpu", "cuda"):
        f.trace(*ends).lower(lowering_platforms=(platform,))
    each = jax.vmap(lambda a, b: relax_unit(fn, a, b))(*ends)
    np.testing.assert_allclose(each.lower_slope, f(*ends).lower_slope, rtol=1e-6)


@pytest.mark.parametrize("name", ["mish", "exp", "sin"])
def test_a_bad_search_stays_sound(name, monkeypatch):
    """The certificate must not rely on the search: here touch points and minimisers are wrong."""
    points = relax_few._touch_points

    def astray(program, both, l, u):  # noqa: E741
        seen = points(program, both, l, u)
        return [[None if x is None else x + 0.3 * jnp.sin(9 * x) for x in pair] for pair in seen]

    contact = relax_few._contact

    def tilted(plan, pieces, seen, l, m, u):  # noqa: E741
        return contact(plan, pieces, seen, l, l + 0.7 * (m - l), u)

    monkeypatch.setattr(relax_few, "_touch_points", astray)
    monkeypatch.setattr(relax_few, "_contact", tilted)
    monkeypatch.setattr(
        relax_pieces,
        "_around_minimum",
        lambda program, sign, a, b, s, touch: (a + (b - a) * 0.6, a + (b - a) * 0.7),
    )
    check_sound(name)


def check_sound(name):
    fn = jaxact.get(name).fn
    low, high = (v.astype(np.float32).astype(np.float64) for v in cases.intervals(2000))
    lines = jax.jit(lambda a, b: relax_unit(fn, a, b))(
        jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    )
    x = cases.inside(low, high, 50)
    assert violation(lines, x, cases.exact(fn, (), x), np.float32) <= 0
    assert np.isfinite(np.stack(numbers(lines))).all()
