"""card.json: its schema, read back, broken files, and writes that leave no half behind."""

import dataclasses
import json
import math

import jsonschema
import pytest

from jaxact.card import dump, load, schema
from jaxact.card.files import differences

pytestmark = pytest.mark.fast


@pytest.fixture
def payload(by_hand):
    return json.loads(json.dumps(dump([by_hand("one", radius=(0.1, 0.01)), by_hand("two")])))


def test_a_dump_keeps_the_schema_by_ours_and_by_jsonschema(payload):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(payload, schema())
    assert differences(payload) == []


def _wrong(path, value):
    def change(payload):
        *inner, last = path
        at = payload
        for step in inner:
            at = at[step]
        if value is KeyError:
            del at[last]
        else:
            at[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("cards",), KeyError, "cards is missing"),
        (("cards",), {}, "expected array, got dict"),
        (("cards", 0, "name"), 3, r"cards\[0\].name: expected string, got int"),
        (("cards", 0, "kinks"), [True], r"kinks\[0\]: expected number, got bool"),
        (("cards", 0, "sections", "memory"), KeyError, "memory is missing"),
        (("cards", 0, "sections", "bounds", "values", 0, "error"), "x", "expected number or null"),
        (("cards", 0, "sections", "bounds", "values", 0, "kind"), "sure", "expected one of"),
        (("cards", 0, "curve", "f"), ["a"], r"curve.f\[0\]: expected number or null"),
        (("schema",), 1, "must be of schema 2, got 1; measure the card again"),
    ],
)
def test_what_differs_is_named_and_jsonschema_agrees(payload, tmp_path, path, value, message):
    _wrong(path, value)(payload)
    assert differences(payload)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(payload, schema())
    file = tmp_path / "card.json"
    file.write_text(json.dumps(payload))
    with pytest.raises(ValueError, match=message):
        load(file)


def test_what_was_dumped_loads_to_the_same_card(by_hand, tmp_path):
    card = by_hand("one", radius=(1 / 3, 0.01), gap=(None, None))
    file = tmp_path / "card.json"
    file.write_text(json.dumps(dump([card])))
    (back,) = load(file)
    radius, gap = back["bounds"].values
    assert radius == dataclasses.replace(card["bounds"].values[0], value=0.3333333)
    assert gap == card["bounds"].values[1]
    assert back["inversion"].data == card["inversion"].data
    assert (back.name, back.kinks, back.setting) == (card.name, card.kinks, card.setting)
    assert dump([back]) == dump([card])


def test_a_file_cut_anywhere_is_an_error_in_our_words(payload, tmp_path):
    whole = json.dumps(payload).encode()
    file = tmp_path / "card.json"
    for cut in range(0, len(whole) - 1, 97):
        file.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"card.json is not JSON"):
            load(file)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "NaN", '{"schema": 2, "cards": [Infinity]}', "\x00"]
)
def test_hostile_files_are_errors_too(tmp_path, text):
    file = tmp_path / "card.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"card\.json"):
        load(file)


def test_no_number_of_a_card_is_not_finite(by_hand):
    values = dump([by_hand("one", a=(math.nan, math.inf))])["cards"][0]["sections"]["bounds"]
    assert (values["values"][0]["value"], values["values"][0]["error"]) == (None, None)
