"""Designed activations: known optima, the best of a scan, and a simulation of what was found."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra.design import _descend

KNOTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SIZES = {"phi": 1.0, "psi": 0.5, "noise": 0.25}


def test_a_family_reaches_no_linear_part(x64):
    found = spectra.design(jaxact.get("f_alpha", 0.3), spectra.TargetMoments(zeta=0.0))
    assert bool(found.converged)
    assert float(found.act.theta[0]) == pytest.approx(1, abs=1e-7)
    assert found.act.name == "f_alpha"
    values = np.asarray(found.values)
    assert values.shape == (100,)
    assert float(found.value) == values.min() < 1e-14
    assert values[0] > 0.1
    assert int(found.steps) < 30
    assert (values[int(found.steps) :] == values[int(found.steps) - 1]).all()


def test_a_spline_reaches_its_moments(x64):
    start = spectra.spline(KNOTS, np.maximum(KNOTS, 0) * 0.4)
    for share, eta in ((0.0, 1.0), (0.3, 2.0)):
        found = spectra.design(start, spectra.TargetMoments(zeta=share, eta=eta))
        assert bool(found.converged)
        reached = spectra.moments(found.act)
        assert float(reached.eta) == pytest.approx(eta, rel=1e-6)
        assert float(reached.zeta / reached.eta) == pytest.approx(share, abs=1e-6)


def test_the_least_test_error_of_a_scan(x64):
    shares, n = np.linspace(0, 1, 401), 401
    laws = spectra.Law(np.ones(n), shares, np.full(n, 1.0), np.full(n, 0.5))
    errors = jax.vmap(lambda law: spectra.test_error(law, 1e-3, noise=0.25))(laws)
    share = shares[int(np.argmin(errors))]
    start = jaxact.get("hermite", (0.0, 0.5, 0.6, 0.3))
    found = spectra.design(start, spectra.MinimiseTestError(gamma=1e-3, **SIZES))
    assert bool(found.converged)
    assert float(found.value) == pytest.approx(float(np.min(errors)), rel=1e-5)
    reached = found.act.moments()
    assert float(reached.zeta / reached.eta) == pytest.approx(share, abs=3e-3)
    # A ridge that is too small leaves work to the nonlinear part; the best ridge does not.
    assert share == pytest.approx(0.9125, abs=3e-3)
    tuned = spectra.MinimiseTestError(**SIZES)(jaxact.get("identity"))
    linear = spectra.optimal_gamma(spectra.Law(1.0, 1.0, 1.0, 0.5), noise=0.25)
    assert float(tuned) == pytest.approx(float(linear.error), rel=1e-12)


def test_memorisation_wants_no_linear_part_and_does_not_trace_again(x64):
    start = jaxact.get("hermite", (0.0, 0.5, 0.6, 0.3))
    before = None
    for phi, gamma in ((0.5, 0.1), (0.7, 0.2)):
        aim = spectra.MinimiseTrainingError(phi=phi, psi=0.75, gamma=gamma)
        found = spectra.design(start, aim)
        floor = spectra.training_error(spectra.Law(1.0, 0.0, phi, 0.75), gamma)
        assert float(found.value) == pytest.approx(float(floor), rel=1e-10)
        count = _descend._cache_size()
        assert before in (None, count)
        before = count


def test_the_found_activation_in_a_simulation(x64):
    start = spectra.spline(KNOTS, np.maximum(KNOTS, 0) * 0.5)
    found = spectra.design(start, spectra.TargetMoments(zeta=0.0, eta=1.0))
    assert bool(found.converged)
    act = spectra.standard(found.act)
    law = spectra.Law(1.0, 0.0, 0.5, 0.75)
    keys = jax.random.split(jax.random.key(3), 4)
    error = jax.vmap(
        lambda key: spectra.simulate_training_error(key, act, n0=150, n1=200, m=300, gamma=0.1)
    )(keys).mean()
    # What it was designed for: it memorises as no relu does.
    assert float(error) == pytest.approx(float(spectra.training_error(law, 0.1)), rel=0.03)
    relu = spectra.law(spectra.standard(jaxact.get("relu")), phi=0.5, psi=0.75)
    assert float(error) < 0.97 * float(spectra.training_error(relu, 0.1))


def test_any_function_and_any_optimiser():
    swish = jaxact.get("swish", 1.0)
    found = spectra.design(
        swish, lambda act: (act(1.0) - 0.9) ** 2, steps=300, optimiser=optax.sgd(1.0)
    )
    # x sigmoid(b x) = 0.9 at x = 1: b = log 9.
    assert float(found.act.theta[0]) == pytest.approx(np.log(9), rel=1e-2)
    assert found.act.theta[0].dtype == jnp.float32
    short = spectra.design(swish, lambda act: act(1.0) ** 2, steps=1)
    assert not bool(short.converged)


@pytest.mark.fast
def test_splines(x64):
    knots, heights = np.array(KNOTS), np.array([0.3, -0.2, 0.5, 1.0, -1.0])
    act = spectra.spline(KNOTS, heights)
    inside = np.linspace(-2, 2, 41)
    np.testing.assert_allclose(act(inside), np.interp(inside, knots, heights), atol=1e-15)
    np.testing.assert_allclose(act(np.array([-3.0, 4.0])), [0.8, -5.0], rtol=1e-14)
    assert act.kinks == KNOTS
    assert hash(act.fn) == hash(spectra.spline(KNOTS, heights + 1).fn)
    relu = spectra.spline((-1.0, 0.0, 1.0), (0.0, 0.0, 1.0))
    found = spectra.moments(relu, 1.7)
    expected = spectra.moments(jaxact.get("relu"), 1.7)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-13)


@pytest.mark.fast
def test_standard_keeps_moving_kinks(x64):
    moving = jaxact.activation(
        lambda x, a: jnp.maximum(x - a, 0), theta=(0.4,), kinks=lambda a: (a,), name="shifted"
    )
    made = spectra.standard(moving, 1.3)
    found = spectra.moments(made, 1.3)
    assert float(found.mean) == pytest.approx(0, abs=1e-14)
    assert float(found.eta) == pytest.approx(1, rel=1e-13)
    assert made.kink_points() == (0.4,)


def test_bad_input():
    aim = spectra.TargetMoments()
    with pytest.raises(ValueError, match="act must have parameters to design, got relu"):
        spectra.design(jaxact.get("relu"), aim)
    with pytest.raises(TypeError, match=r"act must be a jaxact.Activation"):
        spectra.design(jnp.tanh, aim)
    with pytest.raises(TypeError, match="objective must be a function"):
        spectra.design(jaxact.get("swish"), 3.0)
    with pytest.raises(ValueError, match=r"objective\(act\) must have shape \(\)"):
        spectra.design(jaxact.get("swish"), lambda act: act(jnp.ones(2)))
    with pytest.raises(ValueError, match=r"objective\(act\) must be finite"):
        spectra.design(jaxact.get("swish"), lambda act: jnp.log(act(-1.0)))
    with pytest.raises(ValueError, match="knots must ascend"):
        spectra.spline((0.0, 0.0), (1.0, 2.0))
    with pytest.raises(ValueError, match=r"values must have shape \(2,\), got \(3,\)"):
        spectra.spline((0.0, 1.0), (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="eta of act must be positive"):
        spectra.standard(lambda x: 0 * x)
