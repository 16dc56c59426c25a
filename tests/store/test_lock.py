from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from textgen.errors import RunError
from textgen.store import files
from textgen.store import lock as lock_module
from textgen.store.lock import Lock


@pytest.fixture(params=["flock", "by name"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run, on a file system that can lock files, and on one that cannot."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if request.param == "by name":
        monkeypatch.setattr(files.fcntl, "flock", unsupported)
    return tmp_path / "plays"


def test_one_holds_it_and_the_other_is_told_which_process(folder: Path) -> None:
    lock = Lock(folder)
    me = f"process {os.getpid()} on {socket.gethostname()}"
    with pytest.raises(RunError, match=f"by another process: {me}"):
        Lock(folder)
    assert lock.is_held()
    lock.release()
    assert (folder / ".lock").read_bytes() == b""
    Lock(folder).release()
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_what_a_dead_process_held_is_taken_over(folder: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder.mkdir()
    (folder / ".lock").write_text(f"{dead.pid} {socket.gethostname()}\n")
    lock = Lock(folder)
    assert (folder / ".lock").read_text().startswith(f"{os.getpid()} ")
    lock.release()
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_full_disk_does_not_keep_a_run_from_being_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    lock = Lock(tmp_path)
    with pytest.raises(RunError, match=r"is being trained by another process$"):
        Lock(tmp_path)
    lock.release()


def test_without_locks_a_process_of_another_host_is_taken_to_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.store.lock.try_lock", lambda _: None)
    folder = tmp_path / "my plays"
    folder.mkdir()
    (folder / ".lock").write_bytes(b"\xff\n\x1b[2J")
    with pytest.raises(RunError) as caught:
        Lock(folder)
    assert caught.value.message.isprintable()
    (folder / ".lock").write_text("1 elsewhere.example\n")
    with pytest.raises(RunError, match=r"process 1 on elsewhere\.example") as caught:
        Lock(folder)
    remedy = caught.value.hint.partition("if that is dead, remove its lock: ")[2]
    assert remedy == f"rm '{folder}/.lock'"
    subprocess.run(remedy, shell=True, check=True)
    Lock(folder).release()


def test_it_is_known_when_the_folder_is_another(folder: Path) -> None:
    lock = Lock(folder)
    (folder / ".lock").unlink()
    assert (lock.is_held(), lock.has_folder()) == (False, True)
    folder.rename(folder.with_name("moved"))
    assert (lock.is_held(), lock.has_folder()) == (False, False)
    folder.mkdir()
    assert not lock.has_folder()
    lock.release()


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "mine").write_text("mine")
    (folder / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic"):
        Lock(folder)
    assert (tmp_path / "mine").read_text() == "mine"


def test_where_signal_0_is_ctrl_c_no_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    holder = f"{os.getpid()} {socket.gethostname()}".encode()
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", lambda process, _: asked.append(process))
        assert lock_module._lives(holder)
        patched.setattr(os, "name", "nt")
        assert lock_module._lives(holder)
    assert asked == [os.getpid()]
