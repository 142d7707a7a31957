"""Sound mode: certificates that hold in exact arithmetic, against rational numbers."""

import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxact.bounds import Ball, Box, crown, crown_ibp, fastlin, ibp

METHODS = [crown, ibp, crown_ibp, fastlin]


def exact_layer(weights, x):
    """W x by rational arithmetic."""
    return [sum(Fraction(float(w)) * v for w, v in zip(row, x, strict=True)) for row in weights]


def exact_relu_net(layers, x):
    """The value of a relu net without biases at rational x, exactly."""
    x = [Fraction(float(v)) for v in x]
    for weights in layers[:-1]:
        x = [max(v, Fraction(0)) for v in exact_layer(weights, x)]
    return exact_layer(layers[-1], x)


def net(layers):
    """The same in JAX."""

    def f(x):
        for weights in layers[:-1]:
            x = jax.nn.relu(weights @ x)
        return layers[-1] @ x

    return f


def cancelling(seed, size=24):
    """Layers with large weights that cancel: what is left is below the rounding of the terms."""
    rng = np.random.default_rng(seed)
    half = rng.uniform(0.5, 1.5, (4, size)) * 1e4
    first = np.concatenate([half, -half + rng.uniform(-1e-4, 1e-4, half.shape)], axis=1)
    return [
        jnp.asarray(first, jnp.float32),
        jnp.asarray(rng.standard_normal((2, 4)), jnp.float32),
    ]


@pytest.mark.parametrize("method", METHODS)
def test_plain_bounds_are_false_by_rounding_and_sound_ones_are_not(method):
    """At eps = 0 the exact value is known; float32 bounds miss it, sound ones hold it."""
    false = 0
    for seed in range(6):
        layers = cancelling(seed)
        x = jnp.asarray(np.random.default_rng(seed).uniform(0.9, 1.1, 48), jnp.float32)
        exact = exact_relu_net([np.asarray(w) for w in layers], np.asarray(x))
        plain, sound = (method(net(layers), Ball(x, 0.0), sound=s) for s in (False, True))
        for j, value in enumerate(exact):
            false += not Fraction(float(plain.lower[j])) <= value <= Fraction(float(plain.upper[j]))
            assert Fraction(float(sound.lower[j])) <= value <= Fraction(float(sound.upper[j]))
    assert false > 0


@pytest.mark.parametrize("method", METHODS)
def test_sound_bounds_hold_on_corners_exactly(method):
    """Corners of a box, in rational arithmetic."""
    rng = np.random.default_rng(1)
    layers = [jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((5, 3), (5, 5), (2, 5))]
    x = jnp.asarray(rng.standard_normal(3), jnp.float32)
    region = Box(x - 0.1, x + 0.1)
    sound = method(net(layers), region, sound=True)
    plain = method(net(layers), region)
    numbers = [np.asarray(w) for w in layers]
    for corner in itertools.product(*zip(*(np.asarray(v) for v in region.box()), strict=True)):
        for j, value in enumerate(exact_relu_net(numbers, corner)):
            assert Fraction(float(sound.lower[j])) <= value <= Fraction(float(sound.upper[j]))
    # and cost little
    np.testing.assert_allclose(sound.lower, plain.lower, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sound.upper, plain.upper, rtol=1e-4, atol=1e-4)
    assert (sound.lower <= plain.lower + 1e-6).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(-6, 6), st.sampled_from([0.0, 1e-3, 0.3]))
def test_sound_crown_is_below_exact_corners(seed, exponent, eps):
    """Nets of any scale, drawn; one compiled program serves them all."""
    rng = np.random.default_rng(seed)
    shapes = ((6, 3), (6, 6), (2, 6))
    scale = 10.0**exponent
    layers = [jnp.asarray(rng.standard_normal(s) * scale, jnp.float32) for s in shapes]
    x = jnp.asarray(rng.standard_normal(3) * 10, jnp.float32)
    region = Ball(x, eps)
    sound = crown(net(layers), region, sound=True)
    numbers = [np.asarray(w) for w in layers]
    radius = Fraction(float(jnp.float32(eps)))
    for signs in itertools.product((-1, 1), repeat=3):
        corner = [Fraction(float(v)) + s * radius for v, s in zip(x, signs, strict=True)]
        for weights in numbers[:-1]:
            corner = [max(v, Fraction(0)) for v in exact_layer(weights, corner)]
        for j, value in enumerate(exact_layer(numbers[-1], corner)):
            low, high = float(sound.lower[j]), float(sound.upper[j])
            assert not np.isfinite(low) or Fraction(low) <= value
            assert not np.isfinite(high) or value <= Fraction(high)


def test_every_kind_of_layer():
    """Convolution, pooling, concatenation, scaling: sound is below plain, and close."""
    kernel = jnp.asarray(np.random.default_rng(2).standard_normal((2, 1, 2, 2)), jnp.float32)

    def f(x):
        y = jax.lax.conv_general_dilated(x.reshape(1, 1, 4, 4), kernel, (1, 1), "SAME")
        y = jax.nn.relu(y + 0.1) * 2 - y / 3
        y = jax.lax.reduce_window(y, 0.0, jax.lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        y = jnp.concatenate([y.reshape(-1), x[:2]])
        return y[:5] - y[5:]

    x = jnp.linspace(-1.0, 1.0, 16)
    plain, sound = (crown(f, Ball(x, 0.1, 2), sound=s) for s in (False, True))
    assert (sound.lower <= plain.lower + 1e-6).all()
    np.testing.assert_allclose(sound.lower, plain.lower, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sound.upper, plain.upper, rtol=1e-4, atol=1e-4)


def test_sums_too_long_for_the_dtype_are_refused():
    """The rounding of a million terms certifies nothing in float32."""
    with pytest.raises(ValueError, match="sound=True needs sums shorter than"):
        ibp(lambda x: x.sum() * 2, Ball(jnp.zeros(1_000_000), 0.1), sound=True)


def test_products_and_maxima_hold_at_points():
    """Planes around products and maxima, attacked in float64."""

    def f(x):
        return (x[:2] * jnp.tanh(x[2:])).sum(keepdims=True) + jnp.maximum(x[0], 3 * x[1])

    x = jnp.array([0.3, -0.2, 0.5, 1.0])
    bounds = crown(f, Ball(x, 0.2), sound=True)
    u = np.random.default_rng(0).uniform(-0.2, 0.2, (10_000, 4))
    p = np.asarray(x, np.float64)[None] + np.where(np.abs(u) > 0.1, 0.2 * np.sign(u), u)
    y = (p[:, :2] * np.tanh(p[:, 2:])).sum(1) + np.maximum(p[:, 0], 3 * p[:, 1])
    assert float(bounds.lower[0]) <= y.min()
    assert y.max() <= float(bounds.upper[0])
