from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import prose, train

import textgen
from textgen.cli.app import app
from textgen.errors import RunError, UsageError
from textgen.inference.surprise import characters, predicted
from textgen.studies.curves import curve
from textgen.studies.sections import printable
from textgen.studies.subject import LEAD, PAGE, Subject

TITLES = ["Plan", "Samples", "Novelty", "Memory", "Gates", "Surprise", "Layers"]


def report(file: Path, *runs: Path) -> Page:
    app(["report", *map(str, runs), "-o", str(file)], standalone_mode=False)
    return Page(file.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Its elements' names, the text below each heading, and of every shaded text its characters."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.names = [""]
        self.below: dict[str, str] = {}
        self.costs: list[tuple[str, str]] = []
        self._heading, self._title = "", ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self._title = dict(attrs).get("title") or ""

    def handle_data(self, data: str) -> None:
        if self.names[-1] in ("h2", "h3") and self.lasttag == self.names[-1]:
            self._heading = data if data not in self.below else self._heading
        if self._title:
            self.costs.append((data, self._title))
            self._title = ""
        self.below[self._heading] = self.below.get(self._heading, "") + data


@pytest.fixture(scope="module", autouse=True)
def _short_samples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textgen.studies.subject.WRITTEN", 600)
        yield


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(tmp_path_factory.mktemp("report") / "report.html", trained)


def test_every_part_is_there_and_nothing_from_elsewhere(page: Page, trained: Path) -> None:
    assert [title for title in page.below if title in TITLES] == TITLES
    assert "Not measured" not in page.source
    assert not {"script", "link", "img", "iframe", "object"} & {*page.names}
    assert "http" not in page.source.replace("http-equiv", "")
    assert str(trained.parent) not in page.source
    for file in textgen.load(trained).header.record.corpus.files:
        assert str(Path(file).parent) not in page.source
    assert "tales.txt" in page.below["Plan"]
    assert page.names.count("polyline") == 3 + 3 * 2 + 2  # the key, losses, memory
    model = textgen.load(trained)
    assert f"{model.header.record.model.parameters:,}" in page.below["Layers"]
    for name in model.weights:
        assert name in page.below["Layers"]
    assert "It uses about" in page.below["Memory"]


def test_samples_are_those_of_the_sampler(page: Page, trained: Path) -> None:
    model = textgen.load(trained)
    for temperature in (0.4, 0.7, 1.0):
        text = "".join(model.generate(temperature=temperature, length=500, seed=1))
        assert text.strip("\n") in page.below["Samples"]


def test_the_page_is_the_held_out_text_with_what_it_cost(page: Page, trained: Path) -> None:
    model = textgen.load(trained)
    held_out = prose(4000)[3600:]
    assert "".join(text for text, _ in page.costs).replace("↵", "") == held_out
    blocks = model.blocks(held_out)
    expected = [*characters(model.vocabulary, predicted(model.network(), blocks))]
    for (_, told), character in zip(page.costs, expected, strict=True):
        assert told.startswith(f"{character.bits:.1f} bits")
        assert ("likelier" in told) == (character.bits >= 3 and character.likelier != ())


def test_several_runs_of_several_kinds_stand_on_one_page(
    trained: Path, lines: Path, tmp_path: Path
) -> None:
    text = tmp_path / "grün.txt"
    text.write_text(prose(2000) + "grün 🦊 <b>&\x00" * 300, encoding="utf-8")
    train(text, tmp_path, steps=20, level="byte", backward=True)
    page = report(tmp_path / "report.html", lines, tmp_path / "grün", trained)
    assert {"words", "grün", "tales"} <= {*page.below}
    assert page.source.count("Not measured") == 2  # memory and gates of a model of documents
    assert "each document begins from zero state" in page.source
    assert page.names.count("polyline") == 5 + 3 * 3 * 2 + 2 * 2
    assert "grün 🦊 <b>&\ufffd" in "".join(text for text, _ in page.costs)
    words = "".join(text for text, _ in page.costs).replace("↵", "").split("\n")
    known = (lines.parent / "words.txt").read_text().split("\n")
    assert sum(word in known for word in words) > 10


def test_markup_is_shown_as_text(tmp_path: Path) -> None:
    text = tmp_path / "x<i>.txt"
    text.write_text("<img src=x onerror=alert(1)>\n" * 100)
    train(text, tmp_path, steps=3, run="<u>")
    page = report(tmp_path / "report.html", tmp_path / "<u>")
    assert not {"img", "i", "u"} & {*page.names}
    assert "x<i>.txt" in page.below["Plan"]
    assert "What <u> learned" in page.below[""]


def test_what_is_missing_is_said_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "x.txt"
    text.write_text(prose(3000))
    train(text, tmp_path, steps=3)
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    page = report(tmp_path / "report.html", tmp_path / "x")
    assert "pip install 'textgen-lstm[novelty]'" in page.below["Novelty"]
    text.unlink()
    page = report(tmp_path / "report.html", tmp_path / "x")
    for title in ("Novelty", "Memory", "Gates", "Surprise"):
        told = f"{title}Not measured: its text cannot be read where the report was made."
        assert page.below[title].strip() == told
    assert str(tmp_path) not in page.source


def test_only_an_earlier_report_is_replaced(trained: Path, tmp_path: Path) -> None:
    export = tmp_path / "page.html"
    textgen.load(trained).export(export)
    with pytest.raises(RunError, match="it is no report"):
        report(export, trained)
    with pytest.raises(UsageError, match=r"expected .html"):
        report(tmp_path / "report.pdf", trained)
    path = tmp_path / "report.html"
    first = report(path, trained)
    assert report(path, trained).source == first.source
    with pytest.raises(RunError, match="it is no export"):
        textgen.load(trained).export(path)
    assert re.search(r"style-src 'sha256-[\w+/]+='", first.source)


def test_of_a_long_document_its_beginning_is_shown(lines: Path) -> None:
    model = textgen.load(lines)
    subject = Subject(curve(str(lines), lines.parent), model, [])
    end = model.vocabulary.end
    long = np.array([end, *[0, 1, 2] * PAGE, end], model.vocabulary.dtype)
    vars(subject)["corpus"] = replace(subject.corpus, validation=long)
    page = subject.held_out_page()
    assert len(page) == LEAD + PAGE - 1
    assert all(character.bits > 0 for character in page)


def test_what_has_no_ink_is_no_damage() -> None:
    spaces = "\u3000\u00a0\u202f\u200d\u200c"
    assert printable(f"a{spaces}\n\t<") == f"a{spaces}\n\t&lt;"
    assert printable("a\r\n") == "a\u240d\n"
    assert printable("\x00\x85\udfff\u202e\u2066") == 5 * "\ufffd"
