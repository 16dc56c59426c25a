"""A damaged or malicious file ends in a clear error; what is loaded is what was saved."""

from __future__ import annotations

import faulthandler
import json
import shutil
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from faults import rot
from faults.rot import SECONDS, Files, Victim, try_values

import textgen
from textgen.store import checkpoint

EXAMPLES = 40  # of each property, in the short form
MANY = 1500  # in the long form


def test_a_changed_byte_or_a_cut_is_never_loaded(files: Files, tmp_path: Path) -> None:
    damage(files, tmp_path, step=37, examples=EXAMPLES)


@pytest.mark.faults
def test_every_byte_and_every_length(files: Files, tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()  # it takes minutes
    damage(files, tmp_path, step=1, examples=MANY)


def damage(files: Files, folder: Path, step: int, examples: int) -> None:
    for victim in files.victims(folder):
        with rot.bounded_memory():
            for data in chain(rot.flips(victim.whole, step), rot.truncations(victim.whole, step)):
                victim.judge(data)
        try_values(rot.mangled(victim.whole), examples, victim.judge)
        print(f"\n{victim}")
        assert victim.slowest < SECONDS


def test_absurd_headers_are_refused(files: Files, tmp_path: Path) -> None:
    for victim in files.victims(tmp_path):
        with rot.bounded_memory():
            for data in rot.absurd(victim.whole):
                assert victim.open(data) is None
        assert victim.slowest < SECONDS


def test_forged_records_are_refused_or_do_no_harm(files: Files, tmp_path: Path) -> None:
    forge(files, tmp_path, EXAMPLES)


@pytest.mark.faults
def test_many_forged_records(files: Files, tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()
    forge(files, tmp_path, MANY)


def forge(files: Files, folder: Path, examples: int) -> None:
    """Records that hold anything, below digests that fit, are opened and resumed."""
    run = Path(shutil.copytree(files.run, folder / "abc"))
    for name in ("last.safetensors", "best.safetensors"):
        victim = Victim(run / name, use)
        honest = json.loads(checkpoint.to_json(victim.values["record"]))
        check = partial(open_forged, victim, files.run / name)
        check(honest)
        assert not victim.refused
        try_values(rot.edited(honest), examples, check)
        victim.path.write_bytes(victim.whole)
        print(f"\n{victim}")
        assert victim.slowest < SECONDS


def open_forged(victim: Victim, source: Path, record: object) -> None:
    rot.write_forged(victim.path, source, json.dumps(record))
    victim.reread()


def use(path: Path) -> rot.Values:
    """Sample from a checkpoint, look at it, and resume from it up to the first step."""
    values = rot.read_checkpoint(path)
    events = textgen.resume(path.parent, steps=1)
    next(events)
    events.close()  # type: ignore[attr-defined]
    return values
