"""The kinds of faults: each a function that lets one befall a run, and waits for what it does."""

from __future__ import annotations

import errno
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faults.processes import Process
from faults.server import CUT_SHORT
from faults.trials import STEPS, Skipped, Trial, whole

SMALL_DISK = 2 * 2**20  # bytes
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}  # exit codes
CALLS = 600  # about as many as a whole run makes to change the disk


def killed(trial: Trial) -> None:
    """SIGKILL, as by the kernel when memory is short, or by a power cut."""
    process = trial.train()
    trial.moment()
    process.send(signal.SIGKILL)
    process.wait()
    trial.lost = 1


def terminated(trial: Trial) -> None:
    """SIGTERM."""
    _stopped(trial, signal.SIGTERM)


def interrupted(trial: Trial) -> None:
    """Ctrl-C, once."""
    _stopped(trial, signal.SIGINT)


def interrupted_often(trial: Trial) -> None:
    """Ctrl-C, again and again."""
    _stopped(trial, *[signal.SIGINT] * trial.rng.randint(2, 9))


def _stopped(trial: Trial, *signals: signal.Signals) -> None:
    process = trial.train()
    trial.moment()
    for number in signals:
        process.send(number)
        trial.pause(0.03)
    process.wait()
    expected = {0, STOPPED[signals[0]]}
    if not process.events("planned"):  # there is nothing yet to save
        expected.add(-signals[0])
    assert process.code in expected, (process.code, process.printed)


def suspended(trial: Trial) -> None:
    """SIGSTOP, and SIGCONT some time later."""
    process = trial.train()
    for _ in range(trial.rng.randint(1, 3)):
        trial.moment()
        process.send(signal.SIGSTOP)
        trial.pause(0.1)
        process.send(signal.SIGCONT)
    assert process.wait() == 0, process.printed


def hung_up(trial: Trial) -> None:
    """The terminal is closed."""
    master, slave = pty.openpty()
    process = trial.train(err=os.ttyname(slave), terminal=True)
    process.wait_until(lambda: os.tcgetpgrp(master) > 0)  # it has opened the terminal
    os.close(slave)
    reader = _drained(master)
    next(reader)
    step = trial.rng.randrange(STEPS - 6)
    process.wait_until(lambda: (next(reader), len(process.events("stepped")) >= step)[1])
    reader.close()
    os.close(master)
    process.wait()
    expected = {0, STOPPED[signal.SIGHUP]}
    if not process.events("planned") or process.events("finished"):  # nothing to save, or all is
        expected.add(-signal.SIGHUP)
    assert process.code in expected, (process.code, process.printed)


def _drained(master: int) -> Iterator[None]:
    """Reads what is printed on a terminal, so that its buffer is never full."""
    os.set_blocking(master, False)
    while True:
        with suppress(OSError):
            os.read(master, 2**16)
        yield


def disk_full(trial: Trial) -> None:
    """The disk becomes full; room is made while it trains, or when it has given up."""
    with _small_disk(trial) as disk:
        process = trial.train()
        trial.moment()
        filler = disk / "filler"
        _fill(filler, keep=trial.rng.choice((0, 5000, 50_000, 200_000)))
        _mended(trial, process, filler.unlink)


def _fill(path: Path, keep: int) -> None:
    """Write until the disk is full but for `keep` bytes."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - keep))


def read_only(trial: Trial) -> None:
    """The disk becomes read-only, and later not."""
    with _small_disk(trial) as disk:
        process = trial.train()
        trial.moment()
        while _mount("-o", "remount,ro", disk).returncode:  # a file is being written just now
            time.sleep(0.001)
        _mended(trial, process, lambda: _mount("-o", "remount,rw", disk).check_returncode())


def _mended(trial: Trial, process: Process, mend: Callable[[], object]) -> None:
    """Mend the disk while the run trains, or after its end, which then is an error."""
    trial.lost = None
    if trial.rng.random() < 0.5:
        trial.pause(0.3)
        mend()
        assert process.wait() in (0, 1), process.printed
    else:
        process.wait()
        mend()
    if process.code:
        assert "error: cannot save in" in process.printed, process.printed
    trial.check()


@contextmanager
def _small_disk(trial: Trial) -> Iterator[Path]:
    """Puts the run on a small file system of its own."""
    with small_disk(trial.checkpoints / "disk", SMALL_DISK) as disk:
        trial.checkpoints = disk
        trial.__post_init__()
        yield disk


@contextmanager
def small_disk(disk: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at a new folder `disk`."""
    disk.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk)
    if mounted.returncode:
        disk.rmdir()
        raise Skipped(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _mount(*arguments: object) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    except FileNotFoundError:
        raise Skipped("there is no mount command") from None


def moved(trial: Trial) -> None:
    """The run's folder is renamed while it trains: both it and the new one are whole."""
    process = trial.train_until_let()
    trial.moment(STEPS - 2)
    elsewhere = trial.checkpoints / "elsewhere"
    if trial.folder.exists():
        saved = max(process.events("saved"), default=0)
        trial.folder.rename(elsewhere)
    trial.let()
    assert process.wait() == 0, process.printed
    if (elsewhere / "last.safetensors").exists():
        assert whole(elsewhere) >= saved


def removed(trial: Trial) -> None:
    """The run's folder is removed while it trains."""
    process = trial.train_until_let()
    trial.moment(STEPS - 5)
    for path in sorted(trial.folder.rglob("*")):
        path.unlink(missing_ok=True)
        trial.pause(0.002)
    with suppress(OSError):  # something new is in it, or it was never made
        trial.folder.rmdir()
    trial.let()
    assert process.wait() == 0, process.printed


def cut_short(trial: Trial) -> None:
    """The process ends between two of the calls that write its files."""
    process = trial.train(fault={"at": trial.rng.randint(1, CALLS), "error": 0})
    assert process.wait() in (0, CUT_SHORT), process.printed
    trial.lost = 1


def failing_call(trial: Trial) -> None:
    """One of the calls that write its files fails."""
    error = trial.rng.choice((errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS))
    process = trial.train(fault={"at": trial.rng.randint(1, CALLS), "error": error})
    assert process.wait() in (0, 1), process.printed
    if process.code:
        assert "error: cannot save in" in process.printed, process.printed
    trial.lost = 1


def clocks(trial: Trial) -> None:
    """The clocks jump while it trains."""
    process = trial.train(clock=trial.rng.randrange(10**9))
    assert process.wait() == 0, process.printed


def second_trainer(trial: Trial) -> None:
    """Others want to train the same run; they are refused, and the first does not notice."""
    process = trial.train_until_let()
    process.wait_until(lambda: process.events("stepped"))
    trial.moment(STEPS // 2)
    process.send(signal.SIGSTOP)  # so that it is not at its end before the others are
    where = ("--checkpoints", trial.checkpoints, "--json")
    again = ("train", trial.corpus, "--run", "tales", "--overwrite", "--steps", "9", *where)
    others = [trial.resume(), trial.server.start("command", *again, "--hidden", "8")]
    for other in others:
        assert other.wait() == 1, other.printed
        assert "is being trained by" in other.printed, other.printed
    process.send(signal.SIGCONT)
    trial.let()
    assert process.wait() == 0, process.printed


def readers(trial: Trial) -> None:
    """Others read the run's files while they are written."""
    process = trial.train()
    process.wait_until(lambda: len(process.events("saved")) > 8)  # there is a `best` too
    others = [trial.server.start("read", trial.folder, 5) for _ in range(trial.rng.randint(2, 5))]
    for other in others:
        assert other.wait() == 0, other.printed
    assert process.wait() == 0, process.printed


KINDS: tuple[Callable[[Trial], None], ...] = (
    killed,
    terminated,
    interrupted,
    interrupted_often,
    suspended,
    hung_up,
    disk_full,
    read_only,
    moved,
    removed,
    cut_short,
    failing_call,
    clocks,
    second_trainer,
    readers,
)
