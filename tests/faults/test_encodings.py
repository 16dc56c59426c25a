"""An encoding that is killed, that others do at once, or for which the disk has no room."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from conftest import prose
from faults.kinds import small_disk
from faults.trials import Skipped

from textgen.config import Choices, CorpusConfig
from textgen.errors import CorpusError
from textgen.text import cache as cache_module
from textgen.text import corpus as corpus_module
from textgen.text import encoding as encoding_module
from textgen.text.cache import Cache
from textgen.text.corpus import read_corpus

SIZE = 2_000_000  # characters: an encoding takes long enough to be killed in the middle of it
ENCODE = """
import sys
from textgen.config import Choices, CorpusConfig
from textgen.text import cache, corpus
corpus.WORTH, cache.AT_REST = 0.0, -1.0
print("ready", flush=True)
sys.stdin.readline()
found = corpus.read_corpus(CorpusConfig.of(Choices(), (sys.argv[1],), None))
print(found.fingerprint)
"""


@pytest.fixture(autouse=True)
def _every_text_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus_module, "WORTH", 0.0)
    monkeypatch.setattr(cache_module, "AT_REST", -1.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large.txt"
    path.write_text(prose(SIZE // 10) * 10, encoding="utf-8")
    return path


def config(file: Path) -> CorpusConfig:
    return CorpusConfig.of(Choices(), (str(file),), None)


def encoders(file: Path, count: int) -> list[subprocess.Popen[str]]:
    """Processes that have just begun to encode."""
    command = [sys.executable, "-c", ENCODE, str(file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    made = [subprocess.Popen(command, text=True, **pipes) for _ in range(count)]
    for process in made:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in made:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return made


def test_two_processes_at_once_both_succeed(file: Path) -> None:
    printed = [process.communicate(timeout=60)[0] for process in encoders(file, 2)]
    assert printed[0] == printed[1] != ""
    assert len(Cache().entries()) == 1
    assert len(list(Cache().folder.iterdir())) == 2


def kill(file: Path, times: int, seed: int) -> None:
    """Kill an encoding at random moments, every other time beside one that is left alone."""
    whole = read_corpus(config(file), cache=False)
    began = time.monotonic()
    read_corpus(config(file))
    seconds = 1.5 * (time.monotonic() - began)
    Cache().clear()
    rng, halves = random.Random(seed), 0
    for number in range(times):
        killed, *others = encoders(file, 1 + number % 2)
        time.sleep(rng.uniform(0, seconds))
        killed.kill()
        killed.communicate()
        halves += any(Cache().folder.glob(".new-*"))
        for other in others:
            assert other.communicate(timeout=60)[0] == f"{whole.fingerprint}\n"
        found = read_corpus(config(file))
        assert np.array_equal(found.train, whole.train)
        assert np.array_equal(found.counts, whole.counts)
        Cache().clear()
        assert list(Cache().folder.iterdir()) == []
    print(f"\n{times} encodings killed, {halves} of them while the cache was written")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_at_any_moment_leaves_nothing_that_is_taken_for_whole(file: Path) -> None:
    kill(file, times=6, seed=1)


@pytest.mark.faults
def test_many_kills(file: Path, request: pytest.FixtureRequest) -> None:
    file.write_text(prose(SIZE // 10) * 200, encoding="utf-8")  # more of it is writing
    kill(file, times=20, seed=request.config.getoption("--seed"))


@pytest.fixture(params=["cache", "temporary"])
def disk(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A file system with less room than the ids take, for the cache or for temporary files."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", SIZE // 2))
        except Skipped as reason:
            pytest.skip(str(reason))
        if request.param == "cache":
            monkeypatch.setenv("TEXTGEN_CACHE", str(disk))
        else:
            monkeypatch.setattr(encoding_module.tempfile, "tempdir", str(disk))
            monkeypatch.setattr(corpus_module, "IN_MEMORY", 1000)
        yield disk


def test_a_disk_without_room_is_an_error_and_nothing_is_left(file: Path, disk: Path) -> None:
    with pytest.raises(CorpusError, match=f"{disk}: No space left on device") as caught:
        read_corpus(config(file))
    assert "=FOLDER" in caught.value.hint
    assert list(disk.iterdir()) == []
    assert os.statvfs(disk).f_bavail == os.statvfs(disk).f_blocks
