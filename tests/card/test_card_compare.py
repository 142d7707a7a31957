"""Side by side: which value is better, where the errors hide it, and the sentence on trade-offs."""

import pytest

from jaxact.card.compare import best, format_error, format_value, rows, tradeoffs
from jaxact.card.section import Section, Value, round_to, settled, share

pytestmark = pytest.mark.fast


def _value(number, better="higher", *, kind="exact", error=None):
    return Value("k", "l", number, kind=kind, error=error, better=better)


def test_the_better_value_is_marked_only_where_one_is():
    assert best([_value(1.0), _value(2.0)]) == 1
    assert best([_value(1.0, "lower"), _value(2.0, "lower")]) == 0
    assert best([_value(1.0, ""), _value(2.0, "")]) is None
    assert best([_value(1.0), _value(1.0)]) is None
    assert best([_value(None), _value(2.0)]) is None
    assert best([None, _value(2.0)]) is None
    assert best([_value(1.00001), _value(1.00002)]) is None  # both are shown as 1
    assert best([_value(1.001), _value(1.002)]) == 1
    assert best([_value("strong"), _value("no")]) is None
    assert best([_value(None), _value(2.0), _value(3.0)]) == 2


def test_what_is_measured_must_be_better_by_two_standard_errors():
    def pair(gap, kind="measured"):
        return best([_value(v, kind=kind, error=0.1) for v in (1.0, 1.0 + gap)])

    assert pair(0.28) is None
    assert pair(0.29) == 1  # 2 sqrt(0.1^2 + 0.1^2) = 0.283
    assert pair(0.28, kind="certified") is None  # the mean over digits scatters too
    assert pair(0.01, kind="exact") == 1  # there the error is a distance to a simulation
    third = [_value(v, kind="measured", error=0.1) for v in (1.0, 2.0, 2.1)]
    assert best(third) is None  # better than one of two is not best


def test_the_tradeoffs_count_and_name_both_sides(by_hand):
    one = by_hand("a", radius=(0.2, 0.01), memory=(3.0, 0.1), tie=(1.0, 0.5))
    two = by_hand("b", radius=(0.1, 0.01), memory=(5.0, 0.1), tie=(1.1, 0.5))
    (sentence,) = tradeoffs([one, two])
    assert sentence == (
        "a against b: better on 1, worse on 1, within the errors on 1. "
        "It gains radius (0.2 against 0.1), and pays with memory (3 against 5)."
    )
    (sentence,) = tradeoffs([one, by_hand("c", radius=(0.1, 0.01))])
    assert "pays with nothing that is measured here" in sentence
    (sentence,) = tradeoffs([one, by_hand("d", tie=(1.2, 0.5))])
    assert "cannot be told apart: all 1 numbers" in sentence
    assert tradeoffs([one]) == []


def test_rows_are_matched_by_key_not_by_place(by_hand):
    one, two = by_hand("a", x=(1.0, 0.1), y=(2.0, 0.1)), by_hand("b", y=(3.0, 0.1), z=(4.0, 0.1))
    found = {name.key: values for name, values in rows([one, two], "bounds")}
    assert list(found) == ["x", "y", "z"]
    assert [v and v.value for v in found["y"]] == [2.0, 3.0]
    assert found["x"][1] is None
    assert found["z"][0] is None


def test_numbers_are_written_as_a_person_does():
    assert format_value(-0.25) == "−0.25"
    assert format_value(value=False) == "no"
    assert format_error(_value(1.0, error=0.0312)) == "± 0.031"
    assert format_error(_value(None, error=0.0312)) == ""
    assert round_to(1 / 3, 3) == 0.333
    hit, error = share([True] * 24)
    assert hit == 1
    assert 0.02 < error < 0.06  # not 0: 24 of 24 is not certainty


def test_a_value_that_is_not_finite_is_none_with_a_reason():
    made = settled(Section("memory", "?", (_value(float("nan"), error=0.1), _value(None))))
    assert [v.value for v in made.values] == [None, None]
    assert [v.error for v in made.values] == [None, None]
    assert [v.reason for v in made.values] == ["not finite here"] * 2
    kept = settled(Section("memory", "?", (_value(1.0, error=float("inf")),))).values[0]
    assert (kept.value, kept.error, kept.reason) == (1.0, None, "")
