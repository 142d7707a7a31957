"""The card end to end in quick mode: its numbers, its reasons, its files."""

import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jsonschema
import pytest

import jaxact
from jaxact.card import dump, load, measure, resolve, schema, write_html
from tests.card.pages import check_browser, check_page

LENSES = ("spectra", "bounds", "memory", "inversion", "geometry")


@pytest.fixture(scope="module", autouse=True)
def as_a_user():
    """The card runs under a user's settings, not the strict ones of the kernels' tests."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def gelu():
    return measure(jaxact.get("gelu"), quick=True)


@pytest.fixture(scope="module")
def softplus():
    return measure(jaxact.get("softplus"), quick=True)


def check_card(card):
    """What holds of every card: numbers are finite, or say why not; each says what it is."""
    assert tuple(card.sections) == LENSES
    for lens, section in card.sections.items():
        keys = [v.key for v in section.values]
        assert len(keys) == len(set(keys))
        for value in section.values:
            where = (card.name, lens, value.key)
            assert (value.value is None) == bool(value.reason), where
            assert value.meaning, where
            assert value.kind or value.value is None, where
            for number in (value.value, value.error):
                assert not isinstance(number, float) or math.isfinite(number), where
            assert value.error is None or value.error >= 0, where


def test_every_lens_answers_with_finite_numbers_in_range(gelu):
    check_card(gelu)
    spectra, bounds = gelu["spectra"], gelu["bounds"]
    assert spectra["eta"] == pytest.approx(0.345644011024351, abs=1e-12)
    assert spectra["zeta"] == pytest.approx(0.25, abs=1e-12)
    assert spectra["spectrum_distance"] < 0.05
    errors = {v.key: v.error for section in gelu.sections.values() for v in section.values}
    assert errors["training_error"] < 0.05
    assert errors["edge"] < 0.1 * spectra["edge"]
    assert 0.85 < bounds["clean_accuracy"] <= 1
    assert 0 < bounds["certified_radius"] <= bounds["attack_radius"]
    assert 0 < bounds["relaxation_gap"] < 1
    curves = bounds.data
    for loose, tight, attacked in zip(*(curves[k] for k in ("ibp", "certified", "attacked")),
                                      strict=True):  # fmt: skip
        assert loose <= tight <= attacked
    assert gelu["memory"]["capacity"] > 5
    assert errors["capacity"] < 0.5 * gelu["memory"]["capacity"]
    assert gelu["memory"]["recall_random_5"] > 0.8
    assert 0 <= gelu["memory"]["recall_digits_20"] <= gelu["memory"]["recall_digits_5"] <= 1
    assert 0.5 <= gelu["inversion"]["success"] <= 1
    assert gelu["inversion"]["sigma_min"] > 0
    assert 0 < gelu["inversion"]["unique_radius"] < 1
    assert 0.4 < gelu["inversion"]["coverage"] <= 1
    assert gelu["geometry"]["admissible"] == "no"
    assert not gelu["geometry"]["monotone"]
    assert "monoton" in gelu["geometry"].reason


def test_an_admissible_one_has_its_divergence(softplus):
    check_card(softplus)
    assert softplus["geometry"]["admissible"] == "strong"
    assert softplus["geometry"]["signature_at_one"] == pytest.approx(1 - math.exp(-1), rel=1e-9)
    assert softplus["geometry"]["matched_divergence"] > 0
    curve = softplus["geometry"].data
    at_one = min(zip(curve["ratio"], curve["divergence"], strict=True), key=lambda p: abs(p[0] - 1))
    assert abs(at_one[1]) < 0.1  # f(1) = 0
    assert softplus["geometry"].reason == ""


def test_the_same_seed_gives_the_same_card(gelu):
    again = measure(jaxact.get("gelu"), quick=True)
    for lens in LENSES:
        for one, two in zip(gelu[lens].values, again[lens].values, strict=True):
            assert one == two


def test_a_measured_card_keeps_the_schema_and_its_page_comes_back_from_the_file(gelu, tmp_path):
    payload = json.loads(json.dumps(dump([gelu]), allow_nan=False))
    jsonschema.validate(payload, schema())
    file = tmp_path / "card.json"
    file.write_text(json.dumps(payload))
    text = write_html(load(file))
    check_page(text)
    assert text.count("<svg") == 7
    assert text.count("<img") == 7


def test_two_measured_cards_side_by_side_in_a_browser(gelu, softplus, tmp_path):
    text = write_html([gelu, softplus])
    check_page(text)
    assert "gelu against softplus(1)" in text
    assert text.count("✓ better") > 3
    assert "and pays with" in text
    check_browser(text, tmp_path)


def test_a_step_gets_answers_or_reasons():
    card = measure(jaxact.get("step"), quick=True)
    check_card(card)
    check_page(write_html([card]))
    assert "not continuous" in card["geometry"].reason


CUSTOM = """
import jax.numpy as jnp
# not bounded above, not monotone, not smooth, not even named
weird = lambda x: x * jnp.sin(2 * x) + jnp.abs(x - 1)
"""


def test_a_users_own_file_through_the_command_line(tmp_path):
    (tmp_path / "acts.py").write_text(CUSTOM)
    done = subprocess.run(
        [sys.executable, "-m", "jaxact", "card", "acts:weird", "--json"],
        cwd=tmp_path,
        env=os.environ | {"JAXACT_QUICK": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    payload = json.loads(done.stdout)
    jsonschema.validate(payload, schema())
    (card,) = load(tmp_path / "card" / "card.json")
    check_card(card)
    assert card.name == "weird"
    assert card.setting["quick"] is True
    assert [round(k, 6) for k in card.kinks] == [1.0]
    assert card["geometry"]["monotone"] is False
    check_page((tmp_path / "card" / "card.html").read_text(encoding="utf-8"))
    assert sorted(os.listdir(tmp_path / "card")) == ["card.html", "card.json"]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gelo", "unknown activation 'gelo'; did you mean gelu"),
        ("elu(0.7", "expected a form like elu"),
        ("elu(c=1)", "cannot make 'elu\\(c=1\\)'.*unexpected keyword argument 'c'"),
        ("nowhere:f", "no module 'nowhere' here or installed"),
        ("math:nothing", "module 'math' has no 'nothing'; it has"),
        ("math:pi", "an activation must be a function of one array, got 3.14"),
    ],
)
def test_what_cannot_be_resolved_says_why(text, message):
    with pytest.raises((ValueError, TypeError), match=message):
        resolve(text)


@pytest.mark.fast
def test_resolve_reads_names_parameters_and_modules():
    assert resolve("gelu").name == "gelu"
    assert resolve("swish(beta=2)").theta == (2,)
    assert resolve("jax.numpy:tanh")(jnp.float32(1)) == jnp.tanh(jnp.float32(1))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["card", "gelo"], "error: unknown activation 'gelo'; did you mean gelu"),
        (["card", "gelu", "--seed", "-1", "--quick"], "error: seed must be at least 0, got -1"),
    ],
)
def test_the_command_line_prints_one_line_for_an_error(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "jaxact", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
