"""Operators against NumPy and SciPy twins, and inversion through each of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from sklearn.datasets import load_digits

from jaxact import inversion

K = 3
SHAPE = (6, 4)


@pytest.fixture(scope="module")
def digit() -> np.ndarray:
    return load_digits().images[7].astype(np.float32) / 16


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.fast
def test_operators_are_their_twins_on_a_digit(digit, rng):
    x = jnp.asarray(digit)
    matrix = rng.normal(size=(5, 64)).astype(np.float32)
    _close(inversion.dense(matrix)(x), matrix @ digit.ravel())
    _close(inversion.dense(matrix * 1j)(x), 1j * (matrix @ digit.ravel()))
    _close(inversion.blur(1.2)(x), scipy.ndimage.gaussian_filter(digit, 1.2))
    kernel = rng.normal(size=(3, 5)).astype(np.float32)
    _close(inversion.blur(kernel)(x), scipy.ndimage.convolve(digit, kernel, mode="reflect"))
    _close(inversion.downsample(2)(x), digit.reshape(4, 2, 4, 2).mean((1, 3)))
    spectrum = np.fft.fft2(digit, norm="ortho")
    _close(inversion.fourier_magnitude()(x), np.abs(spectrum))
    wide = np.fft.fft2(digit, s=(16, 16), norm="ortho")
    _close(inversion.fourier_magnitude(oversampling=2)(x), np.abs(wide))
    np.testing.assert_array_equal(inversion.sign(x - 0.5), np.where(digit >= 0.5, 1, -1))
    both = inversion.compose(inversion.blur(1.2), inversion.mask([3, 60]), lambda v: 2 * v)
    _close(both(x), 2 * scipy.ndimage.gaussian_filter(digit, 1.2).ravel()[[3, 60]])


@pytest.mark.fast
def test_every_channel_is_treated_alike(digit):
    x = jnp.stack([digit, digit[::-1], 1 - digit], axis=-1)
    for operator in (inversion.blur(0.7), inversion.downsample(4), inversion.fourier_magnitude()):
        expected = jnp.stack([operator(x[..., i]) for i in range(3)], axis=-1)
        _close(operator(x), expected)


@pytest.mark.fast
def test_a_gaussian_matrix_keeps_the_mean_square():
    see = inversion.gaussian(jax.random.key(0), 4000, (3, 4))
    assert see.matrix.shape == (4000, 12)
    assert float(jnp.mean(see.matrix**2) * 4000) == pytest.approx(1, rel=0.03)
    again = inversion.gaussian(jax.random.key(0), 4000, (3, 4))
    np.testing.assert_array_equal(see.matrix, again.matrix)


@pytest.mark.fast
def test_the_derivative_of_a_magnitude_is_finite_at_zero_and_right_elsewhere(digit, x64):
    see = inversion.fourier_magnitude()
    assert jnp.isfinite(jax.jacobian(see)(jnp.zeros((3, 2)))).all()
    assert jnp.isfinite(jax.jacobian(see)(jnp.ones((3, 2)))).all()  # only the mean is not 0
    x = jnp.asarray(digit, jnp.float64)
    weights = jnp.cos(jnp.arange(64.0)).reshape(8, 8)
    found = jax.grad(lambda v: jnp.sum(weights * see(v)))(x)
    h = 1e-6
    for i, j in ((2, 3), (7, 0)):
        step = jnp.zeros((8, 8)).at[i, j].set(h)
        expected = jnp.sum(weights * (see(x + step) - see(x - step))) / (2 * h)
        assert float(found[i, j]) == pytest.approx(float(expected), rel=1e-6, abs=1e-8)


@pytest.mark.fast
def test_masks_hide_what_they_say(digit):
    block = inversion.block_mask((8, 8), (2, 4), corner=(1, 3))
    expected = np.ones((8, 8), bool)
    expected[1:3, 3:7] = False
    np.testing.assert_array_equal(block, expected)
    np.testing.assert_array_equal(
        inversion.block_mask((28, 28, 3), (14, 14))[..., 2],
        ~np.pad(np.ones((14, 14), bool), 7),
    )
    for side, rows in (
        ("bottom", np.s_[4:]), ("top", np.s_[:3]),
        ("left", np.s_[:, :2]), ("right", np.s_[:, 3:]),
    ):  # fmt: skip
        half = inversion.half_mask((7, 5), hidden=side)
        expected = np.ones((7, 5), bool)
        expected[rows] = False
        np.testing.assert_array_equal(half, expected)
    rows, columns = np.indices((5, 7)) // 2
    board = inversion.checkerboard_mask((5, 7), cell=2)
    np.testing.assert_array_equal(board, (rows + columns) % 2 == 0)
    some = inversion.random_mask(jax.random.key(1), (8, 8, 2), share=0.3)
    assert some.sum() == 2 * 19
    np.testing.assert_array_equal(some[..., 0], some[..., 1])
    other = inversion.random_mask(jax.random.key(2), (8, 8, 2), share=0.3)
    assert (some != other).any()
    see = inversion.mask(block & inversion.checkerboard_mask((8, 8)))
    seen = digit[np.asarray(block) & ((np.indices((8, 8)).sum(0)) % 2 == 0)]
    np.testing.assert_array_equal(see(jnp.asarray(digit)), seen)


def _apply(weights, z):
    return (weights[1] @ jnp.tanh(weights[0] @ z)).reshape(SHAPE)


def _generator():
    first, second = jax.random.split(jax.random.key(4))
    w1, w2 = jax.random.normal(first, (12, K)), jax.random.normal(second, (24, 12)) / 3
    return jax.tree_util.Partial(_apply, (w1, w2))


@pytest.mark.parametrize("name", ["gaussian", "blur", "downsample", "fourier", "composed"])
def test_latents_come_back_through_every_operator(name):
    generator = _generator()
    operator = {
        "gaussian": lambda: inversion.gaussian(jax.random.key(3), 9, SHAPE),
        "blur": lambda: inversion.blur(0.8),
        "downsample": lambda: inversion.downsample(2),
        "fourier": lambda: inversion.fourier_magnitude(oversampling=2),
        "composed": lambda: inversion.compose(
            inversion.blur(0.5), inversion.mask(inversion.half_mask(SHAPE))
        ),
    }[name]()
    z = jnp.array([0.6, -0.9, 0.3])
    y = operator(generator(z))
    found = inversion.invert(
        generator, y, latent=K, operator=operator, key=jax.random.key(5), restarts=16
    )
    latent = found.latent
    if name == "fourier":  # tanh is odd: -z generates -x, which measures the same
        latent = latent * jnp.sign(latent @ z)
    np.testing.assert_allclose(latent, z, atol=2e-4)
    assert bool(found.identifiable)
    assert bool(found.converged)


@pytest.mark.fast
def test_another_matrix_compiles_nothing_new_and_has_a_derivative(x64):
    traces = []

    def traced(z):
        traces.append(z)
        return jnp.tanh(jnp.stack([z[0], z[1], z[0] * z[1]]))

    z = jnp.array([0.4, -0.3])
    x = traced(z)

    def latent(matrix, y):
        see = inversion.compose(inversion.dense(matrix), jnp.sinh)
        return inversion.invert(traced, y, latent=z[None] + 0.1, operator=see).latent

    a, b = jnp.array([[1.0, 2, 0], [0, 1, 1], [1, 0, 1]]), jnp.eye(3)
    np.testing.assert_allclose(latent(a, jnp.sinh(a @ x)), z, atol=1e-7)
    count = len(traces)
    np.testing.assert_allclose(latent(a + b, jnp.sinh((a + b) @ x)), z, atol=1e-7)
    assert len(traces) == count
    y = jnp.sinh(a @ x) + 0.01
    change = jnp.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    found = jax.jvp(lambda m: latent(m, y), (a,), (change,))[1]
    expected = (latent(a + 1e-5 * change, y) - latent(a - 1e-5 * change, y)) / 2e-5
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.fast
def test_real_data_for_complex_measurements():
    see = inversion.dense(jnp.array([[1.0, 1j], [1j, 2.0], [1.0, 1.0]]))
    y = jnp.array([1.0 + 2j, 4.0 + 1j, 3.0])
    found = inversion.invert(lambda z: z, y, latent=jnp.ones(2), operator=see)
    np.testing.assert_allclose(found.latent, [1.0, 2.0], atol=1e-5)
    onto = inversion.dense(jnp.array([[1.0 + 0j, 0.0], [0.0, 1.0]]))
    found = inversion.invert(lambda z: z, jnp.array([1.0, 2.0]), latent=jnp.ones(2), operator=onto)
    np.testing.assert_allclose(found.latent, [1.0, 2.0], atol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: inversion.dense([1.0]), ValueError, r"matrix must have shape \(m, n\)"),
        (lambda: inversion.dense([[np.nan]]), ValueError, "matrix must be finite"),
        (lambda: inversion.gaussian(0, 3, (2,)), TypeError, "key must be a typed key"),
        (
            lambda: inversion.gaussian(jax.random.key(0), 0, (2,)), ValueError,
            "m must be at least 1, got 0",
        ),
        (lambda: inversion.blur(0.0), ValueError, r"kernel \(sigma\) must be positive, got 0"),
        (lambda: inversion.blur(np.ones((2, 3))), ValueError, r"odd sides, got \(2, 3\)"),
        (lambda: inversion.blur(np.ones(3)), ValueError, r"kernel must have shape \(a, b\)"),
        (lambda: inversion.blur(1.0)(jnp.ones(3)), ValueError, "blur needs an image"),
        (lambda: inversion.downsample(0), ValueError, "factor must be at least 1, got 0"),
        (lambda: inversion.downsample(4)(jnp.ones((6, 8))), ValueError, "sides that are multiples"),
        (
            lambda: inversion.fourier_magnitude(oversampling=0), ValueError,
            "oversampling must be at least 1",
        ),
        (lambda: inversion.compose(), ValueError, "at least one operator"),
        (lambda: inversion.compose(3), TypeError, "operators must be a function"),
        (lambda: inversion.block_mask((4, 4), (5, 1)), ValueError, "must lie within"),
        (lambda: inversion.block_mask((4,), (1, 1)), ValueError, r"shape must be \(h, w\)"),
        (lambda: inversion.half_mask((4, 4), hidden="up"), ValueError, "hidden must be one of"),
        (lambda: inversion.checkerboard_mask((4, 4), cell=0), ValueError, "cell must be at least"),
        (
            lambda: inversion.random_mask(jax.random.key(0), (4, 4), share=0.0), ValueError,
            "share must be positive, got 0",
        ),
        (
            lambda: inversion.random_mask(jax.random.key(0), (4, 4), share=1.5), ValueError,
            r"share must be in \[0.0, 1.0\], got 1.5",
        ),
        (
            lambda: inversion.invert(
                jnp.tanh, jnp.ones(2), latent=jnp.ones(2),
                operator=inversion.compose(lambda x: x, inversion.sign),
            ), ValueError, "operator must have a derivative, got sign",
        ),
        (
            lambda: inversion.certificate(
                jnp.tanh, jnp.ones(4), operator=inversion.compose(
                    lambda x: x[:2], inversion.mask([2])
                ),
            ), ValueError, "positions below 2",
        ),
    ],
)  # fmt: skip
def test_bad_operators(make, error, message):
    with pytest.raises(error, match=message):
        make()
