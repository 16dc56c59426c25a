"""The symbols a model knows, and the way from text to ids and back, without loss."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from textgen.errors import UnknownCharacters

UNKNOWN = ("error", "skip", "replace")


@dataclass(frozen=True)
class Vocabulary:
    """Code points in ascending order (level char), or the 256 bytes (level byte).

    An id is the place of its character in `characters`, or the byte itself.
    """

    level: str
    characters: str = ""

    def __len__(self) -> int:
        return 256 if self.level == "byte" else len(self.characters)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every id."""
        return np.dtype(np.min_scalar_type(len(self) - 1))

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        return np.frombuffer(self.characters.encode("utf-32-le"), np.uint32)

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """Code point -> id, -1 where there is none; one entry past the largest code point."""
        table = np.full(int(self._codes[-1]) + 2, -1, np.int32)
        table[self._codes] = np.arange(len(self), dtype=np.int32)
        return table

    def lookup(self, codes: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Ids of code points (or of bytes), -1 for those the vocabulary lacks; same shape."""
        if self.level == "byte":
            return codes.astype(np.int32)
        return self._table[np.minimum(codes, len(self._table) - 1)]

    def encode(self, text: str, unknown: str = "error", what: str = "the text") -> NDArray:
        """Ids of `text`, shape (n,).

        unknown: what becomes of characters the vocabulary lacks: `error` raises UnknownCharacters
        naming them and their places, `skip` leaves them out, `replace` takes the nearest known
        form (the other case, the letter without its accents, else a space, else nothing).
        """
        if self.level == "byte":
            raw = text.encode("utf-8", "surrogateescape")
            return np.frombuffer(raw, np.uint8).astype(self.dtype)
        ids = self.lookup(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))
        if (ids < 0).any():
            if unknown == "error":
                raise UnknownCharacters(
                    f"{what} has {describe_unknown(text, ids)}",
                    "--unknown skip leaves such characters out, --unknown replace takes the nearest"
                    " known form",
                )
            if unknown == "replace":
                near = "".join(
                    self._nearest(c) if i < 0 else c for c, i in zip(text, ids, strict=True)
                )
                return self.encode(near)
            ids = ids[ids >= 0]
        return ids.astype(self.dtype)

    def unknown(self, text: str) -> str:
        """Which characters of `text` the vocabulary lacks, said in a line; empty if none."""
        if self.level == "byte":
            return ""
        ids = self.lookup(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32))
        return describe_unknown(text, ids) if (ids < 0).any() else ""

    def _nearest(self, character: str) -> str:
        known = set(self.characters)
        bare = unicodedata.normalize("NFKD", character)
        bare = "".join(c for c in bare if not unicodedata.combining(c))
        for form in (character.swapcase(), bare, bare.swapcase(), " "):
            if form and known.issuperset(form):
                return form
        return ""

    def decode(self, ids: NDArray | list[int]) -> str:
        """Text of ids; bytes that are not UTF-8 come as lone surrogates (PEP 383)."""
        decode = self.decoder()
        return "".join(decode(int(i)) for i in ids) + decode(None)

    def decoder(self) -> Callable[[int | None], str]:
        """A function from one id to the text that it completes; None flushes what is held back.

        At level byte a character may need up to four ids, so the answer can be empty. Bytes that
        are not UTF-8 come out as lone surrogates, which `surrogateescape` writes back unchanged.
        """
        if self.level == "char":
            characters = self.characters
            return lambda i: "" if i is None else characters[i]
        utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        return lambda i: utf8.decode(b"", final=True) if i is None else utf8.decode(bytes((i,)))


def name_character(character: str) -> str:
    """A character as a person can find it: itself, its code point and its Unicode name."""
    name = unicodedata.name(character, "")
    shown = repr(character)
    return f"{shown} (U+{ord(character):04X}{' ' + name if name else ''})"


def describe_unknown(text: str, ids: NDArray[np.int32], most: int = 5) -> str:
    """Say which characters of `text` have no id (ids < 0), how often, and where first."""
    places = np.flatnonzero(ids < 0)
    counts = Counter(text[p] for p in places)
    first = {text[p]: int(p) for p in reversed(places)}
    named = [
        f"{name_character(c)} at character {first[c] + 1}" + (f" and {n - 1} more" if n > 1 else "")
        for c, n in counts.most_common(most)
    ]
    if len(counts) > most:
        named.append(f"{len(counts) - most} other characters")
    noun = "a character" if len(counts) == 1 else f"{len(counts)} characters"
    return f"{noun} the model never saw: " + "; ".join(named)
