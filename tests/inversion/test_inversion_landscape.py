"""Constants of the landscape, against their sum formula and against a real random network."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxact import inversion


def angles(depth):
    found = [math.pi]
    for _ in range(depth):
        t = found[-1]
        found.append(math.acos(((math.pi - t) * math.cos(t) + math.sin(t)) / math.pi))
    return found


@pytest.mark.fast
def test_rho_constants():
    values = {2: 0.3183099, 3: 0.493731, 4: 0.604826, 5: 0.680954, 10: 0.854809}
    for depth, value in values.items():
        assert inversion.rho(depth) == pytest.approx(value, abs=1e-6)
        theta = angles(depth)
        series = sum(
            math.sin(theta[i])
            / math.pi
            * math.prod((math.pi - theta[j]) / math.pi for j in range(i + 1, depth))
            for i in range(depth)
        )
        assert inversion.rho(depth) == pytest.approx(series, abs=1e-12)
        assert inversion.rho(depth) == pytest.approx(math.cos(theta[depth]), abs=1e-12)
    assert inversion.rho(1) == pytest.approx(0, abs=1e-15)


@pytest.mark.fast
def test_angle_map_values_and_slope(x64):
    t = np.linspace(0.1, math.pi, 9)
    expected = np.arccos(((math.pi - t) * np.cos(t) + np.sin(t)) / math.pi)
    np.testing.assert_allclose(inversion.angle_map(jnp.asarray(t)), expected, rtol=1e-12)
    tiny = jnp.asarray([0.0, 1e-6, 1e-4, 1.2e-4, 2e-3])
    series = tiny * (1 - tiny / (3 * math.pi))
    np.testing.assert_allclose(inversion.angle_map(tiny), series, rtol=1e-6)
    slope = jax.vmap(jax.grad(inversion.angle_map))(tiny)
    np.testing.assert_allclose(slope, 1 - 2 * tiny / (3 * math.pi), rtol=1e-5)
    narrow = inversion.angle_map(jnp.float32(0.05))
    assert narrow.dtype == jnp.float32
    assert float(narrow) == pytest.approx(float(inversion.angle_map(0.05)), rel=1e-4)


@pytest.mark.fast
def test_ray_is_least_at_rho():
    t = jnp.linspace(0, 1, 1001)
    least = t[jnp.argmin(inversion.ray(t, 2))]
    assert float(least) == pytest.approx(inversion.rho(2), abs=1e-3)
    assert float(inversion.ray(0.0, 3)) == 1.0


def test_the_landscape_of_a_random_convolutional_generator(x64, rng):
    w1 = jnp.asarray(rng.normal(size=(8, 4, 4, 64)) / 8**0.5)
    w2 = jnp.asarray(rng.normal(size=(64, 4, 4, 32)) / 8)

    def generator(z):
        hidden = jax.nn.relu(jnp.einsum("c,cijd->ijd", z, w1))
        return jax.nn.relu(jnp.einsum("hwc,cijd->hiwjd", hidden, w2)).ravel()

    z = jnp.asarray(rng.normal(size=8))
    see = inversion.mask(rng.permutation(8192)[:819])
    for operator, low, high in ((inversion.identity, -0.42, -0.26), (see, -0.45, -0.25)):
        y = operator(generator(z))

        def loss(v, operator=operator, y=y):
            return jnp.sum((operator(generator(v)) - y) ** 2) / 2

        t = jnp.linspace(-1, -0.01, 100)
        values = jax.jit(jax.vmap(lambda s, loss=loss: loss(s * z)))(t)
        assert low <= float(t[jnp.argmin(values)]) <= high
        assert 0.8 < float(jnp.min(values) / loss(0 * z)) < 0.93

    y = generator(z)

    def full(v):
        return jnp.sum((generator(v) - y) ** 2) / 2

    gradient = jax.jit(jax.grad(full))
    flat = gradient(-inversion.rho(2) * z)
    assert float(jnp.linalg.norm(flat)) < 0.1 * float(jnp.linalg.norm(gradient(2 * z)))
    ways = jnp.asarray(rng.normal(size=(200, 8)))
    step = 1e-6
    down = jax.jit(jax.vmap(lambda d: full(step * d)))(ways) - full(0 * z)
    assert (down < 0).all()


@pytest.mark.fast
def test_bad_depth():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        inversion.rho(0)
    with pytest.raises(TypeError, match="depth must be an integer, got 2.5"):
        inversion.rho(2.5)
