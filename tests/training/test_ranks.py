"""Runs that several processes train, against runs of one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import forked_ranks
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
from textgen.training import ranks as ranks_module
from textgen.training.launch import Launch, launch
from textgen.training.mixed import streams_over
from textgen.training.ranks import Alone, Ranks, join

STEPS, STOP = 200, 100
RUN = {**SMALL, "dropout": 0.3, "weight_drop": 0.2, "lr": 0.02}
WHOLE = {**RUN, "steps": STEPS, "eval_every": 50, "batch_size": 5}


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node")
FORKED = (sys.executable, forked_ranks.__file__)


def ranks_do(count: int, jobs: list[dict], launcher: tuple[str, ...] = FORKED) -> None:
    """Do `jobs` with so many processes."""
    command = [*launcher, str(count), rank_jobs.__file__, json.dumps(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def short_jobs(folder: Path, texts: Path) -> dict[str, dict]:
    """Kinds of runs; of 5 streams two processes have 2 and 3."""
    names = ("tales.txt", "lines.txt", "many.txt", "long.txt")
    tales, lines, many, long = (texts / name for name in names)
    # so few characters leave directions in which soap divides rounding by rounding
    short = {**RUN, "steps": 60, "eval_every": 30, "optimizer": "adamw"}
    return {
        "stopped": job(folder / "stopped", tales, stop=STOP, **WHOLE),
        # a pass ends with chunks that are padding alone, for a group of streams or a whole process
        "documents": job(folder / "documents", lines, documents="line", accumulate=2, **short),
        "many": job(folder / "many", many, **{**short, "steps": 20, "eval_every": 10}),
        # some of it is kept aside, and learned in the end
        "long": job(folder / "long", long, **{**short, "steps": 40, "batch_size": 16}),
    }


def long_jobs(folder: Path, texts: Path) -> dict[str, dict]:
    """With one that goes back after a loss that is no number."""
    text, short = texts / "tales.txt", {**RUN, "steps": 60, "eval_every": 30}
    return {
        "whole": job(folder / "whole", text, **WHOLE),
        "diverged": job(folder / "diverged", text, diverges=17, save_every=1e-6, **short),
    }


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "tales.txt").write_text(prose(4000), encoding="utf-8")
    (folder / "long.txt").write_text(prose(30_000), encoding="utf-8")
    (folder / "lines.txt").write_text("\n".join(prose(1500).split()) + "\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    drawn = (700 ** rng.random(4000)).astype(int) + 0x4E00
    (folder / "many.txt").write_text("".join(map(chr, [*range(0x4E00, 0x4E00 + 700), *drawn])))
    return folder


@pytest.fixture(scope="module")
def folders(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The short runs of one process, and those of two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for wanted in short_jobs(one, texts).values():
        do(wanted)
    ranks_do(2, [*short_jobs(two, texts).values()])
    return one, two


@pytest.fixture(scope="module")
def whole(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that never stopped."""
    folder = tmp_path_factory.mktemp("never_stopped")
    do(long_jobs(folder, texts)["whole"])
    return folder / "whole"


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


@pytest.mark.parametrize("kind", ["stopped", "documents", "many", "long"])
def test_two_processes_train_what_one_does(folders: tuple[Path, Path], kind: str) -> None:
    one, two = folders
    if kind == "long":
        assert read_header(run_in(two / kind) / "last.safetensors").record.training.late
    assert_close(one / kind, two / kind, stopped=kind == "stopped")


@pytest.mark.faults
def test_two_processes_train_what_one_does_for_longer(texts: Path, tmp_path: Path) -> None:
    one, two = (long_jobs(tmp_path / name, texts) for name in ("one", "two"))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    for wanted in one.values():
        do(wanted)
    ranks_do(2, [*two.values()], TORCHRUN)
    for kind in one:
        assert_close(tmp_path / "one" / kind, tmp_path / "two" / kind)


def test_a_run_that_two_began_one_goes_on_with(
    folders: tuple[Path, Path], whole: Path, tmp_path: Path
) -> None:
    stopped = folders[1] / "stopped"
    record = read_header(run_in(stopped) / "last.safetensors").record
    assert (record.step, record.training.batch_size) == (STOP, 5)
    assert record.threads == 2  # each rank had one
    do(taken_up(stopped, tmp_path))
    assert_goes_on(whole, tmp_path)


@pytest.mark.faults
def test_a_run_that_two_began_three_go_on_with(
    folders: tuple[Path, Path], whole: Path, tmp_path: Path
) -> None:
    ranks_do(3, [taken_up(folders[1] / "stopped", tmp_path)], TORCHRUN)
    assert_goes_on(whole, tmp_path)


def taken_up(stopped: Path, tmp_path: Path) -> dict:
    """To go on with a copy of the run."""
    shutil.copytree(stopped, tmp_path / "more")
    return job(tmp_path / "more", run_in(tmp_path / "more"), call="resume")


def assert_goes_on(one: Path, tmp_path: Path) -> None:
    """As one process did that never stopped."""
    shutil.copytree(one, tmp_path / "whole")
    losses = json.loads(losses_of(one).read_text())
    losses_of(tmp_path / "whole").write_text(json.dumps(losses[STOP:]))
    assert_close(tmp_path / "whole", tmp_path / "more")


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
    told = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}
    for name, value in {**told, "MASTER_ADDR": "node1", "MASTER_PORT": 29500}.items():
        monkeypatch.setenv(name, str(value))
    assert launch() == Launch(5, 8, 1, 2, many=True)


def test_ranks_take_over_the_weights_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = build("lstm", (12, 12)), build("lstm", (12, 12))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.01)
    sent: list[torch.Tensor] = []
    monkeypatch.setattr(Ranks, "_broadcast", lambda self, numbers: sent.append(numbers) or numbers)
    rank_of(0, 2).agree(first)
    monkeypatch.setattr(Ranks, "_broadcast", lambda self, numbers: numbers.copy_(sent[0]))
    rank_of(1, 2).agree(other)
    for name, array in first.state_dict().items():
        assert other.state_dict()[name].equal(array), name


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


def test_a_restart_is_counted_by_all_ranks_and_not_by_each_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two machines only the launcher that lost a rank counts the restart."""
    kept: dict[str, int] = {}
    prefixes: list[str] = []

    class Store:
        def __init__(self, *_: object, **__: object) -> None: ...

        def add(self, key: str, amount: int) -> int:
            kept[key] = kept.get(key, 0) + amount
            return kept[key]

        def check(self, keys: list[str]) -> bool:
            return all(key in kept for key in keys)

        def set(self, key: str, _: str) -> None:
            kept[key] = 1

    def prefixed(prefix: str, store: Store) -> Store:
        prefixes.append(prefix)
        return store

    monkeypatch.setattr(ranks_module, "TCPStore", Store)
    monkeypatch.setattr(ranks_module, "PrefixStore", prefixed)
    monkeypatch.setattr(ranks_module.dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(Ranks, "_roll_call", lambda *_: [])
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    for begun, restarts in enumerate(((0, 0), (0, 1), (0, 0)), 1):  # at last one is started anew
        for rank, count in enumerate(restarts):
            monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(count))
            found = Ranks(Launch(rank, 2, 0, 1, many=True))
            assert found.resumes is (begun > 1)
            assert prefixes[-1] == f"textgen/{begun}"
        found.saved()
