"""A batch of samples over the devices of a mesh: pad, split, run, gather, unpad.

The one mechanism behind every `mesh=` of the package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxact.numerics import checks

T = TypeVar("T")


def sharded(
    kernel: Callable[..., T], args: tuple[Any, ...], split: Any, *, mesh: Mesh, **static: Any
) -> T:
    """`kernel(*args, **static)`, each device of the mesh doing its share of the samples.

    No device talks to another, so a loop in the kernel stops when the share of its device is
    done. With `jax.distributed` the mesh may span processes, each of which makes the same call
    and gets the whole result.

    Args:
        kernel: a module-level function whose outputs have the samples on their first axis, in
            the order of its inputs; it must work for any number of them.
        args: pytrees of arrays.
        split: which of them hold samples on their first axis: a pytree prefix of `args` of bools.
        mesh: any mesh, of automatic or explicit axes; the number of samples need not divide by
            its devices: the last sample is repeated.
        **static: hashable options of the kernel.

    Returns:
        The kernel's outputs, NumPy arrays.

    Raises:
        TypeError: if mesh is not a `jax.sharding.Mesh`, arguments are being traced (inside
            `jax.jit` shardings are the caller's), or the kernel returns random keys.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> mesh = jax.make_mesh((jax.device_count(),), ("samples",))
        >>> sharded(jnp.multiply, (2.0, jnp.arange(3.0)), (False, True), mesh=mesh)
        array([0., 2., 4.], dtype=float32)
    """
    _check_mesh(mesh)
    if not checks.is_concrete(args):
        raise TypeError("mesh must not be given inside jit, vmap or grad: shard the whole instead")
    # From here on flat: leaves, and for each whether it is split.
    leaves, treedef = jax.tree.flatten(args)
    held = jax.tree.leaves(jax.tree.map(lambda s, a: jax.tree.map(lambda _: s, a), split, args))
    count = _count([leaf for leaf, s in zip(leaves, held, strict=True) if s])
    rows = np.minimum(np.arange(-(-count // mesh.size) * mesh.size), count - 1)
    specs = tuple(PartitionSpec(mesh.axis_names) if s else PartitionSpec() for s in held)
    keys = tuple(jax.random.key_impl(leaf) if checks.is_key(leaf) else None for leaf in leaves)
    placed = [
        _place(leaf[rows] if s else leaf, NamedSharding(mesh, spec))
        for leaf, s, spec in zip(leaves, held, specs, strict=True)
    ]
    out = _run(
        kernel, placed,
        mesh=mesh, specs=specs, treedef=treedef, keys=keys, options=tuple(sorted(static.items())),
    )  # fmt: skip
    return jax.tree.map(lambda leaf: host(leaf)[:count], out)


def on_every_device(tree: T, mesh: Mesh) -> T:
    """Arrays that all devices hold whole: `sharded` then moves them no more."""
    _check_mesh(mesh)
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: leaf if checks.is_key(leaf) else _place(leaf, whole), tree)


def _place(leaf: Any, sharding: NamedSharding) -> Any:
    if checks.is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if not sharding.is_fully_addressable and getattr(leaf, "is_fully_addressable", False):
        leaf = np.asarray(leaf)  # jax moves arrays to other processes only from the host
    return jax.device_put(leaf, sharding)


def _check_mesh(mesh: Any) -> None:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {mesh!r}")


@functools.partial(
    jax.jit, static_argnames=("kernel", "mesh", "specs", "treedef", "keys", "options")
)
def _run(
    kernel: Any, leaves: list[Any],
    *, mesh: Mesh, specs: Any, treedef: Any, keys: tuple[Any, ...], options: tuple[Any, ...],
) -> Any:  # fmt: skip
    def share(*leaves: Any) -> Any:
        whole = [
            leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
            for leaf, impl in zip(leaves, keys, strict=True)
        ]
        return kernel(*jax.tree.unflatten(treedef, whole), **dict(options))

    # Without talk between devices there is no replication to check; the check would refuse
    # every loop whose first value does not come from the data.
    return jax.shard_map(
        share, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(mesh.axis_names),
        check_vma=False,
    )(*leaves)  # fmt: skip


def host(leaf: Any) -> np.ndarray:
    """The whole of an array on the host, also where other processes hold parts of it."""
    if checks.is_key(leaf):
        raise TypeError("fn must return arrays, not random keys, outside the plain form of sweep")
    if jax.process_count() > 1 and not leaf.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _count(leaves: list[Any]) -> int:
    found = {np.shape(leaf)[:1] for leaf in leaves}
    if len(found) != 1 or found & {(), (0,)}:
        raise ValueError(f"a batch must have one, non-zero number of samples, got {sorted(found)}")
    return found.pop()[0]
