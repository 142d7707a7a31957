"""`import jaxact` costs what `import jax` costs, and one lens does not load the others."""

import json
import subprocess
import sys

import pytest

HEAVY = ["flax", "matplotlib", "onnx", "sklearn", "rich", "typer", "orbax", "scipy.optimize"]
LENSES = ["spectra", "bounds", "memory", "inversion", "geometry"]


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.fast
def test_import_loads_jax_and_little_more():
    extra = modules_after("import jaxact") - modules_after(
        "import jax, jax.numpy, jax.scipy.special"
    )
    outside = {m.split(".")[0] for m in extra} - {"jaxact", "jaxtyping", "wadler_lindig", "numpy"}
    stdlib = set(sys.stdlib_module_names)
    assert outside - stdlib <= {"__mp_main__"} | {m for m in outside if m.startswith("_")}
    assert not {m for m in extra if m.startswith(tuple(f"jaxact.{lens}" for lens in LENSES))}


@pytest.mark.fast
def test_import_time_is_that_of_jax():
    """Own time of the jaxact modules as a share of the total, by the interpreter's clock."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import jaxact"],
        capture_output=True,
        text=True,
        check=True,
    )
    own = total = 0
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            total += int(parts[0])
            if parts[2].strip().startswith(("jaxact", "jaxtyping")):
                own += int(parts[0])
    assert own < 0.25 * total


@pytest.mark.parametrize("lens", LENSES)
def test_a_lens_loads_no_other_lens_and_nothing_heavy(lens):
    loaded = modules_after(f"import jaxact; jaxact.{lens}")
    assert f"jaxact.{lens}" in loaded
    for other in set(LENSES) - {lens}:
        assert f"jaxact.{other}" not in loaded
    for heavy in HEAVY:
        assert heavy not in loaded


@pytest.mark.fast
def test_import_does_not_touch_the_configuration():
    code = (
        "import jax; before = dict(jax.config.values); import jaxact; jaxact.spectra;"
        "jaxact.bounds; jaxact.memory; jaxact.inversion; jaxact.geometry;"
        "after = dict(jax.config.values); assert before == {k: after[k] for k in before}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
