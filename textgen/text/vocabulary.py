"""The symbols a model knows; from text to ids and back, without loss."""

import codecs
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import UnknownCharacters, UsageError

REPLACEMENT = "\ufffd"  # how the unknown symbol reads
END = 0xDFFF  # among symbols, where a document ends: a surrogate, so neither in text nor a byte
NAMED = 5  # unknown characters that a message names


@dataclass(frozen=True)
class Vocabulary:
    """Code points in ascending order (level char), or the 256 bytes (level byte).

    An id is the place of its character in `characters`, or the byte itself. has_unknown: whether
    one more id stands for all characters that the vocabulary lacks; has_end: whether another, the
    last, stands for the end of a document.
    """

    level: str
    characters: str = ""
    has_unknown: bool = False
    has_end: bool = False

    @classmethod
    def of(cls, corpus: CorpusConfig, characters: str) -> Self:
        """That of a text which is read as `corpus` says; characters: none at level byte."""
        return cls(corpus.level, characters, corpus.min_count > 1, corpus.documents is not None)

    def __len__(self) -> int:
        characters = 256 if self.level == "byte" else len(self.characters)
        return characters + self.has_unknown + self.has_end

    @property
    def unknown(self) -> int | None:
        """The id of the unknown symbol, which is never drawn; None where there is none."""
        return len(self.characters) if self.has_unknown else None

    @property
    def end(self) -> int | None:
        """The id of the end symbol; None where a text is not cut into documents."""
        return len(self) - 1 if self.has_end else None

    @property
    def first(self) -> int:
        """What is read before the first character: the end symbol, else a line end, else id 0."""
        newline = "\n" in self.characters or self.level == "byte"
        return self.end if self.end is not None else int(self.encode("\n")[0]) if newline else 0

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype(np.min_scalar_type(len(self) - 1))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the level and the characters."""
        return hashlib.sha256(f"{self.level}\n{self.characters}".encode()).hexdigest()

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Code point -> id, -1 where there is none; one entry past the largest code point."""
        codes = np.frombuffer(self.characters.encode("utf-32-le"), np.uint32)
        table = np.full(int(codes[-1]) + 2, -1, np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        return table

    def lookup(self, codes: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Ids of code points (or bytes) and END, -1 for what the vocabulary lacks; same shape."""
        byte = self.level == "byte"
        ids = codes.astype(np.int32) if byte else self._table.take(codes, mode="clip")
        if self.end is not None:
            ids[codes == END] = self.end
        return ids

    def encode(self, text: str, unknown: str = "error", what: str = "the text") -> NDArray:
        """Ids of `text`, shape (n,).

        unknown: for characters that the vocabulary lacks: `error` raises UnknownCharacters with
            their places, `skip` leaves them out, `replace` takes the unknown symbol, or in a
            vocabulary without one the nearest known form (the other case, the letter without its
            accents, else a space, else nothing).
        """
        codes = self.symbols(text, what)
        if self.level == "byte":
            return codes.astype(self.dtype)
        if unknown == "error":
            Unknown(self, codes).refuse(what)
        return self.encode_symbols(codes, unknown)

    def symbols(self, text: str, what: str = "the text") -> NDArray:
        """Code points or bytes, of which none is END. Raises UnknownCharacters for half of one."""
        half = text.find(chr(END)) if self.end is not None else -1
        try:
            codes = symbols_of(text, self.level)
        except UnicodeEncodeError as error:
            half = error.start
        if half >= 0:
            found = f"{what} has half of a character at character {half + 1}"
            raise UnknownCharacters(f"{found}; expected Unicode text", "leave it out")
        return codes

    def encode_symbols(self, symbols: NDArray, unknown: str) -> NDArray:
        """Ids of code points (or of bytes), shape (n,); `unknown`: skip or replace, as above."""
        ids = self.lookup(symbols)
        if ids.min(initial=0) < 0:
            if unknown == "replace" and self.unknown is not None:
                ids[ids < 0] = self.unknown
            elif unknown == "replace":
                symbols = symbols.astype(np.uint32)
                nearest = self._nearest(symbols[ids < 0])
                text = symbols.tobytes().decode("utf-32-le", "surrogatepass").translate(nearest)
                codes = text.encode("utf-32-le", "surrogatepass")  # END is a surrogate
                ids = self.lookup(np.frombuffer(codes, np.uint32))
            ids = ids[ids >= 0]
        return ids.astype(self.dtype)

    def places(self, text: str, unknown: str) -> NDArray:
        """For each of the ids of `text` at level char the place of its character; as `encode`."""
        codes = symbols_of(text, self.level)
        counts = np.ones(len(codes), np.int64)
        lacking = self.lookup(codes) < 0
        if unknown == "skip":
            counts[lacking] = 0
        elif self.unknown is None:
            nearest = self._nearest(codes[lacking])
            counts[lacking] = [len(nearest[code]) for code in codes[lacking].tolist()]
        return np.repeat(np.arange(len(codes)), counts)

    def _nearest(self, codes: NDArray) -> dict[int, str]:
        """The nearest known form of each code point that the vocabulary lacks."""
        known = {*self.characters}

        def form_of(character: str) -> str:
            parts = unicodedata.normalize("NFKD", character)
            bare = "".join(c for c in parts if not unicodedata.combining(c))
            forms = (character.swapcase(), bare, bare.swapcase(), " ")
            return next((form for form in forms if form and {*form} <= known), "")

        return {code: form_of(chr(code)) for code in np.unique(codes).tolist()}

    def decode(self, ids: NDArray | list[int]) -> str:
        """Text of ids; bytes that are not UTF-8 come as lone surrogates (PEP 383)."""
        decode = self.decoder()
        return "".join(decode(int(i)) for i in ids) + decode(None)

    def check_ids(self, ids: object) -> None:
        """Raise UsageError unless it is an array (n,) of ids."""
        found = type(ids).__name__
        if isinstance(ids, np.ndarray):
            found = f"an array of {ids.ndim} dimensions of {ids.dtype}"
            if ids.ndim == 1 and ids.dtype.kind in "iu":
                if not len(ids) or (ids.min() >= 0 and ids.max() < len(self)):
                    return
                found = f"an array of ids from {ids.min()} to {ids.max()}"
        what = f"the text is {found}; expected a str, a Path, or an array (n,) of ids"
        raise UsageError(f"{what} from 0 to {len(self) - 1}", "model.vocabulary.encode(TEXT)")

    def decoder(self) -> Callable[[int | None], str]:
        """A function from one id to the text that it completes; None flushes what is held back.

        Bytes that are not UTF-8 come as lone surrogates, which `surrogateescape` writes back.
        """
        if self.level == "char":
            characters = self.characters + REPLACEMENT * self.has_unknown
            return lambda i: "" if i in (None, self.end) else characters[i]
        utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        silent = (None, self.end)
        return lambda i: utf8.decode(b"", True) if i in silent else utf8.decode(bytes((i,)))


def symbols_of(text: str, level: str) -> NDArray:
    """The code points of `text`, or its bytes."""
    if level == "byte":
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def name_character(character: str) -> str:
    """A character with its code point and its Unicode name, if it has one."""
    name = f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
    return f"{character!r} ({name})"


def knows(vocabulary: Vocabulary, text: str) -> bool:
    """Whether it has all characters of the text."""
    return bool((vocabulary.lookup(symbols_of(text, vocabulary.level)) >= 0).all())


class Unknown:
    """The characters that a vocabulary lacks, of a text of `read` characters so far."""

    def __init__(self, vocabulary: Vocabulary, symbols: NDArray | None = None) -> None:
        self._vocabulary = vocabulary
        self._counts: Counter[int] = Counter()
        self._first: dict[int, int] = {}
        self.read = 0
        if symbols is not None:
            self.add(symbols)

    def add(self, symbols: NDArray, at: NDArray | None = None) -> None:
        """Look at the next part of the text: code points, or bytes at level byte.

        at: where each of them stands in the text, from 0; by default after those so far.
        """
        lacking = np.flatnonzero(self._vocabulary.lookup(symbols) < 0)
        codes, first, counts = np.unique(symbols[lacking], return_index=True, return_counts=True)
        places = 1 + (lacking[first] + self.read if at is None else at[lacking[first]])
        found = zip(codes.tolist(), places.tolist(), counts.tolist(), strict=True)
        for code, place, count in found:
            self._counts[code] += count
            self._first.setdefault(code, place)
        self.read += len(symbols)

    def refuse(self, what: str) -> None:
        """Raise UnknownCharacters if there are any; `what` names the text."""
        if self._counts:
            skip = "`unknown=skip` leaves such characters out"
            hint = f"{skip}, `unknown=replace` takes the nearest known form"
            raise UnknownCharacters(f"{what} has {self}", hint)

    def __str__(self) -> str:
        """One line, the commonest characters first; empty if there are none."""
        if not self._counts:
            return ""
        named = []
        order = sorted(self._counts, key=lambda c: (-self._counts[c], self._first[c]))
        for code in order[:NAMED]:
            more = f" and {self._counts[code] - 1} more" if self._counts[code] > 1 else ""
            named.append(f"{name_character(chr(code))} at character {self._first[code]}{more}")
        if len(order) > NAMED:
            named.append(f"{len(order) - NAMED} other characters")
        noun = "a character" if len(order) == 1 else f"{len(order)} characters"
        return f"{noun} the model never saw: {'; '.join(named)}"
