"""f-divergences: the sheet's values, Fenchel-Young, and the ones matched to activations."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import geometry

VALUES = {
    "kl": 0.223804657186,
    "reverse_kl": 0.193794197941,
    "pearson": 0.563333333333,
    "neyman": 0.363333333333,
    "squared_hellinger": 0.103049850168,
    "jensen_shannon": 0.101749225079,
    "gan": -1.284545136041,
    "jeffrey": 0.417598855126,
    "total_variation": 0.3,
}
SMOOTH = [(name, None) for name in VALUES if name != "total_variation"] + [
    ("alpha", a) for a in (-0.7, 0.5, 3.0)
]


@pytest.mark.fast
def test_the_table_of_values(pair, x64):
    p, q = pair
    for name, want in VALUES.items():
        assert float(geometry.divergence_value(name, p, q)) == pytest.approx(want, abs=1e-11), name
    for a, want in ((0.5, 0.206099700336), (3.0, 0.386981481481)):
        got = geometry.divergence_value(geometry.divergence("alpha", a), p, q)
        assert float(got) == pytest.approx(want, abs=1e-11)
    gan, js = (geometry.divergence_value(n, p, q) for n in ("gan", "jensen_shannon"))
    assert float(gan + 2 * np.log(2)) == pytest.approx(float(js), abs=1e-14)


@pytest.mark.parametrize(("name", "a"), SMOOTH)
def test_fenchel_young(name, a, x64):
    d = geometry.divergence(name, a)
    u = jnp.array([0.05, 0.4, 1.0, 1.7, 6.0])
    slope = d.derivative(u)
    np.testing.assert_allclose(d.conjugate(slope), u * slope - d.f(u), rtol=1e-11, atol=1e-12)
    # The maximiser is the derivative of the conjugate.
    back = jax.vmap(jax.grad(d.conjugate))(slope)
    np.testing.assert_allclose(back, u, rtol=1e-9)
    # ... and it is the supremum over u >= 0, at any t.
    grid = np.geomspace(1e-6, 60, 200001)
    for t in (-3.0, -0.8, -0.2):
        best = np.max(t * grid - np.asarray(d.f(jnp.asarray(grid))))
        at_zero = float(d.f(jnp.asarray(0.0)))
        best = max(best, -at_zero) if np.isfinite(at_zero) else best
        assert float(d.conjugate(t)) == pytest.approx(best, abs=2e-5), t


def test_thresholds_and_domains(x64):
    thresholds = {"kl": 1, "reverse_kl": -1, "pearson": 0, "gan": -np.log(2), "jeffrey": 0}
    for name, want in thresholds.items():
        assert float(geometry.divergence(name).threshold) == pytest.approx(want, abs=1e-14)
    for name, top in [("reverse_kl", 0), ("neyman", 1), ("squared_hellinger", 1), ("gan", 0)]:
        d = geometry.divergence(name)
        assert float(d.conjugate(top + 0.01)) == np.inf
        assert np.isfinite(float(d.conjugate(top - 0.01)))
        assert np.isfinite(float(jax.grad(d.conjugate)(top + 0.01)))
    tv = geometry.divergence("total_variation")
    np.testing.assert_allclose(tv.conjugate(jnp.array([-2.0, 0.2, 0.7])), [-0.5, 0.2, np.inf])
    np.testing.assert_allclose(geometry.divergence("kl").f(0.0), 0.0)


MATCHED = {
    "mu_relu": 0.0327,
    "lsu": 0.051524925084,
    "exp": 0.193794197941,
    "softplus2": 0.183045184575,
    # -log u below 1 and 1 - u above; the sheet prints .077052342315, two digits swapped out.
    "elu": 0.077052344315442,
    "gan": 0.101749225079,
    "relu": 0.0,
}


def _noun(name, softplus_two):
    if name == "gan":
        return geometry.gan()
    return softplus_two if name == "softplus2" else ja.get(name)


@pytest.mark.fast
def test_matched_values(pair, softplus_two, x64):
    p, q = pair
    for name, want in MATCHED.items():
        noun = _noun(name, softplus_two)
        got = float(geometry.matched_divergence(noun, p, q))
        assert got == pytest.approx(want, abs=1e-10), name
    # f = v^{-1}(1 - k) - v^{-1}(u - k), here with NumPy.
    u = p / q
    elu = ja.get("elu", 0.7, 1.3)
    inverse = lambda y: np.where(y > 0, y / 1.3, np.log1p(np.minimum(y, 0) / 0.7))  # noqa: E731
    twin = q @ (inverse(1 - 0.7) - inverse(u - 0.7))
    assert float(geometry.matched_divergence(elu, p, q)) == pytest.approx(twin, abs=1e-13)


@pytest.mark.parametrize("name", ["mu_relu", "exp", "softplus2", "gan", "elu"])
def test_matched_fenchel_young(name, softplus_two, x64):
    d = geometry.divergence(_noun(name, softplus_two))
    # At a kink of elu the conjugate's maximiser is not unique: stay off u = 1.
    u = jnp.array([0.1, 0.5, 0.9]) if name == "elu" else jnp.array([0.1, 0.5, 1.0, 3.0])
    slope = d.derivative(u)
    np.testing.assert_allclose(d.conjugate(slope), u * slope - d.f(u), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(jax.vmap(jax.grad(d.conjugate))(slope), u, rtol=1e-6)
    assert float(d.conjugate(0.1)) == np.inf


def test_the_two_conjugates_agree_where_slopes_jump(x64):
    t = jnp.array([-9.0, -2.0, -1.2, -0.9, -0.5])
    act = ja.get("elu", 0.7, 1.3)  # chi jumps from 0.7 to 1.3
    chi = geometry.signature(act)
    one, two = geometry.divergence(act), geometry.divergence(dataclasses.replace(chi, log=None))
    np.testing.assert_allclose(one.conjugate(t), two.conjugate(t), atol=1e-9)
    slopes = [jax.vmap(jax.grad(d.conjugate))(t) for d in (one, two)]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-8)
    # t = -1.2 lies in the jump: the supremum stays at u = 0.7.
    assert float(slopes[0][2]) == pytest.approx(0.7, abs=1e-9)
    relu = geometry.divergence(ja.get("relu"))  # f = 1 - u
    np.testing.assert_allclose(relu.conjugate(jnp.array([-5.0, -1.5])), [-1, -1], atol=1e-12)
    assert float(relu.conjugate(-0.5)) == np.inf


def test_a_divergence_is_learned(pair, x64):
    p, q = pair

    def loss(mu):
        return geometry.matched_divergence(ja.get("mu_relu", mu), p, q)

    # ((1 - mu)^2 / 4) Neyman, whose value is 0.36333.
    assert float(jax.grad(loss)(0.4)) == pytest.approx(-0.3 * 0.36333333333333, abs=1e-10)
    assert float(jax.grad(jax.grad(loss))(0.4)) == pytest.approx(0.36333333333333 / 2, abs=1e-9)
    swept = jax.vmap(loss)(jnp.array([0.0, 0.4]))
    np.testing.assert_allclose(swept, [0.363333333333 / 4, 0.0327], atol=1e-10)
    alpha = jax.grad(lambda a: geometry.divergence_value(geometry.divergence("alpha", a), p, q))
    h = 1e-6
    at = lambda a: float(geometry.divergence_value(geometry.divergence("alpha", a), p, q))  # noqa: E731
    assert float(alpha(3.0)) == pytest.approx((at(3 + h) - at(3 - h)) / (2 * h), abs=1e-8)


def test_gradients_in_the_distributions(pair, x64):
    p, q = (jnp.asarray(v) for v in pair)
    for name in ("kl", "jeffrey", "jensen_shannon"):
        d = geometry.divergence(name)
        value = jax.jit(lambda a, b, d=d: geometry.divergence_value(d, a, b))
        got = jax.grad(value, (0, 1))(p, q)
        u = p / q
        np.testing.assert_allclose(got[0], d.derivative(u), rtol=1e-12)
        np.testing.assert_allclose(got[1], d.f(u) - u * d.derivative(u), rtol=1e-9, atol=1e-12)


def test_zeros(x64):
    p, q = [0.0, 0.4, 0.6], [0.5, 0.25, 0.25]
    want = sum(b * np.log(b / a) for a, b in zip(q, p, strict=True) if b)
    assert float(geometry.divergence_value("kl", p, q)) == pytest.approx(want, abs=1e-14)
    assert float(geometry.divergence_value("reverse_kl", p, q)) == np.inf
    assert float(geometry.divergence_value("kl", [0.0, 1.0], [0.0, 1.0])) == 0


def test_bad_input_is_refused():
    p, q = [0.5, 0.5], [0.2, 0.8]
    with pytest.raises(ValueError, match="p must sum to 1, got a sum of 0.9"):
        geometry.divergence_value("kl", [0.5, 0.4], q)
    with pytest.raises(ValueError, match=r"q must be non-negative, got -0.2 at index \(0,\)"):
        geometry.matched_divergence(ja.get("exp"), p, [-0.2, 1.2])
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        geometry.divergence_value("kl", p, [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"p must have shape \(n,\), got \(1, 2\)"):
        geometry.divergence_value("kl", [p], q)
    with pytest.raises(ValueError, match="q must be positive where p is, got 0 at index 1"):
        geometry.divergence_value("kl", p, [1.0, 0.0])
    with pytest.raises(
        ValueError, match="which must be a known divergence, got 'helinger'; did you mean squared"
    ):
        geometry.divergence("helinger")
    with pytest.raises(ValueError, match="alpha must be neither 0"):
        geometry.divergence("alpha", 1.0)
    with pytest.raises(ValueError, match="needs its parameter alpha"):
        geometry.divergence("alpha")
    with pytest.raises(ValueError, match="alpha belongs to"):
        geometry.divergence("kl", 2.0)
    with pytest.raises(ValueError, match="tanh has no signature"):
        geometry.matched_divergence(ja.get("tanh"), p, q)
    with pytest.raises(TypeError, match="act must be an activation"):
        geometry.matched_divergence("kl", p, q)


def test_float32_and_one_compilation():
    p, q = jnp.array([0.5, 0.3, 0.2], jnp.float32), jnp.array([0.2, 0.5, 0.3], jnp.float32)
    for name, want in VALUES.items():
        value = geometry.divergence_value(name, p, q)
        assert value.dtype == jnp.float32
        assert float(value) == pytest.approx(want, rel=1e-5)
    traces = []

    def fn(x, b):
        traces.append(None)
        return jnp.logaddexp(0.0, b * x)

    counts = []
    for b in (1.0, 1.4, 2.2):
        value = geometry.matched_divergence(ja.Activation(fn, (b,), "counted"), p, q)
        assert value.dtype == jnp.float32
        counts.append(len(traces))
    assert counts[0] == counts[2]


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_kernels_lower_elsewhere(platform, softplus_two):
    p = jnp.array([0.25, 0.75])
    for which in ("jeffrey", softplus_two, geometry.gan()):
        d = geometry.divergence(which)
        jax.jit(geometry.divergence_value).trace(d, p, p).lower(lowering_platforms=(platform,))
        jax.jit(lambda d, t: d.conjugate(t)).trace(d, -p).lower(lowering_platforms=(platform,))
