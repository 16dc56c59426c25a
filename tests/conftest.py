from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # tiny models: more threads would wait for each other
os.environ["TEXTGEN_CACHE"] = tempfile.mkdtemp(prefix="textgen-cache-")

import textgen
from textgen.events import Event

if TYPE_CHECKING:
    from faults.rot import Files
    from faults.trials import Ground
    from server_process import ServerProcess

WORDS = "the a fox crow king said went old wise saw and then tail moon bread never".split()


def prose(characters: int, seed: int = 0) -> str:
    """Something like sentences: enough structure to learn, nothing to read."""
    rng = random.Random(seed)
    text = ""
    while len(text) < characters:
        text += " ".join(rng.choices(WORDS, k=rng.randint(3, 9))).capitalize() + ".\n"
    return text[:characters]


@pytest.fixture(scope="session", autouse=True)
def _cache() -> Iterator[None]:
    """Tests leave the user's cache alone, and their own behind nobody."""
    yield
    shutil.rmtree(os.environ["TEXTGEN_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _cpu() -> Iterator[None]:
    """Tests compute on the CPU, where there is a GPU too."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):  # of processes they start
            patch.setenv(name, "")
        for backend in (torch.cuda, torch.backends.mps):
            patch.setattr(backend, "is_available", lambda: False)
        yield


SMALL = {"hidden": (12, 12), "embedding": 6, "batch_size": 4, "bptt": 16, "precision": "fp32"}


def train(corpus: Path, checkpoints: Path, **choices: object) -> list[Event]:
    """Train a tiny model to the end; its events."""
    return list(textgen.train(corpus, checkpoints=checkpoints, **{**SMALL, **choices}))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--count", type=int, default=300, help="random faults of `-m faults`")
    parser.addoption("--seed", type=int, default=1, help="of the random faults of `-m faults`")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "tales.txt"
    path.write_text(prose(4000), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained for a few steps; not to be changed."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    train(corpus, checkpoints, steps=60, lr=0.02)
    return checkpoints / "tales"


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained on short lines as documents; not to be changed."""
    folder = tmp_path_factory.mktemp("lines")
    words = [f"{a}{b}" for a in WORDS for b in WORDS]
    (folder / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    train(folder / "words.txt", folder, steps=150, lr=0.02, documents="line")
    return folder / "words"


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """For tests that do harm to training processes."""
    from faults.processes import Server
    from faults.trials import Ground

    folder = tmp_path_factory.mktemp("faults")
    with Server(folder) as server:
        yield Ground(server, folder)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A run of the smallest size, for copies to be damaged; not to be changed."""
    from faults.rot import small_files

    return small_files(tmp_path_factory.mktemp("rot"))


@pytest.fixture(scope="session")
def served(trained: Path, lines: Path) -> Iterator[ServerProcess]:
    """A server process with the models `tales` and `words`."""
    from server_process import ServerProcess

    with ServerProcess(str(trained), str(lines), "--log-prompts") as process:
        yield process


@pytest.fixture
def two_runs(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two finished runs `one` and `two`."""
    for name in ("one", "two"):
        shutil.copytree(trained, tmp_path / "checkpoints" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
