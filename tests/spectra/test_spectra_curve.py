"""The Stieltjes transform and the density against a NumPy twin, closed forms and differences."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import spectra

LAW = spectra.Law(eta=1.0, zeta=0.3, phi=0.5, psi=0.75)
STIELTJES = jax.jit(jax.vmap(spectra.stieltjes))


def twin(z, eta, zeta, phi, psi):
    """G(z), Im z > 0, by the companion matrices of the sheet's quartic and its criterion."""

    def quartic(z):
        a1, b1 = phi * eta - zeta, psi * eta - zeta
        a2, b2 = -phi * (eta - zeta) * zeta, -psi * (eta - zeta) * zeta
        return np.stack(
            [
                np.ones_like(z),
                a1 + b1 - psi * z,
                a2 + b2 + a1 * b1 + 2 * zeta * psi * z,
                a1 * b2 + a2 * b1 - psi * z * zeta**2,
                a2 * b2 + 0 * z,
            ]
        )

    def newton(w, p, steps):
        slopes = p[:-1] * np.arange(4, 0, -1)[:, None]
        for _ in range(steps):
            slope = np.polyval(slopes, w)
            w = w - np.where(slope == 0, 0, np.polyval(p, w) / np.where(slope == 0, 1, slope))
        return w

    lifted = quartic(z.real + 1j * np.maximum(z.imag, 1e-7 * abs(z)))
    matrices = np.zeros((z.size, 4, 4), complex)
    matrices[:, 0] = -lifted[1:].T
    matrices[:, [1, 2, 3], [0, 1, 2]] = 1
    best, chosen = np.full(z.size, -2.0), np.zeros(z.size, complex)
    for w in np.linalg.eigvals(matrices).T:
        w = newton(w, lifted, 4)
        with np.errstate(all="ignore"):
            p = (eta - zeta) / w + zeta / (w - zeta)
            g, companion = psi / w / (1 + phi * p), psi / w / (1 + psi * p)
            sines = [w.imag / abs(w), -g.imag / abs(g), -companion.imag / abs(companion)]
        small = abs(np.polyval(lifted, w)) <= 1e-8 * np.polyval(abs(lifted), abs(w))
        worst = np.where(small & (w != 0), np.min(sines, axis=0), -2)
        best, chosen = np.where(worst > best, worst, best), np.where(worst > best, w, chosen)
    assert (best > 0).all()
    w = newton(chosen, quartic(z), 12)
    p = (eta - zeta) / w + zeta / (w - zeta)
    return psi / w / (1 + phi * p)


def random_laws(rng, count):
    phi, psi = np.exp(rng.uniform(-3, 3, (2, count)))
    eta = np.exp(rng.uniform(-1, 1, count))
    share = rng.choice([0, 1e-6, 1 - 1e-6, 1, -1, -1, -1], count)
    share = np.where(share < 0, rng.uniform(0, 1, count), share)
    reach = eta * ((1 + np.sqrt(phi / psi)) ** 2 + 1 / psi)
    x = rng.uniform(-0.5, 1.2, count) * reach
    return spectra.Law(eta=eta, zeta=share * eta, phi=phi, psi=psi), x, reach


def leaves(laws):
    return laws.eta, laws.zeta, laws.phi, laws.psi


HEIGHTS = (1e-2, 1e-4, 1e-6, 1e-9)


def test_against_numpy_roots(rng, x64):
    laws, x, reach = random_laws(rng, 4000)
    for height in HEIGHTS:
        z = x + 1j * height * reach
        np.testing.assert_allclose(STIELTJES(laws, z), twin(z, *leaves(laws)), rtol=1e-8)


def test_float32_against_numpy_roots(rng):
    laws, x, reach = random_laws(rng, 4000)
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), laws)
    same = [np.asarray(leaf, float) for leaf in leaves(narrow)]  # the law that float32 can hold
    for height in HEIGHTS:
        z = np.asarray(x + 1j * height * reach, np.complex64)
        found = STIELTJES(narrow, z)
        assert found.dtype == jnp.complex64
        np.testing.assert_allclose(found, twin(z.astype(complex), *same), rtol=1e-3)


def test_theorem_one_holds(rng, x64):
    laws, x, reach = random_laws(rng, 200)
    z = x + 1j * 1e-3 * reach
    g = np.asarray(STIELTJES(laws, z))
    eta, zeta, phi, psi = leaves(laws)
    t = 1 / (z * psi)
    p = 1 + (g - (1 - psi) / z) * z / psi - 1  # G = (psi/z) P + (1 - psi)/z
    p_phi, p_psi = 1 + (p - 1) * phi, 1 + (p - 1) * psi
    linear = t * zeta * p_phi * p_psi
    right = 1 + (eta - zeta) * t * p_phi * p_psi + linear / (1 - linear)
    np.testing.assert_allclose(p, right, rtol=0, atol=1e-8 * (1 + abs(right)).max())


@pytest.mark.fast
def test_marchenko_pastur_in_closed_form(x64):
    eta, phi, psi = 1.7, 0.6, 0.9
    mp = spectra.Law(eta=eta, zeta=0.0, phi=phi, psi=psi)
    c = phi / psi
    x = jnp.linspace(0.01, 8.0, 300)
    low, high = eta * (1 - c**0.5) ** 2, eta * (1 + c**0.5) ** 2
    root = np.sqrt(np.clip((x - low) * (high - x), 0, None))
    found = spectra.density(mp, x)
    np.testing.assert_allclose(found, root / (2 * np.pi * c * eta * x), atol=1e-13)
    assert (np.asarray(found)[(x < low) | (x > high)] == 0).all()


@pytest.mark.fast
def test_linear_network_satisfies_its_cubic(x64):
    linear = spectra.Law(eta=1.0, zeta=1.0, phi=0.7, psi=1.4)
    z = jnp.array([0.5 + 0.1j, 3.0 + 1e-6j, -2.0 + 0.3j])
    g = spectra.stieltjes(linear, z)
    # q = z G and v = z G G_companion / psi satisfy q = 1 + psi v / (1 - v) for f(x) = x.
    v = z * g * spectra.companion(linear, z) / 1.4
    np.testing.assert_allclose(z * g, 1 + 1.4 * v / (1 - v), rtol=1e-12)
    np.testing.assert_allclose(z * spectra.companion(linear, z), 1 + 0.7 * v / (1 - v), rtol=1e-12)


@pytest.mark.fast
def test_symmetries_and_limits(x64):
    z = jnp.array([1.0 + 0.3j, -2.0 + 1e-5j])
    g = spectra.stieltjes(LAW, z)
    np.testing.assert_allclose(spectra.stieltjes(LAW, z.conj()), g.conj(), rtol=1e-14)
    c = 0.5 / 0.75
    expected = (1 - c) / z + c * g
    np.testing.assert_allclose(spectra.companion(LAW, z), expected, rtol=1e-12)
    far = 1e9 + 1e9j
    assert complex(far * spectra.stieltjes(LAW, far)) == pytest.approx(1, rel=1e-8)
    scaled = spectra.Law(eta=4.0, zeta=1.2, phi=0.5, psi=0.75)
    np.testing.assert_allclose(spectra.stieltjes(scaled, 4 * z), g / 4, rtol=1e-13)


@pytest.mark.fast
def test_on_the_real_axis(x64):
    x = jnp.array([-3.0, 1.0, 9.0])
    g = spectra.stieltjes(LAW, x)
    assert g.dtype == jnp.complex128
    assert g[0].imag == 0
    assert g[2].imag == 0
    np.testing.assert_allclose(g, spectra.stieltjes(LAW, np.asarray(x) + 1e-12j), atol=1e-10)
    np.testing.assert_allclose(spectra.density(LAW, x), -g.imag / np.pi, rtol=1e-14, atol=0)
    assert float(spectra.density(LAW, 0.0)) == 0
    assert float(spectra.density(LAW, -1.0)) == 0


def test_density_next_to_an_edge(x64):
    low, high = (float(e) for e in spectra.edges(LAW).edges[:2])
    for distance in (1e-4, 1e-7, 1e-10, 1e-12):
        assert float(spectra.density(LAW, high + distance)) == 0
        assert float(spectra.density(LAW, low - low * distance)) == 0
        inside = [float(spectra.density(LAW, high - k * distance)) for k in (1, 4)]
        assert inside[1] / inside[0] == pytest.approx(2, rel=2e-3)


ONE = spectra.Law(eta=1.0, zeta=0.4, phi=0.6, psi=1.3)
FIRST = {"phi": -0.4457360016, "psi": 0.2170602895, "eta": -0.0929253826, "zeta": -0.1366494413}
SECOND = {"phi": 0.8998941067, "psi": -0.1059093219, "eta": -0.6031970722, "zeta": -0.7449849984}


def test_first_and_second_derivatives_of_the_density(x64):
    def rho(at):
        return spectra.density(at, 0.7)

    gradient, hessian = jax.grad(rho)(ONE), jax.hessian(rho)(ONE)
    for name in FIRST:
        assert float(getattr(gradient, name)) == pytest.approx(FIRST[name], abs=1e-9)
        second = getattr(getattr(hessian, name), name)
        assert float(second) == pytest.approx(SECOND[name], abs=1e-8)
    mixed = (float(hessian.phi.zeta), float(hessian.zeta.phi))
    assert mixed[0] == pytest.approx(mixed[1], rel=1e-9)


def test_derivatives_in_x_and_z(x64):
    def rho(x):
        return spectra.density(ONE, x)

    step = 1e-5
    slope = (float(rho(0.7 + step)) - float(rho(0.7 - step))) / (2 * step)
    assert float(jax.grad(rho)(0.7)) == pytest.approx(slope, rel=1e-8)
    z = 0.7 + 0.4j
    holomorphic = jax.grad(lambda z: spectra.stieltjes(ONE, z), holomorphic=True)(z)
    across = (spectra.stieltjes(ONE, z + 1e-5j) - spectra.stieltjes(ONE, z - 1e-5j)) / 2e-5j
    assert complex(holomorphic) == pytest.approx(complex(across), rel=1e-8)
    assert float(jax.grad(rho)(20.0)) == 0


def test_one_sided_derivatives_at_the_ends_of_zeta(x64):
    for zeta, step in ((0.0, 1e-6), (1.0, -1e-6)):
        at = spectra.Law(eta=1.0, zeta=zeta, phi=0.6, psi=1.3)
        near = spectra.Law(eta=1.0, zeta=zeta + step, phi=0.6, psi=1.3)
        slope = (float(spectra.density(near, 0.7)) - float(spectra.density(at, 0.7))) / step
        found = float(jax.grad(lambda a: spectra.density(a, 0.7))(at).zeta)
        assert found == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_one_trace_for_all_laws_and_points():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def rho(at, x):
        return spectra.density(at, x)

    x = jnp.linspace(0.1, 5.0, 7)
    for zeta in (0.0, 0.3, 1.0):
        assert np.isfinite(rho(spectra.Law(1.0, zeta, 0.5, 0.75), x * (1 + zeta))).all()
    before = spectra.transform._density._cache_size()
    for phi in (0.2, 0.5, 2.0):
        spectra.density(spectra.Law(1.0, 0.3, phi, 0.75), x)
    assert spectra.transform._density._cache_size() - before <= 1


def test_vmap_and_shapes():
    laws = spectra.Law(*(jnp.array([a, b], jnp.float32) for a, b in
                         ((1.0, 1.0), (0.0, 0.4), (0.5, 0.6), (0.5, 1.3))))  # fmt: skip
    x = jnp.linspace(0.1, 3.0, 6, dtype=jnp.float32).reshape(2, 3)
    found = jax.vmap(lambda at: spectra.density(at, x))(laws)
    assert found.shape == (2, 2, 3)
    single = spectra.density(spectra.Law(1.0, 0.4, 0.6, 1.3), x)
    np.testing.assert_allclose(found[1], single, rtol=2e-5, atol=1e-6)
    assert found.dtype == jnp.float32


def test_many_points_are_solved_in_blocks(x64):
    z = np.linspace(-1, 6, 5005).reshape(5, 1001) + 1e-4j
    found = np.asarray(spectra.stieltjes(LAW, z))
    rows = [np.asarray(spectra.stieltjes(LAW, row)) for row in z]
    np.testing.assert_allclose(found, rows, rtol=1e-11)


def test_bad_input():
    good = spectra.Law(eta=1.0, zeta=0.5, phi=0.5, psi=0.5)
    with pytest.raises(ValueError, match="law.phi must be positive, got -0.5"):
        spectra.density(spectra.Law(eta=1.0, zeta=0.5, phi=-0.5, psi=0.5), 1.0)
    with pytest.raises(ValueError, match="law.eta must be positive, got 0"):
        spectra.density(spectra.Law(eta=0.0, zeta=0.0, phi=0.5, psi=0.5), 1.0)
    with pytest.raises(ValueError, match=r"law.zeta must be in \[0, eta\], got zeta = 1.1"):
        spectra.stieltjes(spectra.Law(eta=1.0, zeta=1.1, phi=0.5, psi=0.5), 1j)
    with pytest.raises(ValueError, match="use jax.vmap over the leaves"):
        spectra.density(spectra.Law(jnp.ones(2), 0.5, 0.5, 0.5), 1.0)
    with pytest.raises(ValueError, match="x must be finite, got nan at index"):
        spectra.density(good, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="z must be nonzero"):
        spectra.stieltjes(good, 0.0)


def test_rounding_in_zeta_is_forgiven(x64):
    rounded = spectra.Law(eta=1.0, zeta=1.0 + 1e-12, phi=0.5, psi=0.75)
    exact = spectra.Law(eta=1.0, zeta=1.0, phi=0.5, psi=0.75)
    assert float(spectra.density(rounded, 1.0)) == float(spectra.density(exact, 1.0))
    below = spectra.Law(eta=1.0, zeta=-1e-12, phi=0.5, psi=0.75)
    assert np.isfinite(float(spectra.density(below, 1.0)))


def test_gradients_are_laws_and_laws_are_pytrees():
    step = jax.grad(lambda at: spectra.density(at, 1.0))(LAW)
    assert isinstance(step, spectra.Law)
    assert jax.tree.map(lambda _: 0, LAW) == spectra.Law(0, 0, 0, 0)
