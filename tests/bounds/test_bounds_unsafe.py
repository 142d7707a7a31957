"""Verdicts on unsafe sets against enumeration, and counterexamples against the network."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import Bounds, Box, Unsafe, certify, crown, falsify, ibp

HALVES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])


def f(x):
    """Outputs (x0, x1), so that reachable sets are boxes."""
    return x * jnp.array([1.0, 1.0])


def unit_box():
    return Box(jnp.zeros(2), jnp.ones(2))


def test_margin_is_the_min_over_polyhedra_of_the_max_over_half_spaces(rng):
    unsafe = Unsafe.of([(HALVES, np.zeros(3)), (HALVES[:1], np.array([2.0]))])
    for y in rng.normal(size=(20, 2)):
        slacks = [(HALVES @ y).max(), y[0] - 2]
        np.testing.assert_allclose(unsafe.margin(y), min(slacks), rtol=1e-5)


def test_no_half_space_is_every_output():
    unsafe = Unsafe.of([(np.zeros((0, 2)), np.zeros(0)), (HALVES, np.ones(3))])
    assert float(unsafe.margin(np.array([1e6, -1e6]))) <= 0
    assert not bool(certify(f, unit_box(), unsafe).verified)


@pytest.mark.parametrize("method", [ibp, crown])
def test_verified_means_some_half_space_of_every_polyhedron_is_avoided(method):
    # over [0, 1]^2: lower bounds of the rows are 0, 0 and -2
    for thresholds in itertools.product([-0.5, 0.5], [-0.5, 0.5], [-2.5, -1.0]):
        both = [(HALVES, np.array(thresholds)), (HALVES[:1], np.array([-0.1]))]
        expected = any(b < low for b, low in zip(thresholds, [0, 0, -2], strict=True))
        found = certify(f, unit_box(), Unsafe.of(both), method=method)
        assert bool(found.verified) == expected
        best = max(low - b for b, low in zip(thresholds, [0, 0, -2], strict=True))
        np.testing.assert_allclose(found.margin, min(best, 0.1), atol=1e-6)


def test_one_unavoidable_polyhedron_spoils_the_union():
    safe, unsafe = (HALVES[:1], np.array([-1.0])), (HALVES[:1], np.array([0.5]))
    assert bool(certify(f, unit_box(), Unsafe.of([safe, safe])).verified)
    assert not bool(certify(f, unit_box(), Unsafe.of([safe, unsafe])).verified)


def test_a_touching_bound_is_not_verified():
    assert not bool(certify(f, unit_box(), Unsafe.of([(HALVES[:1], np.zeros(1))])).verified)


def test_the_method_is_any_function_with_options():
    def shifted(f, region, spec, *, by):
        found = crown(f, region, spec)
        return Bounds(found.lower + by, found.upper)

    unsafe = Unsafe.of([(HALVES[:1], np.zeros(1))])
    found = certify(f, unit_box(), unsafe, method=functools.partial(shifted, by=2.0))
    assert float(found.margin) == 2


def net(x):
    w = jax.random.normal(jax.random.key(3), (6, 4))
    v = jax.random.normal(jax.random.key(4), (2, 6))
    return jnp.matmul(v, jax.nn.relu(jnp.matmul(w, x)))


def test_a_counterexample_is_in_the_box_and_reaches_the_set(rng):
    box = Box(-jnp.ones(4), jnp.ones(4))
    samples = jax.vmap(net)(jnp.asarray(rng.uniform(-1, 1, (20_000, 4)), jnp.float32))
    least = float(samples[:, 0].min())
    easy = Unsafe.of([(np.eye(2)[:1], np.array([least])), (np.eye(2), np.array([-1e3, -1e3]))])
    found = falsify(net, box, easy)
    assert bool(found.success)
    assert bool((jnp.abs(found.point) <= 1).all())
    np.testing.assert_allclose(net(found.point), found.output, rtol=1e-5)
    assert float(found.output[0]) <= least
    lowest = float(crown(net, box).lower[0])
    hopeless = falsify(net, box, Unsafe.of([(np.eye(2)[:1], np.array([lowest - 0.1]))]))
    assert not bool(hopeless.success)
    assert float(hopeless.margin) >= 0.1 - 1e-4


def test_all_half_spaces_of_a_polyhedron_are_met_together():
    # only a small corner around x0 = 0.9, x1 = -0.9 meets all four
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    unsafe = Unsafe.of([(rows, np.array([0.91, -0.89, -0.89, 0.91]))])
    found = falsify(f, Box(-jnp.ones(2), jnp.ones(2)), unsafe)
    assert bool(found.success)
    np.testing.assert_allclose(found.point, [0.9, -0.9], atol=0.011)


def test_unsafe_sets_and_regions_that_do_not_fit_are_refused():
    wide = Unsafe.of([(np.ones((1, 3)), np.zeros(1))])
    with pytest.raises(ValueError, match="spec must have shape"):
        certify(f, unit_box(), wide)
    with pytest.raises(ValueError, match="unsafe.rows must have shape"):
        falsify(f, unit_box(), wide)
    with pytest.raises(ValueError, match="unsafe.thresholds must be finite"):
        falsify(f, unit_box(), Unsafe.of([(HALVES, np.full(3, np.inf))]))
    with pytest.raises(ValueError, match="polyhedra must hold at least one"):
        Unsafe.of([])
    with pytest.raises(TypeError, match="region must be a Box"):
        falsify(f, jnp.zeros(2), wide)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        falsify(f, unit_box(), Unsafe.of([(HALVES, np.zeros(3))]), steps=0)


def test_starts_at_the_corner_of_a_plane_see_through_flat_parts():
    def flat(x):  # zero but for one corner
        return jax.nn.relu(x.sum() - 19.5)[None]

    box = Box(jnp.zeros(20), jnp.ones(20))
    unsafe = Unsafe.of([([[-1.0]], [-0.2])])
    assert not falsify(flat, box, unsafe, restarts=4).success
    lines = crown(flat, box, jnp.array([[-1.0]])).lines
    corner = jnp.where(lines.lower_slope > 0, 0.0, 1.0)
    starts = jnp.concatenate([corner * 0.99, jnp.zeros((3, 20))])
    found = falsify(flat, box, unsafe, restarts=4, starts=starts, reach=0.05)
    assert bool(found.success)
    for options, message in (
        ({"starts": corner, "restarts": 2}, "starts"),
        ({"starts": corner * jnp.nan, "restarts": 1}, "starts must be finite"),
        ({"reach": 0.0}, "reach must be positive"),
        ({"reach": 2.0}, "reach"),
    ):
        with pytest.raises(ValueError, match=message):
            falsify(flat, box, unsafe, **options)
