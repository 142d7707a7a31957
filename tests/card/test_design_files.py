"""Files of found activations: what is written is read, what is broken says so."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import jaxact
from jaxact.card import resolve
from jaxact.card.design import Hermite, Rational, Spline, load_activation, save_activation

X = np.linspace(-3, 3, 31)


@pytest.fixture
def file(tmp_path):
    return save_activation(tmp_path / "found.json", Spline((-1.0, 1.0)).start(jaxact.get("gelu")))


@pytest.mark.parametrize("chosen", [Hermite(3), Spline((-1.0, 1.0)), Rational(1)])
def test_what_is_saved_is_read(chosen, tmp_path, x64):
    act = chosen.start(jaxact.get("tanh"))
    about = {"weights": {"zeta": 1.0}, "converged": True}
    path = save_activation(tmp_path / "deep" / "found.json", act, about=about)
    assert path.stat().st_size < 1500
    back = load_activation(path)
    assert back.fn == act.fn
    assert back.name == act.name
    assert np.array_equal(back(X), act(X))
    assert json.loads(path.read_text())["about"] == about
    read = resolve(str(path))
    assert read.theta == ()
    assert np.array_equal(read(X), act(X))


def test_only_members_of_families_and_plain_numbers_are_saved(tmp_path):
    with pytest.raises(TypeError, match="act must be a member of a family"):
        save_activation(tmp_path / "found.json", jaxact.get("relu"))
    act = Rational(1).start(jaxact.get("tanh"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_activation(tmp_path / "found.json", act, about={"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_every_truncation_is_a_clear_error(file):
    content = file.read_bytes()
    for size in range(0, len(content) - 2, 7):
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="is not JSON, or is cut short"):
            load_activation(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other"}, 'has no "schema": "jaxact.activation"'),
        ({"version": 2}, "has version 2, this jaxact reads 1"),
        ({"family": "os.system"}, "family must be one of hermite_bump"),
        ({"family": ["x"]}, "family must be one of"),
        ({"options": {"knots": [1, 0]}}, "knots must ascend"),
        ({"options": {"order": 3}}, "unexpected keyword argument 'order'"),
        ({"options": []}, "must be a string, an object and a list"),
        ({"theta": [0.0, [1.0]]}, r"theta\[1\] must have shape \(3,\)"),
        ({"theta": [0.0, [1.0, "2", 3.0]]}, "theta must hold finite numbers, got '2'"),
        ({"theta": [0.0, [1.0, 1e999, 3.0]]}, "theta must hold finite numbers, got inf"),
        ({"theta": [0.0, [1.0, True, 3.0]]}, "theta must hold finite numbers, got True"),
        ({"theta": [0.0]}, "theta must have 2 entries, got 1"),
        ({"name": 3}, "must be a string, an object and a list"),
    ],
)
def test_every_broken_part_is_named(file, change, message):
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_activation(file)


def test_files_of_other_kinds(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected an activation saved by"):
        resolve(str(tmp_path / "none.json"))
    other = tmp_path / "other.json"
    for content in (b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000):
        other.write_bytes(content)
        with pytest.raises(ValueError, match="other.json is not"):
            resolve(str(other))


def test_a_read_activation_acts_in_float32(file):
    assert load_activation(file)(jnp.float32(1)).dtype == jnp.float32
