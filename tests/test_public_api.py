"""Walk the whole public API: every name is documented, and every function shows an example."""

import importlib
import inspect

import pytest

import jaxact

MODULES = (
    "spectra", "bounds", "memory", "inversion", "geometry", "tracing", "numerics", "nets", "io",
    "sweep", "testing", "doctor", "catalog", "activation", "card",
)  # fmt: skip


def public(module):
    """Re-exported or defined names that belong to jaxact."""
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        home = getattr(value, "__module__", "") or ""
        if home.startswith("jaxact") and (inspect.isfunction(value) or inspect.isclass(value)):
            is_package = hasattr(module, "__path__")
            if is_package or home == module.__name__:
                yield name, value
        elif callable(value) and hasattr(value, "__wrapped__") and home.startswith("jaxact"):
            yield name, value


@pytest.mark.fast
@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name):
    module = importlib.import_module(f"jaxact.{name}")
    assert module.__doc__
    found = list(public(module))
    assert found
    for attribute, value in found:
        assert (value.__doc__ or "").strip(), f"{name}.{attribute} has no docstring"


@pytest.mark.fast
@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_shows_an_example(name):
    module = importlib.import_module(f"jaxact.{name}")
    missing = [
        attribute
        for attribute, value in public(module)
        if inspect.isroutine(inspect.unwrap(value)) and ">>>" not in (value.__doc__ or "")
    ]
    assert not missing


@pytest.mark.fast
def test_the_face_lists_what_it_offers():
    for name in dir(jaxact):
        assert getattr(jaxact, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'spectre'"):
        _ = jaxact.spectre


@pytest.mark.fast
def test_the_contract_names_exist():
    contract = {
        "spectra": "moments law Law stieltjes density training_error simulate",
        "bounds": "Ball Box ibp crown margin_spec relax certified_radius",
        "memory": "polynomial rectified from_activation energy gaps retrieve capacity",
        "inversion": "invert mask",
        "geometry": "signature log_chi exp_chi admissibility matched_divergence",
        "nets": "MLP ConvNet ConvGenerator",
    }
    for lens, names in contract.items():
        for name in names.split():
            assert callable(getattr(getattr(jaxact, lens), name)), f"{lens}.{name}"
