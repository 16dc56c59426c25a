from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, ConsoleDimensions
from rich.text import Text
from test_display import EVALUATED, PLAN

from textgen.cli.display import _Panel
from textgen.cli.live import Display

UP = "\x1b[1A"


@pytest.mark.parametrize(("width", "rows"), [(80, 2), (41, 5), (40, 5), (20, 11), (120, 2)])
def test_all_rows_that_a_narrower_terminal_folds_are_erased(width: int, rows: int) -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, height=40)
    display = Display(console, lambda: Text("\n".join("-" * console.width for _ in range(3))))
    display.start()
    try:
        display._live.refresh()
        with display._live._lock:  # nothing else draws
            drawn.truncate(0)
            console.width = width
            display._live.refresh()
            assert drawn.getvalue().count(UP) == rows
            display._live.refresh()
            assert drawn.getvalue().count(UP) == rows + 2
    finally:
        display.stop(leave=True)


def test_ctrl_z_clears_the_display_and_going_on_draws_it_anew(corpus: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    small = "--hidden 8 --embedding 4 --batch-size 2 --bptt 8 --precision fp32 --steps 1000000"
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", "train", corpus, *small.split()],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )

    def until(text: bytes) -> None:
        seen = b""
        while text not in seen:
            seen += os.read(leader, 65536)

    until(b"chars/s")
    until(b"left")
    process.send_signal(signal.SIGTSTP)
    until(b"\x1b[?25h")  # the cursor is shown
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    process.send_signal(signal.SIGCONT)
    until(b"\x1b[?25l")
    until(b"left")
    process.send_signal(signal.SIGINT)
    until(b"saved; go on with")
    assert process.wait(timeout=60) == 130
    os.close(leader)
    os.close(follower)


def test_a_row_that_the_terminal_finds_too_wide_is_not_folded() -> None:
    """Rich takes a vowel sign of Devanagari for no column, many terminals for one."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=10, height=40)
    display = Display(console, lambda: Text("\u0915\u093e" * 10, overflow="crop", no_wrap=True))
    display.start()
    display.stop(leave=True)
    frames = drawn.getvalue().split("\x1b[?7l")[1:]
    assert frames
    for frame in frames:
        row, on, _ = frame.partition("\x1b[?7h")
        assert "\u0915\u093e" in row
        assert on
    assert "\u0915" not in re.sub(r"\x1b\[\?7l.*?\x1b\[\?7h", "", drawn.getvalue(), flags=re.DOTALL)


def test_in_the_background_nothing_is_drawn_and_the_cursor_is_left_to_the_shell(
    corpus: Path, tmp_path: Path
) -> None:
    shell = (
        "import fcntl, os, signal, subprocess, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "child = subprocess.Popen(sys.argv[1:], process_group=0, stdin=subprocess.DEVNULL)\n"
        "print('child', child.pid, flush=True)\n"
        "sys.stdin.readline()\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        "os.tcsetpgrp(0, child.pid)\n"
        "sys.exit(child.wait())\n"
    )
    small = "--hidden 8 --embedding 4 --batch-size 2 --bptt 8 --precision fp32 --steps 1000000"
    train = ["-m", "textgen", "train", str(corpus), *small.split(), "--eval-every", "100"]
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", shell, sys.executable, *train],
        cwd=tmp_path,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
        start_new_session=True,
    )
    os.close(follower)

    def until(text: bytes) -> bytes:
        seen, latest = b"", time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < latest, seen
            if select.select([leader], [], [], 1)[0]:
                seen += os.read(leader, 65536)
        return seen

    child = int(until(b"\n").split()[1])
    try:
        seen = until(b"bits/char")
        assert b" left" not in seen
        assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")
        os.write(leader, b"\n")
        until(b" left")
        os.write(leader, b"\x03")
        until(b"saved; go on with")
        assert process.wait(timeout=60) == 130
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        os.close(leader)


@pytest.mark.parametrize("width", [0, 1, 5, 6, 7])
def test_a_terminal_of_hardly_any_columns_is_drawn_on(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=40)
    panel = _Panel(console)
    for event in (PLAN, EVALUATED, replace(EVALUATED, step=2400, val_nats=1.2)):
        panel.show(event)
    display = Display(console, panel.frame)
    display.start()
    try:
        with display._live._lock:
            monkeypatch.setattr(Console, "width", width)
            monkeypatch.setattr(Console, "size", ConsoleDimensions(width, 40))
            display._live.refresh()
            display._live.refresh()
    finally:
        display.stop(leave=True)
