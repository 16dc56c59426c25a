"""Encoded texts kept in the user's cache folder, for the next run to begin at once.

An entry is a folder named by a fingerprint: of the bytes of the texts, their boundaries and all
settings that decide on the ids. It is made under another name and renamed when it is whole. A link
`at-...`, named by paths, sizes and times of change, leads to it, so that files that did not change
need not be read.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import numpy as np

from textgen.config import CorpusConfig
from textgen.errors import CorpusError
from textgen.text.disk import sync
from textgen.text.encoding import Encoded
from textgen.text.sources import Sources
from textgen.text.vocabulary import Vocabulary

VERSION = 2  # of what an entry holds and of how texts are decoded; raise it when either changes
LIMIT = 20 * 10**9  # bytes of all entries; above it the one used longest ago goes first
AT_REST = 2.0  # seconds since a file's last change, below which another might go unnoticed
ABANDONED = 60.0  # seconds after which an unlocked folder of an encoding is nobody's
FOLDER = "TEXTGEN_CACHE"  # the environment variable that names another folder
_NEW, _AT = ".new-", "at-"
_KEY = re.compile("[0-9a-f]{64}")
# what is being made or removed, and the links: named by nobody else
_LEFT, _LINK = re.compile(rf"\{_NEW}[0-9a-f]{{16}}(-link)?"), re.compile(f"{_AT}[0-9a-f]{{64}}")
_OF_ENTRY = {"corpus.json", "ids"}
_OF_DOCUMENTS = ("documents", "duplicates", "cut")


@dataclass(frozen=True)
class Entry:
    """What the cache keeps of one corpus."""

    path: Path
    files: tuple[str, ...]
    characters: int
    bytes: int  # on disk
    used: float  # seconds since the epoch


class Cache:
    """The entries in a folder, which is made when the first is written, for the user alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def find(self, place: str) -> Encoded | None:
        """The texts last found at `place` (see `place_of`)."""
        entry = self.folder / place
        try:
            entry = self.folder / (self.folder / (_AT + place)).readlink().name
            if not (_KEY.fullmatch(entry.name) and _is_entry(entry)):  # somebody else's
                return None
            facts = json.loads((entry / "corpus.json").read_text(encoding="utf-8"))
            names = ("level", "characters", "has_unknown", "has_end")
            vocabulary = Vocabulary(*(facts[name] for name in names))
            size = (sum(facts["counts"]),)
            file = entry / "ids"
            if file.stat().st_size != size[0] * vocabulary.dtype.itemsize:
                raise ValueError(f"the size of {file}")
            whole = sum(facts["lengths"]) == size[0] or facts["cut"]
            if not (0 <= facts["cut"] < size[0] and whole):
                raise ValueError(f"the parts of {file}")
            ids = np.memmap(file, vocabulary.dtype, "r", shape=size)
            with suppress(OSError):
                os.utime(entry)
            return Encoded(
                ids,
                vocabulary,
                counts=np.array(facts["counts"], np.int64),
                lengths=tuple(facts["lengths"]),
                training=facts["training"],
                fingerprint=facts["fingerprint"],
                notices=tuple(facts["notices"]),
                **{name: facts[name] for name in _OF_DOCUMENTS},
            )
        except OSError:  # none there, or it is being cleared
            return None
        except (ValueError, KeyError, TypeError):  # damaged
            self._remove(entry)
            return None

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder to encode in; it is gone afterwards, and after a crash at the next call.

        Raises OSError if the cache folder cannot be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear_abandoned(time.time() - ABANDONED)
        folder = self.folder / f"{_NEW}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            with _locked(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, scratch: Path, encoded: Encoded, config: CorpusConfig, place: str) -> None:
        """Make the folder `scratch`, which holds `ids`, an entry that `place` leads to.

        Equal texts have one entry, unless there is something to notice of them, which names files.
        """
        vocabulary = encoded.vocabulary
        facts = {
            "files": config.files,
            "level": vocabulary.level,
            "characters": vocabulary.characters,
            "has_unknown": vocabulary.has_unknown,
            "has_end": vocabulary.has_end,
            "counts": encoded.counts.tolist(),
            "lengths": encoded.lengths,
            "training": encoded.training,
            "fingerprint": encoded.fingerprint,
            "notices": encoded.notices,
            **{name: getattr(encoded, name) for name in _OF_DOCUMENTS},
        }
        with open(scratch / "corpus.json", "w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            sync(file.fileno())
        parts = encoded.lengths, encoded.training, encoded.notices
        key = _digest([encoded.fingerprint, *parts, _settings(config)])
        entry = self.folder / key
        if _is_entry(entry) and len(os.listdir(entry)) < len(_OF_ENTRY):  # a file was removed
            self._remove(entry)
        with suppress(OSError):  # another process has just made the same entry: it is not empty
            scratch.rename(entry)
        link = scratch.with_name(f"{scratch.name}-link")
        with suppress(OSError):  # no links on this system: the text is read again
            link.symlink_to(key)
            link.replace(self.folder / (_AT + place))
        self._trim(key)

    def entries(self) -> list[Entry]:
        """All entries, the last used first."""
        found = []
        for path in self._paths():
            with suppress(OSError, ValueError, KeyError, TypeError):
                facts = json.loads((path / "corpus.json").read_text(encoding="utf-8"))
                size = sum(file.stat().st_size for file in path.iterdir())
                symbols = len(facts["counts"]) - facts["has_end"]  # an end symbol is the last
                files, characters = tuple(facts["files"]), sum(facts["counts"][:symbols])
                found.append(Entry(path, files, characters, size, path.stat().st_mtime))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def clear(self) -> int:
        """Remove all but what other processes encode at the moment; the bytes that were freed."""
        before = self.entries()
        for path in self._paths():
            self._remove(path)
        self._clear_abandoned(time.time())
        self._clear_links()
        return sum(entry.bytes for entry in before if not entry.path.exists())

    def _paths(self) -> list[Path]:
        return [path for path in self._named(_KEY) if _is_entry(path)]

    def _named(self, pattern: re.Pattern[str]) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if pattern.fullmatch(path.name)]

    def _trim(self, newest: str) -> None:
        total = 0
        for entry in self.entries():
            total += entry.bytes
            if total > LIMIT and entry.path.name != newest:
                self._remove(entry.path)
        self._clear_links()

    def _remove(self, entry: Path) -> None:
        """Rename an entry before it is emptied, so that nobody takes what is left for whole."""
        away = self.folder / f"{_NEW}{secrets.token_hex(8)}"
        with suppress(OSError):
            entry.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def _clear_abandoned(self, before: float) -> None:
        for path in self._named(_LEFT):
            with suppress(OSError):  # locked, or gone by now
                if path.lstat().st_mtime > before:
                    continue
                if path.is_symlink():
                    path.unlink()
                else:
                    with _locked(path):
                        shutil.rmtree(path)

    def _clear_links(self) -> None:
        for link in self._named(_LINK):
            if link.is_symlink() and not link.exists():
                link.unlink(missing_ok=True)


def _is_entry(path: Path) -> bool:
    """Whether it is a folder that holds nothing but what an entry does."""
    try:
        return {*os.listdir(path)} <= _OF_ENTRY
    except OSError:
        return False


def cache_folder() -> Path:
    """The folder that TEXTGEN_CACHE names, else the user's cache folder for textgen."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    from platformdirs import user_cache_dir

    try:
        return Path(user_cache_dir("textgen"))
    except RuntimeError:  # the user has no home
        what = "there is no folder for the cache, for this user has no home"
        raise CorpusError(
            what, f"name one: {FOLDER}=FOLDER textgen ...; or `cache=False`"
        ) from None


def place_of(config: CorpusConfig, began: float) -> str:
    """A digest of where the texts are and of when and how large they are; empty if not at rest.

    began: seconds since the epoch when reading begins.
    """
    files: list[Any] = []
    try:
        for path in map(Path, config.paths):
            files.append(str(path))
            for file in Sources().files(path):
                found = file.stat()
                if max(found.st_mtime, found.st_ctime) > began - AT_REST:
                    return ""
                times = found.st_mtime_ns, found.st_ctime_ns
                files.append((str(file), found.st_dev, found.st_ino, found.st_size, *times))
    except OSError:
        return ""
    return _digest([files, len(config.files), _settings(config)])


def _settings(config: CorpusConfig) -> dict[str, Any]:
    """All that decides on the ids, but for the bytes."""
    others = ["files", "val_file", "backward"]  # turned round after it was read
    if config.documents is None:
        others += ["val_fraction", "dedupe"]
    held_out = config.val_file is not None
    settings = {name: value for name, value in asdict(config).items() if name not in others}
    if config.normalize != "none":  # a form follows from the tables of this Python
        settings["unicode"] = unidata_version
    return {**settings, "held_out": held_out, "version": VERSION}


def _digest(facts: Any) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises OSError if another process does."""
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
