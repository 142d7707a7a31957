"""Where a mixture's law lives: a search on a grid, then bisection of each switch of the density."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxact.spectra.continuation import jacobian, physical
from jaxact.spectra.mixture import MIXTURE, MixtureLaw, bound, types_of
from jaxact.spectra.support import Support, support
from jaxact.spectra.transform import density_of

_GRID = 2048
_BISECTIONS = 60
_MOST = 16  # edges


@support.register(MixtureLaw)
def searched_support(law: Any) -> Support:
    """The support of a law of `jaxact.spectra.mixture`'s equations.

    Bands and gaps that are narrower than 1.4 % of their place may be missed.
    """
    still = jax.lax.stop_gradient(law)
    types, unit = types_of(still)
    eps = float(jnp.finfo(unit.dtype).eps)
    lowest = 1e4 * eps
    top = 2 * bound(types)
    ends = jnp.log(jnp.stack([lowest * top, top]))
    x = unit * jnp.exp(jnp.linspace(ends[0], ends[1], _GRID, dtype=unit.dtype))

    def has_mass(x: Array) -> Array:
        return x * density_of(still, x) > 4 * eps**0.5  # below is rounding, near an atom at 0

    on = has_mass(x)
    most = min(2 * (types.share.shape[0] + 1), _MOST)
    switches = jnp.concatenate([on[:1], on[1:] != on[:-1]])
    count = jnp.minimum(jnp.sum(switches, dtype=jnp.int32), most)
    place = jnp.argsort(~switches, stable=True)[
        jnp.minimum(jnp.arange(most, dtype=jnp.int32), count - 1)
    ]
    hard = place == 0  # the density lives down to the lowest point: a hard edge at 0

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + (high - low) / 2
        rises = has_mass(middle) == on[place]
        return jnp.where(rises, low, middle), jnp.where(rises, middle, high)

    around = (x[jnp.maximum(place - 1, 0)], x[place])
    # The end outside the band: there the solution is real.
    ends = jax.lax.fori_loop(0, _BISECTIONS, halve, around)
    outside = jnp.where(on[place], ends[0], ends[1])
    return Support(jnp.where(hard, 0, _moved(law, outside, ~hard)), count)


def _moved(law: Any, x: Float[Array, " k"], soft: Array) -> Float[Array, " k"]:
    """The edges x with their derivatives in the law.

    At an edge the Jacobian is singular; its left null vector l makes the unknowns' own motion
    drop out of l F(unknowns, x, law) = 0, which leaves dx = -(l F_law dlaw) / (l F_x).
    """
    still = jax.lax.stop_gradient(law)
    z = jax.lax.complex(x, jnp.zeros_like(x))
    types, unit = types_of(still)
    unknowns = jax.lax.stop_gradient(physical(MIXTURE, z / unit.astype(z.dtype), types))
    (a, c), (b, d) = jacobian(MIXTURE, unknowns, z / unit.astype(z.dtype), types)
    first = jnp.abs(a) + jnp.abs(c) >= jnp.abs(b) + jnp.abs(d)
    null = jax.lax.stop_gradient((jnp.where(first, c, d), jnp.where(first, -a, -b)))

    def projected(x: Array, law: Any) -> Array:
        types, unit = types_of(law)
        z = jax.lax.complex(x / unit, jnp.zeros_like(x))
        values = MIXTURE.residual(unknowns, z, types)
        return (null[0] * values[0] + null[1] * values[1]).real

    value = projected(x, law)
    slope = jax.jvp(lambda x: projected(x, still), (x,), (jnp.ones_like(x),))[1]
    safe = soft & (slope != 0)
    move = (value - jax.lax.stop_gradient(value)) / jnp.where(safe, slope, 1)
    return x - jnp.where(safe, move, 0)
