from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import textgen
from textgen.cli.play import play
from textgen.cli.session import Session
from textgen.cli.terminal import Output
from textgen.errors import CheckpointError, UnknownCharacters, UsageError


@pytest.fixture
def session(trained: Path) -> Session:
    session = Session(textgen.load(trained))
    session.command("/seed 5")
    session.command("/length 80")
    return session


@pytest.fixture
def turn(session: Session, capfdbinary: pytest.CaptureFixture[bytes]):
    """Take a turn; what is written after the text given."""

    def take(text: str) -> str:
        with Output() as output:
            session.turn(text, output)
        written = capfdbinary.readouterr().out.decode()
        assert written.startswith(text)
        assert written.endswith("\n")
        return written[len(text) : -1]

    return take


def test_turns_carry_the_state_on(session: Session, turn) -> None:
    written = turn("The fox ") + turn("") + turn("")
    model = session.model
    assert written == "".join(model.generate("The fox ", length=240, seed=5))


def test_undo_takes_a_turn_back_and_does_not_write_the_same_again(session: Session, turn) -> None:
    first = turn("The fox ")
    before = session.position
    second = turn("")
    assert "seed 6" in session.command("/undo")
    assert session.position is before
    third = turn("")
    assert third != second
    session.command("/undo")
    session.command("/undo")
    assert session.position is None
    session.command("/seed 5")
    assert turn("The fox ") == first
    session.command("/undo")
    with pytest.raises(UsageError, match="no turn"):
        session.command("/undo")


def test_after_the_largest_seed_comes_0(session: Session, turn) -> None:
    turn("The fox ")
    session.command(f"/seed {2**63 - 1}")
    assert session.command("/undo").endswith("; seed 0")
    assert session.position is None


def test_the_help_fits_80_columns(session: Session) -> None:
    assert all(len(line) < 80 for line in session.command("/help").splitlines())


def test_what_is_said_at_the_start_is_the_models_name(
    trained: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    textgen.load(trained).export(tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("The fox\r\n"))
    play("mine.safetensors")
    out, err = capfd.readouterr()
    assert err.startswith("mine: type")
    assert "error" not in err
    assert out.startswith("The fox")


def test_seed_begins_its_draws_anew(session: Session, turn) -> None:
    turn("The fox ")
    session.command("/seed 9")
    first = turn("The ")
    session.command("/undo")
    session.command("/seed 9")
    assert turn("The ") == first


def test_reset_forgets(session: Session, turn) -> None:
    first = turn("The king ")
    turn("said ")
    session.command("/reset")
    session.command("/seed 5")
    assert turn("The king ") == first


def test_settings_change_what_is_written(session: Session, turn) -> None:
    for line, said in {
        "/temp 0": "temperature 0",
        "/top-k 3": "top-k 3",
        "/top-p 0.5": "top-p 0.5",
        "/min-p 0.1": "min-p 0.1",
        "/length 33": "length 33",
    }.items():
        assert session.command(line) == said
    greedy = session.model.generate("The ", length=33, temperature=0)
    assert turn("The ") == "".join(greedy)


def test_a_state_is_saved_and_loaded(session: Session, turn, tmp_path: Path) -> None:
    turn("The moon ")
    assert str(tmp_path / "moon") in session.command(f"/save {tmp_path / 'moon'}")
    expected = turn("")
    session.command("/reset")
    session.command(f"/load {tmp_path / 'moon'}")
    assert turn("") == expected


@pytest.mark.parametrize(
    "line",
    ["/dance", "/", "/temp", "/temp hot", "/temp -1", "/temp nan", "/top-k 1.5", "/top-p 2"],
)
def test_commands_that_make_no_sense_say_so_and_change_nothing(session: Session, line: str) -> None:
    before = (session.options, session.position)
    with pytest.raises(UsageError):
        session.command(line)
    assert (session.options, session.position) == before


@pytest.mark.parametrize("line", ["/length 0", "/length x", "/seed -1", "/save", "/load", "/undo"])
def test_so_do_those_that_lack_what_they_need(session: Session, line: str) -> None:
    with pytest.raises(UsageError):
        session.command(line)


def test_of_a_text_that_cannot_be_read_nothing_is_written(
    session: Session, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with Output() as output, pytest.raises(UnknownCharacters):
        session.turn("The \u20ac", output)
    assert capfdbinary.readouterr().out == b""


def test_after_whatever_goes_wrong_the_next_turn_is_taken(
    trained: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Session, "_undo", broken)
    nines = "9" * 5000
    lines = [f"/seed {nines}", f"/seed {nines[:26]}", f"/top-k {nines[:26]}", f"/temp {nines}"]
    lines += ["/length 5", "The", f"/save {tmp_path}", "/save a/b", "/load", "/load .", "/undo"]
    lines += ["/load /dev/zero", "/load " + "x" * 300, "\u20ac", "The fox"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    play(str(trained))
    out, err = capfd.readouterr()
    assert out.startswith("The")  # and five characters, of which one may be a newline
    assert "\nThe fox" in out
    assert "hint: /load FILE" in err
    found = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(found) == 12
    assert [line for line in found if "unexpected" in line] == [
        "error: unexpected ZeroDivisionError: division by zero"
    ]
    assert max(map(len, err.splitlines())) < 500


def test_a_file_that_is_no_state_is_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        session.command(f"/load {tmp_path / 'missing'}")


def test_on_a_terminal_ctrl_c_stops_the_writing_and_ctrl_d_the_session(trained: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", "play", str(trained)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(follower)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        give_up = time.monotonic() + 60
        while text not in seen:
            ready, _, _ = select.select([leader], [], [], give_up - time.monotonic())
            assert ready, seen
            seen += os.read(leader, 65536).decode(errors="replace")
        seen = seen.partition(text)[2]

    until("> ")
    os.write(leader, b"/length 100000000\n")
    until("length 100000000")
    until("> ")
    os.write(leader, b"The fox\n")
    until("The fox")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    until("> ")
    os.write(leader, b"/length 5\n")
    until("length 5")
    until("> ")
    os.write(leader, b"\x04")
    assert process.wait(timeout=60) == 0
    os.close(leader)
