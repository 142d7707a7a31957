"""The invertible generator as a Flax module: its numbers, parameters and training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxact as ja
from jaxact import geometry, nets


@pytest.mark.fast
def test_the_module_is_its_pure_generator():
    model = nets.InvertibleGenerator(2, 2, ja.get("leaky_relu", 0.3), rngs=nnx.Rngs(0))
    g = model.pure()
    z = np.array([[0.3, -0.4], [1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(model(z), g(z))
    np.testing.assert_array_equal(model.log_density(z), g.log_density(z))
    assert model.sample(jax.random.key(0), 3).shape == (3, 2)
    apply, params = nets.functional(model)
    assert sorted(params) == ["beta", "biases", "gamma", "weights"]
    np.testing.assert_allclose(apply(params, z), model(z), rtol=1e-6)


def test_theta_is_trained_by_likelihood_and_put_back():
    model = nets.InvertibleGenerator(
        2, 1, ja.get("leaky_relu", 0.3), trainable=True, rngs=nnx.Rngs(0)
    )
    assert "theta" in nets.functional(model)[1]
    true = model.pure()
    x = true.sample(jax.random.key(1), 4000)
    start = nets.InvertibleGenerator(
        2, 1, ja.get("leaky_relu", 0.7), trainable=True, rngs=nnx.Rngs(0)
    )
    fit = geometry.fit_generator(
        start.pure(), x, train=("act",), optimizer=optax.adam(0.03), steps=200
    )
    start.assign(fit.generator)
    np.testing.assert_array_equal(start.log_density(x[:5]), fit.generator.log_density(x[:5]))
    assert float(fit.nll[-1]) < float(geometry.negative_log_likelihood(true, x)) + 1e-3
    assert bool(fit.converged)
    assert float(jnp.squeeze(start.theta[0][...])) == pytest.approx(0.3, abs=0.03)


def test_a_flat_activation_is_refused():
    with pytest.raises(ValueError, match="relu is flat on an interval"):
        nets.InvertibleGenerator(2, 1, ja.get("relu"), rngs=nnx.Rngs(0))
