"""A trial: a run that one fault befalls, what must then hold, and the run taken up again."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from conftest import prose
from faults.processes import Process, Server
from outcomes import assert_same

import textgen
from textgen.store.checkpoint import read_arrays, read_header
from textgen.store.contents import read_resumed
from textgen.store.run import Run

STEPS = 32
# a small model with everything on, saved at every step, so that one step is the save interval
FLAGS = f"""--steps {STEPS} --hidden 16 --embedding 4 --layers 1 --batch-size 4 --bptt 8
    --dropout 0.2 --weight-drop 0.2 --precision fp32 --eval-every 5 --lr 0.03 --save-every 0.000001s
    --json""".split()
KEPT = {"last.safetensors", "best.safetensors", "previous.safetensors", "metrics.jsonl", ".lock"}


class Skipped(Exception):
    """This machine cannot be made to have such a fault; the argument says why."""


@dataclass
class Trial:
    """One run, in a folder of its own.

    reference: the folder of the same run, never disturbed. lost: how many of the steps that it
    reported the run may have lost, None where only what it reported as saved counts.
    """

    server: Server
    rng: random.Random
    corpus: Path
    validation: Path
    reference: Path
    checkpoints: Path
    lost: int | None = 0
    checked: bool = False
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.checkpoints / "tales"

    def train(self, *flags: str, **request: object) -> Process:
        """Begin the run; flags: beside the usual ones; request: see `Server.start`."""
        files = (self.corpus, "--val-file", self.validation, "--checkpoints", self.checkpoints)
        arguments = ("train", *files, *FLAGS, *flags)
        self.process = self.server.start("command", *arguments, **request)
        return self.process

    def train_until_let(self) -> Process:
        """Begin the run, which waits before its end until `let` is called."""
        self.gate = self.checkpoints.with_name(f"{self.checkpoints.name}.gate")
        return self.train(gate=[str(self.gate), STEPS - 2])

    def let(self) -> None:
        """Let the run come to its end."""
        self.gate.touch()

    def resume(self) -> Process:
        where = ("--checkpoints", self.checkpoints, "--json")
        return self.server.start("command", "resume", "tales", *where)

    def moment(self, latest: int = STEPS) -> None:
        """Wait for a random moment: some step, and some thousandths of a second more."""
        step = self.rng.randrange(latest)
        self.process.wait_until(lambda: len(self.process.events("stepped")) >= step)
        self.pause(0.02)

    def pause(self, longest: float) -> None:
        """Wait for a random time, in seconds."""
        time.sleep(self.rng.random() * longest)

    def check(self) -> None:
        """What was saved is there and whole, and the run goes on as if nothing had been."""
        self.checked = True
        saved, stepped = (self.process.events(kind) for kind in ("saved", "stepped"))
        if not (self.folder / "last.safetensors").exists():
            assert not saved, "the run is lost"
            shutil.rmtree(self.folder, ignore_errors=True)
            assert self.train().wait() == 0, self.process.printed
        else:
            found = whole(self.folder)
            assert found >= max(saved, default=0), f"step {max(saved)} was saved, found {found}"
            if self.lost is not None:
                assert found >= max(stepped, default=0) - self.lost, (found, stepped[-1:])
            self.finish()
        assert_same(self.folder, self.reference)
        assert {path.name for path in self.folder.iterdir()} <= KEPT

    def finish(self) -> None:
        """Resume the run, unless it did all of its steps."""
        process = self.resume()
        if process.wait() != 0:
            assert "is finished" in process.printed, process.printed


def whole(folder: Path) -> int:
    """The step of a run's `last`, which must be whole, as `best` must be if it is there."""
    header = read_header(folder / "last.safetensors")
    assert read_resumed(header)["model"]
    assert textgen.load(folder).weights
    return header.record.step


def save_again(folder: str | Path, source: str | Path) -> None:
    """Save in the run's folder `folder` what the one of `source` holds."""
    header, run = read_header(Path(source) / "last.safetensors"), Run(Path(folder))
    best = read_arrays(read_header(Path(source) / "best.safetensors"), "model")["model"]
    with run.locked():
        run.save(header.record, read_resumed(header), best)


class Ground:
    """What all trials share: the server, the corpus, the undisturbed run."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.corpus = folder / "tales.txt"
        self.corpus.write_text(prose(3000), encoding="utf-8")
        self.validation = (
            folder / "backwards.txt"
        )  # what is learned is soon no good for it, so that
        self.validation.write_text(prose(300)[::-1], encoding="utf-8")  # `best` is written early
        self.reference = folder / "reference" / "tales"
        trial = self.trial(random.Random(), self.reference.parent)
        assert trial.train().wait() == 0, trial.process.printed

    def trial(self, rng: random.Random, checkpoints: Path) -> Trial:
        return Trial(self.server, rng, self.corpus, self.validation, self.reference, checkpoints)

    @contextmanager
    def befallen(self, kind: Callable[[Trial], None], seed: int) -> Iterator[Trial]:
        """A trial that a fault befell, in a folder that is removed after it."""
        with TemporaryDirectory(dir=self.folder) as room:
            trial = self.trial(random.Random(seed), Path(room))
            try:
                kind(trial)
                yield trial
            finally:
                self.server.stop()
