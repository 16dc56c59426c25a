"""From files to ids: decoded once, counted, and laid out in one array.

Memory does not grow with the input: the decoded blocks and the ids of a large text are in nameless
temporary files.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import ChangedCorpus, CorpusError, quoted
from textgen.text.decoding import Reader, codes_of, special, text_of
from textgen.text.vocabulary import Unknown, Vocabulary, name_character

SHORTEST = 64  # characters; below that there is nothing to learn from
IN_MEMORY = 1 << 26  # bytes of text, and of ids, above which they go to a temporary file
CODE_POINTS = 0x110000
_ANEW = "train anew: textgen train --run NAME"


@dataclass(frozen=True)
class Corpus:
    """A text as ids, cut into the part for training and the part for validation.

    train, validation: shapes (N,) and (M,), in the vocabulary's dtype, from the end to the
    beginning where it is read backward; fingerprint: SHA-256 of the bytes of all files; notices:
    what was changed on the way in, one line each.
    """

    train: NDArray
    validation: NDArray
    vocabulary: Vocabulary
    fingerprint: str
    notices: tuple[str, ...] = ()


def default_corpus() -> Path:
    """The bundled corpus: inside the package when installed, beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "corpora" / "fables.txt"
    return inside if inside.exists() else package.parent / "corpora" / "fables.txt"


def read_corpus(
    config: CorpusConfig,
    vocabulary: Vocabulary | None = None,
    fingerprint: str | None = None,
    known: str = "",
) -> Corpus:
    """Read, check and encode the files of `config`.

    vocabulary: to encode with, by default of the characters found and of those in `known`;
    fingerprint: to be expected.
    Raises CorpusError: a file that cannot be read or decoded, or a text too poor to learn from;
    ChangedCorpus: files of another fingerprint.
    """
    files = [Path(f) for f in config.files]
    held_out = [Path(config.val_file)] if config.val_file else []
    where = ", ".join(map(str, files))
    reader = Reader(config.level, config.encoding)
    seen = np.zeros(CODE_POINTS, np.bool_)
    blocks: list[int] = []  # the length of each decoded block, in bytes
    size = train_size = 0
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as decoded:
        for number, path in enumerate(files + held_out):
            if (what := special(path)) in ("a pipe", "a socket"):
                what += "; expected a file, for a run is resumed from its corpus"
                save = f"save it first, for example: cat {quoted(path)} > corpus.txt"
                raise CorpusError(f"{path} is {what}", save)
            for symbols in reader.symbols(path):
                seen[symbols] = True
                size += len(symbols)
                with _room_for(size):
                    blocks.append(decoded.write(text_of(symbols)))
            if number < len(files):
                train_size = size
        found = reader.digest.hexdigest()
        if fingerprint not in (None, found):
            raise ChangedCorpus(
                f"the corpus changed: {where} has fingerprint {found[:16]}; expected"
                f" {str(fingerprint)[:16]}, that of the text the run was trained on",
                f"put the old text back, or say where it is: `files=FILE`; or {_ANEW}",
            )
        distinct = np.flatnonzero(seen).astype("<u4")
        if vocabulary is None:
            _check_rich_enough(train_size, distinct, where)
            found_too = np.union1d(distinct, codes_of(known.encode())).astype("<u4")
            characters = "" if config.level == "byte" else found_too.tobytes().decode("utf-32-le")
            vocabulary = Vocabulary(config.level, characters)
        elif vocabulary.lookup(distinct).min(initial=0) < 0:
            raise CorpusError(f"{where} has characters that are not in the run's vocabulary", _ANEW)
        ids = _allocate(size, vocabulary.dtype)
        decoded.seek(0)
        end = 0
        for length in blocks:
            block = codes_of(decoded.read(length), config.level)
            ids[end : end + len(block)] = vocabulary.lookup(block)
            end += len(block)
    cut = train_size if held_out else int(train_size * (1 - config.val_fraction))
    if len(ids[:cut]) < 2 or len(ids[cut:]) < 2:
        name = "val_file" if held_out else "val_fraction"
        raise CorpusError(
            f"`{name}={getattr(config, name)}` leaves {cut:,} characters for training and"
            f" {size - cut:,} for validation, of {where}; expected 2 or more of each",
            "name a longer text with `val_file`" if held_out else "try `val_fraction=0.1`",
        )
    read = slice(None, None, -1 if config.backward else 1)
    return Corpus(ids[:cut][read], ids[cut:][read], vocabulary, found, tuple(reader.notices))


def file_ids(
    path: Path, reader: Callable[[], Reader], vocabulary: Vocabulary, unknown: str
) -> Iterator[NDArray]:
    """The ids of a file, in blocks; `unknown` as in `Vocabulary.encode`.

    With `error` a regular file is read to its end first, so that all of them are named.
    """
    if unknown == "error" and path.is_file():
        unknown_in(path, reader(), vocabulary).refuse(str(path))
    for symbols in reader().symbols(path):
        if unknown == "error":
            Unknown(vocabulary, symbols).refuse(str(path))
        yield vocabulary.encode_symbols(symbols, unknown)


def unknown_in(path: Path, reader: Reader, vocabulary: Vocabulary) -> Unknown:
    """The characters of a file that the vocabulary lacks."""
    lacking = Unknown(vocabulary)
    for symbols in reader.symbols(path):
        lacking.add(symbols)
    return lacking


def _check_rich_enough(size: int, distinct: NDArray, where: str) -> None:
    if size == 0:
        what = f"is empty; expected {SHORTEST} characters or more"
    elif len(distinct) == 1:
        only = name_character(chr(distinct[0]))
        what = f"holds one distinct character, {only}; expected two or more"
    elif size < SHORTEST:
        what = f"has {size} characters; expected {SHORTEST} or more to learn from"
    else:
        return
    hint = "name a longer text, or none at all to train on the bundled fables"
    raise CorpusError(f"{where} {what}", hint)


def _allocate(size: int, dtype: np.dtype) -> NDArray:
    bytes_needed = size * dtype.itemsize
    if bytes_needed <= IN_MEMORY:
        return np.empty(size, dtype)
    with _room_for(bytes_needed), tempfile.TemporaryFile() as file:  # the mapping outlives it
        if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a signal later
            os.posix_fallocate(file.fileno(), 0, bytes_needed)
        return np.memmap(file, dtype, "r+", shape=(size,))


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Turn OSError into CorpusError: no room for `size` bytes of temporary files."""
    try:
        yield
    except OSError as error:
        where, why = tempfile.gettempdir(), error.strerror or error
        hint = "name a folder with more room: TMPDIR=FOLDER textgen ..."
        raise CorpusError(f"no room for {size:,} bytes in {where}: {why}", hint) from None
