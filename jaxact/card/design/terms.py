"""What an activation can be designed for: each term a number, less is better, from one lens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact import bounds, inversion, memory, spectra
from jaxact.activation import Activation
from jaxact.numerics.pytrees import pytree


@pytree(static=("scale",))
class ZetaShare:
    """Zeta / eta in [0, 1], the share of the variance that is linear: 0 memorises best.

    Attributes:
        scale: standard deviation of the pre-activations.
    """

    scale: float = 1.0

    def __call__(self, act: Activation) -> Array:
        """The share."""
        found = spectra.moments(act, self.scale)
        return found.zeta / found.eta


@pytree(static=("radii", "nodes"))
class RelaxationArea:
    """How far the certified lines are apart, in standard deviations of f(xi).

    Lines around f over [xi - r, xi + r]: their gap at the middle, which is the area between
    them over its width, averaged over xi ~ N(0, 1) (Gauss-Hermite) and the radii r.

    Attributes:
        radii: half widths of the intervals.
        nodes: of the Gauss-Hermite rule.
    """

    radii: tuple[float, ...] = (0.25, 0.75, 2.0)
    nodes: int = 7

    def __call__(self, act: Activation) -> Array:
        """The mean gap."""
        eta = spectra.moments(act).eta
        xi, weight = np.polynomial.hermite_e.hermegauss(self.nodes)
        at = jnp.asarray(np.repeat(xi, len(self.radii)), eta.dtype)
        radius = jnp.asarray(np.tile(self.radii, self.nodes), eta.dtype)
        lines = bounds.relax(act, at - radius, at + radius)
        gap = (lines.upper_slope - lines.lower_slope) * at
        gap = gap + lines.upper_intercept - lines.lower_intercept
        share = jnp.asarray(np.repeat(weight / weight.sum(), len(self.radii)), eta.dtype)
        return share @ gap / len(self.radii) / jnp.sqrt(eta)


@pytree(static=("widths", "eps", "inputs", "seed"))
class CertifiedWidth:
    """The certified range of a fixed random network's outputs over a ball, over their spread.

    By CROWN over max-norm balls around random inputs; the activation is made standard (mean 0,
    variance 1), so neither its scale nor its offset matters. Small: a large share of what the
    network computes is certified to stay.

    Attributes:
        widths: (inputs, hidden ..., outputs).
        eps: radius of the balls.
        inputs: number of balls.
        seed: of weights and inputs.
    """

    widths: tuple[int, ...] = (8, 16, 4)
    eps: float = 0.1
    inputs: int = 4
    seed: int = 0

    def __call__(self, act: Activation) -> Array:
        """The mean certified width."""
        net, dtype = _network(act, self.widths, self.seed)
        rng = np.random.default_rng(self.seed + 1)
        x = jnp.asarray(rng.normal(size=(64, self.widths[0])), dtype)
        spread = jnp.std(jax.vmap(net)(x), axis=0)

        def width(centre: Array) -> Array:
            found = bounds.crown(net, bounds.Ball(centre, eps=self.eps))
            return jnp.mean((found.upper - found.lower) / spread)

        return jnp.mean(jax.vmap(width)(x[: self.inputs]))


@pytree(static=("pixels",))
class MemoryLoad:
    """N / K: pixels over the patterns that a dense memory holds at 0.5 % bit error.

    F is the primitive of the activation at gain sqrt(N), as in the card: a hidden unit sees an
    unrelated pattern as N(0, 1).

    Attributes:
        pixels: N.
    """

    pixels: int = 64

    def __call__(self, act: Activation) -> Array:
        """The inverse load."""
        interaction = memory.from_activation(act).scaled(self.pixels**0.5)
        return self.pixels / jnp.asarray(memory.finite_capacity(self.pixels, interaction))


@pytree(static=("widths", "latents", "seed"))
class Conditioning:
    """The geometric mean of sigma_max / sigma_min of a fixed random generator's Jacobian, >= 1.

    Attributes:
        widths: (latent, hidden ..., outputs).
        latents: number of latents at which the Jacobian is taken.
        seed: of weights and latents.
    """

    widths: tuple[int, ...] = (4, 16, 24)
    latents: int = 8
    seed: int = 0

    def __call__(self, act: Activation) -> Array:
        """The mean condition number."""
        net, dtype = _network(act, self.widths, self.seed + 2)
        z = np.random.default_rng(self.seed + 3).normal(size=(self.latents, self.widths[0]))
        at = jax.vmap(lambda one: inversion.certificate(net, one).condition)
        return jnp.exp(jnp.mean(jnp.log(at(jnp.asarray(z, dtype)))))


@pytree(static=("margin", "points"))
class Inadmissibility:
    """A constraint: how much f falls, bends down, or has a slope at -infinity; 0 if admissible.

    Mean of max(m - f', 0)^2 + max(m - f'', 0)^2 on [-6, 6] plus f'(-16)^2, over the variance
    of f(xi); m = 0 asks for convex, non-decreasing and bounded below. The last word on what was
    found has `jaxact.geometry.admissibility`.

    Attributes:
        margin: m, >= 0: the slope and curvature that are asked for.
        points: of the grid.
    """

    margin: float = 0.0
    points: int = 193

    def __call__(self, act: Activation) -> Array:
        """The violation."""
        eta = spectra.moments(act).eta
        x = jnp.asarray(np.linspace(-6, 6, self.points) + 1.2345e-3, eta.dtype)
        slope, bend = jax.jvp(act.derivative, (x,), (jnp.ones_like(x),))
        tail = act.derivative(jnp.full((), -16.0, eta.dtype))
        missing = jnp.maximum(self.margin - slope, 0) ** 2 + jnp.maximum(self.margin - bend, 0) ** 2
        return (jnp.mean(missing) + tail**2) / eta


TERMS: Mapping[str, Callable[[Activation], Any]] = {
    "memorisation": spectra.MinimiseTrainingError(phi=0.5, psi=0.5, gamma=1e-2),
    "prediction": spectra.MinimiseTestError(phi=1.0, psi=0.5, noise=0.25, gamma=1e-3),
    "zeta": ZetaShare(),
    "relaxation": RelaxationArea(),
    "certified": CertifiedWidth(),
    "memory": MemoryLoad(),
    "inversion": Conditioning(),
    "inadmissible": Inadmissibility(),
}
"""Name -> term; `objective` takes others beside them."""

CONSTRAINTS = frozenset({"inadmissible"})
"""Terms that are wanted at 0: they enter an objective as they are, not over a reference's."""


def _network(act: Activation, widths: tuple[int, ...], seed: int) -> tuple[Any, Any]:
    """A random network x -> W f(... f(W x + b)) with f made standard, and its dtype."""
    made = spectra.standard(act)
    dtype = jnp.result_type(made.theta[0])
    rng = np.random.default_rng(seed)
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    weights = [jnp.asarray(rng.normal(size=(m, n)) / n**0.5, dtype) for n, m in pairs]
    biases = [jnp.asarray(0.3 * rng.normal(size=m), dtype) for _, m in pairs]

    def net(x: Any) -> Any:
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            x = made(jnp.matmul(w, x, precision="highest") + b)
        return jnp.matmul(weights[-1], x, precision="highest") + biases[-1]

    return net, dtype
