"""Measurement operators: what is seen of a generator's output. Any JAX function is one.

Each is a pytree: its arrays are leaves, so that other values of one shape compile nothing new
and derivatives with respect to them exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree


def identity(x: Any) -> Any:
    """Observe everything: the operator that `operator=None` stands for.

    Example:
        >>> identity(2.0)
        2.0
    """
    return x


@pytree()
class Dense:
    """y = M vec(x), made by `dense` or `gaussian`; `matrix` is (m, n)."""

    matrix: Leaf

    def __call__(self, x: Any) -> Array:
        """Measure x, of n entries in any shape."""
        x = jnp.reshape(x, (-1,))
        dtype = self.matrix.dtype if jnp.iscomplexobj(self.matrix) else x.dtype
        return jnp.matmul(self.matrix.astype(dtype), x.astype(dtype), precision="highest")


def dense(matrix: Any) -> Dense:
    """Linear measurements y = M vec(x).

    Args:
        matrix: M, shape (m, n), n the number of entries of the generator's output.

    Returns:
        A `Dense` operator.

    Raises:
        ValueError: if M is not a finite matrix.

    Differentiation: in x and in M.

    Example:
        >>> import jax.numpy as jnp
        >>> dense([[1.0, 1.0, 0.0]])(jnp.array([1.0, 2.0, 4.0])).tolist()
        [3.0]

    Source: Bora et al. 2017, compressed sensing using generative models.
    """
    checks.finite("matrix", matrix, kinds="biufcV")
    checks.shape("matrix", matrix, ("m", "n"))
    matrix = jnp.asarray(matrix)
    if not jnp.issubdtype(matrix.dtype, jnp.inexact):
        matrix = matrix.astype(float)
    return Dense(matrix)


def gaussian(key: PRNGKeyArray, m: int, shape: Sequence[int]) -> Dense:
    """M random measurements: a dense matrix with entries N(0, 1/m), so E ||A x||^2 = ||x||^2.

    Args:
        key: a typed key from `jax.random.key`.
        m: number of measurements, >= 1.
        shape: of the generator's output.

    Returns:
        A `Dense` operator of shape (m, prod(shape)).

    Raises:
        TypeError: for an untyped key. ValueError: if a size is below 1.

    Differentiation: as `dense`.

    Example:
        >>> import jax
        >>> gaussian(jax.random.key(0), 10, (8, 8)).matrix.shape
        (10, 64)

    Source: Bora et al. 2017.
    """
    checks.key("key", key)
    checks.integer("m", m, 1)
    shape = checks.sizes("shape", shape)
    return Dense(jax.random.normal(key, (m, math.prod(shape))) / math.sqrt(m))


@pytree()
class Blur:
    """Convolution of an image with a kernel, made by `blur`; `kernel` is (a, b), odd sides."""

    kernel: Leaf

    def __call__(self, x: Any) -> Array:
        """Blur x, (h, w) or (h, w, c), each channel by itself."""
        _image("blur", x)
        a, b = self.kernel.shape
        pads = ((a // 2, a // 2), (b // 2, b // 2)) + ((0, 0),) * (x.ndim - 2)
        padded = jnp.pad(x, pads, mode="symmetric")
        rows = padded.reshape(*padded.shape[:2], -1).transpose(2, 0, 1)[:, None]
        kernel = jnp.flip(self.kernel).astype(x.dtype)[None, None]
        y = jax.lax.conv_general_dilated(rows, kernel, (1, 1), "VALID", precision="highest")
        return y[:, 0].transpose(1, 2, 0).reshape(x.shape)


def blur(kernel: Any) -> Blur:
    """Blur an image: convolution with a kernel, the image mirrored at its borders.

    Args:
        kernel: a matrix (a, b) with odd sides; or a number sigma > 0, in pixels, for a Gaussian
            that is cut off at 4 sigma, with sum 1.

    Returns:
        A `Blur` operator on images (h, w) or (h, w, c).

    Raises:
        ValueError: if sigma is not positive, or the kernel is not finite or has an even side.

    Differentiation: in x and in the kernel.

    Example:
        >>> import jax.numpy as jnp
        >>> blur(jnp.full((1, 3), 1 / 3))(jnp.array([[3.0, 0.0, 0.0]])).round(3).tolist()
        [[2.0, 1.0, 0.0]]

    Source: the convolution and borders of SciPy's `ndimage.convolve(mode="reflect")`.
    """
    checks.finite("kernel", kernel)
    if np.ndim(kernel) == 0:
        checks.positive("kernel (sigma)", kernel)
        reach = np.arange(-int(4 * kernel + 0.5), int(4 * kernel + 0.5) + 1)
        line = np.exp(-((reach / kernel) ** 2) / 2)
        return Blur(jnp.asarray(np.outer(line, line) / line.sum() ** 2, float))
    checks.finite("kernel", kernel)
    checks.shape("kernel", kernel, ("a", "b"))
    if any(side % 2 == 0 for side in np.shape(kernel)):
        raise ValueError(f"kernel must have odd sides, got {np.shape(kernel)}")
    return Blur(jnp.asarray(kernel, float))


@pytree(static=("factor",))
class Downsample:
    """Means over squares of factor x factor pixels, made by `downsample`."""

    factor: int

    def __call__(self, x: Any) -> Array:
        """Shrink x, (h, w) or (h, w, c), whose sides are multiples of the factor."""
        _image("downsample", x)
        n = self.factor
        h, w, *rest = x.shape
        if h % n or w % n:
            raise ValueError(f"downsample by {n} needs sides that are multiples, got {x.shape}")
        return jnp.mean(x.reshape(h // n, n, w // n, n, *rest), axis=(1, 3))


def downsample(factor: int) -> Downsample:
    """Average an image over squares: super-resolution is its inversion.

    Args:
        factor: side of a square in pixels, >= 1.

    Returns:
        A `Downsample` operator on images (h, w) or (h, w, c).

    Raises:
        ValueError: if factor is below 1; when applied, unless it divides the image's sides.

    Differentiation: linear in x.

    Example:
        >>> import jax.numpy as jnp
        >>> downsample(2)(jnp.arange(8.0).reshape(2, 4)).tolist()
        [[2.5, 4.5]]

    Source: Bora et al. 2017, super-resolution as a measurement.
    """
    checks.integer("factor", factor, 1)
    return Downsample(factor)


@pytree(static=("oversampling",))
class FourierMagnitude:
    """|F x|, made by `fourier_magnitude`."""

    oversampling: int

    def __call__(self, x: Any) -> Array:
        """The magnitudes of the unitary DFT over the first two axes (one, of a vector)."""
        x = jnp.asarray(x)
        if x.ndim == 0:
            raise ValueError("fourier_magnitude needs a vector or an image, got a scalar")
        axes = tuple(range(min(2, x.ndim)))
        sides = [self.oversampling * x.shape[i] for i in axes]
        spectrum = jnp.fft.fftn(x, s=sides, axes=axes, norm="ortho")
        square = spectrum.real**2 + spectrum.imag**2
        # The root's slope at 0 is infinite: there the subgradient 0 is taken.
        positive = square > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def fourier_magnitude(*, oversampling: int = 1) -> FourierMagnitude:
    """Phase retrieval: only the magnitudes |F x| of the image's Fourier transform are measured.

    F is the unitary DFT of x padded with zeros to `oversampling` times its sides. x and -x, and
    shifted or mirrored copies as far as the generator can make them, measure the same: a
    latent comes back up to these.

    Args:
        oversampling: >= 1; 2 determines almost every image up to the symmetries.

    Returns:
        A `FourierMagnitude` operator on vectors, (h, w) and (h, w, c), real or complex.

    Raises:
        ValueError: if oversampling is below 1.

    Differentiation: smooth but where a magnitude is 0, where its derivative is taken as 0.

    Example:
        >>> import jax.numpy as jnp
        >>> fourier_magnitude()(jnp.array([0.0, -1.0, 0.0, 0.0])).tolist()
        [0.5, 0.5, 0.5, 0.5]

    Source: Hand, Leong & Voroninski 2018, phase retrieval under a generative prior.
    """
    checks.integer("oversampling", oversampling, 1)
    return FourierMagnitude(oversampling)


def sign(x: Any) -> Array:
    """One bit a measurement: +1 where x >= 0, else -1.

    It makes data only. Its derivative is 0, so `invert` refuses it as an operator: give the
    operator without it, and `noise=LogisticNoise()`.

    Differentiation: the derivative is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> sign(jnp.array([-0.5, 0.0, 2.0])).tolist()
        [-1.0, 1.0, 1.0]

    Source: Plan & Vershynin 2013, one-bit compressed sensing.
    """
    x = jnp.asarray(x)
    one = jnp.ones((), x.dtype)
    return jnp.where(x >= 0, one, -one)


def _image(name: str, x: Any) -> None:
    if x.ndim not in (2, 3):
        raise ValueError(f"{name} needs an image (h, w) or (h, w, c), got shape {x.shape}")
