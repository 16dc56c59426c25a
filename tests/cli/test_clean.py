from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import textgen
from textgen.cli.app import app
from textgen.errors import RunError
from textgen.events import Finished
from textgen.store.lock import Lock

Call = Callable[..., str]


@pytest.fixture
def call(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """What `textgen clean` says, beside two finished runs `one` and `two`."""

    def clean(*arguments: str) -> str:
        assert app(["clean", *arguments], standalone_mode=False) is None
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return clean


def test_it_says_what_would_go_and_what_went(call: Call) -> None:
    last = Path("checkpoints/one/last.safetensors")
    going = sum(last.with_stem(name).stat().st_size for name in ("last", "previous"))
    said = call("--dry-run")
    assert said.count("would free") == 3
    assert last.exists()
    said = call()
    lines = said.splitlines()
    assert {line.split(":")[0] for line in lines} == {"one", "two", "in all"}
    assert lines[-1] == f"in all: freed {2 * going / 1000:.3g}kB"
    assert "a resume begins the optimizer anew, from best" in lines[0]
    assert not last.exists()
    assert call() == "in all: freed 0B\n"


def test_a_run_that_is_being_trained_is_left_alone(call: Call) -> None:
    lock = Lock(Path("checkpoints/two"))
    said = call("one", "two")
    lock.release()
    assert "note: two is left alone: run 'two' is being trained by" in said
    assert not Path("checkpoints/one/last.safetensors").exists()
    assert Path("checkpoints/two/last.safetensors").exists()


@pytest.mark.parametrize("name", ["thre", "one/last.safetensors"])
def test_an_unknown_run_is_refused(call: Call, name: str) -> None:
    with pytest.raises(RunError):
        call(name)


def test_what_was_cleaned_is_resumed_from_best(call: Call) -> None:
    call("one")
    with pytest.raises(RunError, match="is finished") as finished:
        next(textgen.resume("one"))
    assert finished.value.hint == "extend it: textgen resume one --steps 60"
    planned = next(events := textgen.resume("one", steps=2))
    assert "it holds weights alone" in planned.notices[-1]
    assert isinstance(list(events)[-1], Finished)
    assert Path("checkpoints/one/last.safetensors").exists()
