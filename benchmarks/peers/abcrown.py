"""alpha,beta-CROWN on one ACAS Xu instance, from its own checkout; runs where PyTorch is.

python benchmarks/peers/abcrown.py CHECKOUT NETWORK PROPERTY SECONDS RESULT

Runs the checkout's verifier as it is, with its own acasxu.yaml, on one CPU thread, and leaves its
word (sat, unsat, timeout) in the file RESULT. Changed: the attack runs once before the search with
the default number of restarts (its 10000 in every iteration take most of a CPU's time), and four
packages that the verifier imports and this instance does not use may be missing.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import pathlib
import runpy
import shutil
import sys
import tempfile
import types
from typing import Any

import yaml


class _Absent(types.ModuleType):
    """A module that is imported and never used; whatever is taken from it is another one."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")


class _Gaps(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of absent packages."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """A spec for what nothing else has found."""
        if fullname.partition(".")[0] not in self.packages:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        """The stand-in."""
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def fill_gaps() -> None:
    """Stand-ins for absent packages, and onnx2pytorch's constructor without `quirks`."""
    sys.meta_path.append(_Gaps(("torchvision", "gurobipy", "onnxsim", "onnxoptimizer")))
    import onnx2pytorch

    original = onnx2pytorch.ConvertModel

    class ConvertModel(original):  # the registry's version does not know the argument
        def __init__(self, *arguments: Any, quirks: Any = None, **options: Any) -> None:
            super().__init__(*arguments, **options)

    onnx2pytorch.ConvertModel = ConvertModel


def config_of(verifier: pathlib.Path) -> dict[str, Any]:
    """The newest acasxu.yaml of the checkout, with the attack as the module's text says."""
    file = sorted(verifier.glob("exp_configs/**/acasxu.yaml"))[-1]
    config = yaml.safe_load(file.read_text())
    for key in ("root_path", "csv_name"):
        config.get("general", {}).pop(key, None)
    attack = config.setdefault("attack", {})
    attack.pop("pgd_restarts", None)
    attack["pgd_order"] = "before"
    return config


def main(checkout: str, network: str, prop: str, seconds: str, result: str) -> None:
    """Run one instance in this process."""
    import torch

    torch.set_num_threads(1)
    verifier = pathlib.Path(checkout) / "complete_verifier"
    sys.path[:0] = [str(verifier), checkout]
    fill_gaps()
    with tempfile.TemporaryDirectory() as folder:
        # it writes its parsed properties beside them
        copies = [shutil.copy(file, folder) for file in (network, prop)]
        config = pathlib.Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(config_of(verifier)))
        sys.argv = [
            "abcrown.py", "--config", str(config), "--device", "cpu", "--onnx_path", copies[0],
            "--vnnlib_path", copies[1], "--timeout", seconds, "--results_file", result,
        ]  # fmt: skip
        runpy.run_path(str(verifier / "abcrown.py"), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
