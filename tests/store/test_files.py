from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from textgen.store import files
from textgen.store.files import open_regular, remove_partial, replace_by_link, unfit, write_file
from textgen.text import disk

STALE = ".textgen-0123456789abcdef.partial"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in ([b"one"], [b"two", memoryview(b"three")]):
        write_file(path, data)
        assert path.read_bytes() == b"".join(data)
    assert names(tmp_path) == {"x"}
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def test_a_file_of_the_user_is_neither_written_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "x.partial").write_text("mine")
    (tmp_path / "y.partial").symlink_to(tmp_path / "x.partial")
    (tmp_path / "z").symlink_to(tmp_path / "x.partial")
    for name in "xyz":
        write_file(tmp_path / name, [b"new"])
        assert (tmp_path / name).read_bytes() == b"new"
    assert (tmp_path / "x.partial").read_text() == "mine"
    assert names(tmp_path) == {*"xyz", "x.partial", "y.partial"}


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), SystemExit()]
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_is_broken_off_leaves_the_old_file_alone(
    tmp_path: Path, call: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    path = tmp_path / "x"
    path.write_text("old")
    monkeypatch.setattr(os, call, broken)
    with pytest.raises(type(error)):
        write_file(path, [b"new"])
    assert path.read_text() == "old"
    assert names(tmp_path) == {"x"}


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / STALE).write_bytes(b"half")
    (tmp_path / ".textgen-mine").write_text("of the user")

    def slow() -> Iterator[bytes]:
        yield b"one"
        write_file(tmp_path / "y", [b"other"])  # sweeps the folder meanwhile
        yield b"two"

    write_file(tmp_path / "x", slow())
    assert (tmp_path / "x").read_bytes() == b"onetwo"
    assert names(tmp_path) == {"x", "y", ".textgen-mine"}


def test_a_write_that_is_killed_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from textgen.store.files import write_file;"
        "os.replace = lambda *_: os.kill(os.getpid(), 9); write_file(Path(sys.argv[1]), [b'x'])"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "x"]).returncode == -9
    assert len(names(tmp_path)) == 1
    assert remove_partial(tmp_path, dry_run=True) == 1
    write_file(tmp_path / "x", [b"y"])
    assert names(tmp_path) == {"x"}


def test_where_files_cannot_be_locked_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    (tmp_path / STALE).write_bytes(b"half")
    write_file(tmp_path / "x", [b"new"])
    assert names(tmp_path) == {"x", STALE}


def test_a_link_is_followed_nowhere_when_partial_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / STALE).symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / STALE.replace("0", "1"))
    assert remove_partial(tmp_path) == 0
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_is_kept_under_another_name(
    tmp_path: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not linked:
        monkeypatch.setattr(os, "link", unsupported)
    last, previous = tmp_path / "last", tmp_path / "previous"
    previous.write_text("0")
    for step in "12":
        last.unlink(missing_ok=True)
        last.write_text(step)
        for _ in range(2):
            replace_by_link(previous, last)
            assert previous.read_text() == last.read_text() == step
    assert names(tmp_path) == {"last", "previous"}


def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = {
        "pipe": "a pipe",
        ".": "a folder",
        "loop": "symbolic",
        "x" * 300: "long",
        "a\0b": "null",
    }
    for name, what in [*found.items(), ("/dev/zero", "a device")]:
        with pytest.raises(OSError, match=what):
            open_regular(tmp_path / name)


def test_a_folder_without_leave_to_write_is_found_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").write_text("ours")
    paths = [tmp_path / "new", tmp_path / "old"]
    assert [unfit(path, "page", lambda _: True) for path in paths] == [None, None]
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    told = f"in {tmp_path}, where there is no leave to write"
    assert [unfit(path, "page", lambda _: True) for path in paths] == [told, told]


def test_on_macos_a_file_reaches_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def control(descriptor: int, command: int) -> None:
        calls.append(f"fcntl {command}")
        if calls.count("fcntl 51") > 2:
            raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(disk, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=control))
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    write_file(tmp_path / "x", [b"one"])
    assert calls == ["fcntl 51"] * 2  # the file and its folder
    write_file(tmp_path / "x", [b"two"])
    assert calls[2:] == ["fcntl 51", "fsync"] * 2
