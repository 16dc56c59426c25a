from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from textgen.cli import app
from textgen.store.lock import Lock

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(
    two_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """The exit code and stderr of a command, beside two runs `one` and `two`."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["textgen", *arguments])
        with pytest.raises(SystemExit) as caught:
            app.main()
        printed = capsys.readouterr()
        assert printed.out == ""
        return int(caught.value.code or 0), printed.err

    return run


def left() -> set[str]:
    return {path.name for path in Path("checkpoints").iterdir()}


def test_runs_are_removed(call: Call) -> None:
    code, said = call("rm", "one", "two", "checkpoints/one", "--yes")
    assert code == 0
    assert [line.split(",")[0] for line in said.splitlines()] == ["removed one", "removed two"]
    assert left() == set()


def test_the_files_of_others_stay(call: Call) -> None:
    Path("checkpoints/one/notes.txt").write_text("mine")
    assert call("rm", "one", "--yes")[1].endswith(
        "; checkpoints/one stays, other files are in it\n"
    )
    assert [path.name for path in Path("checkpoints/one").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("answer", "gone"), [("y\n", {"one"}), ("\n", set()), ("n\n", set())])
def test_it_asks_on_a_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch, answer: str, gone: set[str]
) -> None:
    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    code, said = call("rm", "one")
    assert "remove checkpoints/one (" in said
    assert left() == {"one", "two"} - gone
    assert code == (0 if gone else 1)


def test_it_removes_nothing_where_nobody_can_be_asked(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, said = call("rm", "one")
    assert code == 2
    assert said.endswith("hint: add --yes\n")
    assert left() == {"one", "two"}


def test_ctrl_d_is_no_and_the_answer_has_its_own_line(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.StringIO("")
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    code, said = call("rm", "one")
    assert code == 1
    assert said.endswith(" [y/N] \nnothing is removed\n")


def test_of_a_link_to_a_run_both_go(call: Call) -> None:
    Path("checkpoints/alias").symlink_to("one")
    code, said = call("rm", "alias", "--yes")
    assert code == 0
    assert "other files" not in said
    assert left() == {"two"}
    assert not Path("checkpoints/alias").is_symlink()


def test_nothing_is_removed_if_one_of_the_runs_cannot_be(call: Call) -> None:
    assert call("rm", "one", "thre", "--yes")[0] == 1
    lock = Lock(Path("checkpoints/two"))
    code, said = call("rm", "one", "two", "--yes")
    lock.release()
    assert code == 1
    assert "run 'two' is being trained by another process: process" in said
    assert left() == {"one", "two"}
