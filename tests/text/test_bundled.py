"""The bundled corpora of many documents: a list of names and a book of tunes."""

from __future__ import annotations

import random
import re
import runpy
import shutil
import subprocess
import unicodedata
from fractions import Fraction
from itertools import combinations, islice
from pathlib import Path

import pytest

from textgen.text.corpus import default_corpus

NAMES = default_corpus().with_name("names.txt").read_text(encoding="utf-8")
TUNES = default_corpus().with_name("tunes.abc")
BOOK = [tune.splitlines() for tune in TUNES.read_text(encoding="utf-8").strip().split("\n\n")]
HEADERS = 6  # X, T, R, M, L, K
BAR_LENGTHS = {"2/4": 4, "3/4": 6, "4/4": 8, "6/8": 6, "9/8": 9}  # in eighths
NOTE = re.compile(r"(\(3)?\^?[A-Ga-g][,']*(\d*(?:/\d*)?)(>?)")


def bars_of(line: str) -> list[str]:
    return [bar for bar in line.strip("|:").split("|") if bar]


def length(bar: str) -> Fraction:
    """The length of a bar's notes in eighths, each of which the pattern must account for."""
    total, dotted, triplet = Fraction(0), False, 0
    assert not NOTE.sub("", bar).strip(), bar
    for opening, written, broken in NOTE.findall(bar):
        triplet = 3 if opening else max(triplet - 1, 0)
        number, slash, divisor = written.partition("/")
        eighths = Fraction(int(number or 1), int(divisor or 2) if slash else 1)
        eighths *= Fraction(1, 2) if dotted else Fraction(3, 2) if broken else 1
        total += eighths * (Fraction(2, 3) if triplet else 1)
        dotted = bool(broken)
    return total


def test_names_stand_one_on_a_line_and_once() -> None:
    names = NAMES.splitlines()
    assert len(names) >= 3000
    assert len({name.casefold() for name in names}) == len(names)
    assert all(re.fullmatch(r"ʻ?[^\W\d_]+(['ʻ-][^\W\d_]+)*", name) for name in names)
    assert all("LATIN" in unicodedata.name(c) for c in {*NAMES} - {*"\n'ʻ-"})
    assert unicodedata.is_normalized("NFC", NAMES)
    assert "\n".join(names) + "\n" == NAMES


def test_the_order_of_names_is_a_seeded_shuffle() -> None:
    names = sorted(NAMES.splitlines())
    random.Random(0).shuffle(names)
    assert names == NAMES.splitlines()


def test_every_tune_has_its_headers_and_a_title_of_its_own() -> None:
    assert len(BOOK) >= 200
    for number, tune in enumerate(BOOK, 1):
        assert [line[:2] for line in tune[:HEADERS]] == ["X:", "T:", "R:", "M:", "L:", "K:"]
        assert tune[0] == f"X:{number}"
    assert len({tune[1] for tune in BOOK}) == len(BOOK)


def test_the_bars_of_every_tune_add_up() -> None:
    for tune in BOOK:
        whole = BAR_LENGTHS[tune[3].removeprefix("M:")]
        number = 0
        for begin, end in zip(tune[HEADERS::2], tune[HEADERS + 1 :: 2], strict=True):
            assert begin.startswith("|:")
            assert end.endswith(":|")
            lengths = [length(bar) for bar in bars_of(begin) + bars_of(end)]
            pickup = lengths.pop(0) if len(lengths) == 9 else 0
            assert lengths == [whole] * 7 + [whole - pickup], tune[:2]
            number += len(lengths)
        assert 8 <= number <= 32


def test_no_two_tunes_share_more_than_two_bars() -> None:
    bars = [{bar for line in tune[HEADERS:] for bar in bars_of(line)} for tune in BOOK]
    bars = [{bar for bar in found if len(bar) > 3} for found in bars]  # no pickups, no held notes
    assert max(len(one & other) for one, other in combinations(bars, 2)) <= 2


def test_every_tune_ends_on_its_tonic() -> None:
    for tune in BOOK:
        last = re.findall(r"[A-G]", tune[-1].upper())[-1]
        assert last == tune[5].removeprefix("K:")[0], tune[:2]


def test_the_tunes_are_what_the_program_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Path(__file__).parents[2] / "docs"
    monkeypatch.syspath_prepend(docs)
    composed = runpy.run_path(str(docs / "make_tunes.py"))["tunes"]()
    for tune, kept in islice(zip(composed, BOOK, strict=True), 12):
        assert tune.splitlines() == kept


@pytest.mark.skipif(not shutil.which("abc2midi"), reason="needs abc2midi, of the package abcmidi")
def test_a_player_plays_every_tune_without_a_complaint(tmp_path: Path) -> None:
    played = shutil.copy(TUNES, tmp_path)  # a MIDI file is written beside it for every tune
    done = subprocess.run(["abc2midi", played], capture_output=True, text=True, check=True)
    assert not re.search("warning|error", done.stdout + done.stderr, re.IGNORECASE)
    assert done.stdout.count("writing MIDI file") == len(BOOK)
