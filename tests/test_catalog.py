"""Every named activation: its kinks, and each closed form equal to the derived value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact.activation import _Inverse, _Primitive, derived_moments
from jaxact.numerics import find_kinks

NAMES = ja.names()
X = np.linspace(-5, 5, 21) + 0.0137
EXPECTED = (
    "relu leaky_relu prelu abs sign step tanh sigmoid arctan erf softplus gelu gelu_tanh silu "
    "swish mish elu celu selu hardtanh hard_sigmoid hard_swish relu6 softsign sin cos exp gaussian "
    "identity square cubic repu mu_relu lsu matsushita f_alpha polynomial hermite"
).split()


@pytest.mark.fast
def test_the_names_are_the_promised_ones():
    assert set(NAMES) == set(EXPECTED)


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_what_a_scan_finds(name):
    act = ja.get(name)
    assert find_kinks(act.fn, act.theta) == act.kinks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.7])
def test_closed_moments_equal_the_quadrature(name, scale, x64):
    act = ja.get(name)
    closed, derived = act.moments(scale), derived_moments(act, scale)
    size = float(derived.eta + derived.mean**2)
    for part in ("mean", "eta", "zeta"):
        np.testing.assert_allclose(
            getattr(closed, part), getattr(derived, part), rtol=1e-11, atol=1e-13 * (1 + size)
        )


@pytest.mark.parametrize("name", NAMES)
def test_primitive(name, x64):
    act = ja.get(name)
    x = jnp.asarray(X)
    derived = _Primitive(act.fn, act.kinks)(x, *act.theta)
    np.testing.assert_allclose(act.primitive(x), derived, rtol=1e-12, atol=1e-13)
    slope = jax.vmap(jax.grad(act.primitive))(x)
    np.testing.assert_allclose(slope, act(x), rtol=1e-11, atol=1e-13)


INVERTIBLE = [n for n in NAMES if ja.get(n).closed.inverse is not None]


@pytest.mark.parametrize("name", INVERTIBLE)
def test_closed_inverse_equals_the_root(name, x64):
    act = ja.get(name)
    x = jnp.asarray(X[np.abs(X) < 3])
    y = act(x)
    np.testing.assert_allclose(act.inverse(y), x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(_Inverse(act.fn)(y, *act.theta), x, rtol=1e-9, atol=1e-11)
    outside = jnp.asarray([-50.0, 50.0])
    np.testing.assert_array_equal(
        jnp.isinf(act.inverse(outside)), jnp.isinf(_Inverse(act.fn)(outside, *act.theta))
    )
    gradient = jax.vmap(jax.grad(act.inverse))(jnp.concatenate([y, outside]))
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("name", [n for n in NAMES if ja.get(n).closed.signature])
def test_closed_signature_is_the_slope_as_a_function_of_the_value(name, x64):
    """chi(f(x) + k) = f'(x), with k = -inf f, wherever f increases strictly."""
    act = ja.get(name)
    x = jnp.asarray(X[np.abs(X) < 3])
    k = -float(jnp.min(act(jnp.linspace(-1e6, 0.0, 5))))
    slope = act.derivative(x)
    chi = act.closed.signature(act(x) + k, *act.theta)
    np.testing.assert_allclose(chi[slope > 0], slope[slope > 0], rtol=1e-4)
    if name not in ("mu_relu", "matsushita"):  # whose tails reach their infimum slowly
        np.testing.assert_allclose(chi[slope > 0], slope[slope > 0], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "mean", "eta", "zeta"),
    [
        ("relu", (2 * np.pi) ** -0.5, 0.340845056908105, 0.25),
        ("erf", 0, 0.46455905439754, 0.424413181578387),
        ("cos", np.exp(-0.5), 0.199788200446864, 0),
        ("gelu", 0.5 / np.sqrt(np.pi), 0.345644011024351, 0.25),
        ("silu", 0.206620964141907, 0.313083296994421, 0.25),
        ("softplus", 0.80605918334744, 0.271514501800559, 0.25),
        ("gelu_tanh", 0.282038588078789, 0.345647945867623, 0.25),
        ("tanh", 0, 0.394294490397841, 0.366879164362411),
        ("sigmoid", 0.5, 0.043379035858093, 0.0426922228229312),
        ("elu", 0.160520572266556, 0.619178563372141, 0.580001494640199),
        ("selu", 0, 1, 0.97068035230071),
        ("mish", 0.240403888374791, 0.394548162830164, 0.317811308348616),
        ("hardtanh", 0, 0.516058550961713, 0.466064942674392),
        ("relu6", 0.398942280245076, 0.34084505510813, 0.249999999013412),
        ("hard_sigmoid", 0.5, 0.0276390910565126, 0.0276279915770073),
        ("hard_swish", 0.166216700656123, 0.3039393835609, 0.25),
        ("arctan", 0, 0.449700916434902, 0.429915662346525),
        ("softsign", 0, 0.183014021266548, 0.170366772856009),
        ("repu", 0.5, 1.25, 2 / np.pi),
        ("cubic", 0, 15, 9),
    ],
)
def test_the_published_moments(name, mean, eta, zeta, x64):
    got = ja.get(name).moments()
    np.testing.assert_allclose([got.mean, got.eta, got.zeta], [mean, eta, zeta], rtol=0, atol=2e-12)


@pytest.mark.fast
@pytest.mark.parametrize("name", NAMES)
def test_float32_is_finite_and_keeps_its_dtype(name):
    act = ja.get(name)
    x = jnp.asarray(X, jnp.float32)
    for value in (act(x), act.primitive(x), act.derivative(x)):
        assert value.dtype == jnp.float32
        assert jnp.isfinite(value).all()
