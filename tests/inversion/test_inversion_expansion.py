"""The expansion report against Monte Carlo and counting."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import inversion
from jaxact.inversion.expansion import active_share, wdc_gap


def test_the_weight_distribution_condition_is_about_its_mean(x64, rng):
    x, y = rng.normal(size=(2, 4))
    rows = rng.normal(size=(200000, 4))
    both = (rows @ x > 0) & (rows @ y > 0)
    expected = (rows[both].T @ rows[both]) / len(rows)
    np.testing.assert_allclose(
        inversion.wdc_limit(jnp.asarray(x), jnp.asarray(y)), expected, atol=0.01
    )
    gap = np.linalg.norm(
        expected - np.asarray(inversion.wdc_limit(jnp.asarray(x), jnp.asarray(y))), 2
    )
    scaled = jnp.asarray(rows / len(rows) ** 0.5)
    assert float(wdc_gap(scaled, jnp.asarray(x), jnp.asarray(y))) == pytest.approx(gap, rel=1e-6)


def test_a_generators_blocks_their_expansion_and_a_falling_wdc(rng):
    kernels = [
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((4, 7, 7, 16), (16, 2, 2, 3))
    ]
    report = inversion.expansion_report(kernels, jax.nn.relu, key=jax.random.key(0))
    assert report.rows.tolist() == [784, 12]
    assert report.columns.tolist() == [4, 16]
    np.testing.assert_allclose(report.expansion, [196, 0.75], rtol=1e-6)
    assert report.expansive.tolist() == [True, False]
    assert report.wdc[0] < 0.25
    assert report.wdc[1] > 0.8


def test_the_threshold_belongs_to_the_activation():
    for act, share in (
        (jax.nn.relu, 0.5),
        (jnp.tanh, 1.0),
        (ja.get("leaky_relu", 0.2), 1.0),
        (jax.nn.hard_tanh, 0.6827),
        (lambda x: jnp.where(x > 1, x, 0), 0.1587),
        (jnp.zeros_like, 0.0),
    ):
        assert active_share(act) == pytest.approx(share, abs=1e-3)


@pytest.mark.fast
def test_bad_expansion_input():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="weights must have at least 1 entries"):
        inversion.expansion_report([], jax.nn.relu, key=key)
    with pytest.raises(ValueError, match=r"weights\[1\] must be a matrix"):
        inversion.expansion_report([jnp.ones((3, 2)), jnp.ones(3)], jax.nn.relu, key=key)
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite"):
        inversion.expansion_report([jnp.full((3, 2), jnp.nan)], jax.nn.relu, key=key)
    with pytest.raises(TypeError, match="activation must be a function of one array"):
        inversion.expansion_report([jnp.ones((3, 2))], "relu", key=key)
