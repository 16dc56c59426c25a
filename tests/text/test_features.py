from __future__ import annotations

import math

import pytest

from textgen.text.features import features


def marked(text: str) -> str:
    """A caret below each character that is inside quotes."""
    return "".join("^" if inside else " " for inside in features(text)["inside quotes"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a "bc" d', "  ^^^   "),
        ("a “b” «c»", "  ^^  ^^ "),
        ("it's a 'dog' or two dogs'", "       ^^^^              "),
        (r'f("a\"b")', "  ^^^^^  "),
        ('"""a "b" c"""', "^^^^^^^^^^^^ "),
        ('"a\nb"', "^^^^ "),
        ("'a\nb'", "      "),
        ('"a\n\nb "c"', "      ^^ "),
        ("no one", "      "),
    ],
)
def test_quotes(text: str, expected: str) -> None:
    assert marked(text) == expected.ljust(len(text))[: len(text)]


def test_what_is_counted_at_each_character() -> None:
    text = "Ab(\n\t c[d])\n \nE)("
    found = {name: series.tolist() for name, series in features(text).items()}
    assert found["depth of brackets"] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 1, 0, 0, 0, 0, 0, 0, 1]
    assert found["place in the line"] == [1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 0, 1, 2, 3]
    assert found["indentation"] == [0, 0, 0, 0, 8, 9, 9, 9, 9, 9, 9, 0, 1, 0, 0, 0, 0]
    assert found["capitals"] == [1, *[0] * 13, 1, 0, 0]
    waited = [*range(1, 14), 0, 1, 2, 3]
    assert found["time since a blank line"] == pytest.approx([math.log1p(n) for n in waited])


def test_a_blank_line_ends_all_brackets() -> None:
    assert features("((\n\na")["depth of brackets"].tolist() == [1, 2, 2, 0, 0]


def test_an_empty_text_has_no_places() -> None:
    assert {len(series) for series in features("").values()} == {0}
