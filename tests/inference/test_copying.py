from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.errors import TextgenError
from textgen.inference.copying import Copied, KnownText


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_every_length_is_that_of_a_search_by_hand(dtype: type) -> None:
    pytest.importorskip("pydivsufsort")

    @settings(max_examples=60, deadline=None)
    @given(st.text("abc", min_size=1, max_size=60), st.text("abcd", max_size=40))
    def check(known: str, text: str) -> None:
        def ids(of: str) -> np.ndarray:
            largest = np.iinfo(dtype).max - 200
            return np.array([ord(c) + (largest if c == "c" else 0) for c in of], dtype)

        expected = [
            max(n for n in range(len(text) - place + 1) if text[place : place + n] in known)
            for place in range(len(text))
        ]
        assert KnownText(ids(known)).lengths(ids(text)).tolist() == expected

    check()


def test_passages_of_30_characters_count_once() -> None:
    pytest.importorskip("pydivsufsort")
    rng = np.random.default_rng(0)
    known = rng.integers(0, 100, 5000).astype(np.uint8)
    known.flags.writeable = False
    own = np.full(100, 200, np.uint8)
    text = np.concatenate([known[500:540], own, known[7:36], own, known[900:930], known[902:960]])
    assert KnownText(known).copied(text) == Copied(299, 58, (40 + 30 + 58) / len(text))
    assert KnownText(known).copied(own) == Copied(0, 0, 0.0)
    assert KnownText(known).copied(own[:0]) == Copied(0, 0, 0.0)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    with pytest.raises(TextgenError) as caught:
        KnownText(np.zeros(3, np.uint8))
    assert "textgen-lstm[novelty]" in caught.value.hint
