"""Samples of the posterior over latents: Metropolis-adjusted Langevin dynamics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxact.inversion.laplace import posterior_problem, posterior_root
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_TARGET = 0.574  # the acceptance rate at which the dynamics mix fastest
_MIXED = 1.01


@pytree()
class Samples:
    """Draws of p(z | y) after warm-up, and whether the chains agree.

    Attributes:
        latents: (chains, draws, *latent shape).
        acceptance: (chains,) share of accepted proposals.
        step: (chains,) the step each chain settled at, in units of the Laplace covariance.
        effective: (k,) effective number of independent draws for each coordinate's mean.
        r_hat: (k,) spread between the half chains over that within them; 1 where they agree.
        converged: whether every r_hat is below 1.01.
    """

    latents: Leaf
    acceptance: Leaf
    step: Leaf
    effective: Leaf
    r_hat: Leaf
    converged: Leaf


def langevin(
    generator: Callable[..., Any],
    y: Any,
    z: Float[Array, "*shape"],
    *,
    noise: Any,
    operator: Callable[..., Any] | None = None,
    prior: Any = 1.0,
    chains: int = 4,
    warmup: int = 500,
    draws: int = 500,
    key: PRNGKeyArray,
) -> Samples:
    """Sample p(z | y) ~ exp(-F(z)), F(z) = sum_i rho(a_i, y_i) + prior/2 ||z||^2, a = A G(z).

    Metropolis-adjusted Langevin: z' = z - h/2 C grad F(z) + sqrt(h) C^(1/2) xi, accepted so that
    the posterior is left exactly invariant; C is the Laplace covariance at z. Chains start from
    the Laplace approximation; h is adapted to an acceptance of 0.574 in warm-up and then fixed.

    Args:
        generator: G, latent -> output.
        y: the measurements.
        z: a latent of high posterior density, such as `invert(...).latent`.
        noise: as for `laplace`: a deviation, one for each measurement, or a noise model.
        operator: A, output -> measurements. None: identity.
        prior: precision of the latent's N(0, I / prior), > 0.
        chains: number of chains, >= 2, run side by side.
        warmup: steps of each chain that are thrown away, >= 1.
        draws: steps of each chain that are kept, >= 4.
        key: a typed key from `jax.random.key`.

    Returns:
        `Samples`. Modes that no chain started near are not visited: look at the restarts of
        `invert` for those.

    Raises:
        ValueError, TypeError: for arguments that do not fit.

    Differentiation: not defined; accepting is a step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> w = jax.random.normal(jax.random.key(0), (20, 2))
        >>> y = jnp.tanh(w @ jnp.array([0.5, -0.3]))
        >>> found = langevin(lambda z: jnp.tanh(w @ z), y, jnp.array([0.5, -0.3]), noise=0.1,
        ...                  draws=200, key=jax.random.key(1))
        >>> found.latents.shape, bool(jnp.all(found.acceptance > 0.4))
        ((4, 200, 2), True)

    Source: Roberts & Tweedie 1996 (MALA); Roberts & Rosenthal 1998 (0.574); Vehtari et al. 2021
    (split r_hat and effective sample size).
    """
    z = checks.floating("z", z)
    checks.positive("prior", prior)
    checks.integer("chains", chains, 2)
    checks.integer("warmup", warmup, 1)
    checks.integer("draws", draws, 4)
    checks.key("key", key)
    problem = posterior_problem(generator, operator, z, noise, prior, y)
    found = _sample(problem, z.ravel(), key, chains=chains, warmup=warmup, draws=draws)
    return _report(problem, *found)


@functools.partial(jax.jit, static_argnames=("chains", "warmup", "draws"))
def _sample(
    problem: Problem, z: Array, key: Array, *, chains: int, warmup: int, draws: int
) -> tuple[Array, Array, Array]:
    root = posterior_root(problem, z)[0]

    def potential(w: Array) -> Array:
        """F in the coordinates in which the Laplace approximation is N(0, I)."""
        return problem.objective(z + jnp.matmul(root, w, precision="highest"))

    slope = jax.value_and_grad(potential)

    def move(state: Any, noise: Any, log_h: Array) -> tuple[Any, Array]:
        w, value, gradient = state
        xi, uniform = noise
        h = jnp.exp(log_h)
        there = w - h / 2 * gradient + jnp.sqrt(h) * xi
        new, steep = slope(there)
        back = w - there + h / 2 * steep
        ratio = value - new + xi @ xi / 2 - back @ back / (2 * h)
        chance = jnp.where(jnp.isnan(ratio), 0, jnp.exp(jnp.minimum(ratio, 0)))
        accept = uniform < chance
        chosen = jax.tree.map(lambda a, b: jnp.where(accept, a, b), (there, new, steep), state)
        return chosen, chance

    def chain(key: Array) -> tuple[Array, Array, Array]:
        first, second, third = jax.random.split(key, 3)
        w = jax.random.normal(first, z.shape, z.dtype)
        steps = warmup + draws
        xi = jax.random.normal(second, (steps, z.size), z.dtype)
        noise = xi, jax.random.uniform(third, (steps,), z.dtype)
        state = (w, *slope(w))

        def adapt(carry: Any, item: Any) -> tuple[Any, None]:
            state, log_h = carry
            noise, index = item
            state, chance = move(state, noise, log_h)
            rate = (index + 10).astype(z.dtype) ** -0.6
            return (state, log_h + 4 * rate * (chance - _TARGET)), None

        log_h = jnp.asarray(-jnp.log(z.size) / 3, z.dtype)
        early = jax.tree.map(lambda a: a[:warmup], noise)
        late = jax.tree.map(lambda a: a[warmup:], noise)
        items = early, jnp.arange(warmup)
        (state, log_h), _ = jax.lax.scan(adapt, (state, log_h), items)

        def draw(state: Any, noise: Any) -> tuple[Any, Any]:
            state, chance = move(state, noise, log_h)
            return state, (state[0], chance)

        _, (path, chance) = jax.lax.scan(draw, state, late)
        return path, jnp.mean(chance), jnp.exp(log_h)

    paths, acceptance, steps = jax.vmap(chain)(jax.random.split(key, chains))
    latents = z[None, None] + jnp.einsum("cdj,ij->cdi", paths, root, precision="highest")
    return latents, acceptance, steps


def _report(problem: Problem, latents: Array, acceptance: Array, steps: Array) -> Samples:
    effective, r_hat = diagnose(latents)
    shaped = latents.reshape(*latents.shape[:2], *problem.shape)
    return Samples(shaped, acceptance, steps, effective, r_hat, jnp.all(r_hat < _MIXED))


@jax.jit
def diagnose(
    draws: Float[Array, "chains draws k"],
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Effective sample size and split r_hat of each coordinate.

    Autocorrelations are averaged over half chains and summed in pairs as long as the pairs stay
    positive and do not grow (Geyer's initial monotone sequence).
    """
    chains, length, k = draws.shape
    n = length // 2
    halves = draws[:, : 2 * n].reshape(2 * chains, n, k)
    means = halves.mean(axis=1)
    centred = halves - means[:, None]
    within = jnp.mean(jnp.sum(centred**2, axis=1) / (n - 1), axis=0)
    between = jnp.var(means, axis=0, ddof=1)
    total = (n - 1) / n * within + between
    safe = jnp.where(total > 0, total, 1)
    moving = jnp.fft.rfft(centred, 2 * n, axis=1)
    covariance = jnp.fft.irfft(jnp.abs(moving) ** 2, 2 * n, axis=1)[:, :n].mean(axis=0) / n
    rho = 1 - (within[None] * (n - 1) / n - covariance) / safe[None]
    rho = rho.at[0].set(1.0)
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, k).sum(axis=1)
    positive = jnp.cumprod(pairs > 0, axis=0)
    falling = jax.lax.cummin(jnp.where(pairs > 0, pairs, 0)) * positive.astype(rho.dtype)
    time = jnp.maximum(2 * falling.sum(axis=0) - 1, 1 / jnp.log10(float(2 * chains * n)))
    r_hat = jnp.sqrt(safe / jnp.where(within > 0, within, 1))
    known = within > 0
    return (
        jnp.where(known, 2 * chains * n / time, 0),
        jnp.where(known, r_hat, jnp.inf),
    )
