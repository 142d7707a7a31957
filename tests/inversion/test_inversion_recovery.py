"""The paper's claim: latents of convolutional generators come back from partial measurements."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import inversion

K = 32
GENERATORS = {"relu": (), "leaky_relu": (0.2,), "tanh": (), "softplus": ()}


def conv_generator(name: str) -> jax.tree_util.Partial:
    """1x1x32 -> 7x7x16 -> 28x28x3, transposed convolutions with stride = kernel, no bias."""
    first, second = jax.random.split(jax.random.key(0))
    w1 = jax.random.normal(first, (K, 7, 7, 16)) * (2 / K) ** 0.5
    w2 = jax.random.normal(second, (16, 4, 4, 3)) * (2 / 16) ** 0.5
    act = ja.get(name, *GENERATORS[name])

    def apply(weights, z):
        hidden = act(jnp.einsum("c,cijd->ijd", z, weights[0]))
        out = jnp.einsum("hwc,cijd->hiwjd", hidden, weights[1])
        return act(out.reshape(28, 28, 3))

    return jax.tree_util.Partial(apply, (w1, w2))


def pixels(name: str) -> np.ndarray:
    order = np.random.default_rng(0).permutation(784).reshape(28, 28)
    chosen = {"full": order >= 0, "half": np.arange(784).reshape(28, 28) >= 392, "25%": order < 196}
    return np.repeat(chosen[name][..., None], 3, -1)


def recover(generator, see, solver, count=4, restarts=4):
    z = jax.random.normal(jax.random.key(1), (count, K))
    y = jax.vmap(lambda v: see(generator(v)))(z)

    def one(y, key):
        return inversion.invert(
            generator, y, latent=K, operator=see, solver=solver, restarts=restarts, key=key
        )

    found = jax.vmap(one)(y, jax.random.split(jax.random.key(2), count))
    size = jnp.linalg.norm(z, axis=-1)
    best = jnp.linalg.norm(found.latent - z, axis=-1) / size
    each = jnp.linalg.norm(found.latents - z[:, None], axis=-1) / size[:, None]
    return found, best, each


@pytest.mark.parametrize(
    ("pixel", "solver"),
    [
        ("full", inversion.GaussNewton()),
        ("25%", inversion.GaussNewton()),
        ("half", inversion.LevenbergMarquardt()),
        ("25%", inversion.LevenbergMarquardt()),
    ],
    ids=["full-gn", "quarter-gn", "half-lm", "quarter-lm"],
)
def test_every_restart_of_a_relu_generator_finds_the_latent(pixel, solver):
    found, best, each = recover(conv_generator("relu"), inversion.mask(pixels(pixel)), solver)
    assert (each < 1e-3).all()
    assert np.median(best) < 1e-6
    assert np.median(found.iterations) <= 8
    assert found.converged.all()
    assert found.identifiable.all()
    np.testing.assert_array_equal(found.agreement, 1.0)


@pytest.mark.parametrize("name", ["leaky_relu", "tanh", "softplus"])
def test_other_activations_from_a_quarter_of_the_pixels(name):
    found, best, each = recover(conv_generator(name), inversion.mask(pixels("25%")), None)
    assert (each < 1e-3).all()
    assert np.median(best) < 1e-6
    assert np.median(found.iterations) <= 9
    assert found.converged.all()


def test_adam_the_papers_way_agrees_with_second_order_and_needs_many_more_steps():
    generator, see = conv_generator("relu"), inversion.mask(pixels("full"))
    found, best, each = recover(generator, see, inversion.Adam(learning_rate=0.05), restarts=2)
    assert (each < 1e-3).all()
    assert found.converged.all()
    assert 100 < np.median(found.iterations) < 400


def test_few_pixels_make_a_flag_not_a_silent_wrong_answer():
    # 8 pixels: 24 numbers for 32 unknowns. The measurements are explained, the latent is not found.
    few = np.random.default_rng(0).permutation(784).reshape(28, 28) < 8
    see = inversion.mask(np.repeat(few[..., None], 3, -1))
    found, best, _ = recover(conv_generator("softplus"), see, None, count=2)
    assert (found.loss < 1e-4).all()
    assert (best > 0.1).all()
    assert not found.identifiable.any()
    np.testing.assert_array_equal(found.sigma_min, 0.0)
    assert np.isinf(found.condition).all()
    assert (found.agreement < 1).all()
