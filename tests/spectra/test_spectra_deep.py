"""Laws of deep networks against one layer's law, a NumPy twin, closed forms and simulation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra
from jaxact.spectra import continuation, tower

POINTS = np.array([-1.0, 0.02, 0.7, 2.5, 30.0])
DEEP = spectra.DeepLaw(
    np.array([1.0, 0.5, 2.0]), np.array([0.9, 0.1, 1.6]), 0.8, np.array([0.5, 1.5, 0.9])
)


@pytest.fixture(scope="module")
def one_layer():
    """Laws of one layer as `Law` and as `DeepLaw`, in batches."""
    rng = np.random.default_rng(0)
    phi, psi = np.exp(rng.uniform(-2, 2, (2, 60)))
    zeta = rng.choice([0, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-6, 1], 60)
    # The sheet's two-band law, a hard edge and a linear network of low rank.
    phi[:3], psi[:3], zeta[:3] = (0.05, 0.5, 0.1), (0.2, 0.5, 0.25), (0.8, 0.3, 1.0)
    eta = np.full(60, 2.0)
    law = spectra.Law(eta, 2 * zeta, phi, psi)
    return law, spectra.DeepLaw(eta[:, None], 2 * zeta[:, None], phi, psi[:, None])


@pytest.mark.parametrize(
    ("verb", "tolerance"),
    [
        (lambda law: spectra.stieltjes(law, POINTS), 1e-12),
        (lambda law: spectra.companion(law, POINTS), 1e-12),
        (lambda law: spectra.edges(law).edges, 1e-10),
        (lambda law: spectra.edges(law).count, 0),
        (spectra.atom, 1e-14),
        (lambda law: spectra.moment(law, 5), 1e-13),
        (lambda law: spectra.training_error(law, np.array([1e-3, 0.1, 3.0])), 1e-11),
    ],
)
def test_one_layer_is_the_law(verb, tolerance, one_layer, x64):
    law, deep = one_layer
    expected, found = np.asarray(jax.vmap(verb)(law)), np.asarray(jax.vmap(verb)(deep))
    size = np.abs(expected).max(axis=-1, keepdims=True) if expected.ndim > 1 else np.abs(expected)
    assert (np.abs(found - expected) <= tolerance * np.maximum(size, 1e-3)).all()


def random_towers(rng, count, depth):
    phi = np.exp(rng.uniform(-3, 3, count))
    psi = phi[:, None] * np.exp(rng.uniform(-3, 3, (count, depth)))
    share = rng.choice([0, 1e-6, 1 - 1e-6, 1, -1, -1, -1], (count, depth))
    return np.where(share < 0, rng.uniform(0, 1, share.shape), share), phi, psi


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_towers_are_certified(dtype, rng, x64):
    heights = np.array([1e-2, 1e-4, 1e-6, 1e-9, 0])

    @jax.jit
    @jax.vmap
    def follow(share, phi, psi, x, height):
        at = tower.layers(share, phi, psi)
        z = jax.lax.complex(x, height)
        unknowns = continuation.physical(tower.TOWER, z, at)
        return (
            continuation.solved(tower.TOWER, unknowns, z, at),
            tower.TOWER.margin(unknowns, z, at),
        )

    share, phi, psi = random_towers(rng, 300, 6)
    x = np.exp(rng.uniform(-4, 4, (300, 5))) * rng.choice([1, 1, 1, -1], (300, 5))
    args = (share, phi, psi, x, np.abs(x) * heights)
    solved, margin = follow(*(jnp.asarray(v, dtype) for v in args))
    assert np.asarray(solved).all()
    # In float32 a height of 1e-6 |z| is within rounding.
    assert (np.asarray(margin)[:, : 4 if dtype == np.float64 else 2] > 0).all()


def twin(z, share, gamma, steps=400):
    """s_L(z) of the m x m kernel by damped fixed points of Silverstein's equation, recursively."""
    if len(gamma) == 1:
        population = lambda v: v / (1 + v)  # noqa: E731  int t / (1 + t v) at t = 1, times v
    else:
        b = share[-1]

        def population(v):
            inner = -(1 + (1 - b) * v) / (b * v)
            return 1 - twin(inner, share[:-1], gamma[:-1], 200) / (b * v)

    v = -1 / z
    for _ in range(steps):
        step = -1 / (z - gamma[-1] * population(v) / v) - v
        v = v + step / 2
        if abs(step) < 1e-11 * abs(v):
            break
    return (v + (1 - gamma[-1]) / z) / gamma[-1]


@pytest.mark.fast
def test_layered_fixed_points_agree(x64):
    gamma = np.concatenate([[1.0], DEEP.psi]) / DEEP.phi
    for z in (1.0 + 2.0j, -1.5 + 1.0j):
        expected = -twin(z, DEEP.zeta / DEEP.eta, gamma)
        scale = DEEP.eta[-1] / gamma[-1]  # M has the eigenvalues of K eta / gamma
        found = complex(spectra.companion(DEEP, z * scale)) * scale
        assert found == pytest.approx(expected, rel=1e-8)


def test_mass_and_moments(x64):
    bands = np.asarray(spectra.edges(DEEP).edges).reshape(-1, 2)
    total = np.zeros(4)
    angle = (np.arange(400) + 0.5) * np.pi / 400
    x = np.concatenate([(b - a) / 2 * (1 - np.cos(angle)) + a for a, b in bands])
    weight = np.concatenate([(b - a) / 2 * np.sin(angle) * np.pi / 400 for a, b in bands])
    rho = weight * np.asarray(spectra.density(DEEP, x))
    total = np.array([(rho * x**k).sum() for k in range(4)])
    total[0] += float(spectra.atom(DEEP))
    expected = [float(spectra.moment(DEEP, k)) for k in range(4)]
    np.testing.assert_allclose(total, expected, rtol=1e-7)
    assert expected[1] == pytest.approx(2.0, rel=1e-14)


@pytest.mark.fast
def test_second_moments(x64):
    # E tr M^2 / n = (eta / gamma)^2 gamma m_2 of the kernel.
    gamma = DEEP.psi[-1] / DEEP.phi
    kernel = float(spectra.second_moments(DEEP)[-1])
    assert float(spectra.moment(DEEP, 2)) == pytest.approx(4 / gamma * kernel, rel=1e-13)


@pytest.mark.fast
def test_isotropic_activations_forget_the_layers_below(x64):
    law = spectra.Law(1.0, 0.0, 0.8, 1.2)
    deep = spectra.DeepLaw(np.ones(3), np.array([0.9, 0.5, 0.0]), 0.8, np.array([0.3, 2.0, 1.2]))
    np.testing.assert_allclose(
        spectra.stieltjes(deep, POINTS), spectra.stieltjes(law, POINTS), rtol=1e-11
    )
    assert int(spectra.edges(deep).count) == 2
    np.testing.assert_allclose(
        spectra.edges(deep).edges[:2], spectra.edges(law).edges[:2], rtol=1e-12
    )


def test_the_density_lives_between_the_edges(rng, x64):
    share, phi, psi = random_towers(rng, 60, 4)
    psi = psi * np.exp(rng.uniform(-1, 1, psi.shape))
    laws = spectra.DeepLaw(np.ones_like(share), share, phi, psi)
    support = jax.vmap(spectra.edges)(laws)
    edges, count = np.asarray(support.edges), np.asarray(support.count)
    assert set(count.tolist()) >= {2, 4}
    x = edges[:, -1:] * np.exp(rng.uniform(-6, 0.1, (60, 100)))
    rho = np.asarray(jax.vmap(spectra.density)(laws, x))
    for i in range(60):
        inside = np.searchsorted(edges[i, : count[i]], x[i]) % 2 == 1
        clear = np.abs(x[i][:, None] / edges[i][None] - 1).min(axis=1) > 1e-9
        assert ((rho[i] > 0) == inside)[clear].all()


def test_derivatives(x64):
    def read(eta, zeta, phi, psi):
        law = spectra.DeepLaw(eta, zeta, phi, psi)
        support = spectra.edges(law)
        return jnp.stack(
            [
                spectra.density(law, 1.3),
                spectra.training_error(law, 0.05),
                spectra.moment(law, 3),
                support.edges[0],
                support.edges[1],
            ]
        )

    at = tuple(jnp.asarray(leaf) for leaf in jax.tree.leaves(DEEP))
    found = jax.jacfwd(read, argnums=(0, 1, 2, 3))(*at)
    rng = np.random.default_rng(3)
    along = tuple(jnp.asarray(rng.normal(size=np.shape(a))) * a * 0.1 for a in at)
    step = 1e-5
    high, low = (
        read(*(a + sign * step * d for a, d in zip(at, along, strict=True))) for sign in (1, -1)
    )
    slope = sum(jnp.tensordot(j, d, d.ndim) for j, d in zip(found, along, strict=True))
    np.testing.assert_allclose(slope, (high - low) / (2 * step), rtol=1e-7, atol=1e-9)

    def bend(x):
        return spectra.density(DEEP, x)

    expected = (jax.grad(bend)(1.3 + step) - jax.grad(bend)(1.3 - step)) / (2 * step)
    assert float(jax.grad(jax.grad(bend))(1.3)) == pytest.approx(float(expected), rel=1e-7)


def test_through_the_activation(x64):
    def error(alpha):
        deep = spectra.deep_law(jaxact.get("f_alpha", alpha), phi=0.5, psi=np.full(2, 0.75))
        return spectra.training_error(deep, 0.01)

    found = jax.jit(jax.vmap(jax.value_and_grad(error)))(jnp.array([-0.5, 0.2]))
    step = 1e-5
    expected = (error(0.2 + step) - error(0.2 - step)) / (2 * step)
    assert float(found[1][1]) == pytest.approx(float(expected), rel=1e-7)


def test_one_draw(x64):
    acts = [jaxact.get("relu"), lambda x: jnp.sin(2 * x)]
    n0, widths, m = 300, (500, 250), 400
    deep = spectra.deep_law(acts, phi=n0 / m, psi=n0 / np.array(widths), scale=[1.0, 1.3])
    found = np.asarray(
        spectra.simulate_deep(jax.random.key(0), acts, n0=n0, widths=widths, m=m, scale=[1.0, 1.3])
    )
    low, high = np.asarray(spectra.edges(deep).edges[:2])
    angle = np.linspace(0, np.pi, 1500)
    x = low + (high - low) * (1 - np.cos(angle)) / 2
    rho = np.asarray(spectra.density(deep, x)) * (high - low) * np.sin(angle) / 2
    cdf = np.concatenate([[0], np.cumsum((rho[1:] + rho[:-1]) / 2 * np.diff(angle))])
    at = np.interp(found, x, cdf)
    rank = np.arange(len(found) + 1) / len(found)
    assert np.maximum(abs(at - rank[1:]), abs(at - rank[:-1])).max() < 0.03


def test_compiles_once(x64):
    def size():
        return spectra.transform._density._cache_size()

    x = jnp.linspace(0.1, 3, 4)
    before = size()
    for zeta in (0.1, 0.5):
        law = spectra.DeepLaw(np.ones(2), np.array([zeta, 0.2]), 0.8 + zeta, np.array([0.5, 1.5]))
        spectra.density(law, x)
    assert size() - before <= 1


@pytest.mark.fast
def test_bad_input():
    relu = jaxact.get("relu")
    with pytest.raises(ValueError, match="acts must hold one activation a layer, got 1 for 2"):
        spectra.deep_law([relu], phi=1.0, psi=[1.0, 1.0])
    with pytest.raises(ValueError, match="psi must be positive"):
        spectra.deep_law(relu, phi=1.0, psi=[1.0, -1.0])
    with pytest.raises(ValueError, match=r"psi must have shape \(L,\), got \(\)"):
        spectra.deep_law(relu, phi=1.0, psi=1.0)
    with pytest.raises(ValueError, match=r"law.eta must have shape \(2,\), got \(1,\)"):
        spectra.edges(spectra.DeepLaw(np.ones(1), np.ones(2), 1.0, np.ones(2)))
    with pytest.raises(ValueError, match=r"law.zeta must be in \[0, eta\]"):
        spectra.edges(spectra.DeepLaw(np.ones(2), np.full(2, 1.5), 1.0, np.ones(2)))
    with pytest.raises(ValueError, match="widths must be at least 1, got 0"):
        spectra.simulate_deep(jax.random.key(0), relu, n0=3, widths=(2, 0), m=4)
