"""Properties of every law and activation, on random ones."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxact
from jaxact import spectra

# Ratios e^[-2, 2] and shares of zeta in eta, both ends included.
LAWS = st.builds(
    lambda eta, share, phi, psi: spectra.Law(
        *(np.float64(v) for v in (math.exp(eta), math.exp(eta) * share, *map(math.exp, (phi, psi))))
    ),
    st.floats(-1, 1),
    st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
GAMMAS = np.geomspace(1e-6, 1e4, 21)


@jax.jit
def facts(law):
    """The law by its atom, edges, distribution, first moment and training error."""
    found = spectra.edges(law).edges
    beyond = jnp.stack([found[0] * 0.9, found[1] * 1.0, found[2], found[3] * 1.001])
    error = spectra.training_error(law, law.eta * GAMMAS)
    return spectra.atom(law), spectra.cdf(law, beyond), spectra.moment(law, 1), error


@settings(max_examples=60, deadline=None, derandomize=True)
@given(law=LAWS)
def test_mass_mean_and_training_error(law):
    with jax.enable_x64(True):
        atom, below, mean, error = (np.asarray(v) for v in facts(law))
    assert abs(mean - law.eta) <= 1e-12 * law.eta
    assert abs(below[0] - atom) <= 1e-9
    assert abs(below[-1] - 1) <= 1e-9
    assert (np.diff(below) >= -1e-9).all()
    # E_train rises in gamma from its floor, the share of samples that cannot be fitted, to 1.
    rank = min(law.phi / law.psi, 1, law.phi if law.zeta == law.eta else 1)
    assert (np.diff(error) >= -1e-12).all()
    assert error[0] >= 1 - rank - 1e-9
    assert error[-1] <= 1


@jax.jit
def zeta_of_a_gate(a, b, c, scale):
    def gated(x, a, b, c):
        # x / 2 and an even part: then f(x) - f(-x) = x.
        return x / 2 + a * jnp.abs(x) + b * jnp.cos(c * x)

    act = jaxact.activation(gated, theta=(a, b, c), kinks=(0.0,))
    return spectra.moments(act, scale).zeta


@settings(max_examples=40, deadline=None, derandomize=True)
@given(*[st.floats(-2, 2)] * 3, st.floats(0.1, 5))
def test_zeta_of_a_gated_identity(a, b, c, scale):
    with jax.enable_x64(True):
        zeta = float(zeta_of_a_gate(*(np.float64(v) for v in (a, b, c, scale))))
    assert abs(zeta - scale**2 / 4) <= 1e-12 * (1 + scale**2)
