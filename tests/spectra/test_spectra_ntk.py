"""The tangent kernel of one hidden layer: simulation, closed moments, the layer it contains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra import continuation, tower
from jaxact.spectra.deep import tower_of


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_one_draw(name):
    n0, n1, m, output = 600, 300, 400, 0.5
    act = jaxact.get(name)
    law = spectra.ntk_law(act, phi=n0 / m, psi=n0 / n1, output_scale=output)
    found = np.asarray(
        spectra.simulate_ntk(jax.random.key(0), act, n0=n0, n1=n1, m=m, output_scale=output)
    )
    below = np.asarray(spectra.cdf(law, found))
    rank = np.arange(m + 1) / m
    assert max(abs(below - rank[1:]).max(), abs(below - rank[:-1]).max()) < 0.03
    edges = np.asarray(spectra.edges(law).edges)
    assert abs(edges[0] / found[0] - 1) < 0.1
    assert abs(edges[1] / found[-1] - 1) < 0.05
    for k in (1, 2):
        np.testing.assert_allclose(spectra.moment(law, k), np.mean(found**k), rtol=0.03)
    error = np.mean((0.1 / (found + 0.1)) ** 2)
    np.testing.assert_allclose(spectra.training_error(law, 0.1), error, rtol=0.02)


def test_moments_are_those_of_the_matrix():
    """With one activation: tr and tr^2 of Y^T Y / n1 + A + B K_0, from the layer's own moments."""
    phi, psi = 0.5, 0.75
    law = spectra.ntk_law(lambda x: jnp.sin(2 * x) + 0.3 * x**2, phi=phi, psi=psi)
    shift, lift = law.slope - law.zeta, law.zeta
    c = phi / psi
    layer = spectra.Law(law.eta, law.zeta, phi, psi)
    first, second = (spectra.moment(layer, k) * c / c**k for k in (1, 2))  # of Y^T Y / n1
    np.testing.assert_allclose(spectra.moment(law, 0), 1.0)
    np.testing.assert_allclose(spectra.moment(law, 1), first + shift + lift, rtol=1e-12)
    cross = law.eta + law.zeta / phi  # E tr Y^T Y K_0 / (n1 m)
    want = second + shift**2 + lift**2 * (1 + 1 / phi)
    want += 2 * (shift * first + shift * lift + lift * cross)
    np.testing.assert_allclose(spectra.moment(law, 2), want, rtol=1e-10)


def test_the_output_layer_alone_is_the_companion():
    act = jaxact.get("tanh")
    law = spectra.ntk_law(act, phi=0.5, psi=0.75, output_scale=0.0)
    layer = spectra.law(act, phi=0.5, psi=0.75)
    c = 0.5 / 0.75
    z = jnp.array([0.3 + 0.1j, 2.0 + 1e-3j, -1.0])
    np.testing.assert_allclose(
        spectra.stieltjes(law, z), spectra.companion(layer, z * c) * c, rtol=1e-9
    )
    np.testing.assert_allclose(spectra.atom(law), 1 - c, rtol=1e-12)


def test_derivatives():
    z = jnp.asarray(0.8 + 0.2j)

    def value(alpha, output):
        law = spectra.ntk_law(jaxact.get("f_alpha", alpha), phi=0.6, psi=1.3, output_scale=output)
        return spectra.stieltjes(law, z).imag

    at, step = (0.3, 0.7), 1e-5
    found = jax.grad(value, (0, 1))(*map(jnp.asarray, at))
    for i in range(2):
        up, down = ([a + s * step * (i == j) for j, a in enumerate(at)] for s in (1, -1))
        np.testing.assert_allclose(found[i], (value(*up) - value(*down)) / (2 * step), rtol=1e-7)


def test_float32():
    with jax.enable_x64(False):
        law = spectra.ntk_law(jaxact.get("tanh"), phi=0.5, psi=0.75)
        rho = spectra.density(law, jnp.linspace(0.05, 5.0, 50))
        assert rho.dtype == jnp.float32
    law = spectra.ntk_law(jaxact.get("tanh"), phi=0.5, psi=0.75)
    np.testing.assert_allclose(rho, spectra.density(law, jnp.linspace(0.05, 5.0, 50)), atol=1e-3)


def test_bad_input():
    with pytest.raises(ValueError, match="act must be without jumps"):
        spectra.ntk_law(jnp.sign, phi=1.0, psi=1.0)
    with pytest.raises(ValueError, match="psi must be positive, got 0"):
        spectra.ntk_law(jnp.tanh, phi=1.0, psi=0.0)
    with pytest.raises(ValueError, match="output_scale must be non-negative"):
        spectra.ntk_law(jnp.tanh, phi=1.0, psi=1.0, output_scale=-1.0)
    with pytest.raises(ValueError, match="n1 must be at least 1"):
        spectra.simulate_ntk(jax.random.key(0), jnp.tanh, n0=3, n1=0, m=3)


def test_converged_tells_solutions_from_others():
    """True for every kind of law at ordinary points; false for a root that is not the limit."""
    tanh, relu = jaxact.get("tanh"), jaxact.get("relu")
    x = jnp.array([-3.0, -0.01, 0.02, 0.7, 3.0, 40.0])
    deep = spectra.deep_law(tanh, phi=1.0, psi=np.full(3, 1.5))

    def at_height(h):
        return jax.lax.complex(x, jnp.full_like(x, h))

    for law in (
        spectra.Law(1.0, 0.3, 0.5, 0.5),
        spectra.Law(1.0, 0.0, 0.5, 0.75),
        deep,
        spectra.mixture_law([relu, tanh], [1, 1], phi=1.0, psi=1.5),
        spectra.ntk_law(tanh, phi=0.5, psi=0.75),
    ):
        for z in (x, at_height(1e-3), at_height(-0.1)):
            assert spectra.converged(law, z).all()
    at = tower_of(deep)
    z = at_height(0.1)
    (u,) = continuation.physical(tower.TOWER, z, at)
    assert continuation.certified(tower.TOWER, (u,), z, at).all()
    assert not continuation.certified(tower.TOWER, (1.01 * u,), z, at).any()
    assert not continuation.certified(tower.TOWER, (jnp.conj(u),), z, at).any()
