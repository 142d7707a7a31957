"""Where a deep network's law lives: its gaps, followed up the layers.

Outside the support u is real. By Silverstein & Choi (1995) a point of a gap of mu_l has its
companion's value in a gap of the population law nu_l = (1 - b_l^2) + b_l^2 mu_{l-1}, and there
dz_l / dv_l < 0, which reads gamma_l Phi_l < 1 with Phi_l = int (t v / (1 - t v))^2 d nu_l(t). Phi_l
is convex in 1 / v on each gap of nu_l, so a gap of nu_l holds one gap of mu_l or none, an interval
of u whose ends bisection finds: no band is too narrow to be missed. Only an atom of mu_{l-1} at 0
splits a gap in two, so L layers have at most L + 1 bands.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxact.spectra.deep import DeepLaw, kernel_ranks, tower_of
from jaxact.spectra.support import Support, support
from jaxact.spectra.tower import Layers, climb

_GOLDEN = 0.6180339887498949
_SEARCH_STEPS = 80
_BISECTIONS = 100
_PART = 0.4871  # not 1/2: an exact pole, where nothing can be said, is often at a dyadic point


@support.register(DeepLaw)
def _support(law: DeepLaw) -> Support:
    at = tower_of(law)
    ranks = jnp.stack(kernel_ranks(law))
    ends, valid = _gaps(*jax.lax.stop_gradient((at, ranks)))
    # One differentiated Newton step, as in `support`.
    slope, bend = jax.vmap(jax.value_and_grad(jax.grad(_top)), (0, None))(ends, at)
    ends = ends - jnp.where(bend == 0, 0, slope / jnp.where(bend == 0, 1, bend))
    x = jax.vmap(_top, (0, None))(ends, at)
    valid = jnp.tile(valid, 2)
    largest = jnp.max(jnp.where(valid, x, 0))
    x = jnp.where(x > 64 * float(jnp.finfo(x.dtype).eps) * largest, x, 0)
    x = jnp.sort(jnp.where(valid, x, largest))
    return Support(law.eta[-1] / at.gamma[-1] * x, jnp.sum(valid, dtype=jnp.int32))


def _top(u: Float[Array, ""], at: Layers) -> Float[Array, ""]:
    """z_L(u), also where it is 0, at a hard edge."""
    y, e, _, _ = climb(u, jax.tree.map(lambda row: row[:-1], at))
    y = jnp.where(y == 0, 1, y)
    return (1 / y + at.noise[-1]) * (1 + at.gamma[-1] * (e + at.noise[-1] * y * (1 + e)))


def _spread(t: Array) -> Array:
    """(-1, 1) to the real line, increasing."""
    return t / jnp.maximum(1 - jnp.abs(t), float(jnp.finfo(t.dtype).tiny) ** 0.25)


def _openness(t: Array, at: Layers, layer: Array) -> Array:
    """1 - gamma_l Phi_l, positive in gaps of mu_l.

    dz_l / dv_l gives it as 1 + gamma_l e_l - gamma_l Y_{l-1} (1 + a_l) de_l / dY_{l-1}.
    """
    u = _spread(t)
    rows, slopes = jax.jvp(lambda v: climb(v, at)[2:], (u,), (jnp.ones_like(u),))
    first = jnp.stack([u, jnp.ones_like(u)])[:, None]
    below = jnp.concatenate([first, jnp.stack([rows[0], slopes[0]])], axis=1)
    (y, dy), e, de = below[:, layer], rows[1][layer], slopes[1][layer]
    gamma = at.gamma[layer]
    value = 1 + gamma * e - gamma * y * (1 + at.noise[layer] * y) * (de / dy)
    return jnp.where(jnp.isfinite(value), value, -jnp.inf)


def _gaps(at: Layers, ranks: Array) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """The ends u of the gaps, the lower ones first, and which of the gaps there are."""
    count = at.gamma.shape[0]
    one = jnp.ones_like(at.gamma)
    place = jnp.arange(count)
    tiny = 8 * float(jnp.finfo(one.dtype).eps)

    def layer(state: Any, at_layer: Any) -> Any:
        low, high, valid = state
        index, below = at_layer
        # An atom at 0 of the law below splits the outer gap, which is the first; not where the
        # layer is linear, since what is 0 below then stays 0.
        zero = _sign_change(low[0], jnp.zeros_like(low[0]), at, index)
        split = (index > 0) & (below < 1 - tiny) & (at.noise[index] > tiny * at.unit[index])
        fresh = split & (place == index)
        high = jnp.where(fresh, zero, high)
        low = jnp.where(fresh, low[0], low)
        low = jnp.where(split & (place == 0), zero, low)
        return _shrink(low, high, valid | fresh, at, index), None

    state = (-one, jnp.where(place == 0, one, -one), place == 0)
    below = jnp.concatenate([jnp.ones_like(ranks[:1]), ranks[:-1]])
    (low, high, valid), _ = jax.lax.scan(layer, state, (place, below))
    return _spread(jnp.concatenate([low, high])), valid


def _sign_change(low: Array, high: Array, at: Layers, index: Array) -> Array:
    """Where z_{l-1} passes 0 in the outer gap: below, z is positive and above, negative."""

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + _PART * (high - low)
        negative = climb(_spread(middle), at)[2][index - 1] < 0
        return jnp.where(negative, low, middle), jnp.where(negative, middle, high)

    return jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))[1]


def _shrink(low: Array, high: Array, valid: Array, at: Layers, index: Array) -> Any:
    """The part of every gap of nu_l that is a gap of mu_l."""

    def narrow(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = ends
        left, right = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
        rises = _openness(left, at, index) < _openness(right, at, index)
        return jnp.where(rises, left, a), jnp.where(rises, b, right)

    a, b = jax.lax.fori_loop(0, _SEARCH_STEPS, narrow, (low, high))
    middle = jnp.where((low < 0) & (high > 0), 0, (a + b) / 2)  # at u = 0 all gaps are open
    valid &= _openness(middle, at, index) > 0

    def halve(_: Array, ends: Any) -> Any:
        (low, a), (b, high) = ends
        down, up = a - _PART * (a - low), b + _PART * (high - b)
        down_open, up_open = _openness(down, at, index) > 0, _openness(up, at, index) > 0
        lower = (jnp.where(down_open, low, down), jnp.where(down_open, down, a))
        return lower, (jnp.where(up_open, up, b), jnp.where(up_open, high, up))

    ends = jax.lax.fori_loop(0, _BISECTIONS, halve, ((low, middle), (middle, high)))
    return ends[0][1], ends[1][0], valid
