"""Intermediate layers: the projections against their oracles, and real held-out digits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import jaxact as ja
from jaxact import inversion, io, nets


@pytest.mark.fast
def test_projections_against_a_root_finder(x64, rng):
    for radius in (0.5, 3.0, 40.0):
        v = rng.normal(size=15) * 2
        found = np.asarray(inversion.project_l1(jnp.asarray(v), radius))
        expected = v
        if np.abs(v).sum() > radius:
            level = brentq(lambda t, v=v, r=radius: np.maximum(np.abs(v) - t, 0).sum() - r, 0, 9)
            expected = np.sign(v) * np.maximum(np.abs(v) - level, 0)
        np.testing.assert_allclose(found, expected, atol=1e-10)
        short = np.asarray(inversion.project_l2(jnp.asarray(v), radius))
        np.testing.assert_allclose(short, v * min(1, radius / np.linalg.norm(v)), atol=1e-12)
    away = inversion.Ball(jnp.ones(2), 1.0, "l2").project(jnp.array([1.0, 5.0]))
    np.testing.assert_allclose(away, [1.0, 2.0])


def test_a_stage_solves_its_constrained_problem(x64, rng):
    """On a linear tail the optimality conditions of a ball are known."""
    w1, w2 = rng.normal(size=(8, 2)), jnp.asarray(rng.normal(size=(20, 8)))
    stages = (lambda z: jnp.tanh(jnp.asarray(w1) @ z), lambda h: w2 @ h)
    y = jnp.asarray(rng.normal(size=20))
    start = jnp.asarray(rng.normal(size=2))
    found = inversion.invert_intermediate(
        stages, y, latent=start, radius=0.5, norm="l2", steps=2000, prior=0.1
    )
    h, center = np.asarray(found.hidden[0]), np.tanh(w1 @ np.asarray(found.first.latent))
    assert float(found.moved[0]) == pytest.approx(0.5)
    gradient = np.asarray(w2).T @ (np.asarray(w2) @ h - np.asarray(y))
    cosine = -gradient @ (h - center) / np.linalg.norm(gradient) / np.linalg.norm(h - center)
    assert cosine == pytest.approx(1, abs=1e-4)
    assert bool(found.converged.all())


def test_held_out_digits_are_represented_better():
    digits = io.load_digits()
    _, decoder, _ = nets.train_autoencoder(
        digits.x[:600], latent=6, act=ja.get("softplus"), epochs=10, key=jax.random.key(0)
    )
    first, last = decoder.args[1]["layers"][0], decoder.args[1]["layers"][1]
    stages = (
        lambda z: jax.nn.softplus(z @ first["kernel"] + first["bias"]),
        lambda h: jax.nn.sigmoid(h @ last["kernel"] + last["bias"]).reshape(8, 8),
    )
    z = jnp.linspace(-1, 1, 6)
    np.testing.assert_allclose(stages[1](stages[0](z)), decoder(z), atol=1e-5)
    see = inversion.mask(np.random.default_rng(0).permutation(64)[:48])
    errors = []
    for image in jnp.asarray(digits.test_x[:3]):
        found = inversion.invert_intermediate(
            stages, see(image), latent=6, radius=(3.0,), operator=see, steps=150, prior=0.01,
            restarts=2, key=jax.random.key(1),
        )  # fmt: skip
        assert float(found.losses[1]) < float(found.losses[0])
        assert float(found.moved[0]) <= 3.0 * (1 + 1e-5)
        np.testing.assert_allclose(found.output, stages[1](found.hidden[0]), atol=1e-6)
        errors.append([jnp.mean((o - image) ** 2) for o in (found.first.output, found.output)])
    without, through = np.mean(errors, axis=0)
    assert through < 0.9 * without


@pytest.mark.fast
def test_bad_stages():
    y = jnp.ones(3)
    with pytest.raises(ValueError, match="stages must hold at least two functions, got 1"):
        inversion.invert_intermediate((jnp.tanh,), y, latent=3, radius=1.0)
    with pytest.raises(ValueError, match="radius must have at most 1 entries for 2 stages, got 2"):
        inversion.invert_intermediate((jnp.tanh, jnp.tanh), y, latent=3, radius=(1.0, 1.0))
    with pytest.raises(ValueError, match="radius must be positive"):
        inversion.invert_intermediate((jnp.tanh, jnp.tanh), y, latent=3, radius=0.0)
