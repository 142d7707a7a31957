"""PLUGIn: descent with the activations' derivatives left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxact.inversion.callables import as_function
from jaxact.inversion.layerwise import forward
from jaxact.inversion.loop import tolerance
from jaxact.inversion.problem import Problem
from jaxact.numerics import checks
from jaxact.numerics.pytrees import Leaf, pytree

_POWER_STEPS = 20


@pytree()
class PLUGIn:
    """Partially linearised updates: z <- z + eta W_1^T ... W_d^T A^T (y - A G(z)).

    For random Gaussian layers W^T relu(W z) is near z / 2 times a constant, so the errors shrink
    geometrically and from any start, without the derivative of G: at z = 0 and on the far side
    of -rho z*, too. That needs expansive layers (the paper: n_i of the order of 5^i k, and
    2^d k measurements) with independent weights. On trained or narrow nets, or activations other
    than relu's kind, it may go anywhere: `converged` says so, and `Fallback(PLUGIn(...),
    GaussNewton())` goes on from its best point.

    Its fixed points are the minimisers of F, and the implicit derivative of `invert` is right,
    where G explains y. With noise it is another estimator than least squares, of an error of the
    same order; end it with `GaussNewton` by a `Fallback` with a small `steps`. It takes no prior.

    Attributes:
        layers: (weights, bias, activation) each, first to last, as in `invert_layerwise`
            (`nets.layers(model)`). Only the weights are used; the generator is `invert`'s.
        step_size: eta > 0. None: 1 / ||J_0^T A^T A L||, by power iteration, where L = W_d ... W_1
            and J_0 is G's Jacobian at one latent drawn from N(0, I): somewhat below the 2^d of
            the paper, for its weights N(0, 1 / n_i).
        steps: the most iterations, >= 1.
        tol: converged when ||A G(z) - y|| <= tol ||y|| or a step moves z by less than tol ||z||.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxact.inversion import forward, invert
        >>> w = jax.random.normal(jax.random.key(0), (200, 3))
        >>> layers = [(w, None, jax.nn.relu)]
        >>> generator = lambda z: forward(layers, z)
        >>> y = generator(jnp.array([1.0, -0.5, 0.3]))
        >>> found = invert(generator, y, latent=jnp.zeros(3), solver=PLUGIn(layers))
        >>> [round(float(v), 3) for v in found.latent]
        [1.0, -0.5, 0.3]

    Source: Joshi, Li, Plan & Yilmaz 2021, "PLUGIn: a simple algorithm for inverting generative
    models with recovery guarantees"; "PLUGIn-CS" by the same authors, with A.
    """

    layers: Any
    step_size: Leaf = None
    steps: Leaf = 500
    tol: Leaf = 1e-5

    def init(self, problem: Problem, z: Array) -> Any:
        """The current point (the best one is kept by the loop) and eta."""
        if self.step_size is not None:
            return z, jnp.asarray(self.step_size, z.dtype)
        return z, self._step_size(problem.bare(), z)

    def step(self, problem: Problem, z: Array, loss: Array, state: Any) -> Any:
        """One update; see `jaxact.inversion.loop.Solver`."""
        current, eta = state
        value = problem.objective(current)
        better = value < loss
        z, loss = jnp.where(better, current, z), jnp.where(better, value, loss)
        a, pull = jax.vjp(
            self._linearised(problem.bare(), current).measured, jnp.zeros_like(current)
        )
        move = -eta * pull(problem.bare().expand(a)[0])[0]
        still = jnp.linalg.norm(move) <= tolerance(self, z) * jnp.linalg.norm(current)
        return z, loss, (current + move, eta), still

    def _linearised(self, problem: Problem, z: Float[Array, " k"]) -> Problem:
        """The problem v -> A(G(z) + L v)."""
        output = problem.output(z)
        net = [(jnp.asarray(layer[0], z.dtype), None, _same) for layer in self.layers]

        def generator(v: Array) -> Array:
            moved = forward(net, v)
            if moved.size != output.size:
                raise ValueError(
                    f"solver.layers must have as many outputs as the generator, {output.size}, "
                    f"got {moved.size}"
                )
            return output + moved.reshape(output.shape)

        return dataclasses.replace(problem, generator=as_function("generator", generator))

    def _step_size(self, problem: Problem, like: Float[Array, " k"]) -> Float[Array, ""]:
        """1 / ||J^T A^T W A L|| at a latent that depends on nothing."""
        z = jax.random.normal(jax.random.key(0), like.shape, like.dtype)
        a, push = jax.linearize(problem.measured, z)
        straight = jax.linearize(self._linearised(problem, z).measured, jnp.zeros_like(z))[1]
        weigh = problem.expand(a)[1]
        pull, back = (jax.linear_transpose(f, z) for f in (push, straight))

        def iterate(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            v = carry[0]
            image = pull(weigh(straight(v)))[0]
            size = jnp.linalg.norm(image)
            v = back(weigh(push(image)))[0]
            length = jnp.linalg.norm(v)
            return v / jnp.where(length > 0, length, 1), size

        start = z / jnp.linalg.norm(z)
        norm = jax.lax.fori_loop(0, _POWER_STEPS, iterate, (start, jnp.zeros((), z.dtype)))[1]
        return jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 1)


def checked(solver: PLUGIn, size: int, prior: Any) -> PLUGIn:
    """The solver with its weights only, for a latent of this size.

    Raises:
        ValueError: for weights that do not fit or are not finite, a step size <= 0, or a prior.
        TypeError: for layers that are not tuples.
    """
    if callable(prior) or not (checks.is_concrete(prior) and float(prior) == 0):
        raise ValueError("prior must be 0 for the solver PLUGIn, whose steps have no place for it")
    if solver.step_size is not None:
        checks.positive("solver.step_size", solver.step_size)
    layers = solver.layers
    if not isinstance(layers, Sequence) or not layers:
        raise TypeError(
            "solver.layers must be (weights, bias, activation) for each layer, got "
            f"{type(layers).__name__}"
        )
    kept = []
    for i, layer in enumerate(layers):
        name = f"solver.layers[{i}]"
        if not isinstance(layer, Sequence) or len(layer) != 3:
            raise TypeError(f"{name} must be (weights, bias, activation), got {type(layer)}")
        weights = jnp.asarray(layer[0])
        checks.finite(f"{name} weights", weights)
        dense = weights.ndim == 2
        block = weights.shape[int(dense)] if weights.ndim in (2, 4) else size + 1
        if size % block or (dense and size != block):
            raise ValueError(
                f"{name} weights must be (out, in) or (in, a, b, out) and take {size} entries, "
                f"got shape {weights.shape}"
            )
        size = size // block * int(np.prod(weights.shape)) // block
        kept.append((weights, None, None))
    return dataclasses.replace(solver, layers=tuple(kept))


def _same(x: Array) -> Array:
    return x
