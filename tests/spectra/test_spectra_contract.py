"""What every kernel owes its caller: other platforms, transformations, dtypes, no hidden state."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact import spectra

LAW = spectra.Law(*(jnp.asarray(v, jnp.float32) for v in (1.0, 0.3, 0.5, 0.75)))
POINTS = jnp.linspace(0.5, 2.0, 3, dtype=jnp.float32)
RELU = jaxact.get("relu")

KERNELS = {
    "stieltjes": (spectra.stieltjes, (LAW, POINTS)),
    "companion": (spectra.companion, (LAW, POINTS)),
    "density": (spectra.density, (LAW, POINTS)),
    "cdf": (spectra.cdf, (LAW, POINTS)),
    "quantile": (spectra.quantile, (LAW, POINTS / 3)),
    "sample": (lambda key: spectra.sample(key, LAW, (3,)), (jax.random.key(0),)),
    "training_error": (spectra.training_error, (LAW, POINTS)),
    "test_error": (functools.partial(spectra.test_error, noise=0.25), (LAW, POINTS)),
    "optimal_gamma": (functools.partial(spectra.optimal_gamma, noise=0.25), (LAW,)),
    "double_descent": (
        lambda widths: spectra.double_descent(RELU, widths, phi=0.5, gamma=0.1, noise=0.25),
        (POINTS,),
    ),
    "edges": (spectra.edges, (LAW,)),
    "atom": (spectra.atom, (LAW,)),
    "moment": (functools.partial(spectra.moment, k=4), (LAW,)),
    "moments": (spectra.moments, (RELU, POINTS[0])),
    "hermite": (lambda s: spectra.hermite_coefficients(RELU, 5, s), (POINTS[0],)),
    "law": (lambda phi: spectra.law(jaxact.get("tanh"), phi=phi, psi=0.5), (POINTS[0],)),
    "kernel": (lambda x: spectra.kernel(RELU, x), (jnp.ones((3, 2), jnp.float32),)),
    "fixed_data": (
        lambda x: spectra.fixed_data(RELU, x, x, n1=5, gamma=0.1, test=(x, x)),
        (jnp.ones((3, 2), jnp.float32),),
    ),
    "simulate_fixed_data": (
        lambda key: spectra.simulate_fixed_data(
            key, RELU, np.ones((3, 2), np.float32), np.ones(3), n1=5, gamma=0.1
        ),
        (jax.random.key(0),),
    ),
    "simulate": (
        lambda key: spectra.simulate(key, RELU, n0=6, n1=5, m=8),
        (jax.random.key(0),),
    ),
    "simulate_training_error": (
        lambda key: spectra.simulate_training_error(key, RELU, n0=6, n1=5, m=8, gamma=0.1),
        (jax.random.key(0),),
    ),
    "simulate_test_error": (
        lambda key: spectra.simulate_test_error(key, RELU, n0=6, n1=5, m=8, gamma=0.1, noise=0.25),
        (jax.random.key(0),),
    ),
}


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", KERNELS)
def test_lowers_for_other_platforms(name, platform):
    fn, args = KERNELS[name]
    assert jax.jit(fn).trace(*args).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.fast
def test_a_batch_of_laws_is_a_vmap():
    phi = jnp.array([0.3, 0.5, 2.0], jnp.float32)
    laws = spectra.law(jaxact.get("tanh"), phi=phi, psi=0.75)
    assert [leaf.shape for leaf in jax.tree.leaves(laws)] == [(3,)] * 4
    atoms = jax.vmap(spectra.atom)(laws)
    np.testing.assert_allclose(atoms, [0, 0, 0.625], atol=1e-6)
    errors = jax.vmap(spectra.training_error, (0, None))(laws, 0.1)
    assert errors.shape == (3,)


def test_a_batch_of_activations_is_a_vmap(x64):
    def error(alpha):
        act = jaxact.get("f_alpha", alpha)
        return spectra.training_error(act, gamma=0.01, phi=0.5, psi=0.75)

    alphas = jnp.linspace(-1.0, 1.0, 5)
    found = jax.jit(jax.vmap(error))(alphas)
    # zeta falls from 1 to 0 along the family, and memorisation improves with it.
    assert (np.diff(np.asarray(found)) < 0).all()
    assert np.isfinite(np.asarray(jax.vmap(jax.grad(error))(alphas))).all()


@pytest.mark.fast
def test_dtype_follows_the_inputs(x64):
    narrow = jnp.asarray(1.0, jnp.float32)
    python = spectra.Law(eta=1.0, zeta=0.3, phi=0.5, psi=0.75)
    assert spectra.density(python, narrow).dtype == jnp.float32
    assert spectra.density(python, 1.0).dtype == jnp.float64
    assert spectra.density(LAW, narrow).dtype == jnp.float32
    assert spectra.stieltjes(python, np.complex64(1j)).dtype == jnp.complex64


def test_double_from_a_float32_session():
    wide = jaxact.numerics.double(spectra.training_error)
    law = spectra.Law(*(np.float32(v) for v in (1.0, 0.0, 0.5, 0.5)))
    found = wide(law, np.float32(1.0))
    assert found.dtype == jnp.float64
    assert float(found) == pytest.approx(1 / 5**0.5, abs=1e-14)


def test_integers_are_numbers(x64):
    law = spectra.Law(eta=1, zeta=0, phi=1, psi=1)
    assert float(spectra.training_error(law, 1)) == pytest.approx(1 / 5**0.5, abs=1e-14)


def test_a_law_is_checked_wherever_it_enters():
    bad = spectra.Law(eta=1.0, zeta=2.0, phi=0.5, psi=0.5)
    for call in (spectra.edges, spectra.atom, lambda at: spectra.moment(at, 2)):
        with pytest.raises(ValueError, match=r"law.zeta must be in \[0, eta\]"):
            call(bad)
    with pytest.raises(ValueError, match="law.zeta must be finite"):
        spectra.edges(spectra.Law(eta=1.0, zeta=float("nan"), phi=0.5, psi=0.5))
    with pytest.raises(ValueError, match="psi must be positive, got 0"):
        spectra.law(RELU, phi=0.5, psi=0.0)
