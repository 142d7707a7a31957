"""The certified radius below, the attack above, the truth between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import Ball, attack, attack_radius, certified_radius, crown, margin_spec

RNG = np.random.default_rng(7)
W1, W2 = (jnp.asarray(RNG.standard_normal(s), jnp.float32) for s in ((5, 12), (12, 3)))
XS = jnp.asarray(RNG.standard_normal((6, 5)), jnp.float32)
NORMS = (1, 2, jnp.inf)


def net(x):
    return jnp.tanh(x @ W1) @ W2


def linear(x):
    return x @ W1[:, :3]


LABELS = jnp.argmax(jax.vmap(net)(XS), axis=1).at[5].add(1) % 3  # the last one is wrong


@pytest.mark.fast
@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (jnp.inf, 1)])
def test_linear_radius_is_the_margin_over_the_dual_norm(norm, dual):
    x = XS[0]
    label = int(jnp.argmax(linear(x)))
    rows = np.asarray(margin_spec(label, 3)) @ np.asarray(W1[:, :3]).T
    exact = np.min(rows @ np.asarray(x) / np.linalg.norm(rows, dual, axis=1))
    found = certified_radius(linear, x, label, norm, tolerance=1e-4)
    assert bool(found.converged)
    np.testing.assert_allclose(found.radius, exact, rtol=2e-4)
    above = attack_radius(linear, x, label, norm=norm, tolerance=1e-3)
    assert exact * (1 - 1e-5) <= float(above.radius) <= exact * 1.03


@pytest.mark.parametrize("norm", NORMS)
def test_certificate_below_attack(norm):
    below = certified_radius(net, XS, LABELS, norm)
    above = attack_radius(net, XS, LABELS, norm=norm)
    assert below.radius.shape == (6,)
    assert bool(below.converged.all())
    assert float(below.radius[5]) == 0
    assert float(above.radius[5]) == 0
    assert int(below.evaluations[5]) == 0
    assert (below.radius[:5] > 0).all()
    assert (below.radius[:5] <= above.radius[:5]).all()
    assert (above.radius[:5] < 20 * below.radius[:5]).all()
    for i in range(2):
        spec = margin_spec(LABELS[i], 3)
        assert (crown(net, Ball(XS[i], below.radius[i], norm), spec).lower > 0).all()
        one = certified_radius(net, XS[i], LABELS[i], norm)
        np.testing.assert_allclose(one.radius, below.radius[i], rtol=2e-3)
        assert int(jnp.argmax(net(above.point[i]))) != int(LABELS[i])


@pytest.mark.parametrize("norm", NORMS)
def test_attacks_stay_in_the_ball_and_above_the_bound(norm):
    eps = 0.3
    found = attack(net, XS, LABELS, eps, norm=norm, restarts=3, steps=20)
    delta = np.asarray(found.point - XS)
    assert (np.linalg.norm(delta, norm, axis=1) <= eps * (1 + 1e-5)).all()
    for i in range(6):
        spec = margin_spec(LABELS[i], 3)
        lower = crown(net, Ball(XS[i], eps, norm), spec).lower.min()
        clean = (spec @ net(XS[i])).min()
        assert lower - 1e-5 <= float(found.margin[i]) <= clean
    np.testing.assert_array_equal(found.success, found.margin < 0)


@pytest.mark.fast
def test_clip_keeps_points_in_the_image():
    x = jnp.clip(XS[0], 0, 1)
    label = int(jnp.argmax(net(x)))
    found = attack(net, x, label, 0.5, clip=(0.0, 1.0), restarts=2, steps=10)
    assert ((found.point >= 0) & (found.point <= 1)).all()
    free = certified_radius(net, x, label)
    clipped = certified_radius(net, x, label, clip=(0.0, 1.0))
    assert float(clipped.radius) >= float(free.radius) * 0.998


@pytest.mark.fast
def test_one_compilation_and_what_never_fails():
    from jaxact.bounds.radius import _radius

    certified_radius(linear, XS[0], 0)
    before = _radius._cache_size()
    for label in (1, np.int32(2)):
        certified_radius(linear, XS[1], label, start=0.3, tolerance=1e-2)
    assert _radius._cache_size() == before
    constant = certified_radius(lambda x: 0 * x[:2] + jnp.array([1.0, 0.0]), XS[0], 0)
    assert not bool(constant.converged)
    assert float(constant.radius) > 1e3
    assert (
        float(attack_radius(lambda x: 0 * x[:2] + jnp.array([1.0, 0.0]), XS[0], 0).radius) == np.inf
    )


@pytest.mark.fast
def test_bad_input():
    for verb in (certified_radius, attack_radius):
        with pytest.raises(ValueError, match=r"label must be in \[0, 3\), got 3"):
            verb(linear, XS[0], 3)
        with pytest.raises(ValueError, match=r"must be a batch of 2 samples .* got shape \(6, 5\)"):
            verb(linear, XS, jnp.array([0, 1]))
        with pytest.raises(ValueError, match="x must be finite"):
            verb(linear, XS[0].at[0].set(jnp.nan), 0)
        with pytest.raises(ValueError, match="norm must be one of"):
            verb(linear, XS[0], 0, norm=4)
        with pytest.raises(ValueError, match="start must be positive, got 0"):
            verb(linear, XS[0], 0, start=0)
        with pytest.raises(ValueError, match=r"one score a class, got shape \(5, 1\)"):
            verb(lambda x: x[:, None], XS[0], 0)
    with pytest.raises(ValueError, match="eps must be non-negative"):
        attack(linear, XS[0], 0, -1.0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        attack(linear, XS[0], 0, 1.0, steps=0)
    with pytest.raises(TypeError, match="key must be a typed key"):
        attack(linear, XS[0], 0, 1.0, key=0)


@pytest.mark.fast
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_lowering(platform):
    def run(x, eps):
        below = certified_radius(net, x, 0)
        return below, attack(net, x, 0, eps, steps=3), attack_radius(net, x, 0, steps=3)

    jax.jit(run).trace(XS[0], 0.1).lower(lowering_platforms=(platform,))
