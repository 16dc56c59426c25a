"""What the documentation says of the code: names, signatures, fields, links and the help pages."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest

import textgen
from textgen import events
from textgen.config import Choices, SamplingOptions
from textgen.inference.text_model import TextModel

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
DOCUMENTED = {
    "train": textgen.train,
    "resume": textgen.resume,
    "compare": textgen.compare,
    "load": textgen.load,
    "serve": textgen.serve,
    "generate": TextModel.generate,
    "generate_many": TextModel.generate_many,
    "score": TextModel.score,
    "judge": TextModel.judge,
    "export": TextModel.export,
}


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the table whose first column is headed so."""
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def rendered_with(package: str) -> bool:
    """Whether `package` is of the version that docs/cli.md was made with."""
    return f"{package}=={version(package)}\n" in (ROOT / "constraints.txt").read_text()


def test_the_page_of_the_command_line_is_what_help_says_in_any_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
    page = made["PAGE"].read_text(encoding="utf-8")
    if not (rendered_with("typer") and rendered_with("rich")):
        page = made["page"]()  # other versions lay the help out differently
    for name, value in {
        "COLUMNS": "140",
        "FORCE_COLOR": "1",
        "GITHUB_ACTIONS": "1",
        "LC_ALL": "C",
        "TEXTGEN_CHECKPOINTS": "/elsewhere",
    }.items():
        monkeypatch.setenv(name, value)
    assert page == made["page"](), "docs/cli.md is stale; make it anew: python docs/make_cli.py"
    assert max(map(len, "".join(blocks(page, "text")).splitlines())) <= 80


@pytest.mark.parametrize("name", DOCUMENTED)
def test_signatures_are_those_of_the_code(name: str) -> None:
    named = re.findall(rf"`{name}(\([^`]*\))`", PYTHON)
    assert len(named) == 1
    scope: dict[str, Callable[..., object]] = {}
    exec(f"def documented{named[0]}: ...", scope)
    real = [
        parameter.replace(annotation=parameter.empty)
        for parameter in inspect.signature(DOCUMENTED[name]).parameters.values()
        if parameter.name != "self"
    ]
    assert list(inspect.signature(scope["documented"]).parameters.values()) == real


def test_every_choice_is_named() -> None:
    named = [name for _, cell in table(PYTHON, "`Choices`") for name in code(cell)]
    assert sorted(named) == sorted(field.name for field in fields(Choices))


def test_every_option_of_sampling_is_named_with_its_default() -> None:
    named = [(*code(name), default) for name, default, _ in table(PYTHON, "`SamplingOptions`")]
    assert named == [(field.name, str(field.default)) for field in fields(SamplingOptions)]


def test_every_event_is_named_with_fields_that_it_has() -> None:
    rows = {code(name)[0]: code(cell) for name, _, cell in table(PYTHON, "event")}
    assert rows.keys() == {event.__name__ for event in events.Event.__subclasses__()}
    for name, attributes in rows.items():
        event = getattr(events, name)
        known = {*event.__dataclass_fields__, *vars(event)}
        assert {*attributes} <= known


def test_the_code_of_the_page_compiles() -> None:
    found = blocks(PYTHON, "python")
    assert len(found) > 4
    for block in found + blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python"):
        compile(block, "docs/python.md", "exec")


def test_every_promise_names_a_test_that_keeps_it() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = table(text, "what happens") + table(text, "promise")
    tests = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    tests += (ROOT / "tests" / "faults" / "kinds.py").read_text(encoding="utf-8")
    for row in rows:
        assert code(row[-1]), row
        assert [name for name in code(row[-1]) if f"\ndef {name}(" not in tests] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_table_of_rooms_is_the_package() -> None:
    package = ROOT / "textgen"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    ground = {path.stem for path in package.glob("[!_]*.py")}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name.strip("/") for first, _ in table(text, "room") for name in code(first)]
    assert sorted(named) == sorted(rooms | ground)
