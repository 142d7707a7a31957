"""Random-feature ridge regression on data as they are: training and test error without a draw.

For a fixed data matrix the resolvent Q = (Y^T Y / m + gamma)^-1 of the features Y = f(W X) has
the deterministic equivalent (kappa K + gamma)^-1, K the kernel of the activation on these data
and kappa the root of kappa + (1/m) tr kappa K (kappa K + gamma)^-1 = n1 / m. Everything is
computed in the eigenbasis of K, found once for all gamma and n1. The basis is held fixed under
differentiation and K in it, diagonal in value only, carries the derivative: so nothing is
divided by gaps between eigenvalues.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxact.activation import Activation
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree
from jaxact.numerics.roots import increasing_root
from jaxact.spectra.covariance import (
    deviations,
    kernel_matrix,
    one_sample,
    prepared_data,
    samples,
    table_size,
)

_EXACT = jax.lax.Precision.HIGHEST


@pytree()
class FixedData:
    """What random features of an activation do on given data; entries of gamma's and n1's shape.

    Attributes:
        training_error: (1/m) ||labels - prediction||^2, summed over the columns of labels.
        test_error: the same on the test samples; None where none were given.
        delta: (1/m) tr K (kappa K + gamma)^-1, with kappa = (n1 / m) / (1 + delta).
        degrees_of_freedom: tr kappa K (kappa K + gamma)^-1, in (0, min(n1, m)).
        residual: |kappa + degrees_of_freedom / m - n1 / m| / (n1 / m).
        converged: whether the residual is at rounding.
    """

    training_error: Leaf
    test_error: Leaf
    delta: Leaf
    degrees_of_freedom: Leaf
    residual: Leaf
    converged: Leaf


def fixed_data(
    act: Activation | Callable[..., Any],
    x: ArrayLike,
    labels: ArrayLike,
    *,
    n1: ArrayLike,
    gamma: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    scale: ArrayLike = 1.0,
    centred: bool = False,
) -> FixedData:
    """Training and test error of random-feature ridge regression on given data and labels.

    With Q = (kappa K + gamma)^-1, V = (1/n1) tr kappa K Q^2, A = (1/n1) tr (kappa K Q)^2,

        E_train = (gamma^2 / m) tr labels^T Q [1 + V / (1 - A) kappa K] Q labels,
        E_test = (1/k) ||labels_test - kappa K_test Q labels||^2 + spread (1/k) [tr kappa K_tt
                 - kappa^2 tr K_test (Q + gamma Q^2) K_test^T],
        spread = (1/n1) tr labels^T Q kappa K Q labels / (1 - A),

    for the readout minimising (1/m) ||labels - Y^T beta||^2 + gamma ||beta||^2. The limit holds
    for n1 and m large together; labels are arbitrary (no noise model), the data too.

    Args:
        act: an activation or a plain scalar function.
        x: training samples in rows, (m, n0).
        labels: real labels, (m,) or (m, outputs), for example one-hot.
        n1: numbers of random neurons, > 0, any shape; real numbers are welcome.
        gamma: ridge parameters > 0, any shape that broadcasts with n1's.
        test: test samples (k, n0) and their labels.
        scale: s > 0; W has entries N(0, s^2 / n0), see `kernel`.
        centred: take E_w f(w.x) off the features of every sample x.

    Returns:
        A `FixedData`; one eigendecomposition serves all gamma and n1. float64 is advised: K
        has eigenvalues far below its largest.

    Raises:
        ValueError: if a shape does not fit, a value is not finite, or n1, gamma or scale is
            not positive.

    Differentiable in gamma, n1, labels, theta and scale; once in theta and scale.

    Source: Louart, Liao & Couillet, Ann. Appl. Probab. 28 (2018), Theorem 1 and Conjecture 1.

    Example:
        >>> import jaxact
        >>> x = jax.random.normal(jax.random.key(0), (40, 10))
        >>> found = fixed_data(jaxact.get("relu"), x, jnp.sign(x[:, 0]), n1=30, gamma=0.1)
        >>> bool(0 < found.training_error < 1), bool(found.converged)
        (True, True)
    """
    act, data, scale = prepared_data(act, x, scale)
    outputs = label_matrix("labels", labels, data)
    checks.positive("n1", n1)
    checks.positive("gamma", gamma)
    n1, gamma = jnp.broadcast_arrays(*(jnp.asarray(v, data.dtype) for v in (n1, gamma)))
    held_out = None if test is None else unseen(test, data, outputs)
    size = table_size(x, None if test is None else test[0])
    return _fixed_data(act, data, outputs, held_out, n1, gamma, scale, size=size, centred=centred)


def label_matrix(name: str, labels: Any, x: Array) -> Array:
    """Checked labels as a matrix of one row a sample."""
    checks.finite(name, labels)
    labels = jnp.asarray(labels)
    checks.shape(name, labels, (x.shape[0], "outputs")[: max(labels.ndim, 1)])
    return labels.astype(x.dtype).reshape(x.shape[0], -1)


def unseen(test: Any, x: Array, outputs: Array) -> tuple[Array, Array]:
    """Checked test samples and labels."""
    if len(checks.sequence("test", test)) != 2:
        raise ValueError(f"test must be (samples, labels), got {len(test)} entries")
    held_out = samples("test[0]", test[0], x)
    labels = label_matrix("test[1]", test[1], held_out)
    checks.shape("test[1]", labels, (held_out.shape[0], outputs.shape[1]))
    return held_out, labels


@functools.partial(jax.jit, static_argnames=("size", "centred"))
def _fixed_data(
    act: Activation, x: Array, labels: Array, test: Any, n1: Array, gamma: Array, scale: Array,
    *, size: tuple[int, int], centred: bool,
) -> FixedData:  # fmt: skip
    m = x.shape[0]
    everything = x if test is None else jnp.concatenate([x, test[0]])
    k = kernel_matrix(act, everything, None, scale, size)
    if centred:
        mean = one_sample(act, deviations(everything, scale))[0]
        k = k - mean[:, None] * mean[None]
    values, basis = jnp.linalg.eigh(jax.lax.stop_gradient(k[:m, :m]))
    tilted = jnp.matmul(jnp.matmul(basis.T, k[:m, :m], precision=_EXACT), basis, precision=_EXACT)
    values = _values(jnp.maximum(values, 0), tilted)
    labels = jnp.matmul(basis.T, labels, precision=_EXACT)
    if test is not None:
        cross = jnp.matmul(basis.T, k[:m, m:], precision=_EXACT)
        test = (cross, jnp.trace(k[m:, m:]), test[1])
    at = functools.partial(_one, (values, tilted), labels, test)
    flat = jax.lax.map(lambda v: at(*v), (n1.reshape(-1), gamma.reshape(-1)))
    return jax.tree.map(lambda v: v.reshape(n1.shape), flat)


def _one(spectrum: Any, labels: Array, test: Any, n1: Array, gamma: Array) -> FixedData:
    """The equivalent at one n1 and gamma; everything in the eigenbasis of K."""
    values, m = spectrum[0], labels.shape[0]
    c = n1 / m
    kappa = jnp.exp(increasing_root(_log_balance, jnp.log(c), (values, gamma)))
    q = 1 / (kappa * values + gamma)
    share = kappa * values * q
    freedom = jnp.sum(share)
    residual = jnp.abs(kappa + freedom / m - c) / c
    room = 1 - jnp.sum(share**2) / n1

    kept = _resolve(spectrum, kappa, gamma, labels)
    energy = kappa * jnp.vdot(kept, _times(spectrum, kept), precision=_EXACT)
    spread = jnp.sum(share * q) / n1 / room
    training = gamma**2 / m * (jnp.sum(kept**2) + spread * energy)
    test_error = None
    if test is not None:
        cross, trace, wanted = test
        found = kappa * jnp.matmul(cross.T, kept, precision=_EXACT)
        r = kappa * _resolve(spectrum, kappa, gamma, cross)
        left = kappa * (trace - jnp.sum(cross * r)) - gamma * jnp.sum(r**2)
        variance = energy / n1 / room * left
        test_error = (jnp.sum((wanted - found) ** 2) + variance) / wanted.shape[0]
    tolerance = 64 * float(jnp.finfo(values.dtype).eps)
    delta = c / kappa - 1
    return FixedData(training, test_error, delta, freedom, residual, residual <= tolerance)


def _log_balance(log_kappa: Array, values: Array, gamma: Array) -> Array:
    """log(kappa + (1/m) sum kappa v / (kappa v + gamma)), increasing in log kappa."""
    kappa = jnp.exp(jnp.minimum(log_kappa, 40))  # the bracket grows far past the root, log(n1/m)
    return log_kappa + jnp.log1p(jnp.mean(values / (kappa * values + gamma)))


@jax.custom_jvp
def _values(values: Array, tilted: Array) -> Array:
    """The eigenvalues; to first order they move with the diagonal of K in its eigenbasis."""
    del tilted
    return values


@_values.defjvp
def _values_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _values(*primals), jnp.diag(tangents[1])


@jax.custom_jvp
def _resolve(spectrum: Any, kappa: Array, gamma: Array, rhs: Array) -> Array:
    """(kappa K + gamma)^-1 rhs in the eigenbasis of K."""
    return rhs / (kappa * spectrum[0] + gamma)[:, None]


@_resolve.defjvp
def _resolve_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    spectrum, kappa, gamma, rhs = primals
    (_, tilt), by_kappa, by_gamma, by_rhs = tangents
    found = _resolve(*primals)
    shift = by_kappa * _times(spectrum, found) + by_gamma * found
    shift = shift + kappa * jnp.matmul(tilt, found, precision=_EXACT)
    return found, _resolve(spectrum, kappa, gamma, by_rhs - shift)


@jax.custom_jvp
def _times(spectrum: Any, v: Array) -> Array:
    """K v in the eigenbasis of K."""
    return spectrum[0][:, None] * v


@_times.defjvp
def _times_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (spectrum, v), ((_, tilt), change) = primals, tangents
    return _times(*primals), _times(spectrum, change) + jnp.matmul(tilt, v, precision=_EXACT)
