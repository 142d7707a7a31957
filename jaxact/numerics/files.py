"""Files written whole or not at all, and arrays read back without trust in what is there."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pathlib
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np

_PART = "part"
_STALE = 60.0
"""Seconds after which a temporary that nobody writes to is a killed run's."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends, and never before.

    The bytes go to a temporary beside the target, reach the disk, and then the temporary is
    renamed: whoever reads `path` finds the old file or the new one, whole, also after a kill. If
    the block raises, the temporary is removed and `path` is as it was.

    Example:
        >>> import tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp(), "a.txt")
        >>> with replacing(file) as out:
        ...     _ = out.write(b"whole")
        ...     before = file.exists()
        >>> before, file.read_text()
        (False, 'whole')
    """
    target = pathlib.Path(path)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.{_PART}")
    try:
        with open(fresh, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes, whole or not at all (`replacing`)."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, whole or not at all (`replacing`)."""
    write_bytes(path, text.encode("utf-8"))


def write_arrays(path: str | os.PathLike[str], arrays: dict[str, Any]) -> None:
    """Write an npz file, whole or not at all (`replacing`)."""
    with replacing(path) as file:
        np.savez(file, **arrays)


def read_arrays(
    path: str | os.PathLike[str], names: Sequence[str] | None = None, *, advice: str = ""
) -> dict[str, np.ndarray]:
    """Arrays of an npz file by name; all of them by default. Objects are never unpickled.

    Every member is read whole, so that its checksum is verified, before its header is believed.

    Raises:
        ValueError: if the file is no npz file, is damaged or lacks a name; ends with `advice`.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/a.npz"
        >>> write_arrays(file, {"x": np.arange(3)})
        >>> read_arrays(file)["x"].tolist()
        [0, 1, 2]
    """

    def read(stored: zipfile.ZipFile, name: str) -> np.ndarray:
        member = io.BytesIO(stored.read(f"{name}.npy"))
        return np.lib.format.read_array(member, allow_pickle=False)

    def everything() -> dict[str, np.ndarray]:
        with zipfile.ZipFile(path) as stored:
            held = [n.removesuffix(".npy") for n in stored.namelist()]
            return {n: read(stored, n) for n in held if names is None or n in names}

    found = guarded(path, everything, advice=advice)
    if not set(names or ()) <= set(found):
        wanted, got = (", ".join(n) for n in (names or (), found))
        raise ValueError(f"{os.fspath(path)} must hold the arrays {wanted}, got {got or 'none'}")
    return found


_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    RecursionError, MemoryError, RuntimeError, SyntaxError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""What readers of files raise for bytes that they do not understand."""


def guarded(path: str | os.PathLike[str], read: Callable[[], Any], *, advice: str = "") -> Any:
    """`read()`, whose errors about the contents of `path` become one that names the file.

    An error that names it already passes as it is.

    Raises:
        ValueError: if `read` finds the file damaged; ends with `advice`.
        OSError: if the file is missing or may not be read.

    Example:
        >>> import json
        >>> guarded("run.json", lambda: json.loads("{"), advice="remove it")
        Traceback (most recent call last):
        ...
        ValueError: run.json is damaged: Expecting property name enclosed in double quotes: ...
    """
    try:
        return read()
    except (*_DAMAGE, OSError) as error:
        system = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if system or pathlib.Path(path).name in str(error):
            raise
        end = f"; {advice}" if advice else ""
        raise ValueError(f"{os.fspath(path)} is damaged: {_short(error)}{end}") from error


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def remove_leftovers(folder: pathlib.Path) -> None:
    """Remove the temporaries that killed runs left in a folder.

    Example:
        >>> import tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / ".a.npz.1.part").touch()
        >>> os.utime(folder / ".a.npz.1.part", (0, 0))
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    for path in folder.glob(f".*.{_PART}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()
