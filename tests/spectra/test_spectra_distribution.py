"""Distribution function, quantiles and samples against quadrature, closed forms and each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import spectra
from jaxact.numerics import bracketed_root
from jaxact.spectra import distribution


def make(phi, psi, eta, zeta):
    return spectra.Law(*(jnp.asarray(float(v)) for v in (eta, zeta, phi, psi)))


LAWS = {  # (phi, psi, eta, zeta)
    "mixed": (0.5, 0.75, 1.3, 0.4),
    "hard edge": (0.5, 0.5, 1, 0.3),
    "atom": (2, 0.5, 1, 0.5),
    "linear": (1, 1.5, 1, 1),
    "linear with an atom": (0.1, 0.25, 1, 1),
    "two bands": (0.05, 0.2, 1, 0.8),
    "nearly no linear part": (0.3, 2, 0.7, 1e-6),
    "wide": (20, 0.06, 1, 0.9),
    "narrow": (0.06, 20, 1, 0.3),
}
DRAWS = 2000  # one shape of points and probabilities, so that one compiled kernel serves all laws


def integrated(law, points):
    """The distribution function at points, by Gauss-Legendre quadrature of the density alone."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    total = np.full(len(points), float(spectra.atom(law)))
    for low, high in np.sqrt(np.asarray(spectra.edges(law).edges).reshape(2, 2)):
        if high > low:
            # x = t^2, t = middle - half cos(angle): smooth at soft edges and at a hard one.
            middle, half = (high + low) / 2, (high - low) / 2
            end = np.arccos(np.clip((middle - np.sqrt(points)) / half, -1, 1))
            angle = end[:, None] * (nodes + 1) / 2
            t = middle - half * np.cos(angle)
            rate = np.asarray(spectra.density(law, t**2)) * 2 * t * half * np.sin(angle)
            total += rate @ weights * end / 2
    return total


@pytest.mark.parametrize("name", LAWS)
def test_the_integral_of_the_density(name, x64):
    law = make(*LAWS[name])
    edges = np.asarray(spectra.edges(law).edges)
    bands = edges.reshape(2, 2)
    x = np.concatenate([low + (high - low) * np.linspace(0.001, 1.001, 25) for low, high in bands])
    np.testing.assert_allclose(spectra.cdf(law, x), integrated(law, x), atol=1e-11)
    assert float(spectra.cdf(law, edges[-1])) == pytest.approx(1, abs=1e-13)


@pytest.mark.fast
def test_marchenko_pastur_in_closed_form(x64):
    # n1 = m, zeta = 0: F(4 sin(a)^2) = (2 a + sin(2 a)) / pi.
    a = np.linspace(0.01, 1.57, 40)
    found = spectra.cdf(spectra.Law(eta=1.0, zeta=0.0, phi=0.5, psi=0.5), 4 * np.sin(a) ** 2)
    np.testing.assert_allclose(found, (2 * a + np.sin(2 * a)) / np.pi, atol=1e-14)


def test_constant_where_there_is_no_mass(x64):
    for name in ("two bands", "atom", "linear with an atom"):
        law = make(*LAWS[name])
        low, high, again, top = (float(e) for e in spectra.edges(law).edges)
        mass = float(spectra.atom(law))
        x = np.array([-1.0, -1e-300, 0.0, low / 9, low * 0.99, top * 1.01, 1e6])
        np.testing.assert_allclose(spectra.cdf(law, x), [0, 0, *[mass] * 3, 1, 1], atol=2e-15)
        if name == "two bands":
            gap = spectra.cdf(law, np.linspace(high, again, 7)[1:-1])
            assert np.ptp(np.asarray(gap)) < 2e-15
            assert 0 < float(gap[0]) < 1


def test_other_kinds_of_law_are_tabulated(x64):
    table = jax.jit(lambda law, x: distribution.cumulative.dispatch(object)(law)(x))
    for name in ("mixed", "hard edge", "two bands", "atom"):
        law = make(*LAWS[name])
        x = np.linspace(0.001, 1.2, 50) * float(spectra.edges(law).edges[-1])
        np.testing.assert_allclose(table(law, x), spectra.cdf(law, x), atol=1e-13)


@pytest.mark.parametrize("name", LAWS)
def test_quantiles_invert(name, x64):
    law = make(*LAWS[name])
    low, high, again, top = (float(e) for e in spectra.edges(law).edges)
    mass = float(spectra.atom(law))
    q = np.concatenate([np.linspace(0, 1, DRAWS - 2), [1e-12, 1 - 1e-12]])
    x = np.asarray(spectra.quantile(law, q))
    assert (np.diff(x[:-2]) >= 0).all()
    assert x[0] == (0 if mass else low)
    assert x[-3] == top
    assert (x[q <= mass * (1 - 1e-12)] == (0 if mass else low)).all()
    assert not ((x > high * (1 + 1e-12)) & (x < again * (1 - 1e-12))).any()
    np.testing.assert_allclose(spectra.cdf(law, x), np.maximum(q, mass), atol=1e-13)


def test_derivatives_match_differences(x64):
    law, step = make(*LAWS["mixed"]), 1e-5
    at = (law, jnp.asarray(0.9), jnp.asarray(0.7))

    def values(t, along):
        moved, x, q = jax.tree.map(lambda leaf, d: leaf + t * d, at, along)
        return jnp.stack([spectra.cdf(moved, x), spectra.quantile(moved, q)])

    def slopes(t, along):
        return jax.jvp(lambda u: values(u, along), (t,), (jnp.ones_like(t),))

    @jax.jit
    def twice(t, along):
        (value, first), (_, second) = jax.jvp(lambda u: slopes(u, along), (t,), (jnp.ones_like(t),))
        return value, first, second

    # Along each of the law's four numbers, then along the argument of each function.
    for along in np.eye(4 + 2):
        along = jax.tree.unflatten(jax.tree.structure(at), [jnp.asarray(v) for v in along])
        _, first, second = twice(jnp.asarray(0.0), along)
        high, low = (twice(jnp.asarray(h), along) for h in (step, -step))
        np.testing.assert_allclose(first, (high[0] - low[0]) / (2 * step), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(second, (high[1] - low[1]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_samples_follow_the_law(x64):
    for name in ("two bands", "atom"):
        law = make(*LAWS[name])
        draws = np.sort(spectra.sample(jax.random.key(0), law, (DRAWS,)))
        mass = float(spectra.atom(law))
        assert np.mean(draws == 0) == pytest.approx(mass, abs=0.04)
        at, rank = np.asarray(spectra.cdf(law, draws)), np.arange(DRAWS + 1) / DRAWS
        gap = np.maximum(abs(at - rank[1:]), abs(at - rank[:-1]))[draws > 0].max()
        assert gap < 1.63 / DRAWS**0.5  # the 1 % point of Kolmogorov's test
        assert np.mean(draws**2) == pytest.approx(float(spectra.moment(law, 2)), rel=0.1)


def test_samples_are_reparametrised(x64):
    def draw(eta):
        law = spectra.Law(eta, 0.0, 0.5, 0.75)
        return spectra.sample(jax.random.key(1), law, (6,))

    x, moved = jax.jvp(draw, (1.3,), (1.0,))  # a scale: x moves by x / eta
    np.testing.assert_allclose(moved, x / 1.3, rtol=1e-11)


def test_batches_of_laws_and_float32():
    batch = spectra.Law(*(jnp.asarray(v, jnp.float32) for v in zip(
        *[(at[2], at[3], at[0], at[1]) for at in LAWS.values()], strict=True)))  # fmt: skip
    q = jnp.linspace(0.0, 1.0, 21, dtype=jnp.float32)

    def around(law):
        x = spectra.quantile(law, q)
        return x, spectra.cdf(law, x), spectra.atom(law)

    x, back, mass = jax.jit(jax.vmap(around))(batch)
    assert x.shape == (len(LAWS), 21)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(back, np.maximum(q[None], mass[:, None]), atol=2e-5)


def test_one_trace_for_all_laws():
    q = jnp.array([0.2, 0.6], jnp.float32)
    before = distribution._quantile._cache_size()
    for zeta in (0.1, 0.2, 0.3):
        spectra.quantile(spectra.Law(1.0, zeta, 0.5, 0.75), q)
    assert distribution._quantile._cache_size() - before <= 1


@pytest.mark.fast
def test_a_bracketed_root(x64):
    targets = np.array([1e-9, 0.5, 1.0, 2.0, 26.0])
    low, high = jnp.zeros(5), jnp.full(5, 3.0)
    found = bracketed_root(lambda x: x**3 - targets, low, high)
    np.testing.assert_allclose(found, np.cbrt(targets), rtol=1e-14)
    jump = bracketed_root(lambda x: jnp.where(x < 0.3, -1.0, 1.0), jnp.zeros(()), jnp.ones(()))
    assert float(jump) == pytest.approx(0.3, abs=1e-15)
    assert float(bracketed_root(lambda x: x + 1, jnp.zeros(()), jnp.ones(()))) == 0


@pytest.mark.fast
def test_bad_input():
    law = spectra.Law(eta=1.0, zeta=0.5, phi=0.5, psi=0.5)
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\], got 1.5"):
        spectra.quantile(law, 1.5)
    with pytest.raises(ValueError, match="x must be finite, got nan"):
        spectra.cdf(law, float("nan"))
    with pytest.raises(TypeError, match="key must be a typed key"):
        spectra.sample(0, law)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="law must be a law of jaxact.spectra"):
        spectra.cdf((1.0, 0.5), 1.0)  # type: ignore[arg-type]
