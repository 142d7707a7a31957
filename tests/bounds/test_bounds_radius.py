"""The certified radius below, the attack above, the truth between."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import (
    Ball,
    attack,
    attack_radius,
    certified_radius,
    crown,
    distortion,
    ibp,
    margin_spec,
)
from jaxact.sweep import sweep

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


WIDE = jnp.asarray(RNG.standard_normal((5, 6)), jnp.float32)


def many(x):
    return x @ WIDE


def rivals(logits, label, target):
    """The classes that are asked about, by the paper's words."""
    order = [j for j in np.argsort(-logits) if j != label]
    if target == "top2":
        return order[:1]
    if target == "least":
        return order[-1:]
    return order if target == "untargeted" else order[1:-1]


@pytest.mark.fast
@pytest.mark.parametrize("target", ["untargeted", "top2", "least", "random", "explicit"])
@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (jnp.inf, 1)])
def test_targets_of_a_linear_net_in_a_batch(norm, dual, target):
    logits = np.asarray(jax.vmap(many)(XS))
    labels = logits.argmax(1)
    labels[5] = logits[5].argmin()
    asked = jnp.asarray((labels + 2) % 6, jnp.int32) if target == "explicit" else target
    found = certified_radius(many, XS, jnp.asarray(labels), norm, target=asked, tolerance=1e-4)
    w = np.asarray(WIDE)
    for i in range(6):
        label = labels[i]
        names = [int(asked[i])] if target == "explicit" else rivals(logits[i], label, target)
        exact = [
            max(logits[i, label] - logits[i, j], 0) / np.linalg.norm(w[:, label] - w[:, j], dual)
            for j in names
        ]
        exact = exact if target == "random" else [min(exact)]
        assert min(abs(float(found.radius[i]) - e) / max(e, 1e-3) for e in exact) < 3e-4
        one = certified_radius(
            many, XS[i], labels[i], norm, tolerance=1e-4,
            target=names[0] if target == "explicit" else "untargeted",
        )  # fmt: skip
        if target in ("explicit", "untargeted"):
            np.testing.assert_allclose(found.radius[i], one.radius, rtol=1e-6)
            assert int(found.evaluations[i]) == int(one.evaluations)


@pytest.mark.fast
def test_random_targets_are_uniform_and_shared_with_the_attack():
    x = jnp.broadcast_to(XS[0], (400, 5))
    labels = jnp.full(400, jnp.argmax(many(XS[0])))
    key = functools.partial(jax.random.key, 3)
    found = certified_radius(many, x, labels, target="random", key=key())
    _, counts = np.unique(np.asarray(found.radius), return_counts=True)
    assert len(counts) == 3
    assert (abs(counts - 400 / 3) < 4 * np.sqrt(400 * 2 / 9)).all()
    above = attack_radius(many, x[:9], labels[:9], target="random", key=key(), restarts=1)
    same = certified_radius(many, x[:9], labels[:9], target="random", key=key())
    assert (same.radius <= above.radius).all()
    assert (above.radius <= 1.05 * same.radius).all()


def by_halves(f, region, spec):
    bounds = ibp(f, region, spec)
    return dataclasses.replace(bounds, lower=bounds.lower - 0.5)


def test_any_method_by_name_or_as_a_function():
    found = [
        certified_radius(net, XS[:2], LABELS[:2], method=m) for m in ("crown", "ibp", by_halves)
    ]
    for tight, loose in zip(found[:-1], found[1:], strict=True):
        assert (tight.radius >= loose.radius).all()
    assert (found[0].radius > 1.05 * found[1].radius).any()
    assert (found[1].radius > 1.05 * found[2].radius).all()


def test_the_protocol_reports_both_sides_and_resumes(tmp_path):
    labels = jnp.argmax(jax.vmap(many)(XS), axis=1).at[1].add(1) % 6
    settings = {"target": "least", "samples": 4, "steps": 10, "restarts": 1}
    found = distortion(many, XS, labels, **settings)
    assert found.index.tolist() == [0, 2, 3, 4]
    assert (found.certified.radius <= found.attacked.radius).all()
    assert 0 < found.mean_certified <= found.mean_attacked
    np.testing.assert_allclose(found.gap, found.mean_attacked - found.mean_certified)
    assert 0.9 < found.ratio <= 1
    assert found.rival.tolist() == np.asarray(jax.vmap(many)(XS)).argmin(1)[found.index].tolist()
    seen = []
    over = functools.partial(
        sweep, chunk=2, folder=tmp_path / "run", progress=lambda *done: seen.append(done)
    )
    for _ in range(2):
        again = distortion(many, XS, labels, **settings, over=over)
        np.testing.assert_allclose(again.certified.radius, found.certified.radius, rtol=1e-6)
        np.testing.assert_array_equal(again.attacked.evaluations, found.attacked.evaluations)
    assert seen == [(2, 4), (4, 4)] * 2
    with pytest.raises(ValueError, match="that f classifies as label says, got none"):
        distortion(many, XS, jnp.argmin(jax.vmap(many)(XS), axis=1))


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
        with pytest.raises(ValueError, match="target must be one of 'untargeted', 'top2'"):
            verb(linear, XS[0], 0, target="worst")
        with pytest.raises(ValueError, match="needs at least 4 classes, got 3"):
            verb(linear, XS[0], 0, target="random")
        with pytest.raises(ValueError, match=r"target must be in \[0, 3\), got 3"):
            verb(linear, XS[0], 0, target=3)
        with pytest.raises(ValueError, match="target must differ from label, got 1"):
            verb(linear, XS[0], 1, target=1)
    with pytest.raises(ValueError, match="method must be one of 'crown', 'ibp'"):
        certified_radius(linear, XS[0], 0, method="magic")
    with pytest.raises(TypeError, match="method must be a name or a function, got 3"):
        certified_radius(linear, XS[0], 0, method=3)
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
