"""A kernel that takes the samples of a batch one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import custom_batching, lax
from jax.custom_derivatives import SymbolicZero


def one_by_one(kernel: Callable[..., Any], smooth: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel`, under vmap in a loop over the samples; its derivatives are those of `smooth`.

    For kernels whose branches and loops depend on the values: vmapped, every branch would run
    for every sample. A loop also keeps the memory that of one sample.

    Args:
        kernel: a pure function of pytrees.
        smooth: the same function, without branches and loops, for both modes of differentiation.
    """

    def looped(_: int, batched: Sequence[Any], *args: Any) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(args)
        moves = jax.tree.leaves(tuple(batched))

        def one(moving: list[Any]) -> Any:
            given = iter(moving)
            return run(
                *jax.tree.unflatten(
                    tree, [next(given) if m else v for v, m in zip(leaves, moves, strict=True)]
                )
            )

        out = lax.map(one, [v for v, m in zip(leaves, moves, strict=True) if m])
        return out, jax.tree.map(lambda _: True, out)

    run = custom_batching.custom_vmap(kernel)
    run.def_vmap(looped)
    return with_derivatives(run, smooth)


def with_derivatives(kernel: Callable[..., Any], smooth: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` with the derivatives of `smooth`, the same function, in both modes."""
    differentiable = jax.custom_jvp(lambda *args: kernel(*args))

    def derivative(args: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(args)
        moves = tree.flatten_up_to(tangents)
        varied = [k for k, t in enumerate(moves) if not isinstance(t, SymbolicZero)]

        def of(values: list[Any]) -> Any:
            full = list(leaves)
            for k, value in zip(varied, values, strict=True):
                full[k] = value
            return smooth(*jax.tree.unflatten(tree, full))

        return jax.jvp(of, ([leaves[k] for k in varied],), ([moves[k] for k in varied],))

    differentiable.defjvp(derivative, symbolic_zeros=True)
    return differentiable
