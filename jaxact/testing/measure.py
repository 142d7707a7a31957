"""Everything the battery compares, computed by one compiled kernel an activation."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxact.activation import Activation, _Inverse, _Primitive, derived_moments

SCALES = (0.7, 1.6)
_STEP = 2e-4
_OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0]) * _STEP
_EDGES = np.array([0.0, -30.0, 30.0, -16.0, 16.0])
_POINTS = 33


def test_points(kinks: np.ndarray) -> np.ndarray:
    """33 points of [-6, 6], moved off the kinks by ten stencil steps."""
    x = np.linspace(-6, 6, _POINTS) + 0.0173
    for kink in kinks:
        near = np.abs(x - kink) < 10 * _STEP
        x = np.where(near, kink + 20 * _STEP, x)
    return x


test_points.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


@functools.cache
def dense_grid() -> np.ndarray:
    """Midpoints of 400,000 cells of [-10, 10]: a sum over them knows nothing of kinks."""
    n = 400_000
    return (np.arange(n) + 0.5) * (20 / n) - 10


def stencil_slope(near: np.ndarray) -> np.ndarray:
    """The derivative, to fourth order, from the values at -2, -1, 1 and 2 steps (first axis)."""
    return (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * _STEP)


@functools.partial(jax.jit, static_argnames="sign")
def measure(
    act: Activation, x: Float[Array, " n"], dense: Float[Array, " m"], *, sign: int
) -> dict[str, Any]:
    """The values that the battery compares.

    Args:
        act: the activation, with float64 theta.
        x: test points off the kinks, float64.
        dense: midpoints for the plain sum.
        sign: +1 for an increasing, -1 for a decreasing function, 0 for neither.

    Returns:
        A dict of arrays; None stands for a form that the activation does not have.
    """
    fn, theta, closed = act.fn, act.theta, act.closed
    near = jnp.asarray(x)[None, :] + jnp.asarray(_OFFSETS)[:, None]
    edge = jnp.concatenate([jnp.asarray(act.kink_points(), x.dtype).reshape(-1), _edges(x)])
    value, slope = act(x), act.derivative(x)
    derived = _Primitive(fn, act.kinks)
    got: dict[str, Any] = {
        "value": value,
        "slope": slope,
        "near": act(near),
        "mapped": jax.vmap(act)(x),
        "edge_points": _edges(x),
        # In reverse mode, where a jnp.where over a bad branch gives NaN and forward mode does not.
        "edge_slopes": jax.vmap(jax.grad(act))(edge),
        "primitive": act.primitive(x),
        "primitive_slope": act.primitive.derivative(x),
        "primitive_near": act.primitive(near),
        "primitive_at_zero": act.primitive(jnp.zeros_like(x[:1])),
        "derived_primitive": derived(x, *theta) if closed.primitive else None,
        "moments": [_triple(act.moments(jnp.asarray(s, x.dtype))) for s in SCALES],
        "dense_moments": [_dense(act, s, dense) for s in SCALES],
        "derived_moments": None,
        "sign": sign,
    }
    if closed.moments:
        scales = [jnp.asarray(s, x.dtype) for s in SCALES]
        got["derived_moments"] = [_triple(derived_moments(act, s)) for s in scales]
    inverses = {
        "inverse": _Inverse(fn, sign) if sign else None,
        "closed_inverse": closed.inverse,
    }
    for name, inverse in inverses.items():
        got[name] = None if inverse is None else inverse(value, *theta)
        got[f"{name}_back"] = None if inverse is None else act(got[name])
    lowest = jnp.min(act(jnp.asarray([-1e2, -1e4, -1e6, -1e7], x.dtype)))
    got["signature"] = closed.signature(value - lowest, *theta) if closed.signature else None
    got["theta_slopes"], got["theta_near"] = _in_theta(act, x)
    return got


def _edges(x: Any) -> Any:
    return jnp.asarray(_EDGES, x.dtype)


def _triple(moments: Any) -> Any:
    return jnp.stack(
        [jnp.asarray(m, jnp.float64) for m in (moments.mean, moments.eta, moments.zeta)]
    )


def _dense(act: Activation, scale: float, dense: Any) -> Any:
    """Mean, eta and zeta by the midpoint rule."""
    weight = jnp.exp(-(dense**2) / 2)
    weight = weight / weight.sum()
    value = act(scale * dense)
    mean = weight @ value
    return jnp.stack([mean, weight @ (value - mean) ** 2, (weight @ (dense * value)) ** 2])


def _in_theta(act: Activation, x: Any) -> tuple[list[Any], list[Any]]:
    """For each scalar in theta: df/dtheta by JAX, and the values at the stencil's four points."""
    flat, unravel = ravel_pytree(act.theta)
    apply = lambda t: act.fn(x, *unravel(t))  # noqa: E731
    slopes, values = [], []
    for unit in jnp.eye(flat.size, dtype=flat.dtype) if flat.size else ():
        slopes.append(jax.jvp(apply, (flat,), (unit,))[1])
        values.append(jax.vmap(lambda h, u=unit: apply(flat + h * u))(jnp.asarray(_OFFSETS)))
    return slopes, values
