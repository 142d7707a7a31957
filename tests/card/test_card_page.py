"""The page: whole, escaped, navigable, self-contained; and what a real browser makes of it."""

import re

import pytest

from jaxact.card import write_html
from tests.card.pages import check_browser, check_page


@pytest.mark.fast
def test_one_card_and_several_keep_what_holds_of_every_page(by_hand):
    one, two = (
        by_hand("one", radius=(0.2, 0.01), gap=(0.5, 0.1)),
        by_hand("two", radius=(0.1, 0.01)),
    )
    check_page(write_html([one]))
    text = write_html([one, two])
    check_page(text)
    assert "<h1>one against two</h1>" in text
    assert text.count("✓ better") == 1
    assert "one against two: better on 1, worse on 0" in text
    with pytest.raises(ValueError, match="at least one card"):
        write_html([])


@pytest.mark.fast
def test_names_are_text_and_not_markup(by_hand):
    text = write_html([by_hand('<script>alert("x")</script>', radius=(0.2, 0.01))])
    check_page(text)
    assert "&lt;script&gt;" in text


@pytest.mark.fast
def test_light_dark_phone_and_print_are_provided_for(by_hand):
    text = write_html([by_hand("one")])
    for part in ('name="viewport"', "prefers-color-scheme:dark", "max-width:44rem", "@media print"):
        assert part in text
    style = text[text.index("<style>") : text.index("</style>")]
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        used = set(re.findall(r"var\((--[\w]+)\)", svg))
        assert used
        assert all(style.count(f"{name}:") == 2 for name in used)  # one for each scheme
        assert not re.search(r"(fill|stroke): #0[0-9]0[0-9]0[0-9]", svg)  # no stand-in is left


def test_a_browser_shows_cards_on_a_phone(by_hand, tmp_path):
    one, two = by_hand("one", radius=(0.2, 0.01)), by_hand("a_long_name_" * 5, radius=(0.1, 0.01))
    check_browser(write_html([one, two]), tmp_path)
