"""What a shell proposes, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from textgen.cli.app import app
from textgen.cli.completion import run_names

# as the installed script begins; what was imported is told at the end
PROGRAM = """
import atexit, sys
sys.argv = ["textgen"]
heavy = lambda: print(*{"torch", "numpy", "matplotlib"} & {*sys.modules}, file=sys.stderr)
atexit.register(heavy)
from textgen.__main__ import main
main()
"""
NAMES_RUNS = {"run", "runs", "checkpoint", "base", "forward_run", "backward_run"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("tales", "tasks", "other"):
        (folder / name).mkdir()
        (folder / name / "last.safetensors").write_bytes(b"")
    (folder / "tables").mkdir()  # is no run
    return folder


def proposed(line: str, checkpoints: Path, shell: str = "bash") -> list[str]:
    """What is proposed for the last word of a command line."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line}
    asked |= {"_TEXTGEN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **asked, "TEXTGEN_CHECKPOINTS": str(checkpoints)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == ""
    return done.stdout.splitlines()


def test_commands_and_flags_are_completed(checkpoints: Path) -> None:
    assert proposed("textgen re", checkpoints) == ["resume", "report"]
    assert "--temperature" in proposed("textgen sample --te", checkpoints)


@pytest.mark.parametrize(
    "line",
    [
        "textgen sample ta",
        "textgen eval page.txt -c ta",
        "textgen classify -c other -c ta",
        "textgen report other ta",
    ],
)
def test_names_of_runs_are_completed(checkpoints: Path, line: str) -> None:
    assert sorted(proposed(line, checkpoints)) == ["tales", "tasks"]


def test_the_folder_that_the_line_names_is_looked_into(checkpoints: Path, tmp_path: Path) -> None:
    line = f"textgen info --checkpoints {checkpoints} o"
    assert proposed(line, tmp_path) == ["other"]
    assert proposed("textgen info o", tmp_path / "none") == [""]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_too(checkpoints: Path, shell: str) -> None:
    told = "\n".join(proposed("textgen resume ta", checkpoints, shell))
    assert "tales" in told
    assert "tasks" in told
    assert "other" not in told


def test_every_parameter_that_names_a_run_is_completed(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTGEN_CHECKPOINTS", str(checkpoints))
    group = typer.main.get_command(app)
    found = 0
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        context = command.make_context(name, [], resilient_parsing=True)
        for parameter in command.params:
            is_new = parameter.name == "run" and name in ("train", "compare")
            names_a_run = parameter.name in NAMES_RUNS and not is_new
            if names_a_run:
                items = parameter.shell_complete(context, "ta")
                assert sorted(item.value for item in items) == ["tales", "tasks"], (name, parameter)
            found += names_a_run
    assert found >= 14
    assert run_names(context, "none") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_a_shell(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "_TEXTGEN_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_TEXTGEN_COMPLETE=complete_{shell}" in done.stdout
