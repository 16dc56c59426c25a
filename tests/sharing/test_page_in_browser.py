"""The page opened from the disk in a real browser, with the network off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from conftest import prose, train

import textgen

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
TEXT = "document.getElementById('text').textContent"
COST = "document.getElementById('cost').textContent"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def opened(browser: Browser, run: Path, **fields: object) -> Path:
    page = run.parent / "page.html"
    textgen.load(run).export(page)
    browser.problems.clear()
    browser.requests.clear()
    browser.open(page)
    fill(browser, **fields)
    return page


def fill(browser: Browser, **fields: object) -> None:
    for name, value in fields.items():
        browser.value(f"document.getElementById('{name.replace('_', '-')}').value = {value!r}")


def press(browser: Browser, button: str) -> str:
    """The text once what was pressed is done."""
    browser.value(f"document.getElementById('{button}').click()")
    browser.wait("document.getElementById('write').textContent !== 'Stop'")
    return str(browser.value(TEXT))


def key(browser: Browser, name: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=name)


def test_it_writes_goes_on_and_takes_back(browser: Browser, trained: Path) -> None:
    page = opened(browser, trained, typed="the fox", length=200, seed=7)
    one = press(browser, "write")
    assert one.startswith("the fox")
    assert len(one) == 207
    two = press(browser, "write")
    assert two.startswith(one)
    assert len(two) == 407
    assert press(browser, "back") == one
    assert press(browser, "write") == two  # state and draws are those of before
    assert press(browser, "over") == ""
    fill(browser, typed="the fox", length=400)
    assert press(browser, "write") == two  # one press or two
    assert browser.problems == []
    assert browser.requests == [page.as_uri()]


def test_it_writes_what_python_writes(browser: Browser, trained: Path) -> None:
    opened(browser, trained, typed="the ", length=100, temperature=0)
    model = textgen.load(trained)
    greedy = "".join(model.generate("the ", length=100, temperature=0))
    assert press(browser, "write")[4:34] == greedy[:30]  # int8 may turn a later choice


def test_it_stops_and_goes_on(browser: Browser, trained: Path) -> None:
    opened(browser, trained, length=0)
    browser.value("document.getElementById('write').click()")
    browser.wait(f"{TEXT}.length > 100")
    assert len(press(browser, "write")) > 100
    browser.value("document.getElementById('write').click()")
    key(browser, "Escape")
    browser.wait("document.getElementById('write').textContent === 'Go on'")


def test_characters_tell_their_cost_by_pointer_and_by_key(browser: Browser, trained: Path) -> None:
    opened(browser, trained, typed="the ", length=50)
    press(browser, "write")
    box = browser.value(
        "JSON.stringify(document.getElementById('text').children[1].getBoundingClientRect())"
    )
    at = json.loads(box)
    middle = {"x": at["x"] + at["width"] / 2, "y": at["y"] + at["height"] / 2}
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **middle)
    browser.wait(f"{COST}.startsWith('h ')")
    assert "bits. Likeliest: " in browser.value(COST)
    browser.value("document.getElementById('text').focus()")
    key(browser, "ArrowRight")
    assert browser.value(COST).startswith("e ")
    key(browser, "Home")
    assert browser.value(COST) == "t was the first."


def test_what_the_model_never_saw_is_left_out_and_named(browser: Browser, trained: Path) -> None:
    opened(browser, trained, typed="the é<b>ox", length=1)
    assert press(browser, "write").startswith("the box")
    assert "never saw them: é < >" in browser.value(STATUS)


def test_what_is_read_as_unknown_is_named(browser: Browser, tmp_path: Path) -> None:
    corpus = tmp_path / "x.txt"
    corpus.write_text("the box\n" * 100 + "q", encoding="utf-8")
    train(corpus, tmp_path, steps=3, min_count=2)
    opened(browser, tmp_path / "x", typed="the éox", length=1)
    assert press(browser, "write").startswith("the \ufffdox")
    assert "Read as unknown, for the model never saw them: é" in browser.value(STATUS)


def test_what_is_typed_is_read_in_the_normal_form_of_the_text(
    browser: Browser, tmp_path: Path
) -> None:
    corpus = tmp_path / "x.txt"
    corpus.write_text("café au lait\n" * 100, encoding="utf-8")
    train(corpus, tmp_path, steps=3, normalize="nfc")
    opened(browser, tmp_path / "x", typed="cafe\u0301", length=1)
    assert press(browser, "write").startswith("café")
    assert "never saw" not in browser.value(STATUS)


def test_markup_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    corpus = tmp_path / "x.txt"
    corpus.write_text("<img src=x onerror=alert(1)>\n" * 100)
    train(corpus, tmp_path, steps=3)
    page = opened(browser, tmp_path / "x", typed="<img src=x onerror=alert(1)>", length=5)
    assert press(browser, "write").startswith("<img src=x onerror=alert(1)>")
    assert browser.value("document.querySelectorAll('img, b').length") == 0
    assert browser.problems == []
    assert browser.requests == [page.as_uri()]


def test_the_policy_lets_the_processors_vector_units_be_used(
    browser: Browser, trained: Path
) -> None:
    opened(browser, trained)
    assert browser.value("model.head(new Float64Array(12)) instanceof Float32Array") is True


def test_the_network_is_forbidden(browser: Browser, trained: Path) -> None:
    opened(browser, trained)
    browser.value("fetch('http://127.0.0.1:9/').catch(() => { window.refused = true })")
    browser.wait("window.refused")
    assert any("Content Security Policy" in problem for problem in browser.problems)


@pytest.mark.parametrize("level", ["char", "byte"])
def test_a_document_ends_by_itself_and_the_next_begins_cold(
    browser: Browser, tmp_path: Path, level: str
) -> None:
    corpus = tmp_path / "x.txt"
    corpus.write_text("fox\ncrow\n" * 300)
    train(corpus, tmp_path, steps=150, lr=0.02, documents="line", level=level)
    opened(browser, tmp_path / "x", temperature=0, length=50)
    one = press(browser, "write")
    assert one in ("fox\n", "crow\n")
    unit = "character" if level == "char" else "byte"
    assert browser.value("$('status').textContent").startswith(f"{len(one) - 1} {unit}s, ")
    assert press(browser, "write") == 2 * one
    fill(browser, typed="c" if one == "fox\n" else "f")
    other = "crow\n" if one == "fox\n" else "fox\n"
    assert press(browser, "write") == 2 * one + other
    assert press(browser, "back") == 2 * one
    assert press(browser, "write") == 2 * one + other
    browser.value("explain(cells.at(-1))")
    assert browser.value(COST).startswith("line end ")
    assert "end " in browser.value(COST)
    assert browser.problems == []


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("backward", [False, True])
def test_bytes_and_models_that_read_backward(
    browser: Browser, tmp_path: Path, level: str, backward: bool
) -> None:
    corpus = tmp_path / "x.txt"
    corpus.write_text(prose(2000) + "grün 🦊 " * 300, encoding="utf-8")
    train(corpus, tmp_path, steps=20, level=level, backward=backward)
    opened(browser, tmp_path / "x", typed="grün 🦊", length=40, seed=1)
    one = press(browser, "write")
    assert one.endswith("grün 🦊") if backward else one.startswith("grün 🦊")
    two = press(browser, "write")
    assert two.endswith(one) if backward else two.startswith(one[:-1])
    assert press(browser, "back") == one
    assert browser.problems == []


def test_a_long_text_is_read_a_piece_at_a_time_and_can_be_stopped(
    browser: Browser, trained: Path
) -> None:
    opened(browser, trained, typed="the fox said " * 50_000, length=5)
    browser.value("document.getElementById('write').click()")
    browser.wait(f"{TEXT}.length > 100")
    assert browser.value("document.getElementById('write').textContent") == "Stop"
    read = len(press(browser, "write"))
    assert 100 < read < 13 * 50_000
    assert press(browser, "back") == ""
    fill(browser, typed="the fox", length=200, seed=7)
    one = press(browser, "write")
    press(browser, "over")
    fill(browser, typed="the fox", length=200, seed=7)
    assert press(browser, "write") == one


def test_stop_pressed_twice_begins_nothing(browser: Browser, trained: Path) -> None:
    opened(browser, trained, typed="the fox said " * 50_000, length=5)
    browser.value("document.getElementById('write').click()")
    browser.wait(f"{TEXT}.length > 100")
    browser.value("for (const n of [1, 2]) document.getElementById('write').click()")
    browser.wait("document.getElementById('write').textContent !== 'Stop'")
    assert press(browser, "back") == ""
    assert browser.problems == []


def test_stop_is_heard_whatever_stands_in_the_fields(browser: Browser, trained: Path) -> None:
    opened(browser, trained, typed="the", length=0)
    browser.value("document.getElementById('write').click()")
    browser.wait(f"{TEXT}.length > 100")
    fill(browser, temperature="")
    assert len(press(browser, "write")) > 100


def test_what_cannot_be_seen_is_named_too(browser: Browser, lines: Path) -> None:
    opened(browser, lines, typed="the\n", length=1)
    press(browser, "write")
    assert browser.value(STATUS).endswith("never saw them: line end")
