from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import prose

from textgen.cli.cache import Action
from textgen.cli.cache import cache as cache_command
from textgen.config import Choices, CorpusConfig
from textgen.errors import CorpusError, RunError
from textgen.text import cache as cache_module
from textgen.text import corpus as corpus_module
from textgen.text.cache import Cache, place_of
from textgen.text.corpus import Corpus, read_corpus
from textgen.text.encoding import Numbered
from textgen.text.vocabulary import Vocabulary

TEXT = prose(2000)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder; every text is worth to be kept."""
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus_module, "WORTH", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "text.txt", TEXT)


def written(path: Path, text: str) -> Path:
    """A file that has been at rest for a while, as far as its reader can tell."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "AT_REST", -1.0)


def config(*files: Path, **settings: Any) -> CorpusConfig:
    choices = Choices(**settings)
    return CorpusConfig.of(choices, tuple(map(str, files)), choices.val_file)


def read(*files: Path, **settings: Any) -> Corpus:
    return read_corpus(config(*files, **settings))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each block of symbols that is encoded."""
    calls: list[int] = []
    add = Numbered.add

    def counted(self: Numbered, symbols: np.ndarray) -> None:
        calls.append(len(symbols))
        add(self, symbols)

    monkeypatch.setattr(Numbered, "add", counted)
    return calls


def same(one: Corpus, other: Corpus) -> bool:
    arrays = ("train", "validation", "counts")
    facts = ("vocabulary", "fingerprint", "notices", "lengths", "documents", "duplicates")
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in arrays) and all(
        getattr(one, n) == getattr(other, n) for n in facts
    )


def test_a_second_reading_takes_the_ids_from_the_cache(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = reads(monkeypatch)
    first = read(file)
    assert calls
    calls.clear()
    second = read(file)
    assert not calls
    assert same(first, second)
    assert isinstance(second.train, np.memmap)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_documents_are_kept_as_they_were_split(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(file, TEXT + TEXT.splitlines(keepends=True)[0])
    first = read(file, documents="line")
    assert first.documents == 68
    assert first.duplicates == 1
    with monkeypatch.context() as patched:
        patched.delattr(corpus_module, "split")
        second = read(file, documents="line")
    assert same(first, second)
    assert isinstance(second.train, np.memmap)
    assert second.train[0] == second.validation[0] == second.vocabulary.end
    for changed in ({"val_fraction": 0.5}, {"dedupe": True}):
        other = read(file, documents="line", **changed)
        assert same(other, read_corpus(config(file, documents="line", **changed), cache=False))
        assert not same(other, first)
    assert same(first, read(file, documents="line"))


def test_what_is_encoded_in_no_time_is_not_kept(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_module, "WORTH", 1.0)
    read(file)
    assert not folder.exists()


def test_without_the_cache_nothing_is_kept(file: Path, folder: Path) -> None:
    read_corpus(config(file), cache=False)
    assert not folder.exists()


def test_parts_are_cut_anew_from_what_is_kept(file: Path) -> None:
    assert len(read(file).train) == 1800
    assert len(read(file, val_fraction=0.5).train) == 1000
    assert len(Cache().entries()) == 1


def test_a_vocabulary_of_another_text_reads_anew_and_keeps_nothing(file: Path) -> None:
    wider = Vocabulary("char", "".join(sorted({*TEXT, "é"})))
    assert read_corpus(config(file), wider).vocabulary == wider
    assert Cache().entries() == []
    plain = read(file).vocabulary
    assert read_corpus(config(file), wider).vocabulary == wider
    assert read(file).vocabulary == plain


@pytest.mark.parametrize(
    "settings",
    [
        {"newlines": "keep"},
        {"normalize": "nfc"},
        {"min_count": 2},
        {"encoding": "latin-1"},
        {"level": "byte"},
    ],
    ids=str,
)
def test_each_setting_that_decides_on_the_ids_has_ids_of_its_own(
    file: Path, settings: dict[str, Any]
) -> None:
    file.write_bytes((TEXT + "é\r\n").encode())
    plain, other = read(file), read(file, **settings)
    assert same(read(file), plain)
    assert same(read(file, **settings), other)
    assert len(Cache().entries()) == 2


def test_the_boundaries_of_files_count(tmp_path: Path) -> None:
    one = written(tmp_path / "1", TEXT[:300]), written(tmp_path / "2", TEXT[300:])
    two = written(tmp_path / "3", TEXT[:500]), written(tmp_path / "4", TEXT[500:])
    assert read(*one).fingerprint == read(*two).fingerprint
    assert (read(*one).lengths, read(*two).lengths) == ((300, 1700), (500, 1500))
    read(one[0], val_file=str(one[1]))
    assert len(Cache().entries()) == 3


def change_content(file: Path) -> None:
    file.write_text(TEXT.replace("fox", "FOX"), encoding="utf-8")


def change_content_and_put_the_time_back(file: Path) -> None:
    before = file.stat()
    file.write_text(TEXT.replace("fox", "FOX"), encoding="utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_another_to_its_place(file: Path) -> None:
    before = file.stat()
    other = written(file.with_name("other"), TEXT.replace("fox", "FOX"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


@pytest.mark.parametrize(
    "change", [change_content, change_content_and_put_the_time_back, rename_another_to_its_place]
)
def test_a_text_that_changed_is_read_anew(file: Path, change: Callable[[Path], None]) -> None:
    first = read(file)
    time.sleep(0.02)  # the clock of a file system ticks a hundred times a second or more
    change(file)
    assert read(file).fingerprint != first.fingerprint


def test_a_file_just_written_is_not_trusted_to_be_at_rest(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "AT_REST", 2.0)
    assert place_of(config(file), time.time()) == ""
    assert place_of(config(file), time.time() + 10) != ""
    assert place_of(config(file.with_name("x" * 5000)), time.time() + 10) == ""


@pytest.mark.parametrize("damage", ["ids", "corpus.json"])
def test_an_entry_that_is_not_whole_is_not_used(file: Path, folder: Path, damage: str) -> None:
    whole = read_corpus(config(file), cache=False)
    read(file)
    entry = Cache().entries()[0].path
    with open(entry / damage, "r+b") as part:
        part.truncate(10)
    assert same(read(file), whole)
    assert isinstance(read(file).train, np.memmap)
    assert len(Cache().entries()) == 1


WRONG = [{"lengths": ["a"]}, {"cut": 10**9}, {"cut": "1"}, {"cut": -1}, {"counts": [3]}]


@pytest.mark.parametrize(
    ("documents", "wrong"), [(None, {"lengths": [7]}), *product([None, "line"], WRONG)]
)
def test_an_entry_whose_parts_are_wrong_is_not_used(
    file: Path, documents: str | None, wrong: dict[str, Any]
) -> None:
    whole = read(file, documents=documents)
    facts = Cache().entries()[0].path / "corpus.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), **wrong}))
    assert same(read(file, documents=documents), whole)


def test_the_entry_used_longest_ago_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [written(tmp_path / f"{n}.txt", prose(2000, n)) for n in range(3)]
    for number, path in enumerate(files):
        read(path)
        os.utime(Cache().entries()[0].path, (number + 1, number + 1))
    read(files[0])  # which makes 1.txt the one used longest ago
    monkeypatch.setattr(cache_module, "LIMIT", sum(e.bytes for e in Cache().entries()) + 10)
    read(written(tmp_path / "3.txt", prose(2000, 3)))
    kept = {Path(entry.files[0]).name for entry in Cache().entries()}
    assert kept == {"0.txt", "2.txt", "3.txt"}
    assert len(list(Cache().folder.iterdir())) == 6  # no link leads nowhere


def test_what_can_never_be_found_again_is_not_kept(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "AT_REST", 2.0)
    read(file)
    assert not folder.exists()


def test_a_link_to_what_is_no_entry_is_not_followed(
    file: Path, folder: Path, tmp_path: Path
) -> None:
    read(file)
    link = next(folder.glob("at-*"))
    link.unlink()
    (tmp_path / "mine").mkdir()
    for name in ("corpus.json", "thesis.txt"):
        (tmp_path / "mine" / name).write_text("{}")
    link.symlink_to(tmp_path / "mine")
    assert len(read(file).train)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert link.resolve().parent == folder.resolve()  # made anew


def test_a_notice_names_the_file_that_was_read(file: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        path = tmp_path / name
        path.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
        for _ in range(2):  # the second time it is taken from the cache
            assert [notice.split(":")[0] for notice in read(path).notices] == [str(path)]


def test_clear_leaves_nothing(file: Path, folder: Path) -> None:
    read(file)
    (folder / f".new-{'0a' * 8}").mkdir()
    assert Cache().clear() > len(TEXT)
    assert list(folder.iterdir()) == []


def test_clear_leaves_what_is_being_encoded(folder: Path) -> None:
    with Cache().scratch() as scratch:
        Cache().clear()
        assert scratch.is_dir()
    assert not scratch.exists()


def test_a_text_that_is_trained_on_may_be_cleared(file: Path) -> None:
    read(file)
    corpus = read(file)
    Cache().clear()
    assert corpus.vocabulary.decode(corpus.train) == TEXT[:1800]


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO])
@pytest.mark.parametrize(("owner", "call"), [(Path, "mkdir"), (os, "fsync")])
def test_a_folder_that_cannot_be_written_is_done_without_and_it_is_said(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, call: str, error: int
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(owner, call, failing)
    corpus = read(file)
    assert len(corpus.train) == 1800
    assert corpus.notices == (
        f"the encoded text is not kept, for the cache folder {folder} cannot be written:"
        f" {os.strerror(error)}",
    )


def test_a_file_in_the_place_of_the_folder_is_done_without(file: Path, folder: Path) -> None:
    folder.touch()
    assert "cannot be written: File exists" in read(file).notices[0]


def test_a_full_disk_is_an_error_and_leaves_nothing(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CorpusError, match=f"{folder}: No space left on device") as caught:
        read(file)
    assert "TEXTGEN_CACHE=FOLDER" in caught.value.hint
    assert list(folder.iterdir()) == []


def test_clear_leaves_what_is_no_entry(folder: Path) -> None:
    """TEXTGEN_CACHE may name a folder that others use."""
    folder.mkdir()
    mine = folder / ("a" * 64) / "mine"
    mine.parent.mkdir()
    mine.write_text("1")
    (folder / ("b" * 64)).write_text("2")
    (folder / ("x" * 64)).mkdir()
    (folder / ".new-photos").mkdir()
    (folder / "at-work").symlink_to(folder / "unplugged")
    (folder / f"at-{'c' * 64}").write_text("no link")
    before = sorted(folder.iterdir())
    assert Cache().entries() == []
    assert Cache().clear() == 0
    assert sorted(folder.iterdir()) == before
    assert mine.read_text() == "1"


def test_an_entry_that_says_nothing_is_cleared(file: Path, folder: Path) -> None:
    read(file)
    (Cache().entries()[0].path / "corpus.json").write_text("[]")
    assert Cache().entries() == []
    Cache().clear()
    assert list(folder.iterdir()) == []


def test_a_text_is_kept_once_for_both_directions(file: Path) -> None:
    assert read(file, backward=True).train.tolist() == read(file).train[::-1].tolist()
    assert len(Cache().entries()) == 1


def test_a_folder_that_changed_while_it_was_read_is_not_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    written(texts / "a.txt", TEXT)
    numbered = corpus_module.number_texts

    def number(*given: Any) -> Any:
        written(texts / "b.txt", TEXT)
        return numbered(*given)

    with monkeypatch.context() as patch:
        patch.setattr(corpus_module, "number_texts", number)
        assert sum(read(texts).lengths) == 2 * len(TEXT)
    (texts / "b.txt").unlink()
    assert sum(read(texts).lengths) == len(TEXT)


@pytest.mark.parametrize("name", ["ids", "corpus.json"])
def test_an_entry_that_lost_a_file_is_made_anew(file: Path, folder: Path, name: str) -> None:
    read(file)
    [entry] = (path for path in folder.iterdir() if len(path.name) == 64)
    (entry / name).unlink()
    read(file)
    assert {path.name for path in entry.iterdir()} == {"ids", "corpus.json"}
    assert len(Cache(folder).entries()) == 1


def test_which_files_are_held_out_belongs_to_the_place(tmp_path: Path) -> None:
    a, b = (written(tmp_path / "data" / name, TEXT) for name in ("a.txt", "b.txt"))
    one = config(a, b, val_file=str(tmp_path / "data"))
    other = config(tmp_path / "data", a, val_file=str(b))
    assert place_of(one, time.time()) != place_of(other, time.time())


def test_what_fits_into_memory_needs_no_temporary_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in []")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setattr("tempfile.tempdir", None)
    assert sum(read_corpus(config(file), cache=False).lengths) == len(TEXT)
    monkeypatch.setattr(corpus_module, "IN_MEMORY", 10)
    with pytest.raises(CorpusError, match="in a temporary folder: No usable") as error:
        read_corpus(config(file), cache=False)
    assert "TMPDIR" in error.value.hint


def test_what_could_not_be_removed_was_not_freed(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    read(file)
    monkeypatch.setattr(Path, "rename", forbidden)
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    assert Cache().clear() == 0
    with pytest.raises(RunError, match=f"no leave to remove what is left in {folder}"):
        cache_command(Action.clear)
    assert capsys.readouterr().err == f"freed 0B in {folder}\n"


def test_of_documents_the_characters_are_counted(file: Path) -> None:
    lines = [*dict.fromkeys(TEXT.splitlines())]
    file.write_text("\n".join([*lines, lines[0]]))
    read(file, documents="line", dedupe=True)
    assert Cache().entries()[0].characters == sum(map(len, lines))


def test_a_user_without_a_home_is_told_what_to_do(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(_: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("TEXTGEN_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", homeless)
    with pytest.raises(CorpusError, match="this user has no home") as caught:
        read(file)
    assert "TEXTGEN_CACHE=FOLDER" in caught.value.hint
    assert "`cache=False`" in caught.value.hint


def test_a_normal_form_of_another_unicode_is_made_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + 10
    plain, formed = config(file), replace(config(file), normalize="nfkc")
    before = place_of(plain, later), place_of(formed, later)
    monkeypatch.setattr(cache_module, "unidata_version", "99.0.0")
    assert place_of(plain, later) == before[0]
    assert place_of(formed, later) != before[1]
