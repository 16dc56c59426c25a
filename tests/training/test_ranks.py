"""Runs that torchrun trains by several processes, against runs of one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rank_jobs
import torch
from conftest import SMALL, prose
from networks import build, training_config
from outcomes import outcome
from rank_jobs import do, job, losses_of
from torch import nn

from textgen.errors import UsageError
from textgen.model.network import State
from textgen.store.checkpoint import read_arrays, read_header
from textgen.training.launch import Launch, launch
from textgen.training.mixed import streams_over
from textgen.training.ranks import Alone, Ranks, join

STEPS, STOP = 200, 100
RUN = {**SMALL, "dropout": 0.3, "weight_drop": 0.2, "lr": 0.02}


def torchrun(count: int, jobs: list[dict]) -> None:
    """Do `jobs` with so many processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    done = subprocess.run(
        [*launcher, rank_jobs.__file__, json.dumps(jobs)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def jobs_of(folder: Path, texts: Path) -> dict[str, dict]:
    """Kinds of runs; of 5 streams two processes have 2 and 3."""
    tales, lines, many = (texts / name for name in ("tales.txt", "lines.txt", "many.txt"))
    short = {**RUN, "steps": 60, "eval_every": 30}
    whole = {**RUN, "steps": STEPS, "eval_every": 50, "batch_size": 5}
    return {
        "whole": job(folder / "whole", tales, **whole),
        "stopped": job(folder / "stopped", tales, stop=STOP, **whole),
        # a pass ends with chunks that are padding alone
        "documents": job(folder / "documents", lines, documents="line", **short),
        "diverged": job(folder / "diverged", tales, diverges=17, save_every=1e-6, **short),
        "many": job(folder / "many", many, **{**short, "steps": 20, "eval_every": 10}),
    }


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "tales.txt").write_text(prose(4000), encoding="utf-8")
    (folder / "lines.txt").write_text("\n".join(prose(1500).split()) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    drawn = (700 ** rng.random(4000)).astype(int) + 0x4E00
    (folder / "many.txt").write_text("".join(map(chr, [*range(0x4E00, 0x4E00 + 700), *drawn])))
    return folder


@pytest.fixture(scope="module")
def folders(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The runs of one process, and those of two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for wanted in jobs_of(one, texts).values():
        do(wanted)
    torchrun(2, [*jobs_of(two, texts).values()])
    return one, two


def run_in(folder: Path) -> Path:
    return next(path.parent for path in folder.glob("*/last.safetensors"))


def assert_close(one: Path, other: Path, stopped: bool = False) -> None:
    """Losses to 1e-4, arrays to 1e-3."""
    found, expected = (json.loads(losses_of(f).read_text()) for f in (other, one))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if stopped:
        assert_arrays_close(one, other)
        return
    (arrays, metrics), (expected_arrays, lines) = outcome(run_in(other)), outcome(run_in(one))
    for line, expected_line in zip(metrics, lines, strict=True):
        for name in ("train_nats", "val_nats"):
            assert line[name] == pytest.approx(expected_line[name], abs=1e-4)
    assert arrays.keys() == expected_arrays.keys()
    assert_arrays_close(one, other)


def assert_arrays_close(one: Path, other: Path) -> None:
    """Weights, moments and the state of every stream."""
    found, expected = (
        read_arrays(read_header(run_in(folder) / "last.safetensors"), "model", "live", "state")
        for folder in (other, one)
    )
    for group, named in expected.items():
        assert found[group].keys() == named.keys()
        for name, array in named.items():
            np.testing.assert_allclose(found[group][name], array, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("kind", ["whole", "documents", "diverged", "many"])
def test_two_processes_train_what_one_does(folders: tuple[Path, Path], kind: str) -> None:
    one, two = folders
    assert_close(one / kind, two / kind)


def test_a_run_that_two_began_one_or_three_go_on_with(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = folders
    assert_close(one / "stopped", two / "stopped", stopped=True)
    record = read_header(run_in(two / "stopped") / "last.safetensors").record
    assert (record.step, record.training.batch_size) == (STOP, 5)
    jobs = []
    for name in ("one", "three"):
        shutil.copytree(two / "stopped", tmp_path / name)
        jobs.append(job(tmp_path / name, run_in(tmp_path / name), call="resume"))
    do(jobs[0])
    torchrun(3, jobs[1:])
    whole = json.loads(losses_of(one / "whole").read_text())
    losses_of(tmp_path / "whole").write_text(json.dumps(whole[STOP:]))
    shutil.copytree(one / "whole", tmp_path / "whole")
    for name in ("one", "three"):
        assert_close(tmp_path / "whole", tmp_path / name)


@pytest.mark.parametrize("kind", ["blocks", "documents", "mixed"])
def test_a_part_of_the_streams_reads_what_it_reads_of_the_whole(kind: str) -> None:
    ids = np.random.default_rng(0).integers(20, size=900)
    documents = np.concatenate([[19], *([*ids[n : n + n % 23] % 19, 19] for n in range(90))])
    config = training_config(9, batch_size=7, bptt=8, keep_mixing=0.3)
    mixed = documents if kind == "mixed" else None
    streams = streams_over(ids if kind == "blocks" else documents, config, mixed, end=19)
    for step in range(40):
        whole = streams.chunk(step)
        for part in (slice(0, 3), slice(3, 5), slice(5, 7), slice(4, 6)):
            found = streams.chunk(step, part)
            np.testing.assert_array_equal(found.window, whole.window[:, part])
            np.testing.assert_array_equal(found.fresh, whole.fresh[part])


@pytest.mark.parametrize(("streams", "ranks"), [(4, 4), (7, 3), (64, 5)])
def test_streams_are_dealt_evenly(streams: int, ranks: int) -> None:
    parts = [rank_of(number, ranks).part(streams) for number in range(ranks)]
    assert parts[0].start == 0
    assert parts[-1].stop == streams
    assert all(a.stop == b.start for a, b in pairwise(parts))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def rank_of(number: int, size: int) -> Ranks:
    """One that waits for no other."""
    rank = Ranks.__new__(Ranks)
    rank.rank, rank.size = number, size
    return rank


def test_more_processes_than_streams_are_refused() -> None:
    with pytest.raises(UsageError, match="`batch_size=3` on 4 ranks"):
        rank_of(0, 4).part(3)


def test_one_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launch() == Launch()
    assert type(join()) is Alone
    loss, network = torch.ones(()), nn.Linear(2, 2)
    assert Alone().weighted(loss, loss, 1) is loss
    assert Alone().reduced(network, loss, loss, 1) is loss


def test_what_a_launcher_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "TORCHELASTIC_RESTART_COUNT": 2}
    for name, value in {**told, "MASTER_ADDR": "node1", "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))
    assert launch() == Launch(5, 8, 1, 2, many=True)


def test_a_process_that_has_padding_alone_adds_nothing() -> None:
    network = build("lstm", (12, 12))
    ids, targets = torch.zeros((4, 2), dtype=torch.int64), torch.full((4, 2), -1)
    state = State.zeros(network.config, 2)
    loss, _ = network.loss(ids, targets, state, network.masks(2))
    assert loss.isnan()
    weighted = rank_of(0, 2).weighted(loss, targets, 16)
    weighted.backward()
    assert weighted == 0
    assert all((p.grad == 0).all() for p in network.parameters())
