"""Recover the latent behind measurements of a generator's output."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxact.inversion.certificate import TOLERANCE, from_jacobian, pose
from jaxact.inversion.choice import choose
from jaxact.inversion.implicit import minimiser
from jaxact.inversion.loop import descend, misfit_floor
from jaxact.inversion.priors import with_prior
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_SAME = 0.01
_PROBES = 16


class ConvergenceWarning(UserWarning):
    """The solver ran out of steps: `Inversion.converged` is False.

    Given on the host, where values are concrete; under `jax.jit` or `jax.vmap` read the flag.

    Example:
        >>> issubclass(ConvergenceWarning, UserWarning)
        True
    """


@pytree()
class Inversion:
    """What was found; the latent's shape is (k,) or whatever the generator takes.

    Attributes:
        latent: the best latent of all restarts.
        output: G(latent): the whole output, also where it was not measured.
        loss: F(latent), by default 1/2 ||A output - y||^2 + prior/2 ||latent||^2.
        converged: whether the run that found it met the solver's tolerance.
        sigma_min: smallest singular value of J = d(A G)/dz at the latent; an error e of y moves
            the latent by at most ||e|| / sigma_min, to first order.
        condition: sigma_max / sigma_min.
        identifiable: whether sigma_min > 1e-4 sigma_max. A tiny loss alone does not make the
            latent the right one.
        agreement: fraction of the restarts whose loss is within 1 % of the best (or at the
            solver's tolerance, as the best is) and whose latent is within 1 % of the best one.
        losses: (restarts,) the loss each restart ended at.
        latents: (restarts, *latent shape) where it ended.
        iterations: (restarts,) the steps it took.
        finished_by: (restarts,) which solver of a `Fallback` (the default above 24 latents)
            made its last step: 0 the first, 1 the second.
    """

    latent: Leaf
    output: Leaf
    loss: Leaf
    converged: Leaf
    sigma_min: Leaf
    condition: Leaf
    identifiable: Leaf
    agreement: Leaf
    losses: Leaf
    latents: Leaf
    iterations: Leaf
    finished_by: Leaf


def invert(
    generator: Callable[..., Any],
    y: Any,
    *,
    latent: Any,
    operator: Callable[..., Any] | None = None,
    solver: Any = None,
    restarts: int = 8,
    prior: Any = 0.0,
    noise: Any = None,
    sign_flip: bool = False,
    key: Any = None,
) -> Inversion:
    """Find the latent z with A G(z) = y: the least of F(z) over several random starts.

    F(z) = sum_i rho(a_i, y_i) + prior/2 ||z||^2 with a = A G(z), minimised from z0 ~ N(0, I);
    least squares, rho = (a - y)^2 / 2, unless another noise model is given.

    Args:
        generator: G, latent -> output. Any JAX function, compiled once per function object; or
            a callable pytree such as `jax.tree_util.Partial(apply, params)`, whose arrays are
            inputs: other weights compile nothing new, and derivatives with respect to them
            exist. (Weights in a plain function's closure are constants of the compiled code,
            unless a transformation around `invert` is tracing them.)
        y: the measurements, of the shape that operator(G(z)) has. Their dtype is the latent's.
        latent: the latent's dimension k or its shape; or an array of starts, one start (k,) or
            several (restarts, *shape).
        operator: A, output -> measurements: `mask(...)` or any JAX function, linear or not.
            None: everything is measured.
        solver: `LevenbergMarquardt`, `GaussNewton`, `LBFGS`, `Adam`, `Optax`, `PLUGIn`, or two
            of them in a `Fallback`. None: Levenberg-Marquardt up to 24 latents, Gauss-Newton
            above, and up to 64 Levenberg-Marquardt for the starts on which its CG stalls.
        restarts: number of random starts, >= 1; ignored where `latent` gives starts.
        prior: weight of the latent's N(0, I) prior, >= 0: the variance of the noise in y, if
            that is known and the noise model is the default. Or a negative log density, latent ->
            scalar, which is added to F as it is: `GaussianPrior(...)` or any JAX function. (A
            set that holds the latent is a solver's: `ProjectedGradient(Box(-1.0, 1.0))`.)
        noise: `GaussianNoise(sigma)`, `HuberNoise(delta)` or `L1Noise()` for gross outliers,
            `PoissonNoise()` for counts, `LogisticNoise()` for signs; or any elementwise function
            rho(a, y). Every solver minimises the same F. None: least squares.
        sign_flip: after each step, go to -z if F is lower there: the guard of Ma et al. against
            the flat region at -rho z* of ReLU generators; one more forward pass a step.
        key: a typed key from `jax.random.key`; needed for random starts.

    Returns:
        An `Inversion`. A batch of measurements is `jaxact.sweep.sweep(f, (ys, keys))` with
        `f = lambda s: invert(g, s[0], latent=k, key=s[1])`: with `mesh=` over several devices or
        processes, with `folder=` in chunks that survive a kill. All lanes of a vmap run until
        the slowest is done (a finished one keeps its values), those of a chunk or of a device
        until its own slowest.

    Warns:
        ConvergenceWarning: if the best run did not converge (outside transformations).

    Raises:
        ValueError: for a y of another shape than the operator's output or not finite, a latent
            that is not positive, restarts < 1, a mask that does not fit, a prior < 0, a
            generator that is not finite at any start, or one whose derivative is 0 everywhere.
        TypeError: for an untyped key, or a generator, operator or solver that is none.

    Differentiation: implicit, through the minimiser's optimality condition, so `invert` is a
    differentiable layer in y, prior, the generator's arrays and the operator's: on data that
    the generator fits, d latent / d y = (J^T J + prior I)^{-1} J^T. Usable twice; costs the
    Hessian of F, k gradient products. Assumes that the solver converged.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.inversion import mask
        >>> w1 = jax.random.normal(jax.random.key(0), (9, 3))
        >>> w2 = jax.random.normal(jax.random.key(1), (20, 9))
        >>> generator = lambda z: jnp.tanh(w2 @ jax.nn.leaky_relu(w1 @ z) / 9)
        >>> see = mask(jnp.arange(0, 20, 2))
        >>> y = see(generator(jnp.array([1.0, -0.5, 0.3])))
        >>> found = invert(generator, y, latent=3, operator=see, key=jax.random.key(2))
        >>> [round(float(v), 4) for v in found.latent], bool(found.identifiable)
        ([1.0, -0.5, 0.3], True)

    Source: Ma, Ayaz & Karaman 2018, the loss and algorithm; Huang et al. 2018, the sign flip.
    """
    y = checks.floating("y", y, kinds="biufcV")
    if not callable(prior):
        checks.non_negative("prior", prior)
    dtype = jnp.finfo(y.dtype).dtype
    starts = _starts(latent, restarts, key, dtype)
    solver = choose(solver, starts[0].size, prior=prior)
    problem = pose(generator, operator, dtype, starts.shape[1:], noise)
    checks.shape("y", y, problem.y.shape)
    if jnp.iscomplexobj(y) and not jnp.iscomplexobj(problem.y):
        raise TypeError(f"y must be real, as operator(generator(z)) is, got dtype {y.dtype}")
    problem.noise.check(y)
    problem = with_prior(problem.replace(y), prior)
    found = solve(problem, solver, starts, sign_flip=bool(sign_flip))
    if checks.is_concrete(found.loss) and not np.isfinite(found.loss):
        raise ValueError(
            f"generator must be finite at a start, got a NaN or inf from all {starts.shape[0]}"
        )
    _judge(found, problem, starts)
    return found


@functools.partial(jax.jit, static_argnames=("sign_flip",))
def solve(problem: Problem, solver: Any, starts: Array, *, sign_flip: bool = False) -> Inversion:
    """The kernel of `invert`: pure, one problem, starts (restarts, *latent shape).

    It checks nothing; `jax.vmap` over y and starts gives a batch.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> w = jax.random.normal(jax.random.key(0), (6, 2))
        >>> generator = lambda z: jnp.tanh(w @ z)
        >>> posed = pose(generator, None, w.dtype, (2,))
        >>> y = generator(jnp.array([0.5, -0.2]))
        >>> from jaxact.inversion import LevenbergMarquardt
        >>> found = solve(posed.replace(y), LevenbergMarquardt(), jnp.ones((1, 2)))
        >>> [round(float(v), 3) for v in found.latent]
        [0.5, -0.2]
    """
    count = starts.shape[0]
    problem = problem.hoisted(starts[0].ravel())
    fixed = jax.lax.stop_gradient(problem)
    run = jax.vmap(lambda z: descend(fixed, solver, z, sign_flip=sign_flip))(
        jax.lax.stop_gradient(starts).reshape(count, -1)
    )
    best = jnp.argmin(run.loss)
    z = minimiser(problem, run.z[best])
    near = jnp.linalg.norm(run.z - run.z[best][None], axis=1) <= _SAME * jnp.linalg.norm(z)
    within = (1 + _SAME) * run.loss[best] + misfit_floor(fixed, solver, run.z[best])
    agree = near & (run.loss <= within)
    found = from_jacobian(problem.bare().jacobian(z)[1], TOLERANCE)
    return Inversion(
        latent=z.reshape(problem.shape),
        output=problem.output(z),
        loss=problem.objective(z),
        converged=run.converged[best],
        sigma_min=found.sigma_min,
        condition=found.condition,
        identifiable=found.identifiable,
        agreement=jnp.mean(jax.lax.stop_gradient(agree).astype(z.dtype)),
        losses=run.loss,
        latents=run.z.reshape(starts.shape),
        iterations=run.iterations,
        finished_by=run.stage,
    )


def _judge(found: Inversion, problem: Problem, starts: Array) -> None:
    """Say on the host what a caller must know of a failure, where values are concrete."""
    if not checks.is_concrete(found, problem):
        return
    if float(found.sigma_min) == 0 and bool(_flat(problem, starts)):
        raise ValueError(
            "generator (and operator) must be differentiable, got a derivative of exactly 0 at "
            f"all starts and at {_PROBES} random latents"
        )
    if not bool(found.converged):
        misfit = float(found.loss)
        warnings.warn(
            f"invert stopped after {int(np.max(found.iterations))} steps without converging, at "
            f"F = {misfit:.3g}: more steps or restarts, or another solver, may help",
            ConvergenceWarning,
            stacklevel=3,
        )


@jax.jit
def _flat(problem: Problem, starts: Array) -> Array:
    """Whether what is measured has the derivative 0 at all starts and at random latents."""
    points, weights = jax.random.split(jax.random.key(0))
    shape = (_PROBES, starts[0].size)
    probes = jnp.concatenate(
        [starts.reshape(len(starts), -1), jax.random.normal(points, shape, starts.dtype)]
    )

    def slope(z: Array) -> Array:
        a, pull = jax.vjp(problem.measured, z)
        return pull(jax.random.normal(weights, a.shape, a.dtype))[0]

    return jnp.all(jax.vmap(slope)(probes) == 0)


def _starts(latent: Any, restarts: Any, key: Any, dtype: Any) -> Array:
    if hasattr(latent, "dtype") and np.ndim(latent) > 0:
        checks.finite("latent", latent)
        starts = jnp.asarray(latent, dtype)
        starts = starts[None] if starts.ndim == 1 else starts
        if starts.size == 0:
            raise ValueError(f"latent must hold at least one start, got shape {starts.shape}")
        return starts
    shape = tuple(latent) if isinstance(latent, tuple | list) else (latent,)
    for size in shape or (0,):
        checks.integer("latent", size, 1)
    checks.integer("restarts", restarts, 1)
    checks.key("key", key)
    return jax.random.normal(key, (restarts, *shape), dtype)
