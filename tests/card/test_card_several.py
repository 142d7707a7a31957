"""Several cards in a folder: what is finished is kept, and belongs to what was asked."""

import dataclasses
import json

import jax.numpy as jnp
import pytest
from typer.testing import CliRunner

import jaxact
from jaxact import cli
from jaxact.card import dump, load, measure_all, several

pytestmark = pytest.mark.fast

RELU, GELU = jaxact.get("relu"), jaxact.get("gelu")


@pytest.fixture
def measured(monkeypatch, by_hand):
    """The names that were measured, in order; the third measurement is killed."""
    names = []

    def measure(act, *, report, **options):
        if len(names) == 2:
            names.append("killed")
            raise KeyboardInterrupt
        names.append(act.name)
        report("training")
        return by_hand(act.name, radius=(float(len(names)), 0.1))

    monkeypatch.setattr(several, "measure", measure)
    return names


def test_a_killed_call_goes_on_and_ends_with_the_same_cards(tmp_path, measured):
    acts = [RELU, GELU, jaxact.get("tanh")]
    with pytest.raises(KeyboardInterrupt):
        measure_all(acts, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    cards = measure_all(acts, folder=tmp_path)
    assert measured == ["relu", "gelu", "killed", "tanh"]
    assert [c.name for c in cards] == ["relu", "gelu", "tanh"]
    assert [c["bounds"]["radius"] for c in cards] == [1.0, 2.0, 4.0]


def test_reports_name_the_activation(tmp_path, measured):
    seen = []
    measure_all([RELU, GELU], folder=tmp_path, report=lambda i, stage: seen.append((i, stage)))
    assert seen == [(0, "training"), (1, "training")]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"quick": True},
        {"acts": [jaxact.get("elu", 0.5)]},
        {"acts": [jaxact.activation(jnp.sin, name="elu")]},
    ],
)
def test_a_card_of_another_question_is_not_taken(tmp_path, measured, other):
    asked = {"acts": [jaxact.get("elu", 0.7)], "seed": 0, "quick": False}
    measure_all(**asked, folder=tmp_path)
    measure_all(**(asked | other), folder=tmp_path)
    assert len(measured) == 2
    measure_all(**asked, folder=tmp_path)
    assert len(measured) == 2


def test_other_images_are_another_question(tmp_path, measured, monkeypatch):
    measure_all([RELU], folder=tmp_path)
    images, words = several.load_images("digits", seed=0)
    changed = dataclasses.replace(images, y=images.y[::-1])
    monkeypatch.setattr(several, "load_images", lambda data, seed: (changed, words))
    measure_all([RELU], folder=tmp_path)
    assert measured == ["relu", "relu"]


def test_the_command_leaves_the_page_and_nothing_else(tmp_path, measured):
    command = ["card", "relu", "gelu", "tanh", "--out", str(tmp_path)]
    killed = CliRunner().invoke(cli.app, command)
    assert killed.exit_code != 0
    assert not (tmp_path / "card.json").exists()
    again = CliRunner().invoke(cli.app, command)
    assert again.exit_code == 0, again.output
    assert measured == ["relu", "gelu", "killed", "tanh"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.html", "card.json"]
    assert [c.name for c in load(tmp_path / "card.json")] == ["relu", "gelu", "tanh"]


def test_bad_arguments_and_damage(tmp_path, measured):
    with pytest.raises(ValueError, match="acts must"):
        measure_all([], folder=tmp_path)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        measure_all([RELU], folder=tmp_path, seed=-1)
    with pytest.raises(TypeError, match="folder must be a path"):
        measure_all([RELU], folder=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError, match="data must be"):
        measure_all([RELU], folder=tmp_path / "new", data="nothere.npz")
    assert not list(tmp_path.iterdir())
    (one,) = measure_all([RELU], folder=tmp_path)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == json.loads(json.dumps(dump([one])))
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"\.json is not JSON"):
        measure_all([RELU], folder=tmp_path)
