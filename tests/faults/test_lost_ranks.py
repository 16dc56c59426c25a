"""The processes of one launch: one of them is killed, or Ctrl-C is typed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import forked_ranks
import pytest

import textgen
from textgen.events import Stepped
from textgen.store.checkpoint import read_header
from textgen.store.contents import read_resumed

FLAGS = "--hidden 12,12 --embedding 6 --batch-size 5 --bptt 16 --precision fp32 --lr 0.01"
STEPS = 300
FORKED = (forked_ranks.__file__, "2")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
LIMIT = 120  # seconds after which a process counts as one that never ends


@dataclass
class Launched:
    """Two ranks and what started them, in a process group of their own."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def events(self, name: str) -> list[dict]:
        lines = self.out.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == name]

    def wait_until_step(self, step: int) -> None:
        until = time.monotonic() + LIMIT
        while not any(event["step"] >= step for event in self.events("stepped")):
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def wait(self) -> int:
        return self.process.wait(LIMIT)

    @property
    def said(self) -> str:
        """What the ranks say, without torchrun's own words."""
        return "".join(re.findall(r"^(?:error|hint|saved|note).*\n", self.err.read_text(), re.M))


@contextmanager
def launched(
    corpus: Path, folder: Path, *flags: str, launcher: tuple[str, ...], steps: int = STEPS
) -> Iterator[Launched]:
    out, err = folder / "out", folder / "err"
    command = [sys.executable, *launcher, "-m", "textgen", "train", str(corpus)]
    command += [*FLAGS.split(), "--checkpoints", str(folder), "--json"]
    command += ["--steps", str(steps), "--save-every", "0.3s", *flags]
    with out.open("wb") as o, err.open("wb") as e:
        process = subprocess.Popen(command, stdout=o, stderr=e, start_new_session=True)
    try:
        yield Launched(process, out, err)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rank_pid(launch: Launched, rank: int) -> int:
    """The process of a rank: the launcher starts them in order."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(launch.process.pid)], capture_output=True, text=True
    )
    return sorted(map(int, found.stdout.split()))[rank]


def assert_nobody_is_left(launch: Launched) -> None:
    with pytest.raises(ProcessLookupError):
        os.killpg(launch.process.pid, 0)


def assert_goes_on(folder: Path) -> None:
    """The last checkpoint is whole, and one process goes on from it."""
    header = read_header(folder / "tales" / "last.safetensors")
    read_resumed(header)
    events = textgen.resume(folder / "tales")
    assert next(e.step for e in events if isinstance(e, Stepped)) == header.record.step + 1
    events.close()  # type: ignore[attr-defined]


def kill_and_restart(corpus: Path, folder: Path, rank: int, step: int) -> None:
    """torchrun takes the run up again from its last save, and it goes on to the end."""
    with launched(
        corpus, folder, "--overwrite", launcher=(*TORCHRUN, "--max-restarts", "1")
    ) as launch:
        launch.wait_until_step(step)
        os.kill(rank_pid(launch, rank), signal.SIGKILL)
        assert launch.wait() == 0, launch.err.read_text()
        plans = launch.events("planned")
        assert f"rank {rank} of 2 is gone" in launch.said
    assert len(plans) == 2
    saved = [event["step"] for event in launch.events("saved")]
    assert plans[1]["step"] in saved
    assert launch.events("finished")[0]["step"] == STEPS


def kill(
    corpus: Path, folder: Path, rank: int, step: int, launcher: tuple[str, ...] = TORCHRUN
) -> None:
    with launched(corpus, folder, launcher=launcher, steps=10**6) as launch:
        launch.wait_until_step(step)
        os.kill(rank_pid(launch, rank), signal.SIGKILL)
        assert launch.wait() != 0
        assert f"rank {rank} of 2 is gone" in launch.said
        assert launch.said.count("error") == 1
        assert_nobody_is_left(launch)
    assert_goes_on(folder)


def interrupt(
    corpus: Path,
    folder: Path,
    step: int,
    launcher: tuple[str, ...] = TORCHRUN,
    *,
    group: bool,
    code: int | None = None,
) -> None:
    """group: whether all processes hear it, as from a terminal, or the launcher alone.

    code: what the launcher ends with, if that is known.
    """
    with launched(corpus, folder, launcher=launcher, steps=10**6) as launch:
        launch.wait_until_step(step)
        (os.killpg if group else os.kill)(launch.process.pid, signal.SIGINT)
        assert launch.wait() == code if code else launch.wait() != 0
        assert launch.said == f"saved; go on with: textgen resume tales --checkpoints {folder}\n"
        assert_nobody_is_left(launch)
        done = launch.events("stepped")[-1]["step"]
    assert read_header(folder / "tales" / "last.safetensors").record.step == done
    assert_goes_on(folder)


def test_a_lost_rank_is_named_and_the_others_end(corpus: Path, tmp_path: Path) -> None:
    kill(corpus, tmp_path, rank=1, step=40, launcher=FORKED)


def test_ctrl_c_saves_and_leaves_nobody_behind(corpus: Path, tmp_path: Path) -> None:
    interrupt(corpus, tmp_path, step=20, launcher=FORKED, group=True)


@pytest.mark.faults
@pytest.mark.parametrize("number", range(10))
def test_a_lost_rank_takes_the_run_down(corpus: Path, tmp_path: Path, number: int) -> None:
    kill(corpus, tmp_path, number % 2, random.Random(number).randint(1, 200))


@pytest.mark.faults
@pytest.mark.parametrize("number", range(10))
def test_a_lost_rank_is_restarted(corpus: Path, tmp_path: Path, number: int) -> None:
    kill_and_restart(corpus, tmp_path, number % 2, random.Random(number).randint(1, STEPS - 100))


@pytest.mark.faults
@pytest.mark.parametrize("number", range(10))
def test_ctrl_c_at_any_moment(corpus: Path, tmp_path: Path, number: int) -> None:
    step, group = random.Random(number).randint(1, 200), number % 2 == 0
    if number < 5:
        interrupt(corpus, tmp_path, step, group=group)
    else:  # by the signal, which a shell tells as 130
        launcher = (*TORCHRUN, "--signals-to-handle", "SIGTERM,SIGHUP")
        interrupt(corpus, tmp_path, step, launcher, group=group, code=-signal.SIGINT)


@pytest.mark.faults
def test_a_rank_of_another_machine_is_restarted(corpus: Path, tmp_path: Path) -> None:
    """Two launchers; the one whose rank is whole does not count the restart."""
    flags = f"--rdzv-endpoint localhost:{forked_ranks.free_port()} --rdzv-id two --max-restarts 1"
    flags += " --rdzv-backend c10d --nnodes 2 --nproc-per-node 1"
    launcher = ("-m", "torch.distributed.run", *flags.split())
    (tmp_path / "other").mkdir()
    where = ("--checkpoints", str(tmp_path))  # the last one counts
    with (
        launched(corpus, tmp_path, *where, launcher=launcher) as one,
        launched(corpus, tmp_path / "other", *where, launcher=launcher) as two,
    ):
        until = time.monotonic() + 60
        while not (one.events("stepped") or two.events("stepped")):
            assert time.monotonic() < until
            time.sleep(0.1)
        first, other = (one, two) if one.events("planned") else (two, one)
        first.wait_until_step(150)
        os.kill(rank_pid(other, 0), signal.SIGKILL)
        assert (first.wait(), other.wait()) == (0, 0), first.err.read_text()
        plans = [*first.events("planned"), *other.events("planned")]
        assert len(plans) == 2
        assert max(plan["step"] for plan in plans) > 0
        assert [*first.events("finished"), *other.events("finished")][0]["step"] == STEPS
