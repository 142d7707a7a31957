"""Exact inversion of a fully observed net, layer by layer, from the last to the first."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.activation import Activation, activation
from jaxact.inversion.least_squares import interval_least_squares
from jaxact.inversion.preimage import direction, image, preimage
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_ROUNDING = 32  # units of rounding in x, where no error is given
_SPREADS = 4.0  # standard errors of a recovered layer that the next one allows for
_RANK = 1e-4

Norm = Literal["l2", "l1", "linf"]


@pytree()
class LayerwiseInversion:
    """What was found; entries of the tuples belong to the layers, first to last.

    Attributes:
        latent: the latent, (k,) or (h, w, k) where the first layer has several positions.
        hidden: the recovered inputs of the layers; the first is the latent.
        output: G(latent).
        residual: max |G(latent) - x|.
        misfit: (layers,) max |f(W h + b) - its output| of each layer by itself.
        consistent: (layers,) whether that is within the error allowed there.
        determined: (layers,) whether the equations alone fix the layer's input (the weighted rows
            with a known preimage have full rank); where False the answer is one of many that
            satisfy the layer.
        active: (layers,) share of the rows that are equations: about half for ReLU.
        exact: whether all layers are consistent and determined. Then the latent is the only one
            with this output, anywhere: not a local statement.
        converged: whether every layer's least squares did.
    """

    latent: Leaf
    hidden: Leaf
    output: Leaf
    residual: Leaf
    misfit: Leaf
    consistent: Leaf
    determined: Leaf
    active: Leaf
    exact: Leaf
    converged: Leaf


def invert_layerwise(
    layers: Sequence[tuple[Any, Any, Callable[..., Any]]],
    x: Any,
    *,
    norm: Norm = "l2",
    error: Any = None,
    steps: int = 50,
) -> LayerwiseInversion:
    """Invert x = f_d(W_d ... f_1(W_1 z + b_1) ... + b_d) layer by layer, without descent.

    In a layer an output in a strictly monotone part of f gives an equation w.h + b = f^-1(x); one
    in a flat part (x = 0 for relu) an inequality, w.h + b <= 0. Least squares on the equations
    determines h where they have full rank; else any h that meets the inequalities and lies in
    the image of the activation before is taken, and the layer is reported as not determined.
    Unlike gradient descent it does not get harder with the latent's dimension.

    Args:
        layers: (weights, bias, activation) each, first to last. Weights (out, in): dense; (in, a,
            b, out): a transposed convolution with stride = kernel, solved for all positions at
            once (`nets.layers(model)` gives both). bias: (out,) or None. activation: an
            `Activation` or any JAX function, monotone (not strictly): relu, leaky relu, tanh,
            hardtanh, softplus, elu, step ...
        x: the whole output, of the last layer's shape: (out,) or (h, w, out). Its dtype counts.
        norm: of the errors in x. "l2": least squares, weighted by f' (maximum likelihood to
            first order). "l1": least absolute values, exact with few gross errors. "linf": any h
            with |f(W h + b) - x| <= error everywhere, a linear program's feasible point.
        error: the size of the errors in x, >= 0: entries within it of a flat part of f count as
            flat. None: 32 units of rounding. Errors of the hidden layers follow from it.
        steps: the most Newton steps a layer, >= 1.

    Returns:
        A `LayerwiseInversion`. For a batch, `jax.vmap(lambda x: invert_layerwise(layers, x))`.

    Raises:
        ValueError: for an activation that is not monotone (gelu: use `invert`), weights, bias or
            x of shapes that do not fit or not finite, error < 0, or an unknown norm.
        TypeError: for an activation that is no function.

    Differentiation: none that is meant; `invert` from `latent=found.latent` has the implicit
    derivative, and polishes a noisy answer.

    Example:
        >>> w1 = jax.random.normal(jax.random.key(0), (40, 8))
        >>> w2 = jax.random.normal(jax.random.key(1), (200, 40))
        >>> layers = [(w1, None, jax.nn.relu), (w2, None, jax.nn.relu)]
        >>> x = jax.nn.relu(w2 @ jax.nn.relu(w1 @ jnp.arange(8.0)))
        >>> found = invert_layerwise(layers, x)
        >>> [round(float(v), 3) for v in found.latent[:4]], bool(found.exact)
        ([0.0, 1.0, 2.0, 3.0], True)

    Source: Lei, Jalal, Dhillon & Dimakis 2019, "Inverting deep generative models, one layer at a
    time"; Aberdam, Simon & Elad 2020.
    """
    checks.choice("norm", norm, ("l2", "l1", "linf"))
    checks.integer("steps", steps, 1)
    x = checks.floating("x", x)
    net = _checked(layers, x)
    largest = jnp.max(jnp.abs(x))
    if error is None:
        error = _ROUNDING * float(jnp.finfo(x.dtype).eps) * largest
    else:
        checks.non_negative("error", error)
    error = jnp.asarray(error, x.dtype)
    value, found = x, []
    for i in reversed(range(len(net))):
        weights, bias, act, sign = net[i]
        before = net[i - 1][2] if i else None
        one = _solve_layer(
            weights, bias, act, before, value, error, sign=sign, norm=norm, steps=steps
        )
        value, error = one["h"], one["error"]
        found.insert(0, one)
    latent = value.ravel() if value.ndim == 3 and value.shape[:2] == (1, 1) else value
    output = forward([n[:3] for n in net], latent)
    gathered = {k: jnp.stack([one[k] for one in found]) for k in _PER_LAYER}
    return LayerwiseInversion(
        latent=latent,
        hidden=(latent, *(one["h"] for one in found[1:])),
        output=output,
        residual=jnp.max(jnp.abs(output - x)),
        exact=jnp.all(gathered["consistent"] & gathered["determined"]),
        **gathered | {"converged": jnp.all(gathered["converged"])},
    )


_PER_LAYER = ("misfit", "consistent", "determined", "active", "converged")


def forward(layers: Sequence[tuple[Any, Any, Callable[..., Any]]], z: Any) -> Array:
    """The net of such layers: f_d(W_d ... f_1(W_1 z + b_1) ... + b_d).

    Args:
        layers: as in `invert_layerwise`.
        z: the latent, (k,) or (h, w, k).

    Returns:
        (out,) after a dense layer, (h, w, out) after a convolutional one.

    Example:
        >>> forward([(jnp.ones((2, 3)), jnp.zeros(2), jnp.tanh)], jnp.zeros(3)).tolist()
        [0.0, 0.0]
    """
    h = checks.floating("z", z)
    for weights, bias, act in triples("layers", layers):
        matrix = _matrix(weights)
        if weights.ndim == 2:
            u = matrix @ h.ravel()
            h = act(u if bias is None else u + bias)
            continue
        h = h[None, None] if h.ndim == 1 else h
        rows, columns = h.shape[:2]
        u = (h.reshape(-1, h.shape[-1]) @ matrix.T).reshape(rows * columns, -1)
        h = act(_from_positions(u, weights, rows, columns) + (0 if bias is None else _last(bias)))
    return h


def triples(name: str, layers: Any) -> list[Any]:
    """The (weights, bias, activation) of each layer, of finite numbers."""
    each = checks.sequence(name, layers, 1)
    for i, layer in enumerate(each):
        if not isinstance(layer, tuple | list) or len(layer) != 3:
            raise TypeError(f"{name}[{i}] must be (weights, bias, activation), got {layer!r}")
        checks.finite(f"{name}[{i}]", layer[:2])
    return each


def _checked(layers: Any, x: Array) -> list[tuple[Array, Any, Activation, int]]:
    """The layers as arrays of x's dtype and activations with their direction."""
    net = []
    for i, (weights, bias, act) in enumerate(triples("layers", layers)):
        name = f"layers[{i}]"
        weights = checks.floating(f"{name} weights", weights).astype(x.dtype)
        if weights.ndim not in (2, 4):
            raise ValueError(
                f"{name} weights must be (out, in) or (in, a, b, out), got shape {weights.shape}"
            )
        out = weights.shape[0] if weights.ndim == 2 else weights.shape[3]
        if bias is not None:
            bias = checks.floating(f"{name} bias", bias).astype(x.dtype)
            checks.shape(f"{name} bias", bias, (out,))
        unit = activation(act)
        net.append((weights, bias, unit, direction(f"{name} activation", unit)))
    _check_shapes(net, x)
    return net


def _check_shapes(net: Any, x: Array) -> None:
    """Check that x is an output of the last layer, and each input one of the layer before."""
    last = net[-1][0]
    if last.ndim == 2:
        checks.shape("x", x, (last.shape[0],))
    else:
        _, a, b, out = last.shape
        if x.ndim != 3 or x.shape[0] % a or x.shape[1] % b or x.shape[2] != out:
            raise ValueError(
                f"x must have shape (h, w, {out}), h a multiple of {a} and w of {b}, got {x.shape}"
            )
    size = x.size
    for i in reversed(range(len(net))):
        weights = net[i][0]
        dense = weights.ndim == 2
        block = weights.shape[0] if dense else int(np.prod(weights.shape[1:]))
        if size % block or (dense and size != block):
            raise ValueError(
                f"layers[{i}] weights of shape {weights.shape} do not fit an output of {size} "
                "entries, which the next layer takes"
            )
        size = size // block * (weights.shape[1] if dense else weights.shape[0])


@functools.partial(jax.jit, static_argnames=("sign", "norm", "steps"))
def _solve_layer(
    weights: Array,
    bias: Any,
    act: Activation,
    before: Activation | None,
    x: Array,
    error: Array,
    *,
    sign: int,
    norm: Norm,
    steps: int,
) -> dict[str, Any]:
    """The input of one layer from its output; every position of a block layer by itself."""
    matrix = _matrix(weights)
    m, n = matrix.shape
    seen, grid = _to_positions(x, weights)
    known = preimage(act, seen, error, sign)
    shift = 0 if bias is None else jnp.tile(bias, m // bias.size)[None]
    fixed = known.slope > 0
    exact = fixed & (norm != "linf")
    low = jnp.where(exact, known.target, known.low) - shift
    high = jnp.where(exact, known.target, known.high) - shift
    weight = jnp.where(fixed, known.slope, 1)
    box = (-jnp.inf, jnp.inf) if before is None else image(before, x.dtype)
    rows = jnp.concatenate([matrix, jnp.eye(n, dtype=x.dtype)])

    def solve(low: Array, high: Array, weight: Array, equation: Array) -> Any:
        least = jnp.concatenate([low, jnp.full(n, box[0], x.dtype)])
        most = jnp.concatenate([high, jnp.full(n, box[1], x.dtype)])
        weighted = jnp.concatenate([weight, jnp.ones(n, x.dtype)])
        found = interval_least_squares(
            rows, least, most, weighted, power=1 if norm == "l1" else 2, steps=steps
        )
        return found, *_determined(matrix, jnp.where(equation, weight, 0))

    found, determined, spread = jax.vmap(solve)(low, high, weight, fixed)
    h = jnp.clip(found.h, *box)
    off = jnp.abs(act(h @ matrix.T + shift) - seen)
    misfit = jnp.max(off)
    share = jnp.mean(fixed.astype(x.dtype))
    square = jnp.mean(jnp.where(fixed, off, 0) ** 2)
    rms = jnp.sqrt(square / jnp.where(share > 0, share, 1))
    noise = jnp.maximum(error, rms) if norm == "l2" else error
    scale = float(jnp.finfo(x.dtype).eps) * jnp.max(jnp.abs(h))
    return {
        "h": h.reshape((*grid, n)) if weights.ndim == 4 else h.ravel(),
        "error": jnp.maximum(_SPREADS * noise * jnp.max(spread), _ROUNDING * scale),
        "misfit": misfit,
        "consistent": misfit <= _SPREADS * error + _ROUNDING * scale,
        "determined": jnp.all(determined),
        "active": share,
        "converged": jnp.all(found.converged),
    }


def _determined(matrix: Float[Array, "m n"], weight: Float[Array, " m"]) -> tuple[Array, Array]:
    """Whether the weighted rows have full rank; the largest standard error of h per unit of x."""
    normal = (matrix * weight[:, None] ** 2).T @ matrix
    value, vector = jnp.linalg.eigh(normal)
    floor = _RANK**2 * jnp.maximum(value[-1], 0)
    least = float(jnp.finfo(matrix.dtype).eps) * 16
    positive = (value[0] > floor) & (value[0] > least * value[-1])
    safe = jnp.maximum(value, jnp.where(floor > 0, floor, 1))
    return positive, jnp.sqrt(jnp.max((vector**2) @ (1 / safe)))


def _matrix(weights: Array) -> Float[Array, "m n"]:
    return weights if weights.ndim == 2 else weights.reshape(weights.shape[0], -1).T


def _to_positions(x: Array, weights: Array) -> tuple[Float[Array, "positions m"], tuple[int, int]]:
    """The outputs that belong to one position of the layer's input, position by position."""
    if weights.ndim == 2:
        return x.reshape(1, -1), (1, 1)
    _, a, b, out = weights.shape
    rows, columns = x.shape[0] // a, x.shape[1] // b
    blocks = x.reshape(rows, a, columns, b, out).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows * columns, -1), (rows, columns)


def _from_positions(u: Array, weights: Array, rows: int, columns: int) -> Array:
    _, a, b, out = weights.shape
    blocks = u.reshape(rows, columns, a, b, out).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows * a, columns * b, out)


def _last(bias: Array) -> Array:
    return bias[None, None]
