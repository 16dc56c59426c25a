"""Texts cut into documents while they are read: by lines, by files, or by a separator."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from textgen.errors import UsageError
from textgen.text.vocabulary import END, symbols_of

_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def separator_of(documents: str) -> str:
    r"""What stands between two documents of a file, `\n`, `\t` and `\\` read as in Python."""
    if documents in ("line", "file"):
        return "\n" if documents == "line" else ""
    return re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match[0]], documents)


class Cutter:
    """Puts END between the documents of texts, and where a text begins and ends.

    found: separators so far; empty: documents so far that were left out as empty; at: of the block
    that was given last, where each of its symbols stands among all that were read, from 0.
    """

    def __init__(self, documents: str, level: str) -> None:
        self._separator = _symbols(separator_of(documents), level)
        self.found = self.empty = self._read = 0
        self._given = np.zeros(0, bool)  # which of what was read last

    @property
    def at(self) -> NDArray[np.int64]:
        return self._read + np.flatnonzero(self._given)

    def cut(self, blocks: Iterator[NDArray]) -> Iterator[NDArray[np.uint32]]:
        """A text's symbols with END for the separators, block by block.

        A line end at the text's end that may begin a separator belongs to no document.
        """
        self._given = np.ones(1, bool)
        yield np.array([END], np.uint32)
        rest, ended = np.zeros(0, np.uint32), True
        for block in blocks:
            read, kept = self._replaced(np.concatenate([rest, block.astype(np.uint32)]))
            rest, read = read[len(kept) :], read[: len(kept)]
            block = read[kept]
            ends = block == END
            again = ends & np.concatenate([[ended], ends[:-1]])
            self.empty += int(again.sum())
            if len(block):
                ended = bool(ends[-1])
                self._given = kept.copy()
                self._given[kept] = ~again
                yield block[~again]
            self._read += len(read)
        begun = range(len(rest) if len(rest) and self._separator[0] == ord("\n") else 0, 0, -1)
        last = next((n for n in begun if (rest[-n:] == self._separator[:n]).all()), 0)
        whole = rest[: len(rest) - last]
        if len(whole):
            self._given = np.ones(len(whole), bool)
            yield whole
        self._read += len(rest)
        if len(whole) or not ended:
            self._given = np.ones(1, bool)
            yield np.array([END], np.uint32)

    def _replaced(self, symbols: NDArray[np.uint32]) -> tuple[NDArray, NDArray[np.bool_]]:
        """Symbols with END where a separator begins, and which of them are kept, of the first ones.

        The others may begin another separator.
        """
        size, last = len(self._separator), len(symbols) - len(self._separator) + 1
        if not size:
            return symbols, np.ones(len(symbols), bool)
        here = np.ones(max(0, last), bool)
        for offset, symbol in enumerate(self._separator):
            here &= symbols[offset : offset + len(here)] == symbol
        begins = np.flatnonzero(here)
        if len(begins) > 1 and np.diff(begins).min() < size:
            begins = np.array([*_apart(begins.tolist(), size)])
        self.found += len(begins)
        decided = max(0, last, int(begins[-1]) + size if len(begins) else 0)
        kept = np.ones(len(symbols), bool)
        kept[(begins[:, None] + np.arange(1, size)).ravel()] = False
        symbols[begins] = END
        return symbols, kept[:decided]


def _apart(begins: list[int], size: int) -> Iterator[int]:
    """Of the places where a separator fits, from the left, those that do not overlap."""
    free = 0
    for begin in begins:
        if begin >= free:
            yield begin
            free = begin + size


def _symbols(separator: str, level: str) -> NDArray[np.uint32]:
    try:
        if level == "char":
            separator.encode()  # has no surrogates, as no text has
        return symbols_of(separator, level).astype(np.uint32)
    except UnicodeEncodeError:
        what = f"`documents` is {separator!r}, which holds what is no {level}; expected a text"
        raise UsageError(what, "name another separator, line or file") from None


def shown(documents: str | None) -> str:
    """The setting as it is typed."""
    return re.sub("[\n\t]", lambda match: repr(match[0])[1:-1], documents or "")
