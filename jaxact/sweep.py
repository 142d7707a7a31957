"""Many inputs at once: vmap, shards over a mesh, chunks in a folder that a killed run resumes.

Functions that search or iterate over a batch take `mesh=` themselves: `bounds.certified_radius`,
`attack`, `attack_radius` and `certified_margins`, `memory.retrieve` and `measure_recall`.
Functions of one sample go through `sweep`: `bounds.crown` and the other bounds,
`inversion.invert`, `spectra.simulate` over keys; `bounds.distortion` takes it as `over=`. What is
one pass over arrays (`spectra.density`, `memory.gaps`, `geometry.exp_chi`) needs neither:
computation follows the sharding of its arrays. `decide.decide_set` divides a list by `shard=`.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxact.numerics import checks, files
from jaxact.numerics.fingerprint import fingerprint
from jaxact.numerics.pytrees import callable_pytree
from jaxact.numerics.shards import host, on_every_device, sharded

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
        TypeError: if inputs hold no numbers, or fn returns random keys and a folder is given.

    Example:
        >>> import jax.numpy as jnp
        >>> sweep(lambda x: {"square": x**2}, jnp.arange(4.0))["square"]
        Array([0., 1., 4., 9.], dtype=float32)
        >>> sweep(lambda x: x + 1, jnp.arange(5.0), chunk=2)
        array([1., 2., 3., 4., 5.], dtype=float32)

        Certified bounds of a batch over all devices:

        >>> from jaxact.bounds import Ball, crown
        >>> net = lambda x: jnp.tanh(x) @ jnp.array([1.0, -2.0])
        >>> mesh = jax.make_mesh((jax.device_count(),), ("samples",))
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> sweep(lambda v: crown(net, Ball(v, 0.1)).lower, x, mesh=mesh).shape
        (3,)
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function of one sample, got {fn!r}")
    if progress is not None:
        checks.function("progress", progress, "counts")
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
    if mesh is not None:
        call = on_every_device(call, mesh)
    store = None if folder is None else _Store(pathlib.Path(folder), call, inputs, chunk)
    parts = []
    for start in range(0, count, chunk):
        number, stop = start // chunk, min(start + chunk, count)
        part = store.read(number) if store else None
        if part is None:
            # Short chunks repeat their last sample: one shape, one compilation.
            rows = np.minimum(np.arange(start, start + chunk), stop - 1)
            out = _batch(call, jax.tree.map(lambda leaf, r=rows: leaf[r], inputs), mesh)
            part = jax.tree.map(lambda leaf, n=stop - start: leaf[:n], out)
            if store:
                store.write(number, part)
        parts.append(part)
        if progress is not None:
            progress(stop, count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@jax.jit
def _plain(fn: Any, inputs: Any) -> Any:
    return jax.vmap(fn)(inputs)


def _batch(call: Any, inputs: Any, mesh: Mesh | None) -> Any:
    if mesh is None:
        return jax.tree.map(host, _plain(call, inputs))
    return sharded(_plain, (call, inputs), (False, True), mesh=mesh)


def _count(inputs: Any) -> int:
    leaves = jax.tree.leaves(inputs)
    for leaf in leaves:
        if not isinstance(leaf, jax.Array):  # which may lie on many devices
            checks.numbers("inputs", leaf, kinds="biufcV")
    shapes = {np.shape(leaf)[:1] for leaf in leaves}
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
