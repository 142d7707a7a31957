"""What the reference needs of griffe beyond what it reads off the sources itself."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Reference(griffe.Extension):
    """Doctests are shown as code, and a function comes before the file of the same name."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Our `Example:` is griffe's section `Examples:`; else it would be an admonition."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """`from jaxact.spectra.design import design` makes `jaxact.spectra.design` a function."""
        lenses = [member for member in pkg.modules.values() if member.is_subpackage]
        for lens in lenses:  # before anything is moved, each re-export finds its target
            for member in lens.members.values():
                if member.is_alias and str(member.target_path).startswith(pkg.path):
                    _ = member.final_target
        for lens in lenses:
            hidden = {
                name: pkg[path.removeprefix(f"{pkg.path}.")]
                for name, path in lens.imports.items()
                if path.endswith(f".{name}") and name in lens.modules
            }
            for name, target in hidden.items():
                if not target.is_module:
                    lens.set_member(name, griffe.Alias(name, target, parent=lens))
