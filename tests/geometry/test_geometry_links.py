"""Proper composite losses: the sheet's links, weights, convexity flags; properness and safety."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxact as ja
from jaxact import geometry
from jaxact.geometry import ProperComposite

PROPER = ("kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "jensen_shannon", "gan")
LINKS = ("logistic", "matsushita", "probit", "cloglog")
# T and f*(T) at u = p / q with NumPy: f'(u) and u f'(u) - f(u).
TWINS = {
    "kl": (lambda u: 1 + np.log(u), lambda u: u),
    "reverse_kl": (lambda u: -1 / u, lambda u: np.log(u) - 1),
    "pearson": (lambda u: 2 * (u - 1), lambda u: u**2 - 1),
    "neyman": (lambda u: 1 - u**-2, lambda u: 2 - 2 / u),
    "squared_hellinger": (lambda u: 1 - u**-0.5, lambda u: u**0.5 - 1),
    "jensen_shannon": (lambda u: np.log(2 * u / (1 + u)), lambda u: np.log((1 + u) / 2)),
    "gan": (lambda u: np.log(u / (1 + u)), lambda u: np.log(1 + u)),
    "jeffrey": (lambda u: 1 + np.log(u) - 1 / u, lambda u: u + np.log(u) - 1),
    "alpha": (lambda u: 2 * (1 - u**-0.5), lambda u: 2 * (u**0.5 - 1)),
}


def _divergence(name):
    return geometry.divergence(name, 0.5 if name == "alpha" else None)


@pytest.mark.fast
def test_heads_against_numpy(x64):
    s = np.linspace(-4, 4, 9)
    for name, (output, conjugate) in TWINS.items():
        got = _divergence(name).heads(jnp.asarray(s))
        np.testing.assert_allclose(got[0], output(np.exp(s)), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(got[1], conjugate(np.exp(s)), rtol=1e-12, atol=1e-12)


@pytest.mark.fast
def test_inverse_links(x64):
    at_one = {
        "logistic": 0.7310585786,
        "matsushita": 0.8535533906,
        "probit": scipy.stats.norm.cdf(1),
        "cloglog": 1 - np.exp(-np.exp(1)),
    }
    for name, want in at_one.items():
        assert float(ProperComposite("gan", name).probability(1.0)) == pytest.approx(
            want, abs=1e-10
        )
    code = ProperComposite("gan", geometry.matsushita(1.0))
    assert float(code.probability(1.0)) == pytest.approx(0.7236067977, abs=1e-10)
    v = jnp.array([-30.0, -3.0, 0.0, 2.0, 9.0])
    cdf = scipy.stats.norm
    got = ProperComposite("gan", "probit").log_ratio(v)
    np.testing.assert_allclose(got, cdf.logcdf(v) - cdf.logsf(v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in TWINS if n != "alpha"])
def test_the_optimum_reaches_the_divergence(name, pair, x64):
    p, q = pair
    s = jnp.log(p / q)
    want = float(geometry.divergence_value(name, p, q))
    for link in ("nowozin", *LINKS, geometry.matsushita(0.8)):
        loss = ProperComposite(name, link)
        v = loss.optimum(s)
        got = p @ loss.output(v) - q @ loss.conjugate(v)
        assert float(got) == pytest.approx(want, abs=1e-12), loss.name
        np.testing.assert_allclose(loss.log_ratio(v), s, atol=1e-13)
        # ... and any other v gives less.
        worse = p @ loss.output(v + 0.1) - q @ loss.conjugate(v + 0.1)
        assert float(worse) < want
    if name != "neyman":
        loss = ProperComposite(name, "canonical")
        v = loss.optimum(s)
        losses = loss.partial_losses(v)
        np.testing.assert_allclose(losses[1] - losses[0], v, atol=1e-13)
        assert float(-p @ losses[0] - q @ losses[1]) == pytest.approx(want, abs=1e-12)


def test_properness_on_a_grid(x64):
    grid = jnp.linspace(0.001, 0.999, 999)
    s = jnp.log(grid) - jnp.log1p(-grid)
    for name in PROPER:
        loss = ProperComposite(name, "matsushita")
        positive, negative = loss.partial_losses(loss.optimum(s))
        for eta in (0.1, 0.3, 0.5, 0.9):
            best = grid[jnp.argmin(eta * positive + (1 - eta) * negative)]
            assert float(best) == pytest.approx(eta, abs=1e-9), name


@pytest.mark.fast
def test_weights(x64):
    weights = {
        "gan": (6.25, 4, 4.761905),
        "jensen_shannon": (6.25, 4, 4.761905),
        "kl": (7.8125, 8, 15.873016),
        "reverse_kl": (31.25, 8, 6.802721),
        "pearson": (3.90625, 16, 74.074074),
        "squared_hellinger": (7.8125, 4, 5.195664),
        "neyman": (250, 16, 5.830904),
    }
    for name, want in weights.items():
        got = ProperComposite(name).weight(jnp.array([0.2, 0.5, 0.7]))
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_nowozin_is_logistic_where_the_sheet_says(x64):
    v = jnp.array([-3.0, 0.2, 4.0])
    for name in ("reverse_kl", "jensen_shannon", "gan"):
        one, two = (
            ProperComposite(name, link).partial_losses(v) for link in ("nowozin", "logistic")
        )
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    # The others: T as in the paper's table, here with NumPy.
    table = {
        "kl": lambda v: v,
        "pearson": lambda v: v,
        "jeffrey": lambda v: v,
        "neyman": lambda v: 1 - np.exp(-v),
        "squared_hellinger": lambda v: 1 - np.exp(-v),
        "total_variation": lambda v: np.tanh(v) / 2,
        "alpha": lambda v: 2 - np.log1p(np.exp(-v)),
    }
    for name, output in table.items():
        loss = ProperComposite(_divergence(name))
        np.testing.assert_allclose(loss.output(v), output(np.asarray(v)), atol=1e-13)
        want = loss.divergence.conjugate(loss.output(v))
        np.testing.assert_allclose(loss.conjugate(v), want, rtol=1e-12, atol=1e-13)
    cubic = ProperComposite(geometry.divergence("alpha", 3.0))
    np.testing.assert_array_equal(cubic.output(v), v)
    np.testing.assert_allclose(cubic.conjugate(-5.0), -1 / 3)  # below the range of f'


def test_convexity_flags():
    flags = {
        "nowozin": {n: 0 for n in PROPER if n != "neyman"},
        "logistic": {n: 0 for n in PROPER if n not in ("pearson", "neyman")} | {"pearson": -807},
        "matsushita": {
            "kl": -0.77, "reverse_kl": -0.77, "pearson": -16, "squared_hellinger": 0,
            "jensen_shannon": -0.39, "gan": -0.39,
        },
    }  # fmt: skip
    for link, rows in flags.items():
        for name, want in rows.items():
            report = geometry.convexity(ProperComposite(name, link))
            assert report.convex == (want == 0), report
            if want:
                least = min(report.curvature_p, report.curvature_q)
                assert least == pytest.approx(want, rel=0.02), report
    # ... and the steepness that broke the training of Pearson.
    steep = geometry.convexity(ProperComposite("pearson", "logistic"))
    assert steep.steepest_q == pytest.approx(2 * np.exp(12), rel=1e-9)
    assert steep.rate == pytest.approx(2, abs=1e-9)
    assert geometry.convexity(ProperComposite("pearson")).steepest_q == pytest.approx(4)
    for name in ("kl", "reverse_kl", "pearson", "squared_hellinger", "jeffrey"):
        assert geometry.convexity(ProperComposite(name, "canonical")).convex, name


def test_the_learnable_link(x64):
    def ratio(b, v):
        return geometry.matsushita(b).log_ratio(v)

    v = jnp.array([-3.0, 0.3, 5.0])
    np.testing.assert_allclose(ratio(1.0, v), 2 * np.arcsinh(np.asarray(v) / 2), rtol=1e-14)
    np.testing.assert_array_equal(ratio(0.0, v), v)
    # s = v - b^2 v^3 / 24 + ...
    assert float(jax.grad(ratio)(0.0, 2.0)) == 0
    assert float(jax.grad(jax.grad(ratio))(0.0, 2.0)) == pytest.approx(-8 / 12, abs=1e-12)
    for b in (0.1, 0.24, 0.26, 1.3):
        h = 1e-6
        slope = (ratio(b + h, 2.0) - ratio(b - h, 2.0)) / (2 * h)
        assert float(jax.grad(ratio)(b, 2.0)) == pytest.approx(float(slope), abs=1e-9)
    np.testing.assert_allclose(geometry.matsushita(0.7).output(ratio(0.7, v)), v, rtol=1e-13)
    # Learned through the loss, and one compilation for all b.
    traces = []

    @jax.jit
    def value(loss, v):
        traces.append(None)
        return loss.value(v, -v)

    values = [value(ProperComposite("gan", geometry.matsushita(b)), v) for b in (0.0, 0.5, 1.0)]
    assert len(traces) == 1
    assert len(set(map(float, values))) == 3
    grads = jax.grad(value)(ProperComposite("gan", geometry.matsushita(0.5)), v)
    assert np.isfinite(float(grads.link.theta[0]))
    assert float(grads.link.theta[0]) != 0


@pytest.mark.parametrize("link", ["nowozin", "canonical", "cloglog", "probit", "matsushita"])
def test_no_nan_in_float32(link):
    v = jnp.array([-1e4, -90.0, -30.0, -5.0, -3.0, -2.0, 0.0, 2.0, 30.0, 90.0, 1e4], jnp.float32)
    names = ("kl", "pearson", "neyman", "gan", "jeffrey", "squared_hellinger", "alpha")
    for name in names:
        if link == "canonical" and name == "neyman":
            continue
        loss = ProperComposite(_divergence(name), link)
        losses, slopes = jax.jvp(loss.partial_losses, (v,), (jnp.ones_like(v),))
        for got in (*losses, *slopes):
            assert got.dtype == jnp.float32
            assert not np.isnan(got).any(), (name, got)
            if link == "matsushita" or name == "gan" and link != "cloglog":
                assert np.isfinite(got).all(), (name, got)
        value, slope = jax.value_and_grad(lambda v, loss=loss: loss.value(v, v))(v)
        assert not np.isnan(value)
        assert not np.isnan(slope).any()


def test_any_function_and_any_activation(x64):
    v = jnp.array([-2.0, 0.5, 3.0])
    cube = ProperComposite("gan", lambda v: v + v**3)
    np.testing.assert_allclose(cube.output(v), jax.nn.log_sigmoid(v + v**3), rtol=1e-14)
    np.testing.assert_allclose(cube.optimum(cube.log_ratio(v)), v, rtol=1e-12)
    # exp's divergence is reverse KL; mu_relu's is Neyman's, scaled and shifted.
    matched = ProperComposite(ja.get("exp"))
    assert matched.link.name == "logistic"
    for got, want in zip(
        matched.partial_losses(v), ProperComposite("reverse_kl").partial_losses(v), strict=True
    ):
        # f = -log u in both, up to nothing.
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    mu = ProperComposite(ja.get("mu_relu", 0.4), "logistic")
    neyman = ProperComposite("neyman", "logistic").output(v)
    np.testing.assert_allclose(mu.output(v), 0.09 * (neyman - 1) - 1, rtol=1e-10)


def test_losses_in_one_compiled_switch():
    losses = [
        ProperComposite("kl"),
        ProperComposite("gan", "matsushita"),
        ProperComposite("jeffrey"),
    ]
    v = jnp.array([0.3, -1.0])
    branches = [lambda v, loss=loss: loss.value(v, v) for loss in losses]
    got = jax.jit(jax.vmap(lambda i: jax.lax.switch(i, branches, v)))(jnp.arange(3))
    np.testing.assert_allclose(got, [loss.value(v, v) for loss in losses], rtol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="link must be one of 'nowozin', 'canonical', 'logistic'"):
        ProperComposite("gan", "logit")
    with pytest.raises(ValueError, match="no row for the divergence 'matched to exp'"):
        ProperComposite(ja.get("exp"), "nowozin")
    with pytest.raises(ValueError, match="canonical link of neyman reaches v < 3 only"):
        ProperComposite("neyman", "canonical")
    with pytest.raises(ValueError, match="total_variation has the link 'nowozin' only"):
        ProperComposite("total_variation", "logistic")
    with pytest.raises(ValueError, match="reads no density ratio"):
        ProperComposite("total_variation").log_ratio(0.1)
    with pytest.raises(ValueError, match="strictly increasing"):
        ProperComposite("gan", lambda v: -v)
    with pytest.raises(TypeError, match="link must be a name"):
        ProperComposite("gan", 3.0)
    with pytest.raises(ValueError, match="low must be below high"):
        geometry.convexity(ProperComposite("gan"), 2.0, 1.0)
