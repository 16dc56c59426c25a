"""Whatever is typed, chosen or set ends in an answer, or in an error that was foreseen."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from faults.rot import NASTY, Files, try_values
from hypothesis import strategies as st

import textgen
from textgen.cli import app
from textgen.cli.session import Session
from textgen.cli.terminal import Output
from textgen.config import Choices, SamplingOptions, ServingOptions
from textgen.errors import TextgenError

EXAMPLES = 40

TEXTS = st.one_of(
    st.sampled_from(
        (
            *(str(value).replace("\0", "") for value in NASTY),
            "9" * 26,
            "0x10",
            "1_0",
            "1e5",
            "-1",
            "cpu:0",
            "idna",
        )
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.text("abc ./-\n\t\x1b'\"$`\\", max_size=300),
)
# what each command is tried with: a value replaces VALUE
COMMANDS = [
    *(
        ["train", "abc.txt", "--steps=1", "--dry-run", f"--{field.name.replace('_', '-')}=VALUE"]
        for field in fields(Choices)
        if field.name not in ("time", "steps", "epochs", "skip")  # measuring takes seconds
    ),
    ["train", "abc.txt", "--dry-run", "--steps=VALUE"],
    ["train", "abc.txt", "--dry-run", "--epochs=VALUE"],
    ["train", "abc.txt", "--steps=1", "--dry-run", "--run=VALUE"],
    ["train", "VALUE", "--steps=1", "--dry-run"],
    ["resume", "VALUE"],
    *(
        ["sample", "--num=1", "--length=3", f"--{name}=VALUE"]
        for name in "temp top-k top-p min-p seed stop unknown prompt device load-state".split()
    ),
    ["sample", "VALUE", "--length=3"],
    ["sample", "--length=3", "--prompt=a", "--save-state=VALUE"],
    ["eval", "-c", "VALUE"],
    ["eval", "VALUE"],
    ["info", "VALUE"],
    ["ls", "--checkpoints=VALUE"],
]


def test_values_of_the_command_line(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever is typed ends in an answer, or in an error that was foreseen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTGEN_CHECKPOINTS", str(files.run.parent))
    Path("abc.txt").write_bytes((files.run.parent / "abc.txt").read_bytes())

    def check(typed: tuple[list[str], str]) -> None:
        command, value = typed
        arguments = [argument.replace("VALUE", value) for argument in command]
        monkeypatch.setattr(sys, "argv", ["textgen", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        printed = capsys.readouterr()
        assert ended.value.code in (None, 0, 1, 2), (arguments, printed)
        assert "unexpected" not in printed.err, (arguments, printed.err)
        assert "Traceback" not in printed.err, (arguments, printed.err)

    try_values(st.tuples(st.sampled_from(COMMANDS), TEXTS), 3 * EXAMPLES, check)


def test_commands_of_a_session(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session refuses what it cannot do, and goes on."""
    monkeypatch.chdir(tmp_path)
    session = Session(textgen.load(files.run))
    names = "temp top-k top-p min-p length unknown seed reset undo save load help no".split()

    def check(typed: tuple[str, str]) -> None:
        with suppress(TextgenError):
            session.command(f"/{typed[0]} {typed[1]}")

    try_values(st.tuples(st.sampled_from(names), TEXTS), 3 * EXAMPLES, check)
    for command in ("/reset", "/length 5"):
        session.command(command)
    with Output() as output:
        session.turn("", output)


def test_settings() -> None:
    """Every setting takes a value, and again what it made of it, or refuses it as one of no run."""
    owners = (Choices, SamplingOptions, ServingOptions)
    known = [(owner, f.name) for owner in owners for f in fields(owner)]

    def check(chosen: tuple[tuple[type, str], Any]) -> None:
        (owner, name), value = chosen
        with suppress(TextgenError):
            made = owner(**{name: value})
            assert owner(**{name: getattr(made, name)}) == made

    values = st.one_of(
        st.sampled_from(NASTY), st.integers(), st.floats(allow_subnormal=False), TEXTS
    )
    try_values(st.tuples(st.sampled_from(known), values), 3 * EXAMPLES, check)
