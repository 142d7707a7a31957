"""The dictionary backwards (divergence -> signature -> activation), densities, distances."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import geometry

CLOSED = {
    "reverse_kl": lambda u: u,
    "squared_hellinger": np.sqrt,
    "neyman": np.square,
    "gan": lambda u: 1 / np.log(1 + 1 / u),
    "jensen_shannon": lambda u: 1 / np.log(1 + 1 / u),
    "alpha": lambda u: 0.5 * np.sqrt(u),
    "total_variation": lambda u: np.where(u < 1, 0.5, 1.0),
}


def _divergence(name):
    return geometry.divergence(name, 0.5 if name == "alpha" else None)


@pytest.mark.fast
def test_signatures_of_the_sheet(x64):
    u = np.array([0.05, 0.5, 2.0, 5.0])
    for name, want in CLOSED.items():
        chi = geometry.signature_of_divergence(_divergence(name))
        np.testing.assert_allclose(chi(jnp.asarray(u)), want(u), rtol=1e-13)
    for name in ("kl", "pearson", "jeffrey"):
        chi = geometry.signature_of_divergence(name, ratio_bound=8.0)
        slope = geometry.divergence(name).derivative
        want = 1 / (slope(8.0) + 1 - slope(jnp.asarray(u)))
        np.testing.assert_allclose(chi(jnp.asarray(u)), want, rtol=1e-13)
        assert float(chi(20.0)) == pytest.approx(1, rel=1e-14)


ROWS = [
    *[(name, None, None) for name in CLOSED if name != "neyman"],
    ("neyman", 1.0, None),
    ("gan", 0.5, None),
    ("pearson", None, 9.0),
]


@pytest.mark.parametrize(("name", "margin", "bound"), ROWS)
def test_from_divergence_to_activation_and_back(name, margin, bound, pair, x64):
    d = _divergence(name)
    act = geometry.activation_from_divergence(d, margin=margin, ratio_bound=bound)
    assert float(act(0.0)) == pytest.approx(1, abs=1e-14)
    y = jnp.array([-0.7, 0.4, 1.5])
    # exp_chi' = chi(exp_chi) = 1 / (K - f'), and the closed inverse is one.
    slope = jax.vmap(jax.grad(act))(y)
    chi = geometry.signature_of_divergence(d, margin=margin, ratio_bound=bound)
    np.testing.assert_allclose(slope, chi(act(y)), rtol=1e-10)
    np.testing.assert_allclose(act.closed.inverse(act(y), *act.theta), y, rtol=1e-12)
    assert geometry.admissibility(act).has_signature
    # The matched divergence is the divergence again, less f(1).
    back = geometry.matched_divergence(act, *pair)
    want = geometry.divergence_value(d, *pair) - d.f(1.0)
    assert float(back) == pytest.approx(float(want), abs=1e-12)


def test_known_activations(x64):
    y = jnp.linspace(-1.8, 3.0, 7)
    make = geometry.activation_from_divergence
    np.testing.assert_allclose(make("reverse_kl")(y), np.exp(y), rtol=1e-14)
    np.testing.assert_allclose(make("squared_hellinger")(y), (1 + y / 2) ** 2, rtol=1e-13)
    # Neyman with a margin is squareplus.
    got = make("neyman", margin=1.0)(y)
    np.testing.assert_allclose(got, jax.nn.squareplus(y, 4.0), rtol=1e-13)
    # ... and round the other way: activation -> divergence -> activation.
    for act, start in ((ja.get("mu_relu", 0.4), 1 - 0.09), (ja.get("exp"), 0.0)):
        np.testing.assert_allclose(make(act)(y), act(y + start), rtol=1e-12)


def test_a_new_activation_in_a_network():
    act = geometry.activation_from_divergence("gan", margin=1.0)
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    out = jax.jit(act)(x)
    assert out.shape == x.shape
    assert out.dtype == jnp.float32
    # log_chi(z) = (z + 1) log(z + 1) - z log z - 2 log 2 + (z - 1).
    z = np.asarray(out, np.float64)
    back = (z + 1) * np.log(z + 1) - z * np.log(z) - 2 * np.log(2) + z - 1
    np.testing.assert_allclose(back, x, atol=2e-5)
    far = act(jnp.array([-1e4, 1e4]))
    assert float(far[0]) >= 0
    assert float(far[1]) == pytest.approx(1e4, rel=1e-2)
    slope = jax.grad(lambda m: geometry.activation_from_divergence("gan", margin=m)(0.8))
    h = 1e-2
    at = lambda m: float(geometry.activation_from_divergence("gan", margin=m)(0.8))  # noqa: E731
    assert float(slope(1.0)) == pytest.approx((at(1 + h) - at(1 - h)) / (2 * h), rel=1e-3)


def test_densities(x64):
    normal = lambda m: lambda x: -((x - m) ** 2) / 2 - np.log(2 * np.pi) / 2  # noqa: E731
    log_p, log_q = normal(0.0), normal(1.0)
    rows = {"kl": 0.5, "squared_hellinger": 2 * (1 - np.exp(-1 / 8)), "pearson": np.e - 1}
    x = 1 + jax.random.normal(jax.random.key(1), (20000,))
    for name, want in rows.items():
        found = geometry.divergence_integral(name, log_p, log_q, -14.0, 15.0)
        assert float(found.value) == pytest.approx(want, abs=1e-11)
        assert float(found.error) < 1e-8
        sampled = geometry.divergence_sample(name, log_p(x) - log_q(x))
        assert float(sampled.error) < 0.2
        assert abs(float(sampled.value) - want) < 4 * float(sampled.error)
    moved = jax.grad(
        lambda m: geometry.divergence_integral("kl", normal(m), log_q, -14.0, 15.0).value
    )
    assert float(moved(0.0)) == pytest.approx(-1, abs=1e-10)


def test_distances():
    relu = ja.get("relu")
    for b, want in ((1.0, 1.644934066848), (2.0, 0.411233516712), (5.0, 0.065797362674)):
        found = geometry.activation_distance(ja.get("softplus", b), relu)
        assert found.l1 == pytest.approx(want, abs=1e-9)
        assert found.sup == pytest.approx(np.log(2) / b, abs=1e-12)
    for mu in (0.0, 0.4, 0.9):
        found = geometry.activation_distance(ja.get("mu_relu", mu), relu)
        assert found.l1 == np.inf
        assert found.sup == pytest.approx((1 - mu) / 2, abs=1e-12)
    assert geometry.activation_distance(relu, relu) == geometry.Distance(0.0, 0.0)
    assert geometry.activation_distance(relu, lambda x: 2 * x).sup == np.inf


def test_raw_outputs_and_bad_input():
    for name, bad, domain in [
        ("gan", 0.3, "t < 0"),
        ("neyman", 1.2, "t <= 1"),
        ("total_variation", 0.6, "t <= 0.5"),
        ("squared_hellinger", 1.0, "t < 1"),
    ]:
        with pytest.raises(ValueError, match=f"domain of f\\* of {name}, {domain}, got"):
            geometry.variational_bound(name, -0.1, jnp.array([-0.5, bad]))
    with pytest.raises(ValueError, match="t_p must lie in the domain of f\\* of alpha, t < 2,"):
        geometry.variational_bound(geometry.divergence("alpha", 0.5), 2.5, 0.0)
    assert float(geometry.variational_bound("kl", 1.0, 1.0)) == 0
    with pytest.raises(ValueError, match="kl has no signature on all ratios: its f' is unbounded"):
        geometry.activation_from_divergence("kl")
    with pytest.raises(ValueError, match="not known to be bounded"):
        geometry.signature_of_divergence(geometry.Divergence(jnp.square, jnp.square))
    with pytest.raises(ValueError, match="tsallis has no activation on the whole line.*margin > 0"):
        geometry.activation_from_divergence("neyman")
    with pytest.raises(ValueError, match="ratio_bound must be above 1, got 0.5"):
        geometry.signature_of_divergence("kl", ratio_bound=0.5)
    with pytest.raises(ValueError, match="margin of total_variation must be positive"):
        geometry.signature_of_divergence("total_variation", margin=0.0)
    with pytest.raises(ValueError, match="low must be below high"):
        geometry.divergence_integral("kl", jnp.abs, jnp.abs, 1.0, 0.0)
    with pytest.raises(ValueError, match="at least 2 points"):
        geometry.divergence_sample("kl", jnp.zeros(1))
