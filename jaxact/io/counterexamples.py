"""Counterexamples: the competition's file format, and a second opinion from onnxruntime."""

from __future__ import annotations

import gzip
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxact.io.onnx_network import OnnxNetwork
from jaxact.numerics import checks, files

_PAIR = re.compile(r"\(\s*([XY])_(\d{1,9})\s+([^\s()]+)\s*\)")


def write_counterexample(path: str | os.PathLike[str], x: Any, y: Any) -> pathlib.Path:
    """Write a counterexample in VNN-COMP's format: `sat`, then every X_i and Y_j.

    Numbers are written so that they read back to the same float64.

    Args:
        path: the file.
        x: the input; flattened.
        y: the output there; flattened.

    Returns:
        The path.

    Raises:
        TypeError: if x or y holds no real numbers.
        ValueError: if one is not finite.

    Example:
        >>> import tempfile
        >>> file = write_counterexample(tempfile.mkdtemp() + "/c.txt", [0.5], [1.0, -2.0])
        >>> print(file.read_text())
        sat
        ((X_0 0.5)
        (Y_0 1.0)
        (Y_1 -2.0))

    Source: VNN-COMP 2022 rules, section on counterexamples.
    """
    for name, values in (("x", x), ("y", y)):
        checks.finite(name, values)
    lines = [
        f"({name}_{i} {float(v)!r})"
        for name, values in (("X", x), ("Y", y))
        for i, v in enumerate(np.asarray(values, np.float64).reshape(-1))
    ]
    file = checks.path("path", path)
    files.write_text(file, "sat\n(" + "\n".join(lines) + ")\n")
    return file


def read_counterexample(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a counterexample in VNN-COMP's format.

    Args:
        path: the file.

    Returns:
        (x, y), float64, flattened.

    Raises:
        ValueError: if the file does not begin with `sat`, is cut off, or an X_i or Y_j is missing
            or not a finite number.

    Example:
        >>> import tempfile
        >>> file = write_counterexample(tempfile.mkdtemp() + "/c.txt", [0.1], [1.0])
        >>> read_counterexample(file)
        (array([0.1]), array([1.]))
    """
    path = checks.path("path", path)
    found: dict[str, dict[int, float]] = {"X": {}, "Y": {}}

    def parse() -> str:
        text = checks.path("path", path).read_bytes().decode("utf-8")
        for kind, index, value in _PAIR.findall(text):
            found[kind][int(index)] = float(value)
        return text

    around = _PAIR.sub("", files.guarded(path, parse)).split()
    complete = all(sorted(v) == list(range(len(v))) and v for v in found.values())
    # without the last bracket the last outputs may be missing
    if "".join(around) not in ("sat()", "sat") or not complete:
        raise ValueError(f"{path} must hold sat and every X_i and Y_j, as VNN-COMP writes them")
    x, y = (np.array([v[i] for i in range(len(v))]) for v in (found["X"], found["Y"]))
    checks.finite(f"X in {path}", x)
    checks.finite(f"Y in {path}", y)
    return x, y


def onnxruntime_evaluation(
    path: str | os.PathLike[str], network: OnnxNetwork
) -> Callable[[np.ndarray], np.ndarray] | None:
    """The file evaluated by onnxruntime: x -> y, flattened, float32; None without onnxruntime.

    Args:
        path: the ONNX file, gzipped or not.
        network: the same file, from `load_onnx`.

    Returns:
        A function for the `reference` of `check_property`.

    Example:
        >>> onnxruntime_evaluation("missing.onnx", None)
        Traceback (most recent call last):
        ...
        FileNotFoundError: path must be an ONNX file, got missing.onnx
    """
    file = checks.path("path", path)
    if not file.is_file():
        raise FileNotFoundError(f"path must be an ONNX file, got {file}")
    try:
        import onnxruntime
    except ImportError:
        return None
    data = file.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = files.guarded(file, lambda: gzip.decompress(data))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its remarks on old files are not the user's
    providers = ["CPUExecutionProvider"]
    session = files.guarded(
        file, lambda: onnxruntime.InferenceSession(data, options, providers=providers)
    )

    def evaluation(x: np.ndarray) -> np.ndarray:
        (y,) = session.run([network.output_name], {network.input_name: network.file_input(x)})
        return np.asarray(y).reshape(-1)

    return evaluation
