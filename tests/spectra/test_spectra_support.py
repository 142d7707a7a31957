"""Edges, hard edges, atoms, total mass and moments, against the sheet, quadrature and theory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra

# (phi, psi, eta, zeta): edges, atom
EDGES = [
    ((1, 1.5, 1, 0), (0.0336735, 3.29965983), 0),
    ((1, 1.5, 1, 1), (0.00710186, 5.21512037), 0),
    ((1, 1.5, 1, 0.733473), (0.02184164, 4.51858194), 0),
    ((0.5, 0.5, 1, 0.3), (0, 4.82351101), 0),
    ((2, 0.5, 1, 0.5), (0.81190263, 11.14107835), 0.75),
    ((0.05, 0.2, 1, 0.8), (0.05546756, 0.40297356, 1.30051948, 9.51111068), 0),
]


def make(phi, psi, eta, zeta):
    return spectra.Law(*(jnp.asarray(float(v)) for v in (eta, zeta, phi, psi)))


@pytest.mark.fast
@pytest.mark.parametrize(("at", "expected", "mass"), EDGES)
def test_edges_and_atom_of_the_sheet(at, expected, mass, x64):
    law = make(*at)
    found = spectra.edges(law)
    assert int(found.count) == len(expected)
    np.testing.assert_allclose(found.edges[: len(expected)], expected, atol=6e-9)
    if len(expected) == 2:
        assert (np.asarray(found.edges[2:]) == float(found.edges[1])).all()
    assert float(spectra.atom(law)) == pytest.approx(mass, abs=1e-15)


def twin_edges(phi, psi, eta, zeta):
    """All real critical values z(v) > 0, from np.roots of the quintic of the sheet in v."""
    n_phi, n_psi = (np.poly1d([-a * (eta - zeta) * zeta, a * eta - zeta, 1.0]) for a in (phi, psi))
    v, one = np.poly1d([1.0, 0.0]), np.poly1d([-zeta, 1.0])
    both = n_phi * n_psi
    critical = (both.deriv() * v * one - both * one + both * v * (2 * zeta)).roots
    real = critical[abs(critical.imag) < 1e-9 * abs(critical)].real
    z = both(real) / (psi * real * one(real) ** 2)
    return np.sort(z[z > 0])


def test_edges_are_critical_values(rng, x64):
    found = jax.jit(jax.vmap(spectra.edges))
    phi, psi = np.exp(rng.uniform(-2, 2, (2, 100)))
    zeta = rng.uniform(0.01, 0.99, 100)
    support = found(spectra.Law(np.ones(100), zeta, phi, psi))
    assert set(np.asarray(support.count).tolist()) <= {2, 4}
    for i in range(100):
        expected = twin_edges(phi[i], psi[i], 1.0, zeta[i])
        edges = np.asarray(support.edges[i][: int(support.count[i])])
        gaps = np.abs(edges[:, None] - expected[None]).min(axis=1)
        assert (gaps <= 1e-9 * (1 + edges)).all()
        assert edges[-1] == pytest.approx(expected[-1], rel=1e-9)


def band_integral(law, power=0, nodes=400):
    """The integral of x^power rho by the cosine map on each band."""
    support = spectra.edges(law)
    total = 0.0
    angle = (np.arange(nodes) + 0.5) * np.pi / nodes
    for low, high in np.asarray(support.edges).reshape(2, 2):
        # x = low + (high - low) t^2 tames a hard edge as well as a soft one.
        t = (1 - np.cos(angle)) / 2
        x = low + (high - low) * t**2
        weight = (high - low) * 2 * t * np.sin(angle) / 2 * np.pi / nodes
        total += float(weight @ (np.asarray(spectra.density(law, x)) * x**power))
    return total


@pytest.mark.parametrize(("at", "expected", "mass"), EDGES)
def test_the_mass_is_one(at, expected, mass, x64):
    law = make(*at)
    tolerance = 1e-4 if expected[0] == 0 else 1e-8
    assert band_integral(law) + float(spectra.atom(law)) == pytest.approx(1, abs=tolerance)
    for k in (1, 2, 3):
        assert band_integral(law, k) == pytest.approx(float(spectra.moment(law, k)), rel=1e-8)


@pytest.mark.fast
def test_moments_of_the_sheet(x64):
    law = make(0.5, 0.75, 1, 0.3)
    expected = [1, 1, 1.78666667, 4.09244444, 10.67016296, 30.09528494, 89.46196991]
    found = [float(spectra.moment(law, k)) for k in range(7)]
    np.testing.assert_allclose(found, expected, atol=6e-9)
    scaled = make(0.5, 0.75, 3, 0.9)
    for k in (1, 4):
        assert float(spectra.moment(scaled, k)) == pytest.approx(3**k * found[k], rel=1e-13)


def test_second_moment_in_closed_form(x64):
    for phi, psi, eta, zeta in ((0.4, 2.0, 1.3, 0.0), (3.0, 0.7, 0.8, 0.8), (1.0, 1.0, 2.0, 0.5)):
        found = float(spectra.moment(make(phi, psi, eta, zeta), 2))
        assert found == pytest.approx(eta**2 * (1 + phi / psi) + zeta**2 / psi, rel=1e-14)


def test_atoms(x64):
    assert float(spectra.atom(make(0.5, 0.25, 1, 0.99))) == 0.5  # n1 = 2 m
    assert float(spectra.atom(make(0.1, 0.25, 1, 1))) == 0.75  # n0 = n1 / 4, linear
    assert float(spectra.atom(make(0.1, 0.25, 1, 0.99))) == 0
    linear = spectra.law(jaxact.get("f_alpha", -1.0), phi=0.1, psi=0.25)
    assert float(spectra.atom(linear)) == pytest.approx(0.75, abs=1e-15)
    assert int(spectra.edges(linear).count) == 2


def test_hard_edges_of_a_linear_network(x64):
    for phi, psi in ((1.0, 0.5), (0.5, 1.0), (1.4, 1.4)):
        support = spectra.edges(make(phi, psi, 1, 1))
        assert int(support.count) == 2
        assert float(support.edges[0]) == 0


def test_edges_differentiate_twice(x64):
    def upper(psi, zeta):
        return spectra.edges(spectra.Law(1.0, zeta, 1.0, psi)).edges[1]

    # Closed forms for zeta = 0: eta (1 + sqrt(phi / psi))^2.
    psi = 1.5
    c = 1 / psi
    first, second = jax.grad(upper)(psi, 0.0), jax.grad(jax.grad(upper))(psi, 0.0)
    assert float(first) == pytest.approx((1 + c**-0.5) * -(c**2), rel=1e-10)
    # d/dpsi of -(psi^-2 + psi^-3/2)
    assert float(second) == pytest.approx(2 * psi**-3 + 1.5 * psi**-2.5, rel=1e-8)
    step = 1e-5
    by_zeta = (float(upper(psi, 0.4 + step)) - float(upper(psi, 0.4 - step))) / (2 * step)
    assert float(jax.grad(upper, 1)(psi, 0.4)) == pytest.approx(by_zeta, rel=1e-8)


def test_gradient_of_a_moment(x64):
    gradient = jax.grad(lambda at: spectra.moment(at, 2))(make(0.5, 0.75, 1, 0.3))
    assert float(gradient.zeta) == pytest.approx(0.8, rel=1e-13)
    assert float(gradient.psi) == pytest.approx(-(0.5 + 0.09) / 0.5625, rel=1e-13)


def test_float32():
    law = spectra.Law(eta=1.0, zeta=0.8, phi=0.05, psi=0.2)
    support = spectra.edges(law)
    assert support.edges.dtype == jnp.float32
    assert int(support.count) == 4
    np.testing.assert_allclose(support.edges, EDGES[-1][1], rtol=1e-4)
    assert float(spectra.moment(law, 2)) == pytest.approx(1.25 + 3.2, rel=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="k must be at least 0, got -1"):
        spectra.moment(make(1, 1, 1, 0), -1)
    with pytest.raises(ValueError, match="law.psi must be positive, got 0"):
        spectra.edges(make(1, 0, 1, 0))
