"""Admissibility: the paper's table, users' lambdas, and the reasons."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import jaxact as ja
from jaxact import geometry

STRONG = ("softplus", "mu_relu", "elu", "celu", "exp", "matsushita")
WEAK = ("relu", "lsu", "f_alpha", "repu")


@pytest.mark.fast
@pytest.mark.parametrize("name", ja.names())
def test_every_name_has_its_status(name):
    report = geometry.admissibility(ja.get(name))
    expected = "strong" if name in STRONG else "weak" if name in WEAK else "none"
    assert report.status == expected, report
    assert report.name in report.reason
    assert report.has_signature == (expected != "none")


@pytest.mark.parametrize(
    ("make", "status", "jump"),
    [
        (lambda: ja.get("relu"), "weak", 1.0),
        (lambda: ja.get("elu", 0.7, 1.3), "weak", 0.6),
        (lambda: ja.get("elu", 1.3, 0.7), "none", 0.6),
        (lambda: ja.get("elu", 0.7, 0.7), "strong", 0.0),
        (lambda: ja.get("leaky_relu", 0.1), "none", 0.9),
        (lambda: ja.get("selu"), "none", 0.707398353),
        (lambda: ja.get("mu_relu", 0.99), "strong", 0.0),
        # No kink is declared: it is there at mu = 1 only.
        (lambda: ja.get("mu_relu", 1.0), "weak", 1.0),
        (lambda: ja.get("softplus", 80.0), "strong", 0.0),
        (lambda: ja.get("celu", 0.05), "strong", 0.0),
        (lambda: jax.nn.squareplus, "strong", 0.0),
        (lambda: lambda x: jnp.exp(jnp.minimum(x, 0)) + 3 * jnp.maximum(x, 0), "weak", 2.0),
        (lambda: lambda x: jnp.log1p(jnp.exp(2 * x)), "strong", 0.0),
        (lambda: lambda x: -jnp.logaddexp(0.0, x), "none", 0.0),
        (lambda: lambda x: 0.0 * x, "none", 0.0),
        # Convex and increasing with a vanishing slope, and yet unbounded below.
        (lambda: lambda x: -jnp.log1p(jnp.maximum(-x, 0)) + jnp.maximum(x, 0), "none", 0.0),
    ],
)
def test_statuses_and_jumps(make, status, jump):
    report = geometry.admissibility(make())
    assert report.status == status, report
    assert report.jump == pytest.approx(jump, abs=1e-8)


def test_the_fields_tell_what_fails():
    tanh = geometry.admissibility(ja.get("tanh"))
    assert (tanh.monotone, tanh.convex, tanh.bounded_below, tanh.infimum) == (True, False, True, -1)
    leaky = geometry.admissibility(ja.get("leaky_relu"))
    assert leaky.convex
    assert leaky.monotone
    assert not leaky.bounded_below
    assert leaky.infimum == -jnp.inf
    assert "slope at -infinity is 0.01" in leaky.reason
    gelu = geometry.admissibility(ja.get("gelu"))
    assert not gelu.monotone
    assert "not monotone" in gelu.reason
    assert gelu.infimum == pytest.approx(-0.16997120747990369, abs=1e-9)
    lsu = geometry.admissibility(ja.get("lsu"))
    assert lsu.monotone
    assert not lsu.strict
    assert lsu.jump == 0
    assert "flat" in lsu.reason
    assert "f' jumps by 1 at x = 0" in geometry.admissibility(ja.get("relu")).reason
    assert "not continuous: it jumps at x = 0" in geometry.admissibility(ja.get("step")).reason
    assert geometry.admissibility(ja.get("elu", 0.7, 0.7)).infimum == pytest.approx(-0.7)


def test_it_is_asked_on_the_host():
    with pytest.raises(ValueError, match="mu_relu needs concrete parameters"):
        jax.jit(lambda m: geometry.admissibility(ja.get("mu_relu", m)).infimum)(0.3)
    # ... and an outer trace with a concrete theta is no obstacle.
    inside = jax.jit(lambda y: geometry.signature(ja.get("mu_relu", 0.35))(y))(1.0)
    assert float(inside) == pytest.approx(4 / (0.65**2 + 4), rel=1e-6)


def test_a_refused_signature_says_why():
    for name, why in [
        ("tanh", "not convex"),
        ("gelu", "not monotone"),
        ("leaky_relu", "not bounded below"),
        ("identity", "not bounded below"),
        ("selu", "not convex: its slope falls from 1.747 to 1.051"),
    ]:
        with pytest.raises(ValueError, match=f"{name} has no signature: {name} is {why}"):
            geometry.signature(ja.get(name))
    with pytest.raises(ValueError, match="slope falls from"):
        geometry.signature(ja.get("elu", 1.3, 0.7))
