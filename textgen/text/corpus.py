"""A text as ids, in two parts: read from its files, or taken from the cache."""

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import ChangedCorpus, CorpusError, quoted
from textgen.events import Reading
from textgen.text.cache import FOLDER, Cache, place_of
from textgen.text.cutting import shown
from textgen.text.decoding import Reader
from textgen.text.documents import split
from textgen.text.encoding import (
    FULL,
    IN_MEMORY,
    Encoded,
    Numbered,
    in_order,
    number_texts,
    room_for,
    vocabulary_of,
)
from textgen.text.mapped import counts_of
from textgen.text.sources import size_on_disk, special
from textgen.text.stream import STDIN
from textgen.text.vocabulary import END, Vocabulary, name_character

SHORTEST = 64  # characters; below that there is nothing to learn from
WORTH = 1.0  # seconds that encoding takes, above which the ids are kept
_ANEW = "train anew: textgen train --run NAME"
_PUT_BACK = f"put the old text back, or say where it is: `files=FILE`; or {_ANEW}"
_MORE_ROOM = "name a folder with more room: TMPDIR=FOLDER textgen ..."
_OTHER_CACHE = f"name a folder with more room: {FOLDER}=FOLDER textgen ...; or `cache=False`"
Progress = Callable[[Reading], None]


@dataclass(frozen=True)
class Corpus:
    """A text as ids, cut into the part for training and the part for validation.

    train, validation: shapes (N,) and (M,), in the vocabulary's dtype, from the end to the
    beginning where it is read backward; fingerprint: SHA-256 of the bytes of all texts, unpacked;
    notices: what was changed on the way in, one line each; counts: how often each id occurs in both
    parts, shape (V,); lengths: of each text; documents: how many there are in both parts, 0 if the
    text is not cut, duplicates: how many of them stood before. A part that is cut has the end
    symbol before its first document and after each.
    """

    train: NDArray
    validation: NDArray
    vocabulary: Vocabulary
    fingerprint: str
    notices: tuple[str, ...] = ()
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    lengths: tuple[int, ...] = ()
    documents: int = 0
    duplicates: int = 0
    backward: bool = False

    @property
    def train_counts(self) -> NDArray[np.int64]:
        """How often each id occurs in the part for training: the other part is counted sooner."""
        return self.counts - counts_of(self.validation, len(self.vocabulary))

    def parted(self, aside: int) -> tuple[NDArray, NDArray]:
        """The part for training without so many ids of it, and those.

        They are the ones next to what is held out, or as many of the last documents as fit.
        """
        cut = len(self.train) - aside
        if self.documents and aside:
            ends = cut + np.flatnonzero(self.train[cut:] == self.vocabulary.end)
            return self.train[: ends[0] + 1], self.train[ends[0] :]
        if self.backward:
            return self.train[aside:], self.train[:aside]
        return self.train[:cut], self.train[cut:]


def default_corpus() -> Path:
    """The bundled corpus: inside the package when installed, beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "corpora" / "fables.txt"
    return inside if inside.exists() else package.parent / "corpora" / "fables.txt"


def read_corpus(
    config: CorpusConfig,
    vocabulary: Vocabulary | None = None,
    fingerprint: str | None = None,
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> Corpus:
    """Read, check and encode the texts of `config`.

    vocabulary: to encode with, by default of the characters found; fingerprint: to be expected;
    cache: whether to take the ids from the cache, and to keep them there; progress: is told how
        much was read.
    Raises CorpusError: a file that cannot be read or decoded, or a text too poor to learn from;
    ChangedCorpus: files of another fingerprint.
    """
    for path in map(Path, config.paths):
        if (what := special(path)) in ("a pipe", "a socket"):
            what += "; expected a file, for a run is resumed from its corpus"
            given = "" if str(path) == STDIN else f"{quoted(path)} "
            save = f"save it first, for example: cat {given}> corpus.txt"
            raise CorpusError(f"{path} is {what}", save)
    place = place_of(config, time.time()) if cache else ""
    found = Cache().find(place) if place else None
    if found is None or vocabulary not in (None, found.vocabulary):
        found = _encode(config, vocabulary, fingerprint, place, progress)
    _check_unchanged(config, fingerprint, found.fingerprint)
    cut = found.cut or sum(found.lengths[: found.training])
    if not (found.cut or config.val_file):
        cut = int(cut * (1 - config.val_fraction))
    train, validation = found.ids[:cut], found.ids[cut:]
    if len(train) < 2 or len(validation) < 2:
        name = "val_file" if config.val_file else "val_fraction"
        raise CorpusError(
            f"`{name}={getattr(config, name)}` leaves {cut:,} characters for training and"
            f" {len(validation):,} for validation, of {_where(config)}; expected 2 or more of each",
            "name a longer text with `val_file`" if config.val_file else "try `val_fraction=0.1`",
        )
    if config.backward:
        train, validation = train[::-1], validation[::-1]
    return Corpus(
        train,
        validation,
        found.vocabulary,
        found.fingerprint,
        notices=found.notices,
        counts=found.counts,
        lengths=found.lengths,
        documents=found.documents,
        duplicates=found.duplicates,
        backward=config.backward,
    )


def _encode(
    config: CorpusConfig,
    vocabulary: Vocabulary | None,
    fingerprint: str | None,
    place: str,
    progress: Progress | None,
) -> Encoded:
    """Read the texts; place: by which the cache finds them again, empty to do without it."""
    began = time.monotonic()
    reader = Reader.of(config, _counted(config, progress) if progress else None)
    reader.hint = "" if fingerprint is None else _PUT_BACK
    with room_for(None, _MORE_ROOM), tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
        numbered = Numbered(file, config.level)
        lengths, texts = number_texts([*map(Path, config.paths)], reader, numbered)
        found, training = reader.digest.hexdigest(), sum(texts[: len(config.files)])
        _check_unchanged(config, fingerprint, found)
        if vocabulary is None:
            text = numbered.codes != END
            size = min(sum(lengths[:training]), int(numbered.counts[text].sum()))
            _check_cut(reader, config, size)
            _check_rich_enough(size, numbered.codes[text], _where(config))
        of_text = vocabulary_of(numbered, config)
        vocabulary = vocabulary or of_text
        _check_vocabulary(vocabulary, numbered, config)

        def encoded(file: Path | None) -> Encoded:
            whole = file if config.documents is None else None
            with room_for(None, _MORE_ROOM) if whole is None else nullcontext():
                ids, counts = in_order(numbered, vocabulary, whole)
            made = partial(Encoded, fingerprint=found, notices=tuple(reader.notices))
            of_all = made(ids, vocabulary, counts, lengths, training)
            if config.documents is None:
                return of_all
            parts = split(ids, sum(lengths[:training]), counts, config, file)
            notices = of_all.notices + parts.notices
            return replace(of_all, **{**parts._asdict(), "notices": notices})

        if not place or time.monotonic() - began < WORTH or vocabulary != of_text:
            return encoded(None)
        cache = Cache()
        with room_for(cache.folder, _OTHER_CACHE):
            try:
                with cache.scratch() as scratch:
                    kept = encoded(scratch / "ids")
                    if place == place_of(config, time.time()):  # no file came or went meanwhile
                        cache.keep(scratch, kept, config, place)
                    return kept
            except OSError as error:
                if error.errno in FULL:
                    raise
                why = f"{cache.folder} cannot be written: {error.strerror or error}"
        without = encoded(None)
        notice = f"the encoded text is not kept, for the cache folder {why}"
        return replace(without, notices=(*without.notices, notice))


def _check_vocabulary(vocabulary: Vocabulary, numbered: Numbered, config: CorpusConfig) -> None:
    if vocabulary.has_unknown and len(vocabulary.characters) < 2:
        left = f"{len(vocabulary.characters)} distinct characters of {_where(config)}"
        what = f"`min_count={config.min_count}` leaves {left}; expected two or more"
        raise CorpusError(what, "try `min_count=1`")
    if vocabulary.lookup(numbered.codes).min(initial=0) < 0 and not vocabulary.has_unknown:
        what = f"{_where(config)} has characters that are not in the run's vocabulary"
        raise CorpusError(what, _ANEW)


def _counted(config: CorpusConfig, progress: Progress) -> Callable[[int], None]:
    """A function that is told how many bytes more were read, for `progress`."""
    done, total = 0, sum(size_on_disk(Path(path)) for path in config.paths)

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(Reading(done, total))

    return count


def _where(config: CorpusConfig) -> str:
    return ", ".join(config.files)


def _check_unchanged(config: CorpusConfig, expected: str | None, found: str) -> None:
    if expected not in (None, found):
        raise ChangedCorpus(
            f"the corpus changed: {_where(config)} has fingerprint {found[:16]}; expected"
            f" {str(expected)[:16]}, that of the text the run was trained on",
            _PUT_BACK,
        )


def _check_cut(reader: Reader, config: CorpusConfig, size: int) -> None:
    """size: characters of the documents."""
    if reader.cutter is None:
        return
    cut = f"`documents={shown(config.documents)}`"
    if not size and reader.cutter.empty:
        what = f"{_where(config)} holds empty documents alone ({cut}); expected some with text"
        raise CorpusError(what, "name a longer text, or cut it otherwise")
    if not reader.cutter.found and config.documents not in ("line", "file"):
        what = f"{cut} does not occur in {_where(config)}; expected it between two documents"
        raise CorpusError(what, "try `documents=line`")


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
