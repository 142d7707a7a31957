"""The deformed logarithm and exponential against closed forms, quad and finite differences."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import jaxact as ja
from jaxact import geometry

Z = np.array([0.5, 2.0, 8.0])  # NumPy: a JAX array made at import would be float32
CATALOG = ("softplus", "mu_relu", "lsu", "elu", "matsushita", "exp", "relu", "celu")


def power(q):
    """Tsallis by quadrature: the same chi without its closed forms."""
    return dataclasses.replace(geometry.tsallis(q), log=None, exp=None)


def without_closed(chi):
    return dataclasses.replace(chi, log=None, exp=None)


TSALLIS = [
    (0.0, 1.0, 1.5),
    (0.5, 0.828427124746190, 1.5625),
    (1.0, 0.693147180559945, 1.648721270700128),
    (1.5, 0.585786437626905, 1.777777777777778),
    (2.0, 0.5, 2.0),
]


@pytest.mark.fast
@pytest.mark.parametrize("make", [geometry.tsallis, power], ids=["closed", "quadrature"])
def test_tsallis(make, x64):
    for q, log, exp in TSALLIS:
        chi = make(q)
        assert float(geometry.log_chi(chi, 2.0)) == pytest.approx(log, abs=1e-12)
        assert float(geometry.exp_chi(chi, 0.5)) == pytest.approx(exp, abs=1e-12)
    assert float(geometry.exp_chi(make(0.5), -3.0)) == 0
    assert float(geometry.exp_chi(make(1.5), 3.0)) == np.inf
    ends = [float(geometry.log_chi(make(q), 0.0)) for q in (0.0, 0.5, 0.99, 1.0, 2.0)]
    np.testing.assert_allclose(ends, [-1, -2, -100, -np.inf, -np.inf], rtol=1e-10)


@pytest.mark.parametrize("make", [geometry.tsallis, power], ids=["closed", "quadrature"])
def test_tsallis_derivatives(make, x64):
    def exp(y, q):
        return geometry.exp_chi(make(q), y)

    assert float(jax.grad(exp)(0.7, 1.5)) == pytest.approx(3.641329085116066, abs=1e-9)
    assert float(jax.grad(exp, 1)(0.7, 1.5)) == pytest.approx(1.0194425786422172, abs=1e-9)
    second = jax.grad(jax.grad(exp))(0.7, 1.5)
    assert float(second) == pytest.approx(8.403067119498614, abs=1e-9)
    # Through q = 1, against the series log_q z = log z + (1 - q) log(z)^2 / 2 + ...
    log = lambda q: geometry.log_chi(make(q), 3.0)  # noqa: E731
    size = np.log(3)
    assert float(jax.grad(log)(1.0)) == pytest.approx(-(size**2) / 2, abs=1e-12)
    assert float(jax.grad(jax.grad(log))(1.0)) == pytest.approx(size**3 / 3, abs=1e-11)
    mixed = jax.grad(jax.grad(exp), 1)(0.3, 1.0)  # d/dq of exp_q(y)^q at q = 1
    e = np.exp(0.3)
    assert float(mixed) == pytest.approx(e * 0.3 + e * 0.3**2 / 2, abs=1e-10)


LOGS = {
    "softplus2": [np.log(2**0.5 - 1), np.log(3), np.log(255)],
    "mu_relu": [-0.59, 1.045, 7.07875],
    "lsu": [-0.292893218813452, 0.414213562373095, 2.0],
    "elu": [-0.693147180559945, 1.0, 7.0],
    "gan": [-0.431523108678, 0.523248143765, 1.753194501467],
    "matsushita": [-0.75, 0.75, (8 - 1 / 8) / 2],
    "exp": list(np.log([0.5, 2.0, 8.0])),
    "relu": [-0.5, 1.0, 7.0],
}


def _signature(name, softplus_two):
    if name == "gan":
        return geometry.gan()
    return geometry.signature(softplus_two if name == "softplus2" else ja.get(name))


@pytest.mark.fast
@pytest.mark.parametrize("name", LOGS)
def test_log_table(name, softplus_two, x64):
    chi = _signature(name, softplus_two)
    np.testing.assert_allclose(
        geometry.log_chi(chi, jnp.asarray(Z)), LOGS[name], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", LOGS)
def test_quadrature_equals_the_closed_form(name, softplus_two, x64):
    chi = _signature(name, softplus_two)
    generic = without_closed(chi)
    z = jnp.array([1e-6, 0.01, 0.5, 1.0, 1.7, 2.0, 3.99, 4.01, 8.0, 1e3, 1e6])
    y = geometry.log_chi(chi, z)
    np.testing.assert_allclose(geometry.log_chi(generic, z), y, rtol=1e-10, atol=1e-10)
    # relu's and lsu's exp_chi reach 0 at a finite y, where z is ill-conditioned.
    np.testing.assert_allclose(geometry.exp_chi(generic, y), z, rtol=1e-9)
    # x + sqrt(c + x^2) cancels far to the left: that rounding is the activation's own.
    np.testing.assert_allclose(geometry.exp_chi(chi, y), z, rtol=1e-9, atol=1e-11)
    low = jnp.array([-1e3, -3.0])
    np.testing.assert_allclose(
        geometry.exp_chi(generic, low), geometry.exp_chi(chi, low), rtol=1e-9, atol=1e-290
    )


def test_the_sheet_of_chi_and_the_shift(softplus_two, x64):
    y = jnp.array([0.05, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0])
    chis = {
        "softplus2": (softplus_two, -jnp.expm1(-y * np.log(2)) / np.log(2), 0.0),
        "mu_relu": (ja.get("mu_relu", 0.4), 4 * y**2 / (0.36 + 4 * y**2), 1 - 0.36 / 4),
        "lsu": (ja.get("lsu"), jnp.where(y < 4, 2 * jnp.sqrt(y), 4.0), 0.0),
        "elu": (ja.get("elu", 0.7, 1.3), jnp.where(y > 0.7, 1.3, y), 0.3 / 1.3),
        "matsushita": (ja.get("matsushita"), 2 * y**2 / (1 + y**2), 0.0),
        "exp": (ja.get("exp"), y, 0.0),
        "celu": (ja.get("celu", 0.5), jnp.where(y > 0.5, 1.0, 2 * y), 0.5),
    }
    for name, (act, expected, start) in chis.items():
        for each in (act, dataclasses.replace(act, closed=ja.ClosedForms())):
            chi = geometry.signature(each)
            np.testing.assert_allclose(chi(y), expected, atol=1e-12, err_msg=name)
            points = jnp.array([-2.0, -0.3, 0.4, 2.0])
            k = -geometry.admissibility(each).infimum
            np.testing.assert_allclose(
                geometry.exp_chi(chi, points), act(points + start) + k, atol=1e-12, err_msg=name
            )


def test_the_curve_needs_no_inverse(x64):
    t = jnp.array([-0.7, 0.3, 2.0])
    for name in CATALOG:
        act = ja.get(name)
        y, slope = geometry.parametric_curve(act, t)
        inside = y > 0
        np.testing.assert_allclose(
            slope[inside], geometry.signature(act)(y)[inside], atol=1e-12, err_msg=name
        )
    with pytest.raises(ValueError, match="gelu has no signature"):
        geometry.parametric_curve(ja.get("gelu"), t)


def test_a_lambda_against_scipy(x64):
    def cup(x, a):
        return jnp.logaddexp(0.0, a * x) + 0.3 * (x + jnp.sqrt(2.0 + x**2)) - 0.25

    act = ja.activation(cup, theta=(1.3,))
    chi = geometry.signature(act)
    assert geometry.admissibility(act).infimum == pytest.approx(-0.25)
    slow = jax.jit(chi)
    for z in (0.3, 4.0):
        # The twin: parametrise t = f(x) + k, so that dt / chi(t) = dx, by bisection in NumPy.
        want, _ = integrate.quad(lambda t: 1 / float(slow(t)), 1, z, epsabs=1e-12, epsrel=1e-12)
        root = lambda v: _bisect(lambda x: float(cup(x, 1.3)) + 0.25 - v)  # noqa: E731
        got = float(geometry.log_chi(chi, z))
        assert got == pytest.approx(want, abs=1e-10)
        assert got == pytest.approx(root(z) - root(1.0), abs=1e-10)
        generic = geometry.log_chi(without_closed(chi), z)
        assert float(generic) == pytest.approx(want, abs=1e-10)


def _bisect(fn):
    low, high = -50.0, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if fn(middle) < 0 else (low, middle)
    return low


def test_a_plain_function_with_jumps(x64):
    def stairs(t):
        return jnp.where(t < 0.5, 0.5, jnp.where(t < 3, 1.0, 4.0))

    z = jnp.array([0.0, 0.25, 0.75, 2.0, 5.0])
    want = [-1.5, -1.0, -0.25, 1.0, 2.5]
    log = geometry.log_chi(stairs, z, jumps=(0.5, 3.0))
    np.testing.assert_allclose(log, want, atol=1e-12)
    y = jnp.array([-2.0, -1.0, -0.25, 1.0, 2.5])
    exp = geometry.exp_chi(stairs, y, jumps=(0.5, 3.0))
    np.testing.assert_allclose(exp, [0, 0.25, 0.75, 2.0, 5.0], atol=1e-12)


def test_a_narrow_feature_is_left_to_newton(x64):
    rate, at = 6.0, 0.3
    step = geometry.Signature(lambda t: t * (2 + jnp.tanh(rate * (jnp.log(t) - at))))

    def integral(s):  # of 1 / (2 + tanh(rate (s - at)))
        u = rate * (s - at)
        return (u - np.log1p(3 * np.exp(2 * u)) / 3) / rate

    s = np.linspace(-1.0, 1.0, 41)
    y = jnp.asarray(integral(s) - integral(0.0))
    np.testing.assert_allclose(geometry.exp_chi(step, y), np.exp(s), rtol=1e-10)


def test_a_function_may_close_over_what_is_differentiated(x64):
    def log(q):
        return geometry.log_chi(lambda t: t**q, 2.0)

    def exp(q):
        return geometry.exp_chi(lambda t: t**q, 0.7)

    want = jax.grad(lambda q: geometry.log_chi(geometry.tsallis(q), 2.0))(1.5)
    assert float(jax.grad(log)(1.5)) == pytest.approx(float(want), abs=1e-12)
    assert float(jax.jit(jax.grad(exp))(1.5)) == pytest.approx(1.0194425786422172, abs=1e-10)
    many = jax.vmap(log)(jnp.array([0.5, 1.0, 2.0]))
    np.testing.assert_allclose(many, [0.8284271247461901, np.log(2), 0.5], atol=1e-12)


MOVING = [
    ("softplus", (1.3,)),
    ("mu_relu", (0.4,)),
    ("elu", (0.7, 1.3)),
    ("celu", (0.6,)),
]


@pytest.mark.parametrize(
    ("name", "theta", "generic"),
    # Quadrature over a derived chi (celu's) is a root in every node: slow to compile.
    [(*m, False) for m in MOVING] + [(*m, True) for m in MOVING[1:3]],
)
def test_gradients_in_theta(name, theta, generic, x64):
    z, y = jnp.array([0.3, 0.9, 2.5]), jnp.array([-0.35, 0.2, 1.1])

    def both(z, y, theta):
        chi = geometry.signature(ja.get(name, *theta))
        chi = without_closed(chi) if generic else chi
        return jnp.stack([geometry.log_chi(chi, z), geometry.exp_chi(chi, y), chi(z)])

    both = jax.jit(both)
    first = jax.jacfwd(both, 2)(z, y, theta)
    seconds = jax.jacfwd(jax.jacrev(both, 2), 2)(z, y, theta)
    for i in range(len(theta)):
        h = 1e-4
        up = tuple(t + h * (j == i) for j, t in enumerate(theta))
        down = tuple(t - h * (j == i) for j, t in enumerate(theta))
        difference = (both(z, y, up) - both(z, y, down)) / (2 * h)
        np.testing.assert_allclose(first[i], difference, atol=3e-7)
        curve = (both(z, y, up) - 2 * both(z, y, theta) + both(z, y, down)) / h**2
        np.testing.assert_allclose(seconds[i][i], curve, atol=3e-6)
    # exp_chi' = chi(exp_chi) and log_chi' = 1 / chi, and one order more by their own rule.
    chi = geometry.signature(ja.get(name, *theta))
    at = without_closed(chi) if generic else chi
    slope = jax.vmap(jax.grad(lambda v: geometry.exp_chi(at, v)))
    np.testing.assert_allclose(slope(y), chi(geometry.exp_chi(at, y)), rtol=1e-9)
    inverse = jax.vmap(jax.grad(lambda v: geometry.log_chi(at, v)))
    np.testing.assert_allclose(inverse(z), 1 / chi(z), rtol=1e-9)
    bend = jax.vmap(jax.grad(jax.grad(lambda v: geometry.log_chi(at, v))))
    chi_slope = jax.vmap(jax.grad(chi))
    np.testing.assert_allclose(bend(z), -chi_slope(z) / chi(z) ** 2, rtol=1e-9, atol=1e-12)


def test_a_sweep_over_theta_is_a_vmap(x64):
    mus = jnp.array([0.0, 0.3, 0.8])
    swept = jax.vmap(lambda m: geometry.exp_chi(geometry.signature(ja.get("mu_relu", m)), 0.4))(mus)
    one = [
        float(geometry.exp_chi(geometry.signature(ja.get("mu_relu", float(m))), 0.4)) for m in mus
    ]
    np.testing.assert_allclose(swept, one, rtol=1e-13)


def test_one_compilation_serves_every_theta(x64):
    traces = []

    def chi(t, q):
        traces.append(None)
        return t**q

    for q in (0.5, 1.1, 1.7):
        noun = geometry.Signature(chi, (q,))
        geometry.log_chi(noun, jnp.asarray(Z))
        geometry.exp_chi(noun, jnp.asarray(Z))
        if q == 0.5:
            first = len(traces)
    assert len(traces) == first
    count = []

    def act_fn(x, b):
        count.append(None)
        return jnp.logaddexp(0.0, b * x)

    sizes = []
    for b in (1.0, 1.5, 2.0):
        act = ja.Activation(act_fn, (b,), "counted")
        geometry.log_chi(geometry.signature(act), jnp.asarray(Z))
        geometry.exp_chi(geometry.signature(act), jnp.asarray(Z))
        sizes.append(len(count))
    assert sizes[0] == sizes[2]


def test_float32_follows_the_input():
    z = jnp.array([0.01, 0.5, 2.0, 30.0], jnp.float32)
    for chi in (geometry.tsallis(1.5), power(1.5), geometry.gan(), without_closed(geometry.gan())):
        y = geometry.log_chi(chi, z)
        assert y.dtype == jnp.float32
        np.testing.assert_allclose(geometry.exp_chi(chi, y), z, rtol=2e-4)
    for name in CATALOG:
        chi = geometry.signature(ja.get(name))
        y = geometry.log_chi(chi, z)
        assert y.dtype == jnp.float32
        assert chi(z).dtype == jnp.float32
        np.testing.assert_allclose(geometry.exp_chi(chi, y), z, rtol=1e-4, atol=1e-5)


def test_ends_are_never_nan(softplus_two, x64):
    for chi in (geometry.signature(ja.get("relu")), geometry.signature(ja.get("lsu"))):
        assert float(geometry.log_chi(chi, 0.0)) == pytest.approx(-1, abs=1e-15)
        assert float(geometry.exp_chi(chi, -5.0)) == 0
    assert float(geometry.log_chi(geometry.signature(softplus_two), 0.0)) == -np.inf
    assert float(geometry.log_chi(geometry.gan(), 0.0)) == pytest.approx(-2 * np.log(2))
    z, y = jnp.array([0.0, 1e-300, 1e300]), jnp.array([-1e300, -800.0, 0.0, 800.0, 1e300])
    for chi in (geometry.tsallis(0.5), power(0.5), power(2.0), power(1.0), geometry.gan()):
        for value in (geometry.log_chi(chi, z), geometry.exp_chi(chi, y)):
            assert not np.isnan(value).any()
        for fn, x in ((geometry.log_chi, z), (geometry.exp_chi, y)):
            slope = jax.grad(lambda c, x=x, fn=fn: fn(c, x)[2])(chi)
            assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(slope.theta))


def test_bad_input_is_refused():
    chi = geometry.tsallis(1.5)
    with pytest.raises(ValueError, match=r"z must be non-negative, got -1"):
        geometry.log_chi(chi, -1.0)
    with pytest.raises(ValueError, match="y must be finite, got nan"):
        geometry.exp_chi(chi, jnp.nan)
    with pytest.raises(ValueError, match="q must be non-negative, got -0.5"):
        geometry.tsallis(-0.5)
    with pytest.raises(ValueError, match="must be positive and non-decreasing"):
        geometry.log_chi(lambda t: 1 / t, 2.0)
    with pytest.raises(ValueError, match="jumps belong to a plain function"):
        geometry.log_chi(chi, 2.0, jumps=(1.0,))
    with pytest.raises(ValueError, match="jumps must be positive, got -1"):
        geometry.exp_chi(lambda t: t, 2.0, jumps=(-1.0,))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_kernels_lower_elsewhere(platform, softplus_two):
    z = jnp.ones(3)
    for chi in (power(1.5), geometry.gan(), geometry.signature(softplus_two)):
        for fn in (geometry.log_chi, geometry.exp_chi, lambda c, x: c(x)):
            jax.jit(fn).trace(chi, z).lower(lowering_platforms=(platform,))
