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
    t = jnp.linspace(0.01, 1, 100)
    for operator, low, high in ((None, 0.26, 0.42), (see, 0.25, 0.45)):
        values = inversion.ray_profile(generator, z, t, operator=operator)
        assert low <= float(t[jnp.argmin(values)]) <= high
        assert 0.8 < float(jnp.min(values)) < 0.93
        np.testing.assert_allclose(values, inversion.ray(t, 2), atol=0.25)

    y = generator(z)

    def full(v):
        return jnp.sum((generator(v) - y) ** 2) / 2

    gradient = jax.jit(jax.grad(full))
    flat = gradient(-inversion.rho(2) * z)
    assert float(jnp.linalg.norm(flat)) < 0.1 * float(jnp.linalg.norm(gradient(2 * z)))
    ways = jnp.asarray(rng.normal(size=(200, 8)))
    slopes = inversion.zero_slopes(generator, z, ways)
    step = 1e-6
    origin = full(0 * z)
    measured = (jax.jit(jax.vmap(lambda d: full(step * d)))(ways) - origin) / (step * origin)
    np.testing.assert_allclose(slopes, measured, rtol=1e-4)
    lengths = np.linalg.norm(ways, axis=1)
    cosine = np.asarray(ways @ z) / lengths / np.linalg.norm(z)
    theory = inversion.slope_at_zero(jnp.asarray(np.arccos(cosine)), 2)
    theory = theory * jnp.asarray(lengths / np.linalg.norm(z))
    assert (slopes < 0).all()
    np.testing.assert_allclose(slopes, theory, rtol=0.2)
    assert abs(float(jnp.mean(slopes / theory)) - 1) < 0.05


@pytest.mark.fast
def test_slope_at_zero():
    angle = jnp.linspace(0.0, 3.14159, 7)
    for depth in (2, 3):
        slope = inversion.slope_at_zero(angle, depth)
        assert (slope < 0).all()
        assert (jnp.diff(slope) > 0).all()
        assert float(slope[-1]) == pytest.approx(-2 * inversion.rho(depth), rel=1e-4)
    half = inversion.slope_at_zero(angle, 2, length=0.5)
    np.testing.assert_allclose(half, inversion.slope_at_zero(angle, 2) / 2, rtol=1e-6)


@pytest.mark.fast
def test_neighbourhoods():
    z = jnp.array([3.0, 4.0])
    regions = inversion.neighbourhoods(z, 3, 1e-4, constant=2.0)
    assert float(regions.radius) == pytest.approx(5 * 2 * 0.1)
    rho = inversion.rho(3)
    out, across = jnp.array([0.6, 0.8]), jnp.array([0.8, -0.6])
    points = [z + 0.99 * across, z + 1.01 * across, -rho * z - 0.99 * out, -rho * z + 1.01 * across]
    assert regions.member(jnp.stack(points)).tolist() == [1, 0, 2, 0]
    assert int(regions.member(jnp.zeros(2))) == 3


@pytest.mark.fast
def test_loss_surface_against_a_loop(rng):
    w = jnp.asarray(rng.normal(size=(20, 3)), jnp.float32)
    z = jnp.array([1.0, -0.5, 2.0])
    plane = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    first, second = jnp.linspace(-2, 2, 5), jnp.linspace(-1, 1, 17)
    see = inversion.mask(jnp.arange(0, 20, 3))
    found = inversion.loss_surface(
        lambda v: jnp.tanh(w @ v), z, first, second, operator=see, plane=plane
    )
    y = np.tanh(np.asarray(w @ z))[::3]
    for i, b in enumerate(second):
        for j, a in enumerate(first):
            point = np.asarray(a * plane[0] + b * plane[1])
            expected = np.sum((np.tanh(np.asarray(w) @ point)[::3] - y) ** 2) / 2
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.fast
def test_bad_landscapes():
    z = jnp.ones(3)
    with pytest.raises(ValueError, match="plane must be given for a latent of length 3"):
        inversion.loss_surface(jnp.tanh, z, z, z)
    with pytest.raises(ValueError, match="eps must be positive, got 0"):
        inversion.neighbourhoods(z, 2, 0.0)
    with pytest.raises(ValueError, match=r"directions must have shape \(count, 3\)"):
        inversion.zero_slopes(jnp.tanh, z, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="angle must be in"):
        inversion.slope_at_zero(jnp.array(4.0), 2)


@pytest.mark.fast
def test_bad_depth():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        inversion.rho(0)
    with pytest.raises(TypeError, match="depth must be an integer, got 2.5"):
        inversion.rho(2.5)
