from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from textgen.cli import fill
from textgen.store.runs import list_runs


@pytest.mark.parametrize("left", ["The old ", "The old fox " * 20, "\u5149" * 90], ids=len)
@pytest.mark.parametrize("text", ["gold", "a" * 50], ids=len)
@pytest.mark.parametrize("right", ["", " moon.", " and then it went on" * 9], ids=len)
def test_what_is_proposed_is_seen_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, left: str, text: str, right: str
) -> None:
    assert fill._between(left, text, right) == left + text + right
    monkeypatch.setattr(fill, "looking", lambda stream: True)
    row = fill._between(left, text, right)
    before, _, after = row.partition(text)
    assert cell_len(before + text) + min(10, len(right)) <= fill.ROOM
    assert left.endswith(before.removeprefix("\u2026"))
    assert after == right
    assert before == left or cell_len(before) >= 9


def test_a_run_that_cannot_be_read_is_passed_over_and_it_is_said(
    two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latest, other = (run.to_sample() for run in list_runs(two_runs / "checkpoints"))
    with open(latest, "r+b") as file:
        file.truncate(100)
    assert fill._latest(two_runs / "checkpoints") == other
    assert capsys.readouterr().err.startswith(f"note: {latest} is truncated")
