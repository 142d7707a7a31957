"""Attacks are facts: in the ball, never below a certificate, and exact on linear networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact.bounds import Ball, attack, crown, margin_spec

RNG = np.random.default_rng(7)
W1, W2 = (jnp.asarray(RNG.standard_normal(s), jnp.float32) for s in ((5, 12), (12, 3)))
XS = jnp.asarray(RNG.standard_normal((6, 5)), jnp.float32)
NORMS = (1, 2, jnp.inf)


def net(x):
    return jnp.tanh(x @ W1) @ W2


def linear(x):
    return x @ W1[:, :4]


LABELS = jnp.argmax(jax.vmap(net)(XS), axis=1).at[5].add(1) % 3  # the last one is wrong


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
@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (jnp.inf, 1)])
def test_a_targeted_attack_of_a_linear_net_is_optimal(norm, dual):
    logits, w, eps = np.asarray(jax.vmap(linear)(XS)), np.asarray(W1)[:, :4], 0.2
    labels = logits.argmax(1)
    for target in (None, "least"):
        asked = jnp.asarray((labels + 1) % 4, jnp.int32) if target is None else target
        rival = np.asarray(asked) if target is None else logits.argmin(1)
        found = attack(linear, XS, jnp.asarray(labels), eps, norm=norm, target=asked, steps=30)
        row = (w[:, labels] - w[:, rival]).T
        best = (row * np.asarray(XS)).sum(1) - eps * np.linalg.norm(row, dual, axis=1)
        np.testing.assert_allclose(found.margin, best, rtol=2e-2, atol=2e-2)
        assert (found.margin >= best - 1e-5).all()
        reached = (row * np.asarray(found.point)).sum(1)
        np.testing.assert_allclose(reached, found.margin, rtol=1e-4, atol=1e-5)
