"""Checkpoints of any pytree, written by orbax in one atomic step."""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np

from jaxact.numerics import checks


def save_checkpoint(path: str | os.PathLike[str], tree: Any) -> pathlib.Path:
    """Write a pytree of arrays as an orbax checkpoint, replacing what was there.

    The checkpoint is written beside its place and then renamed, so a killed run leaves the old
    one whole or the new one whole: `load_checkpoint` finds it at any moment.

    Args:
        path: the folder that will be the checkpoint; its parents are made.
        tree: a pytree of arrays, numbers and typed keys, such as the params of
            `jaxact.nets.functional`, or functions that hold arrays, such as those of
            `jaxact.nets.as_function`.

    Returns:
        The absolute path.

    Raises:
        ValueError: if the tree has no leaves.
        FileExistsError: if path is there and is not a checkpoint of ours.

    Example:
        >>> import tempfile, numpy as np
        >>> folder = tempfile.mkdtemp()
        >>> made = save_checkpoint(f"{folder}/best", {"w": np.arange(3.0)})
        >>> load_checkpoint(made, {"w": np.zeros(3)})["w"]
        array([0., 1., 2.])
    """
    import orbax.checkpoint as ocp

    target = checks.path("path", path).absolute()
    if not jax.tree.leaves(tree):
        raise ValueError("tree must have at least one array, got an empty pytree")
    if target.exists() and not _is_checkpoint(target):
        raise FileExistsError(f"path must be free or a checkpoint, got {target}")
    fresh, backup = target.with_name(f".{target.name}.new"), _backup(target)
    shutil.rmtree(fresh, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(fresh, _plain(tree))
        checkpointer.wait_until_finished()
    # orbax's own force=True removes the old checkpoint before it writes the new one.
    if target.exists():
        shutil.rmtree(backup, ignore_errors=True)
        os.replace(target, backup)
    os.replace(fresh, target)
    shutil.rmtree(backup, ignore_errors=True)
    return target


def load_checkpoint(path: str | os.PathLike[str], like: Any) -> Any:
    """Read a checkpoint into a pytree of the structure, shapes and dtypes of `like`.

    Args:
        path: a folder written by `save_checkpoint`.
        like: a pytree of the same structure, whose values do not matter.

    Returns:
        The stored pytree.

    Raises:
        FileNotFoundError: if path is not a finished checkpoint.
        ValueError: if the stored structure or a stored shape is not that of `like`.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/weights"
        >>> _ = save_checkpoint(folder, {"w": np.ones(2)})
        >>> load_checkpoint(folder, {"w": np.zeros(2)})["w"].tolist()
        [1.0, 1.0]
    """
    import orbax.checkpoint as ocp

    target = checks.path("path", path).absolute()
    found = next((p for p in (target, _backup(target)) if _is_checkpoint(p)), None)
    if found is None:
        raise FileNotFoundError(f"path must be a checkpoint folder, got {target}")
    expected = "like must have the structure and shapes of the checkpoint"
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            tree = checkpointer.restore(found, _plain(like))
        except ValueError as error:
            raise ValueError(f"{expected} {target.name}") from error
    for stored, wanted in zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True):
        if np.shape(stored) != np.shape(wanted):
            raise ValueError(f"{expected}, got {np.shape(wanted)} for {np.shape(stored)}")
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(tree))


def _plain(tree: Any) -> Any:
    """The tree with every `Partial` as the list of its arrays: orbax cannot rebuild one."""
    partial = lambda node: isinstance(node, jax.tree_util.Partial)  # noqa: E731
    listed = lambda node: jax.tree.leaves(node) if partial(node) else node  # noqa: E731
    return jax.tree.map(listed, tree, is_leaf=partial)


def _backup(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(f".{target.name}.old")


def _is_checkpoint(path: pathlib.Path) -> bool:
    return (path / "_CHECKPOINT_METADATA").is_file()
