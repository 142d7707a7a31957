"""The card end to end in quick mode: its numbers, its reasons, its files."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import pytest

import jaxact
from jaxact.card import dump, measure, resolve, write_html
from jaxact.card.section import Value, round_to
from jaxact.card.terminal import best, format_value

LENSES = ("spectra", "bounds", "memory", "inversion", "geometry")


@pytest.fixture(scope="module", autouse=True)
def as_a_user():
    """The card runs under a user's settings, not the strict ones of the kernels' tests."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def gelu():
    return measure(jaxact.get("gelu"), quick=True)


def test_every_lens_answers_with_finite_numbers_in_range(gelu):
    assert tuple(gelu.sections) == LENSES
    for section in gelu.sections.values():
        for value in section.values:
            assert value.value is not None or value.note or section.reason, value.key
            if isinstance(value.value, float):
                assert math.isfinite(value.value), value.key
    spectra, bounds = gelu["spectra"], gelu["bounds"]
    assert spectra["eta"] == pytest.approx(0.345644011024351, abs=1e-12)
    assert spectra["zeta"] == pytest.approx(0.25, abs=1e-12)
    assert spectra["spectrum_distance"] < 0.05
    assert spectra["training_error_gap"] < 0.05
    assert 0.85 < bounds["clean_accuracy"] <= 1
    assert 0 < bounds["certified_radius"] <= bounds["attack_radius"]
    assert gelu["memory"]["capacity"] > 5
    assert 0 <= gelu["memory"]["recall_0.1"] <= 1
    assert 0.5 <= gelu["inversion"]["success"] <= 1
    assert gelu["inversion"]["sigma_min"] > 0
    assert gelu["geometry"]["admissible"] == "no"
    assert "monoton" in gelu["geometry"].reason


def test_the_same_seed_gives_the_same_card(gelu):
    again = measure(jaxact.get("gelu"), quick=True)
    for lens in LENSES:
        for one, two in zip(gelu[lens].values, again[lens].values, strict=True):
            assert one == two


def test_card_json_is_plain_and_complete(gelu):
    text = json.dumps(dump([gelu]), allow_nan=False)
    back = json.loads(text)
    assert back["schema"] == 1
    assert back["cards"][0]["name"] == "gelu"
    assert set(back["cards"][0]["sections"]) == set(LENSES)


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [v for k, v in attrs if k == "id"]


def test_the_page_is_self_contained_with_real_plots(gelu):
    text = write_html([gelu])
    page = _Page()
    page.feed(text)
    assert set(LENSES) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") >= 5
    assert "script" not in page.tags
    for fetched in ('src="http', 'href="http', "@import", "url(http"):
        assert fetched not in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text
    for part in text.split("<svg")[1:]:
        ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")


@pytest.mark.parametrize("name", ["softplus", "step", "exp"])
def test_other_activations_get_an_answer_or_the_reason(name):
    card = measure(jaxact.get(name), quick=True)
    for lens, section in card.sections.items():
        for value in section.values:
            assert value.value is not None or value.note or section.reason, (lens, value.key)
    if name == "softplus":
        assert card["geometry"]["admissible"] == "strong"
        assert card["geometry"]["matched_divergence"] > 0
    write_html([card])


def test_two_cards_side_by_side(gelu):
    relu = measure(jaxact.get("relu"), quick=True)
    text = write_html([gelu, relu])
    assert "gelu against relu" in text
    assert 'class="best"' in text


CUSTOM = '''
import jax.numpy as jnp
def swoosh(x):
    """A user's own."""
    return jnp.logaddexp(0.0, x - 1) - 0.08 * x
'''


def test_a_users_own_file_through_the_command_line(tmp_path):
    (tmp_path / "acts.py").write_text(CUSTOM)
    done = subprocess.run(
        [sys.executable, "-m", "jaxact", "card", "acts:swoosh", "--quick", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    card = json.loads(done.stdout)["cards"][0]
    assert card["name"] == "swoosh"
    assert set(card["sections"]) == set(LENSES)
    assert (tmp_path / "card" / "card.html").stat().st_size > 20_000
    assert (tmp_path / "card" / "card.json").is_file()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gelo", "unknown activation 'gelo'; did you mean gelu"),
        ("elu(0.7", "expected a form like elu"),
        ("elu(c=1)", "cannot make 'elu\\(c=1\\)'.*unexpected keyword argument 'c'"),
        ("nowhere:f", "no module 'nowhere' here or installed"),
        ("math:nothing", "module 'math' has no 'nothing'; it has"),
        ("math:pi", "fn must be a function of one array, got 3.14"),
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
def test_the_better_value_is_marked_only_where_one_is():
    def value(number, better="higher"):
        return Value("k", "l", number, "", better)

    assert best([value(1.0), value(2.0)]) == 1
    assert best([value(1.0, "lower"), value(2.0, "lower")]) == 0
    assert best([value(1.0, ""), value(2.0, "")]) is None
    assert best([value(1.0), value(1.0)]) is None
    assert best([value(None), value(2.0)]) is None
    assert format_value(value=False) == "no"
    assert round_to(1 / 3, 3) == 0.333


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
