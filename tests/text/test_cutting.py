from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.errors import UsageError
from textgen.text.cutting import Cutter, separator_of
from textgen.text.vocabulary import END

SMALL = st.text("ab\n-", max_size=60)
SEPARATORS = ["line", "-", "\n\n", "aba", "--", r"\n-\n"]


def cut(text: str, cutter: Cutter, places: list[int] = ()) -> list[str]:
    """The documents of `text`, read in blocks that end at `places`."""
    bounds = [0, *sorted(p for p in places if p < len(text)), len(text)]
    blocks = (np.frombuffer(text[a:b].encode("utf-32-le"), np.uint32) for a, b in pairwise(bounds))
    symbols = np.concatenate([*cutter.cut(blocks)])
    ends = np.flatnonzero(symbols == END)
    assert ends[0] == 0
    assert ends[-1] == len(symbols) - 1
    return ["".join(map(chr, symbols[a + 1 : b])) for a, b in pairwise(ends)]


def expected(text: str, separator: str) -> list[str]:
    parts = text.split(separator)
    if separator[0] == "\n":
        begun = (n for n in range(len(separator) - 1, 0, -1) if parts[-1].endswith(separator[:n]))
        parts[-1] = parts[-1][: len(parts[-1]) - next(begun, 0)]
    return [part for part in parts if part]


@settings(deadline=None)
@given(text=SMALL, places=st.lists(st.integers(0, 60)), documents=st.sampled_from(SEPARATORS))
def test_documents_are_what_stands_between_separators(
    text: str, places: list[int], documents: str
) -> None:
    cutter, separator = Cutter(documents, "char"), separator_of(documents)
    assert cut(text, cutter, places) == expected(text, separator)
    assert cutter.found == text.count(separator)


@settings(deadline=None)
@given(text=SMALL, places=st.lists(st.integers(0, 60)), documents=st.sampled_from(SEPARATORS))
def test_it_is_told_where_what_is_given_stands(
    text: str, places: list[int], documents: str
) -> None:
    cutter = Cutter(documents, "char")
    for before in ("", text):  # of a second text after the first
        bounds = [0, *sorted(p for p in places if p < len(text)), len(text)]
        parts = (text[a:b].encode("utf-32-le") for a, b in pairwise(bounds))
        for symbols in cutter.cut(np.frombuffer(part, np.uint32) for part in parts):
            own = symbols != END
            stand = cutter.at[own] - len(before)
            assert len(cutter.at) == len(symbols)
            assert [text[place] for place in stand.tolist()] == [*map(chr, symbols[own])]


def test_a_file_is_one_document() -> None:
    assert cut("one\n\ntwo\n", Cutter("file", "char")) == ["one\n\ntwo\n"]


def test_empty_documents_are_counted_but_not_the_end_of_a_last_line() -> None:
    cutter = Cutter("line", "char")
    assert cut("\none\n\n\ntwo\n", cutter) == ["one", "two"]
    assert cutter.empty == 3


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(r"\n\n", "\n\n"), (r"\t", "\t"), (r"a\\n", r"a\n"), (r"\x", r"\x"), ("\n", "\n")],
)
def test_escapes_are_understood(typed: str, meant: str) -> None:
    assert separator_of(typed) == meant


def test_at_level_byte_a_separator_is_its_bytes() -> None:
    data = "eins–zwei".encode()
    symbols = np.concatenate([*Cutter("–", "byte").cut(iter([np.frombuffer(data, np.uint8)]))])
    assert symbols.tolist() == [END, *b"eins", END, *b"zwei", END]


@pytest.mark.parametrize(("level", "separator"), [("char", "\udc80"), ("byte", "\ud800")])
def test_a_separator_that_no_text_can_hold_is_refused(level: str, separator: str) -> None:
    with pytest.raises(UsageError, match=r"`documents` is .* expected a text"):
        Cutter(separator, level)
