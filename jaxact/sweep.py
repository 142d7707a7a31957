"""Many inputs at once: vmap, shards over a mesh, chunks in a folder that a killed run resumes."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxact.numerics import checks, files
from jaxact.numerics.fingerprint import fingerprint
from jaxact.numerics.pytrees import callable_pytree

_MANIFEST = "sweep.json"
_FOLDER_CHUNK = 1024


def sweep(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    mesh: Mesh | None = None,
    chunk: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Any:
    """Apply a function of one sample to every sample.

    Plain: one `jit(vmap(fn))`. With a mesh, samples are split over all of its devices, and each
    device runs its own share (a loop inside fn stops when that share is done); with
    `jax.distributed` the mesh may span processes, each of which makes the same call and gets
    the whole result. With a chunk
    size, at most that many samples are in memory at once, and all chunks share one compiled
    kernel. With a folder, each finished chunk is written, and the same call made again after a
    kill goes on from there.

    Args:
        fn: a pure function of one sample. A callable pytree (an `Activation`, a
            `jax.tree_util.Partial`) compiles once for all values of its leaves.
        inputs: a pytree of arrays with the samples on their first axis, n of them.
        mesh: a `jax.sharding.Mesh`, with automatic or explicit axes; n need not divide.
        chunk: samples at once; all by default, 1024 with a folder.
        folder: where finished chunks go; made if absent. One folder belongs to one function,
            inputs and chunk size.
        progress: progress(done, n), called after each chunk.

    Returns:
        The outputs, a pytree with the samples on the first axis: JAX arrays from the plain form,
        which is differentiable and may be used inside `jax.jit`; NumPy arrays from the others.

    Raises:
        ValueError: if inputs are empty or disagree in n, or the folder holds another run.
        TypeError: if fn returns random keys and a folder is given.

    Example:
        >>> import jax.numpy as jnp
        >>> sweep(lambda x: {"square": x**2}, jnp.arange(4.0))["square"]
        Array([0., 1., 4., 9.], dtype=float32)
        >>> sweep(lambda x: x + 1, jnp.arange(5.0), chunk=2)
        array([1., 2., 3., 4., 5.], dtype=float32)
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function of one sample, got {fn!r}")
    count = _count(inputs)
    call = callable_pytree(fn)
    if mesh is None and chunk is None and folder is None:
        out = _plain(call, inputs)
        if progress is not None:
            progress(count, count)
        return out
    if chunk is None:
        chunk = min(count, _FOLDER_CHUNK) if folder is not None else count
    checks.integer("chunk", chunk, 1)
    kernel, width = _plain, chunk
    if mesh is not None:
        width = -(-chunk // mesh.size) * mesh.size
        call = jax.device_put(call, NamedSharding(mesh, PartitionSpec()))
        kernel = functools.partial(_sharded, mesh=mesh)
    store = None if folder is None else _Store(pathlib.Path(folder), call, inputs, chunk)
    parts = []
    for start in range(0, count, chunk):
        number, stop = start // chunk, min(start + chunk, count)
        part = store.read(number) if store else None
        if part is None:
            # Short chunks repeat their last sample: one shape, one compilation.
            rows = np.minimum(np.arange(start, start + width), stop - 1)
            out = kernel(call, _place(inputs, rows, mesh))
            part = jax.tree.map(lambda leaf, n=stop - start: _host(leaf)[:n], out)
            if store:
                store.write(number, part)
        parts.append(part)
        if progress is not None:
            progress(stop, count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@jax.jit
def _plain(fn: Any, inputs: Any) -> Any:
    return jax.vmap(fn)(inputs)


@functools.partial(jax.jit, static_argnames="mesh")
def _sharded(fn: Any, inputs: Any, *, mesh: Mesh) -> Any:
    spec = PartitionSpec(mesh.axis_names)
    # No device talks to another, so there is no replication to check; the check would refuse
    # every loop in fn whose first value does not come from the data.
    return jax.shard_map(
        lambda f, x: jax.vmap(f)(x),
        mesh=mesh, in_specs=(PartitionSpec(), spec), out_specs=spec, check_vma=False,
    )(fn, inputs)  # fmt: skip


def _place(inputs: Any, rows: np.ndarray, mesh: Mesh | None) -> Any:
    taken = jax.tree.map(lambda leaf: leaf[rows], inputs)
    if mesh is None:
        return taken
    return jax.device_put(taken, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))


def _host(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise TypeError("fn must return arrays, not random keys, outside the plain form of sweep")
    if jax.process_count() > 1 and not leaf.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _count(inputs: Any) -> int:
    shapes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(shapes) != 1 or not all(shapes) or (0,) in shapes:
        got = sorted(s[0] if s else "a scalar" for s in shapes) if shapes else "no arrays"
        raise ValueError(
            "inputs must be arrays with the same, non-zero number of samples on their first axis, "
            f"got {got}"
        )
    return shapes.pop()[0]


class _Store:
    """Finished chunks of one run in a folder, each written whole or not at all."""

    def __init__(self, folder: pathlib.Path, fn: Any, inputs: Any, size: int) -> None:
        self.folder = folder
        one = jax.tree.map(lambda leaf: leaf[0], inputs)
        self.leaves, self.treedef = jax.tree.flatten(jax.eval_shape(lambda f, x: f(x), fn, one))
        run = {"fingerprint": fingerprint(fn, one, inputs), "chunk": size, "format": 1}
        if jax.process_index() == 0:
            self._claim(folder / _MANIFEST, run)
        # Processes must agree on what is left to do, or some would wait in a gather for ever.
        chunks = range(-(-_count(inputs) // size))
        self.finished = np.array([self._path(number).exists() for number in chunks])
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            self.finished = np.asarray(multihost_utils.broadcast_one_to_all(self.finished))

    def _claim(self, manifest: pathlib.Path, run: dict[str, Any]) -> None:
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        if manifest.exists():
            read = lambda: dict(json.loads(manifest.read_bytes()))  # noqa: E731
            found = files.guarded(manifest, read, advice="remove its folder to start again")
            if found != run:
                same = found.get("chunk") == run["chunk"]
                what = "function or other inputs" if same else "chunk size"
                raise ValueError(
                    f"folder must be new or belong to this run: {folder} holds a run with another "
                    f"{what}; give another folder, or remove it to start again"
                )
        elif any(p.name[0] != "." for p in folder.iterdir()):
            raise ValueError(f"folder must be new, empty or of an earlier sweep, got {folder}")
        else:
            files.write_text(manifest, json.dumps(run))
        files.remove_leftovers(folder)

    def read(self, number: int) -> Any:
        if not self.finished[number]:
            return None
        names = [f"leaf{i}" for i in range(len(self.leaves))]
        advice = "remove it, and its samples are computed again"
        stored = files.read_arrays(self._path(number), names, advice=advice)
        # NumPy stores the small floats of ml_dtypes as raw bytes.
        typed = [
            a.view(leaf.dtype) if a.dtype.kind == "V" else a
            for a, leaf in zip((stored[n] for n in names), self.leaves, strict=True)
        ]
        return self.treedef.unflatten(typed)

    def write(self, number: int, part: Any) -> None:
        if jax.process_index() > 0:
            return
        arrays = {f"leaf{i}": leaf for i, leaf in enumerate(jax.tree.leaves(part))}
        files.write_arrays(self._path(number), arrays)

    def _path(self, number: int) -> pathlib.Path:
        return self.folder / f"chunk-{number:06d}.npz"
