"""From files to ids: decoded, newlines made one, counted, and laid out in one array.

The input is streamed twice, once for the vocabulary and the fingerprint, once for the ids, so the
memory needed does not grow with it: a large text's ids live in a nameless temporary file.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import ChangedCorpus, CorpusError
from textgen.text.vocabulary import Vocabulary, name_character

SHORTEST = 64  # characters; below that there is nothing to learn from
BLOCK = 1 << 22  # bytes read at a time
IN_MEMORY = 1 << 26  # bytes of ids above which they go to a temporary file
CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Corpus:
    """A text as ids, cut into the part that is learned and the part that is held out.

    train, validation: ids, shapes (N,) and (M,), in the vocabulary's dtype.
    fingerprint: SHA-256 of the bytes of the files (of the validation file too, if there is one);
        for a single file it is what `sha256sum` prints.
    notices: what was changed on the way in, one line each.
    """

    train: NDArray
    validation: NDArray
    vocabulary: Vocabulary
    fingerprint: str
    notices: tuple[str, ...] = ()


def default_corpus() -> Path:
    """The corpus in the box: inside the package when installed, beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "corpora" / "fables.txt"
    return inside if inside.exists() else package.parent / "corpora" / "fables.txt"


def read_corpus(
    config: CorpusConfig, vocabulary: Vocabulary | None = None, fingerprint: str | None = None
) -> Corpus:
    """Read, check and encode the files of `config`.

    vocabulary: the one to encode with; by default it is made of the characters found.
    fingerprint: the one that the files must have.
    Raises CorpusError: a file that cannot be read or decoded, or a text too poor to learn from;
    ChangedCorpus: files of another fingerprint.
    """
    learned = [Path(f) for f in config.files]
    held_out = [Path(config.val_file)] if config.val_file else []
    scan = _Scan(config)
    train_size = sum(scan.count(path) for path in learned)
    held_out_size = sum(scan.count(path) for path in held_out)
    where = ", ".join(map(str, learned))
    found = scan.digest.hexdigest()
    if fingerprint is not None and found != fingerprint:
        raise ChangedCorpus(
            f"the corpus changed: {where} has fingerprint {found[:16]}; expected"
            f" {fingerprint[:16]}, that of the text the run was trained on",
            "put the old text back, or say where it is: textgen resume --corpus FILE;"
            " or train anew: textgen train --run NAME",
        )
    if vocabulary is None:
        vocabulary = scan.vocabulary()
        _check_rich_enough(train_size, scan.seen, where)

    ids = _allocate(train_size + held_out_size, vocabulary.dtype)
    end = 0
    for path in learned + held_out:
        for codes in _read(path, config):
            block = vocabulary.lookup(codes)
            if block.min(initial=0) < 0:
                raise CorpusError(
                    f"{path} has characters that are not in the run's vocabulary",
                    "train anew: textgen train --run NAME",
                )
            ids[end : end + len(codes)] = block
            end += len(codes)
    cut = train_size if held_out else int(train_size * (1 - config.val_fraction))
    train, validation = ids[:cut], ids[cut:]
    if len(validation) < 2 or len(train) < 2:
        what = "--val-file" if held_out else f"--val-fraction {config.val_fraction:g}"
        raise CorpusError(
            f"{what} leaves {len(train):,} characters to learn and {len(validation):,} to validate"
            f" on, of {where}; expected 2 or more of each",
            "try --val-fraction 0.1",
        )
    return Corpus(train, validation, vocabulary, found, tuple(scan.notices))


def read_text(path: Path, encoding: str = "utf-8", level: str = "char") -> str:
    """A whole text, read as a corpus is: byte-order mark dropped, newlines as LF.

    At level byte it is read as it is, bytes that are not UTF-8 as lone surrogates (PEP 383).
    """
    config = CorpusConfig((str(path),), level=level, encoding=encoding)
    blocks = [block.tobytes() for block in _read(path, config)]
    if level == "byte":
        return b"".join(blocks).decode("utf-8", "surrogateescape")
    return b"".join(blocks).decode("utf-32-le")


def _check_rich_enough(size: int, seen: NDArray[np.bool_], where: str) -> None:
    hint = "name a longer text, or none at all to train on the fables in the box"
    if size == 0:
        raise CorpusError(f"{where} is empty; expected {SHORTEST} characters or more", hint)
    distinct = np.flatnonzero(seen)
    if len(distinct) == 1:
        only = name_character(chr(distinct[0]))
        raise CorpusError(
            f"{where} holds one distinct character, {only}; expected two or more", hint
        )
    if size < SHORTEST:
        raise CorpusError(
            f"{where} has {size} characters; expected {SHORTEST} or more to learn from", hint
        )


@dataclass
class _Scan:
    """The first pass: sizes, characters seen, fingerprint, and what a person should be told."""

    config: CorpusConfig
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(CODE_POINTS, np.bool_))
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    notices: list[str] = field(default_factory=list)

    def count(self, path: Path) -> int:
        size = 0
        for codes in _read(path, self.config, self):
            self.seen[codes] = True
            size += len(codes)
        return size

    def vocabulary(self) -> Vocabulary:
        if self.config.level == "byte":
            return Vocabulary("byte")
        codes = np.flatnonzero(self.seen).astype("<u4")
        return Vocabulary("char", codes.tobytes().decode("utf-32-le"))


def _allocate(size: int, dtype: np.dtype) -> NDArray:
    if size * dtype.itemsize <= IN_MEMORY:
        return np.empty(size, dtype)
    try:
        with tempfile.TemporaryFile() as file:  # the mapping outlives the file's name and handle
            if hasattr(os, "posix_fallocate"):  # a full disk is found out now, not by a signal
                os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
            else:
                file.truncate(size * dtype.itemsize)
            return np.memmap(file, dtype, "r+", shape=(size,))
    except OSError as error:
        raise CorpusError(
            f"no room for {size * dtype.itemsize:,} bytes in {tempfile.gettempdir()}:"
            f" {error.strerror or error}",
            "name a folder with more room: TMPDIR=FOLDER textgen ...",
        ) from None


def _read(path: Path, config: CorpusConfig, scan: _Scan | None = None) -> Iterator[NDArray]:
    """The file's symbols, block by block: uint32 code points, or bytes at level byte."""
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise CorpusError(
                f"{path} is a pipe; expected a file, for a corpus is read twice",
                f"save it first, for example: cat {path} > corpus.txt",
            )
        with open(path, "rb") as file:
            blocks = iter(lambda: file.read(BLOCK), b"")
            if scan is not None:
                blocks = _hashed(blocks, scan.digest)
            if config.level == "byte":
                for block in blocks:
                    yield np.frombuffer(block, np.uint8)
            else:
                yield from _decode(blocks, path, config.encoding, scan)
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _names(path.parent), n=1, cutoff=0.5)
        hint = f"did you mean {path.parent / near[0]}" if near else "check the path"
        raise CorpusError(f"no such file: {path}; expected a text file", hint) from None
    except IsADirectoryError:
        raise CorpusError(
            f"{path} is a folder; expected a text file", f"name the files in it: {path}/*.txt"
        ) from None
    except PermissionError:
        raise CorpusError(f"no permission to read {path}", f"chmod u+r {path}") from None
    except OSError as error:
        raise CorpusError(
            f"cannot read {path}: {error.strerror or error}", "check the path"
        ) from None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _hashed(blocks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block


def _decode(
    blocks: Iterator[bytes], path: Path, encoding: str, scan: _Scan | None
) -> Iterator[NDArray[np.uint32]]:
    bytes_to_text = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    taken = lines = 0
    marked = False
    block = next(blocks, b"")
    _refuse_binary(block, path, encoding)
    first = True
    while True:
        following = next(blocks, b"")
        final = not following
        try:
            text = bytes_to_text.decode(block, final)
        except UnicodeDecodeError as error:
            offset = taken + len(block) - len(error.object) + error.start
            line = lines + error.object[: error.start].count(b"\n") + 1
            found = error.object[error.start]
            raise CorpusError(
                f"{path}, line {line}, byte offset {offset}: 0x{found:02X} is not valid {encoding}",
                f"name the encoding of the file, for example {_other_encoding(encoding)};"
                " or --level byte to model bytes",
            ) from None
        except UnicodeError as error:  # utf-16 without a byte-order mark
            raise CorpusError(
                f"{path}: {error}", "name the byte order too, for example --encoding utf-16-le"
            ) from None
        taken += len(block)
        lines += block.count(b"\n")
        if first and text:
            first = False
            marked = text.startswith("\ufeff")
            text = text[marked:]
        text = newlines.decode(text, final)
        if text:
            yield np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        if final:
            break
        block = following
    if scan is not None:
        if marked:
            scan.notices.append(f"{path}: left out the byte-order mark at its start")
        kinds = newlines.newlines or ()
        kinds = (kinds,) if isinstance(kinds, str) else kinds
        odd = sorted({"\r": "CR", "\r\n": "CRLF"}[k] for k in kinds if k != "\n")
        if odd:
            scan.notices.append(f"{path}: turned {' and '.join(odd)} line ends into LF")


def _other_encoding(encoding: str) -> str:
    return "--encoding utf-8" if codecs.lookup(encoding).name != "utf-8" else "--encoding latin-1"


def _refuse_binary(block: bytes, path: Path, encoding: str) -> None:
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if wide or (place := block.find(0)) < 0:
        return
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError(
            f"{path} begins with a UTF-16 byte-order mark; expected {encoding}",
            "try --encoding utf-16",
        )
    raise CorpusError(
        f"{path} looks like a binary file: a zero byte at byte offset {place}; expected text",
        "--level byte models any file at all",
    )
