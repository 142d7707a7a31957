"""The worst-case loss: closed forms, finite differences, and a run that certifies more digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact.bounds import certified_loss, certified_margins, ramp

RNG = np.random.default_rng(11)
W1, W2 = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((4, 6), (6, 3)))
XS = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
LABELS = jnp.array([0, 2, 1])


def net(weights, x):
    return jnp.tanh(x @ weights[0]) @ weights[1]


def cross_entropy(logits, label):
    return jax.nn.logsumexp(logits) - logits[label]


@pytest.mark.fast
@pytest.mark.parametrize(("norm", "dual"), [(1, np.inf), (2, 2), (jnp.inf, 1)])
def test_linear_net_in_closed_form(norm, dual):
    w = W1[:, :3]
    found = certified_loss(lambda x: x @ w, XS, LABELS, 0.2, norm=norm)
    for i in range(3):
        rows = np.asarray(w[:, LABELS[i], None] - w).T
        worst = rows @ np.asarray(XS[i]) - 0.2 * np.linalg.norm(rows, dual, axis=1)
        np.testing.assert_allclose(found[i], np.log(np.exp(-worst).sum()), rtol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_above_every_loss_in_the_ball_and_equal_at_zero(method):
    def f(x):
        return net((W1, W2), x)

    bound = certified_loss(f, XS, LABELS, 0.1, method=method)
    points = XS[:, None] + jnp.asarray(RNG.uniform(-0.1, 0.1, (3, 500, 4)), jnp.float32)
    for i in range(3):
        losses = jax.vmap(lambda x, i=i: cross_entropy(f(x), LABELS[i]))(points[i])
        assert (losses <= bound[i] + 1e-5).all()
        one = certified_loss(f, XS[i], LABELS[i], 0.1, method=method)
        np.testing.assert_allclose(one, bound[i], rtol=1e-5)
    at_zero = certified_loss(f, XS, LABELS, 0.0, method=method)
    clean = jax.vmap(cross_entropy)(jax.vmap(f)(XS), LABELS)
    np.testing.assert_allclose(at_zero, clean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_gradient_in_the_weights(method, x64):
    start = tuple(jnp.asarray(np.asarray(w), jnp.float64) for w in (W1, W2))
    x = jnp.asarray(np.asarray(XS[0]), jnp.float64)

    @jax.jit
    def loss(weights, eps):
        return certified_loss(lambda v: net(weights, v), x, 0, eps, method=method)

    slopes = jax.grad(loss, argnums=(0, 1))(start, 0.1)
    move = tuple(jnp.asarray(RNG.normal(size=w.shape)) for w in start)
    step = 1e-6
    ends = [
        loss(tuple(w + s * step * m for w, m in zip(start, move, strict=True)), 0.1)
        for s in (1, -1)
    ]
    along = sum(jnp.vdot(s, m) for s, m in zip(slopes[0], move, strict=True))
    np.testing.assert_allclose(along, (ends[0] - ends[1]) / (2 * step), rtol=1e-5)
    rise = (loss(start, 0.1 + step) - loss(start, 0.1 - step)) / (2 * step)
    np.testing.assert_allclose(slopes[1], rise, rtol=1e-5)
    before = loss._cache_size()
    loss(start, 0.3)
    assert loss._cache_size() == before


@pytest.mark.fast
def test_ramps():
    linear, smooth = (
        np.array([ramp(1.0, 3.0, 200, shape=s)(k) for k in range(200)])
        for s in ("linear", "smooth")
    )
    for values in (linear, smooth):
        assert (np.diff(values) >= 0).all()
        assert (values[:21] == 1).all()
        np.testing.assert_allclose(values[140:], 3)
    np.testing.assert_allclose(linear[80], 2, rtol=1e-6)
    assert smooth[30] < linear[30]
    with pytest.raises(ValueError, match="0 <= begin < finish <= 1, got 0.5, 0.2"):
        ramp(0.0, 1.0, 10, begin=0.5, finish=0.2)
    with pytest.raises(ValueError, match="shape must be one of"):
        ramp(0.0, 1.0, 10, shape="cubic")


@pytest.mark.fast
def test_bad_input():
    with pytest.raises(ValueError, match="eps must be non-negative"):
        certified_loss(lambda x: x, XS, LABELS, -0.1)
    with pytest.raises(ValueError, match="method must be one of"):
        certified_margins(lambda x: x, XS, LABELS, 0.1, method="magic")
    with pytest.raises(ValueError, match="clean must be in"):
        ja.nets.train_certified(XS, LABELS, jnp.tanh, eps=0.1, clean=2.0, key=jax.random.key(0))


def test_certified_training_certifies_more_digits():
    digits, eps, act = ja.io.load_digits(), 0.1, ja.get("relu")
    settings = {"widths": (32,), "epochs": 30}
    test_x, test_y = jnp.asarray(digits.test_x[:200]), jnp.asarray(digits.test_y[:200])

    def certified(f):
        return float((certified_margins(f, test_x, test_y, eps) > 0).all(axis=1).mean())

    plain, _ = ja.nets.train_classifier(digits.x, digits.y, act, **settings, key=jax.random.key(0))
    robust, fit = ja.nets.train_certified(
        digits.x, digits.y, act, eps=eps, **settings, test=(test_x, test_y), key=jax.random.key(0)
    )
    assert certified(robust) > certified(plain) + 0.2
    assert fit.test_accuracy > 0.85
    assert np.isfinite(np.asarray(fit.losses)).all()
