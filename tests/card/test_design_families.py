"""The families of `jaxact.card.design`: what is true by construction, and that lenses take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact.card.design import FAMILIES, Hermite, Rational, Spline, family, frozen

SMALL = (Hermite(3), Spline((-1.0, 0.5)), Rational(1))
GRID = np.linspace(-7, 7, 141) + 0.0137


def drawn(chosen, seed):
    rng = np.random.default_rng(seed)
    return chosen.activation(tuple(2 * rng.normal(size=s) for s in chosen.shapes()))


@pytest.mark.parametrize("chosen", SMALL, ids=lambda f: f.name)
def test_members_are_smooth_tame_and_integrate(chosen, x64):
    act = drawn(chosen, 1)
    value, slope = act(GRID), act.derivative(GRID)
    step = 1e-5
    near = (act(GRID + step) - act(GRID - step)) / (2 * step)
    np.testing.assert_allclose(slope, near, atol=1e-7)
    if act.closed.primitive is not None:
        back = jax.jvp(act.primitive, (jnp.asarray(GRID),), (jnp.ones(GRID.size),))[1]
        np.testing.assert_allclose(back, value, rtol=1e-9, atol=1e-9)
        assert float(act.primitive(0.0)) == pytest.approx(0, abs=1e-12)
    far = act(jnp.asarray([-1e30, -1e3, 1e3, 1e30], jnp.float32))
    assert far.dtype == jnp.float32
    assert np.isfinite(far).all()
    assert np.abs(far[1:3]).max() < 1e5  # at most linear


def test_frozen_functions_are_equal_for_equal_numbers():
    act = frozen(drawn(Rational(1), 2))
    assert act.theta == ()
    assert act == frozen(drawn(Rational(1), 2))
    assert hash(act.fn) == hash(frozen(drawn(Rational(1), 2)).fn)
    assert act.fn != frozen(drawn(Rational(1), 3)).fn


@pytest.mark.parametrize("chosen", [Hermite(2), Spline((0.0,)), Rational(1)], ids=lambda f: f.name)
def test_certified_lines_hold(chosen):
    act = frozen(drawn(chosen, 2))
    low, high = jnp.asarray([-3.0, -0.5, 0.2]), jnp.asarray([-0.4, 0.6, 2.5])
    lines = jaxact.bounds.relax(act, low, high)
    x = jnp.linspace(low, high, 201)
    scale = 1e-5 * (1 + jnp.abs(act(x)).max())
    assert (lines.lower_slope[None] * x + lines.lower_intercept[None] <= act(x) + scale).all()
    assert (lines.upper_slope[None] * x + lines.upper_intercept[None] >= act(x) - scale).all()


def test_a_spline_rises_and_is_convex_where_its_slopes_ascend(x64):
    for seed in range(5):
        assert (np.asarray(drawn(Spline(), seed).derivative(GRID)) > 0).all()
    convex = Spline().activation((0.0, np.linspace(-6, 2, 6)))
    assert (np.diff(convex.derivative(GRID)) > 0).all()
    assert jaxact.geometry.admissibility(convex).convex


def test_a_rational_is_bounded_between_its_poles(x64):
    for seed in range(5):
        act = drawn(Rational(3), seed)
        line, even, odd, *_ = act.theta
        rest = act(GRID) - line[0] - line[1] * GRID
        # |1 / (1 + t^2)| <= 1 and |t / (1 + t^2)| <= 1 / 2, whatever the centres and widths.
        assert np.abs(rest).max() <= np.abs(even).sum() + np.abs(odd).sum() / 2


@pytest.mark.parametrize("name", FAMILIES)
def test_starts_are_near_what_they_start_from(name):
    for near, allowed in (("tanh", 0.15), ("gelu", 0.25)):
        x = np.linspace(-2, 2, 41)
        gap = family(name).start(jaxact.get(near))(x) - jaxact.get(near)(x)
        assert np.abs(gap).max() < allowed, (name, near)


def test_bad_families_say_why():
    with pytest.raises(ValueError, match="knots must ascend"):
        Spline((1.0, 0.0))
    with pytest.raises(ValueError, match="order must be at least 1"):
        Hermite(0)
    with pytest.raises(ValueError, match="poles must be at least 1"):
        Rational(0)
    with pytest.raises(ValueError, match=r"theta\[1\] must have shape \(6,\), got \(2,\)"):
        Spline().activation((0.0, np.zeros(2)))
    with pytest.raises(ValueError, match="theta must have 2 entries, got 1"):
        Spline().activation((0.0,))
    with pytest.raises(ValueError, match="family must be one of"):
        family("spline")
