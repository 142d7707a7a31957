"""Gaussian moments against the closed forms and reference values of the theory sheet."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra

PI = math.pi


def relu_like(a):
    """Of max(x, 0) + a min(x, 0): mean, eta, zeta at scale 1."""
    mean = (1 - a) / math.sqrt(2 * PI)
    return mean, (1 + a**2) / 2 - mean**2, (1 + a) ** 2 / 4


# name, theta, (mean, eta, zeta), absolute tolerance
TABLE = [
    ("relu", (), (1 / math.sqrt(2 * PI), 0.340845056908105, 1 / 4), 1e-14),
    ("leaky_relu", (0.01,), (0.99 / math.sqrt(2 * PI), 0.344062240275633, 1.01**2 / 4), 1e-14),
    ("leaky_relu", (0.2,), (0.8 / math.sqrt(2 * PI), 0.418140836421187, 1.2**2 / 4), 1e-14),
    ("abs", (), (math.sqrt(2 / PI), 1 - 2 / PI, 0), 1e-14),
    ("sign", (), (0, 1, 2 / PI), 1e-14),
    ("step", (), (0.5, 1 / 4, 1 / (2 * PI)), 1e-14),
    ("erf", (), (0, 2 / PI * math.asin(2 / 3), 4 / (3 * PI)), 1e-14),
    ("sin", (), (0, (1 - math.exp(-2)) / 2, math.exp(-1)), 1e-14),
    ("cos", (), (math.exp(-0.5), (1 + math.exp(-2)) / 2 - math.exp(-1), 0), 1e-14),
    ("exp", (), (math.exp(0.5), math.e**2 - math.e, math.e), 1e-13),
    ("gaussian", (), (1 / math.sqrt(2), 1 / math.sqrt(3) - 1 / 2, 0), 1e-14),
    ("gelu", (), (1 / (2 * math.sqrt(PI)), 0.345644011024351, 1 / 4), 1e-14),
    ("silu", (), (0.206620964141907, 0.313083296994421, 1 / 4), 1e-14),
    ("softplus", (), (0.80605918334744, 0.271514501800559, 1 / 4), 1e-14),
    ("gelu_tanh", (), (0.282038588078789, 0.345647945867623, 1 / 4), 1e-14),
    ("tanh", (), (0, 0.394294490397841, 0.366879164362411), 1e-14),
    ("sigmoid", (), (1 / 2, 0.043379035858093, 0.0426922228229312), 1e-14),
    ("elu", (), (0.160520572266556, 0.619178563372141, 0.580001494640199), 1e-14),
    ("selu", (), (0, 1, 0.97068035230071), 1e-14),
    ("mish", (), (0.240403888374791, 0.394548162830164, 0.317811308348616), 1e-14),
    ("hardtanh", (), (0, 0.516058550961713, math.erf(math.sqrt(0.5)) ** 2), 1e-14),
    ("relu6", (), (0.398942280245076, 0.34084505510813, 0.249999999013412), 1e-14),
    ("hard_sigmoid", (), (0.5, 0.0276390910565126, 0.0276279915770073), 1e-14),
    ("hard_swish", (), (0.166216700656123, 0.3039393835609, 1 / 4), 1e-13),
    ("arctan", (), (0, 0.449700916434902, 0.429915662346525), 1e-14),
    ("softsign", (), (0, 0.183014021266548, 0.170366772856009), 1e-14),
    ("repu", (2,), (1 / 2, 5 / 4, 2 / PI), 1e-13),
    ("identity", (), (0, 1, 1), 1e-14),
    ("square", (), (1, 2, 0), 1e-13),
    ("cubic", (), (0, 15, 9), 1e-12),
    ("hermite", ((0.0, 0.0, 0.0, math.sqrt(6)),), (0, 6, 0), 1e-12),
    ("f_alpha", (-1.0,), (0, 1, 1), 1e-14),
    ("f_alpha", (0.0,), (0, 1, 1 / (2 - 2 / PI)), 1e-14),
    ("f_alpha", (1.0,), (0, 1, 0), 1e-14),
]


def triple(found):
    return np.array([float(v) for v in (found.mean, found.eta, found.zeta)])


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "theta", "expected", "tolerance"), TABLE, ids=[f"{r[0]}{r[1]}" for r in TABLE]
)
def test_the_table_of_the_sheet(name, theta, expected, tolerance, x64):
    found = triple(spectra.moments(jaxact.get(name, *theta)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=max(tolerance, 2e-15) + 1e-14)
    if name in ("relu", "leaky_relu") and theta:
        np.testing.assert_allclose(found, relu_like(theta[0]), rtol=1e-14)


@pytest.mark.fast
def test_erf_of_x_over_root_two_from_a_plain_function(x64):
    found = spectra.moments(lambda x: jax.scipy.special.erf(x / math.sqrt(2)))
    np.testing.assert_allclose(triple(found), (0, 1 / 3, 1 / PI), rtol=0, atol=1e-14)


def scaled(name, s):
    """Closed forms at scale s that are not those of the catalogue's code."""
    return {
        "relu": (s / math.sqrt(2 * PI), s * s * (0.5 - 0.5 / PI), s * s / 4),
        "erf": (
            0,
            2 / PI * math.asin(2 * s * s / (1 + 2 * s * s)),
            4 * s * s / (PI * (1 + 2 * s * s)),
        ),
        "sin": (0, (1 - math.exp(-2 * s * s)) / 2, s * s * math.exp(-s * s)),
        "cos": (
            math.exp(-s * s / 2),
            (1 + math.exp(-2 * s * s)) / 2 - math.exp(-s * s),
            0,
        ),
        "gaussian": (
            1 / math.sqrt(1 + s * s),
            1 / math.sqrt(1 + 2 * s * s) - 1 / (1 + s * s),
            0,
        ),
        "cubic": (0, 15 * s**6, 9 * s**6),
        "sign": (0, 1, 2 / PI),
    }[name]


@pytest.mark.parametrize("s", [0.1, 0.7, 2.3])
@pytest.mark.parametrize("name", ["relu", "erf", "sin", "cos", "gaussian", "cubic", "sign"])
def test_closed_forms_at_other_scales(name, s, x64):
    act = jaxact.get(name)
    expected = scaled(name, s)
    np.testing.assert_allclose(triple(spectra.moments(act, s)), expected, rtol=1e-12, atol=1e-14)
    bare = jaxact.activation(act.fn, kinks=act.kinks)  # the same by quadrature
    np.testing.assert_allclose(triple(spectra.moments(bare, s)), expected, rtol=1e-12, atol=1e-13)


def trapezium(f, s):
    """E f(s xi) xi^k, k = 0 and 1, E f(s xi)^2 in NumPy, exact for f analytic around the real axis.

    x = sinh(u) / s moves the poles of a steep f to height pi / 2 in u, where the trapezium rule
    with step 0.01 is exact to rounding.
    """
    u, steep = np.arange(-700, 701) * 0.01, max(s, 1)
    x = np.sinh(u) / steep
    weight = 0.01 * np.cosh(u) / steep * np.exp(-(x**2) / 2) / math.sqrt(2 * PI)
    value = f(s * x)
    return weight @ value, weight @ (x * value), weight @ value**2


SMOOTH = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-np.clip(x, -700, 700))),
    "arctan": np.arctan,
    "softplus": lambda x: np.logaddexp(0, x),
    "silu": lambda x: x / (1 + np.exp(-np.clip(x, -700, 700))),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
}


@pytest.mark.parametrize("s", [1e-3, 0.1, 1.0, 10.0, 30.0])
@pytest.mark.parametrize("name", SMOOTH)
def test_flat_and_steep_scales(name, s, x64):
    mean, first, second = trapezium(SMOOTH[name], s)
    found = triple(spectra.moments(jaxact.get(name), s))
    expected = (mean, second - mean**2, first**2)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * second)


@pytest.mark.parametrize("s", [10.0, 30.0])
def test_derivatives_at_steep_scales(s, x64):
    steep = jaxact.activation(lambda x, a: jnp.tanh(a * x), theta=(1.0,))

    def eta_and_zeta(act, scale):
        found = spectra.moments(act, scale)
        return jnp.stack([found.eta, found.zeta])

    by_act, by_scale = jax.jacfwd(eta_and_zeta, (0, 1))(steep, s)
    # d/ds E tanh^2 = 2 E xi tanh sech^2 and d/ds E xi tanh = E xi^2 sech^2, by integration.
    x = np.sinh(np.arange(-700, 701) * 0.01) / s
    weight = 0.01 * np.cosh(np.arange(-700, 701) * 0.01) / s
    weight *= np.exp(-(x**2) / 2) / math.sqrt(2 * PI)
    value, slope = np.tanh(s * x), 1 / np.cosh(np.clip(s * x, -300, 300)) ** 2
    eta_s = 2 * weight @ (x * value * slope)
    zeta_s = 2 * (weight @ (x * value)) * (weight @ (x**2 * slope))
    np.testing.assert_allclose(by_scale, [eta_s, zeta_s], rtol=1e-11)
    np.testing.assert_allclose(by_act.theta[0], [s * eta_s, s * zeta_s], rtol=1e-11)


def test_a_moving_kink_and_a_jump_by_a_plain_function(x64):
    # f = max(x, b): E f' = P(xi > b) = Q, E f = b (1 - Q) + density(b), and so on.
    shifted = jaxact.activation(jnp.maximum, theta=(0.7,), kinks=lambda b: (b,))
    b, q = 0.7, 0.5 * math.erfc(0.7 / math.sqrt(2))
    phi = math.exp(-(b**2) / 2) / math.sqrt(2 * PI)
    mean, second = b * (1 - q) + phi, b * b * (1 - q) + q + b * phi
    found = triple(spectra.moments(shifted))
    np.testing.assert_allclose(found, (mean, second - mean**2, q**2), rtol=1e-13)
    slope = jax.grad(lambda act: spectra.moments(act).zeta)(shifted).theta[0]
    assert float(slope) == pytest.approx(-2 * q * phi, rel=1e-12)
    jump = spectra.moments(lambda x: jnp.where(x > 0.7, 1.0, 0.0))
    np.testing.assert_allclose(triple(jump), (q, q - q * q, phi**2), rtol=1e-9)


@pytest.mark.fast
def test_infinite_gaussian_moments_are_an_error(x64):
    for rate in (1.0, 1 / 2, 1 / 3, 1 / 4):
        wild = jaxact.activation(lambda x, a: jnp.exp(a * x**2), theta=(rate,), name="wild")
        with pytest.raises(ValueError, match=r"finite Gaussian moments: E wild\(s xi\)\^2 is"):
            spectra.moments(wild)
    key = jax.random.key(0)
    for use in (
        lambda act: spectra.hermite_coefficients(act, 3),
        lambda act: spectra.law(act, phi=0.5, psi=0.5),
        lambda act: spectra.training_error(act, 0.1, phi=0.5, psi=0.5),
        lambda act: spectra.simulate(key, act, n0=3, n1=3, m=3),
    ):
        with pytest.raises(ValueError, match="must have finite Gaussian moments"):
            use(lambda x: jnp.exp(x**2))


@pytest.mark.fast
def test_large_but_finite_moments_are_none(x64):
    steep = spectra.moments(jaxact.activation(lambda x, a: jnp.exp(a * x), theta=(3.0,)))
    expected = (math.exp(4.5), math.exp(18) - math.exp(9), 9 * math.exp(9))
    np.testing.assert_allclose(triple(steep), expected, rtol=1e-9)
    power = spectra.moments(lambda x: x**8)
    np.testing.assert_allclose(triple(power), (105, 2027025 - 105**2, 0), rtol=1e-12, atol=1e-9)
    assert float(spectra.moments(lambda x: 0 * x).eta) == 0


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh", "silu", "softplus", "hard_swish"])
def test_a_gated_identity_has_zeta_one_quarter(name, x64):
    # f(x) - f(-x) = x, so E xi f(s xi) = s / 2 at every scale.
    for s in (0.5, 1.0, 3.0):
        assert float(spectra.moments(jaxact.get(name), s).zeta) == pytest.approx(s * s / 4, 1e-12)


def test_zeta_never_exceeds_eta(x64):
    for name in ("tanh", "elu", "arctan", "hard_sigmoid", "sigmoid"):
        found = spectra.moments(jaxact.get(name), 0.05)
        assert 0 <= float(found.zeta) <= float(found.eta) * (1 + 1e-12)


@pytest.mark.fast
def test_hermite_coefficients(x64):
    act = jaxact.get("hermite", (0.3, -0.5, 0.2, 0.9, 0.1))
    found = spectra.hermite_coefficients(act, 6)
    np.testing.assert_allclose(found, [0.3, -0.5, 0.2, 0.9, 0.1, 0, 0], atol=1e-13)
    # Parseval for relu: c_0 = 1/sqrt(2 pi), c_1 = 1/2, c_2 = 1/(2 sqrt(pi)), c_3 = 0.
    relu = spectra.hermite_coefficients(jaxact.get("relu"), 24)
    exact = [1 / math.sqrt(2 * PI), 0.5, 1 / (2 * math.sqrt(PI)), 0]
    np.testing.assert_allclose(relu[:4], exact, atol=1e-14)
    assert float(jnp.sum(relu**2)) == pytest.approx(0.5, abs=2e-3)
    sine = spectra.hermite_coefficients(jaxact.get("sin"), 5, 1.3)
    odd = [math.exp(-0.845) * 1.3**k / math.sqrt(math.factorial(k)) for k in (1, 3, 5)]
    np.testing.assert_allclose(sine[1::2], [odd[0], -odd[1], odd[2]], atol=1e-14)
    np.testing.assert_allclose(sine[::2], 0, atol=1e-14)


def test_hermite_coefficients_to_order_30(x64):
    # relu: c_k = He_{k-2}(0) / sqrt(2 pi k!) for k >= 2, from integrating by parts twice.
    found = spectra.hermite_coefficients(lambda x: jnp.maximum(x, 0), 30)
    for k in range(2, 31, 2):
        double_factorial = math.prod(range(k - 3, 0, -2))
        exact = (-1) ** (k // 2 - 1) * double_factorial / math.sqrt(2 * PI * math.factorial(k))
        assert float(found[k]) == pytest.approx(exact, abs=1e-13)
        assert float(found[k - 1]) == pytest.approx(0.5 if k == 2 else 0, abs=1e-13)
    steep = spectra.hermite_coefficients(jnp.exp, 30)
    exact = [math.exp(0.5) / math.sqrt(math.factorial(k)) for k in range(31)]
    np.testing.assert_allclose(steep, exact, rtol=0, atol=1e-13)


def test_gradients_in_theta_and_scale(x64):
    def eta(slope, scale):
        return spectra.moments(jaxact.get("leaky_relu", slope), scale).eta

    a, s = 0.2, 1.4
    by_slope, by_scale = jax.grad(eta, (0, 1))(a, s)
    assert float(by_slope) == pytest.approx(s * s * (a + (1 - a) / PI), rel=1e-12)
    assert float(by_scale) == pytest.approx(2 / s * float(eta(a, s)), rel=1e-12)


def test_float32_and_batches():
    found = spectra.moments(jaxact.get("tanh"))
    assert found.eta.dtype == jnp.float32
    assert float(found.eta) == pytest.approx(0.394294490397841, rel=1e-5)
    slopes = jnp.array([0.0, 0.01, 0.2], jnp.float32)
    batch = jax.vmap(lambda a: spectra.moments(jaxact.get("leaky_relu", a)))(slopes)
    np.testing.assert_allclose(batch.zeta, (1 + slopes) ** 2 / 4, rtol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="scale must be positive, got -1"):
        spectra.moments(jaxact.get("tanh"), -1.0)
    with pytest.raises(ValueError, match=r"scale must have shape \(\), got \(2,\)"):
        spectra.moments(jaxact.get("tanh"), jnp.ones(2))
    with pytest.raises(ValueError, match="order must be at least 0, got -1"):
        spectra.hermite_coefficients(jaxact.get("tanh"), -1)
