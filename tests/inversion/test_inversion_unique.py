"""Certified boxes attacked by sampling, and boxes that must not be certified."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxact as ja
from jaxact import inversion
from jaxact.inversion import unique
from jaxact.inversion.interval_jacobian import centred_jacobian, deviation
from jaxact.inversion.unique import spectral_bound
from jaxact.tracing import trace

K, HIDDEN, M = 4, 24, 60
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "leaky_relu": ja.get("leaky_relu", 0.2),
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "lambda": lambda x: jnp.where(x > 0.5, 0.3 * x + 0.35, x) + 0.1 * jnp.sin(x),
}


def two_layers(act, weights, z):
    return act(weights[1] @ act(weights[0] @ z))


def random_net(act, dtype, seed=0):
    rng = np.random.default_rng(seed)
    w1 = jnp.asarray(rng.normal(size=(HIDDEN, K)) / 2, dtype)
    w2 = jnp.asarray(rng.normal(size=(M, HIDDEN)) / 5, dtype)
    generator = jax.tree_util.Partial(lambda w, z: two_layers(act, w, z), (w1, w2))
    return generator, jnp.asarray(rng.normal(size=K), dtype), rng


def points(rng, z, radius, count=600):
    """Half of them corners, as the box has them in this dtype."""
    inside = rng.uniform(-1, 1, size=(count, K))
    inside[: count // 2] = np.sign(inside[: count // 2])
    return jnp.asarray(np.asarray(z)[None] + float(radius) * inside, z.dtype)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_sampled_pairs_and_jacobians_respect_the_certified_box(name):
    generator, z, rng = random_net(ACTIVATIONS[name], jnp.float32)
    found = inversion.uniqueness(generator, z)
    assert found.injective
    assert found.exists
    assert float(found.radius) > 0.01
    q = float(found.contraction)
    assert 0 < q < 1
    a, b = points(rng, z, found.radius), points(rng, z, found.radius)[::-1]
    apart = jax.jit(jax.vmap(lambda a, b: generator(a) - generator(b)))(a, b)
    moved = np.linalg.norm(np.asarray(apart, float) @ np.asarray(found.inverse, float).T, axis=1)
    size = np.linalg.norm(np.asarray(a - b, float), axis=1)
    assert (moved >= (1 - q) * size - 1e-5).all()
    jacobians = np.asarray(jax.jit(jax.vmap(jax.jacfwd(generator)))(a), float)
    missing = np.eye(K) - np.einsum("km,nmj->nkj", np.asarray(found.inverse, float), jacobians)
    worst = np.linalg.norm(missing, 2, axis=(1, 2)).max()
    assert worst <= q + 1e-5
    assert worst > 0.05 * q  # not vacuous


def test_a_larger_box_never_has_a_smaller_contraction():
    generator, z, _ = random_net(jnp.tanh, jnp.float32)
    radii = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
    q = [float(inversion.uniqueness(generator, z, radius=r).contraction) for r in radii]
    assert q[0] < 1e-3  # nothing but rounding
    assert (np.diff(q) > 0).all()
    largest = inversion.uniqueness(generator, z)
    assert largest.injective
    radius = float(largest.radius)
    assert not inversion.uniqueness(generator, z, radius=1.05 * radius).injective
    assert inversion.uniqueness(generator, z, radius=0.7 * radius).injective


def test_every_jacobian_of_the_box_lies_in_the_interval_matrix(x64):
    def generator(z):  # a product, a maximum, and one variable in two places
        h = jnp.tanh(w1 @ z)
        return jnp.concatenate([h * jnp.cos(z).sum(), jnp.maximum(w2 @ h, h[:3]), -h + 1.0])

    rng = np.random.default_rng(1)
    w1, w2 = (jnp.asarray(rng.normal(size=s)) for s in ((5, K), (3, 5)))
    z = jnp.asarray(rng.normal(size=K))
    left = jnp.asarray(rng.normal(size=(K, 13)) / 4)

    @jax.jit
    def both(network, z, eps):
        found = centred_jacobian(network, z, eps)
        return found.jacobian, found.radius, deviation(network, found, left)

    jacobian, radius, (middle, spread) = both(trace(generator, z), z, jnp.asarray(0.1))
    jacobians = jax.jit(jax.vmap(jax.jacfwd(generator)))(points(rng, z, 0.1))
    gap = np.abs(np.asarray(jacobians) - np.asarray(jacobian)[None])
    assert (gap <= np.asarray(radius)[None] + 1e-12).all()
    assert (gap.max(0) >= 0.05 * np.asarray(radius)).mean() > 0.8
    np.testing.assert_allclose(middle, left @ jacobian, rtol=0, atol=1e-12)
    gap = np.abs(np.einsum("km,nmj->nkj", left, jacobians) - np.asarray(middle)[None])
    assert (gap <= np.asarray(spread)[None] + 1e-12).all()
    assert (np.asarray(spread) <= np.abs(left) @ np.asarray(radius) + 1e-12).all()


def test_what_is_not_injective_is_never_certified(rng):
    w = jnp.asarray(rng.normal(size=(30, 2)), jnp.float32)

    def even(z):  # z and -z look alike
        return w @ jnp.abs(z)

    one = inversion.uniqueness(even, jnp.ones(2), largest=4.0)
    assert 0.9 < float(one.radius) < 1.0
    for at in (jnp.zeros(2), jnp.array([1.0, 0.0])):
        found = inversion.uniqueness(even, at, radius=1e-3)
        assert not found.injective
        assert not found.exists
    jumps = inversion.uniqueness(lambda z: w @ (z + jnp.sign(z)), jnp.zeros(2), radius=0.1)
    assert not jumps.injective
    assert float(jumps.contraction) == np.inf
    short = inversion.uniqueness(lambda z: (w @ z)[:1], jnp.ones(2), radius=0.1)
    assert not short.injective


def test_krawczyk_proves_the_latent_that_a_solver_finds():
    generator, z, rng = random_net(jnp.tanh, jnp.float32)
    y = generator(z)
    near = z + 0.002
    proof = inversion.uniqueness(generator, near, y=y, radius=0.01)
    assert proof.injective
    assert proof.exists
    found = inversion.invert(generator, y, latent=near)
    assert float(jnp.max(jnp.abs(found.latent - near))) <= 0.01
    # a box that the latent is not in: still injective, but nothing exists there
    far = inversion.uniqueness(generator, z + 0.02, y=y, radius=0.01)
    assert far.injective
    assert not far.exists


def test_a_linear_generator_is_certified_everywhere(rng):
    w = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)
    found = inversion.uniqueness(lambda z: jnp.einsum("abk,k->ab", w, z) + 1.0, jnp.ones(3))
    assert float(found.radius) == 1.0
    assert float(found.contraction) < 1e-4


def test_the_spectral_bound_is_above_and_near_the_norm(rng):
    for size in (1, 3, 8):
        matrix = rng.uniform(size=(size, size)) * 10 ** rng.uniform(-3, 1, size=(1, size))
        bound = float(spectral_bound(jnp.asarray(matrix, jnp.float32)))
        norm = np.linalg.norm(matrix.astype(np.float32).astype(float), 2)
        assert norm <= bound <= 1.02 * norm
    assert float(spectral_bound(jnp.full((2, 2), jnp.inf))) == np.inf
    assert float(spectral_bound(jnp.zeros((2, 2)))) == 0.0


def test_one_compilation_serves_other_weights_points_and_radii():
    prove = unique._prove
    act = ja.get("leaky_relu", 0.2)
    prove.clear_cache()  # another test may have asked the same
    for seed in range(3):
        generator, z, _ = random_net(act, jnp.float32, seed)
        inversion.uniqueness(generator, z, radius=0.01 * (seed + 1))
    assert prove._cache_size() == 1


@pytest.mark.fast
def test_bad_input():
    z = jnp.ones(2)
    with pytest.raises(ValueError, match="z must be finite"):
        inversion.uniqueness(jnp.tanh, jnp.array([1.0, jnp.inf]))
    with pytest.raises(ValueError, match="radius must be non-negative, got -1"):
        inversion.uniqueness(jnp.tanh, z, radius=-1.0)
    with pytest.raises(ValueError, match="y must hold 2 numbers, got 3"):
        inversion.uniqueness(jnp.tanh, z, y=jnp.ones(3))
    with pytest.raises(NotImplementedError, match="sort"):
        inversion.uniqueness(jnp.sort, z)
