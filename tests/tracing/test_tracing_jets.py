"""Enclosures of f, f', f'' and the certified shape and range of scalar functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact.tracing.analysis import analyse
from jaxact.tracing.jets import jets
from jaxact.tracing.program import program_of
from jaxact.tracing.ranges import unit_range


@jax.custom_jvp
def straight_through(x):
    return jnp.tanh(x)


straight_through.defjvp(lambda primals, tangents: (jnp.tanh(primals[0]), tangents[0]))

OWN = {
    "x exp(-x^2)": lambda x: x * jnp.exp(-(x**2)),
    "|sin|": lambda x: jnp.abs(jnp.sin(x)),
    "snake": lambda x: x + jnp.sin(x) ** 2,
    "jump": lambda x: jnp.where(x > 0, 1.0, 0.0),
    "large": lambda x: 1e6 * jnp.tanh(x) + 1e8,
    "log1p exp": lambda x: jnp.log1p(jnp.exp(x)),
    "nested": jax.jit(lambda x: jax.nn.selu(jax.nn.softplus(x))),
    "power": lambda x: jnp.abs(x) ** 1.5,
    "asinh": jnp.arcsinh,
    "erfc": jax.scipy.special.erfc,
}
ALL = {name: (jaxact.get(name).fn, jaxact.get(name).theta) for name in jaxact.names()}
ALL |= {name: (fn, ()) for name, fn in OWN.items()}


def intervals(n, seed=0):
    r = np.random.default_rng(seed)
    centre, width = r.normal(0, 2, n), 10 ** r.uniform(-2, np.log10(8), n)
    return centre - width / 2, centre + width / 2


def inside(low, high, n, seed=1):
    r = np.random.default_rng(seed)
    x = low + (high - low) * r.uniform(0, 1, (n, len(low)))
    special = [
        np.clip(k + 0 * low, low, high) for k in (0, -3, -1, 1, 3, *np.pi * np.arange(-4, 5))
    ]
    return np.clip(np.concatenate([x, [low, high], special]), low, high)


def exact(fn, theta, x):
    with jax.enable_x64(True):
        return np.asarray(fn(jnp.asarray(x, jnp.float64), *theta))


@pytest.mark.parametrize("name", sorted(ALL))
def test_range_is_sound_and_tight(name):
    fn, theta = ALL[name]
    low, high = (v.astype(np.float32).astype(np.float64) for v in intervals(4096))
    x = inside(low, high, 50)
    y = exact(fn, theta, x)
    grid = exact(
        fn, theta, np.clip(low + (high - low) * np.linspace(0, 1, 201)[:, None], low, high)
    )
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype == np.float64):
            lo, hi = jax.jit(lambda a, b: unit_range(fn, a, b, theta))(  # noqa: B023
                jnp.asarray(low, dtype), jnp.asarray(high, dtype)
            )
            assert lo.dtype == dtype
        lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
        slack = 1e-15 * (1 + np.abs(y))
        assert (lo - y - slack).max() <= 0
        assert (y - hi - slack).max() <= 0
        scale = 2e-3 * (grid.max(0) - grid.min(0)) + 1e-5 * (1 + np.abs(grid).max(0))
        assert (np.minimum(grid.min(0), y.min(0)) - lo - scale).max() <= 0
        assert (hi - np.maximum(grid.max(0), y.max(0)) - scale).max() <= 0


@pytest.mark.parametrize(
    ("fn", "first", "second"),
    [
        (np.tanh, lambda x: 1 / np.cosh(x) ** 2, lambda x: -2 * np.tanh(x) / np.cosh(x) ** 2),
        (np.sin, np.cos, lambda x: -np.sin(x)),
        (
            lambda x: x / (1 + np.exp(-x)),
            lambda x: (1 + np.exp(-x) + x * np.exp(-x)) / (1 + np.exp(-x)) ** 2,
            None,
        ),
        (lambda x: np.log1p(np.exp(x)), lambda x: 1 / (1 + np.exp(-x)), None),
        (np.arctan, lambda x: 1 / (1 + x**2), lambda x: -2 * x / (1 + x**2) ** 2),
    ],
    ids=["tanh", "sin", "silu", "softplus", "arctan"],
)
def test_jets_hold_in_extended_precision(fn, first, second):
    """Oracle: the derivatives by hand in np.longdouble."""
    own = {"tanh": jnp.tanh, "sin": jnp.sin, "arctan": jnp.arctan}.get(getattr(fn, "__name__", ""))
    if own is None:
        own = jax.nn.silu if second is None and fn(1.0) < 1 else jax.nn.softplus
    x = np.random.default_rng(2).normal(0, 3, 400)
    for dtype, width in ((np.float32, 0.0), (np.float64, 0.0), (np.float64, 0.1)):
        with jax.enable_x64(dtype == np.float64):
            a = x.astype(dtype)
            parts = jets(own, jnp.asarray(a), jnp.asarray(a + dtype(width)))
        for part, reference in zip(parts, (fn, first, second), strict=True):
            if reference is None:
                continue
            for t in (0.0, 0.5, 1.0):
                point = a.astype(np.longdouble) + t * (
                    (a + dtype(width)).astype(np.longdouble) - a.astype(np.longdouble)
                )
                true = reference(point)
                assert (np.asarray(part[0]).astype(np.longdouble) <= true).all()
                assert (np.asarray(part[1]).astype(np.longdouble) >= true).all()


@pytest.mark.fast
def test_a_false_derivative_rule_is_not_believed():
    assert float(jax.grad(straight_through)(1.05)) == 1.0
    _, (low, high), _ = jets(straight_through, jnp.float32(1.0), jnp.float32(1.1))
    assert 0.359 < float(low) < float(high) < 0.4201


@pytest.mark.fast
def test_logaddexp_is_recognised():
    names = [step.name for step in program_of(jax.nn.softplus).steps]
    assert names == ["logaddexp"]
    _, slope, curvature = jets(jax.nn.softplus, jnp.float32(-0.1), jnp.float32(0.1))
    assert 0.474 < float(slope[0]) < float(slope[1]) < 0.526
    assert 0.249 < float(curvature[0]) < float(curvature[1]) < 0.2501
    assert [step.name for step in program_of(lambda x: jnp.log(1 + jnp.exp(x))).steps] == [
        "softplus"
    ]


@pytest.mark.fast
def test_a_kink_is_never_lost():
    _, slope, curvature = jets(lambda x: jnp.maximum(x, 0), jnp.float32(-1), jnp.float32(1))
    assert [float(v) for v in slope] == [0, 1]
    assert [float(v) for v in curvature] == [0, np.inf]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "labels", "breaks"),
    [
        ("relu", [1], []),
        ("tanh", [1, -1], [0]),
        ("gelu", [-1, 1, -1], [-np.sqrt(2), np.sqrt(2)]),
        ("silu", [-1, 1, -1], [-2.39936, 2.39936]),
        ("mish", [-1, 1, -1], [-2.25637, 1.49058]),
        ("hard_swish", [0, 1, 0], [-3, 3]),
        ("softplus", [1], []),
    ],
)
def test_breakpoints(name, labels, breaks):
    act = jaxact.get(name)
    shape = analyse(act.fn, act.theta)
    assert shape.label.tolist() == labels
    np.testing.assert_allclose(shape.left[1:], breaks, atol=1e-5)


@pytest.mark.fast
def test_unknown_primitives_are_named():
    with pytest.raises(NotImplementedError, match="no interval rule for the primitive 'lgamma'"):
        analyse(jax.scipy.special.gammaln)
    with pytest.raises(ValueError, match="fn must map a scalar to a scalar"):
        analyse(lambda x: jnp.stack([x, x]))


def test_traced_theta_range():
    act = jaxact.get("swish")
    low, high = intervals(500)
    ends = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    lo, hi = jax.jit(lambda a, b, t: unit_range(act.fn, a, b, (t,)))(*ends, jnp.float32(1.5))
    x = inside(*(np.asarray(e, np.float64) for e in ends), 50)
    y = exact(act.fn, (1.5,), x)
    assert (np.asarray(lo) <= y + 1e-15).all()
    assert (np.asarray(hi) >= y - 1e-15).all()


@pytest.mark.fast
def test_transformations_and_platforms():
    ends = jnp.array([-1.0, 0.5], jnp.float32), jnp.array([2.0, 1.0], jnp.float32)
    f = jax.jit(lambda a, b: unit_range(jnp.tanh, a, b))
    whole = jnp.stack(f(*ends))
    each = jnp.stack(jax.vmap(lambda a, b: unit_range(jnp.tanh, a, b))(*ends))
    np.testing.assert_allclose(whole, each, rtol=1e-6)
    slope = jax.grad(lambda a: f(a, ends[1])[0].sum())(ends[0])
    np.testing.assert_allclose(slope, 1 - np.tanh([-1.0, 0.5]) ** 2, rtol=1e-5)
    for platform in ("tpu", "cuda"):
        f.trace(*ends).lower(lowering_platforms=(platform,))
