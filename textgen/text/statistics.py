"""What a text is made of: its alphabet, its lines, and how much of it repeats itself."""

import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.text.corpus import Corpus
from textgen.text.documents import places_of
from textgen.text.mapped import release
from textgen.text.vocabulary import Vocabulary

EXAMINED = 1 << 26  # characters that are examined for lines
NAMED = 8  # characters that are named
_BLOCK = 1 << 20  # ids examined at a time


@dataclass(frozen=True)
class Lines:
    """Of the first `examined` characters of a text.

    lines: how many; median, longest: characters, line ends left out; repeated_lines,
    repeated_paragraphs: shares of the characters in those that occurred before, empty lines and
    lines of less than 20 characters left out.
    """

    examined: int
    lines: int
    median: int
    longest: int
    repeated_lines: float
    repeated_paragraphs: float


def documents_of(corpus: Corpus) -> dict[str, int] | None:
    """How many documents there are, their lengths in characters; None of a text that is not cut."""
    end = corpus.vocabulary.end
    if end is None:
        return None
    places = [places_of(part, end) for part in (corpus.train, corpus.validation)]
    lengths = np.concatenate([p.ends - p.begins - 1 for p in places])
    return {
        "documents": corpus.documents,
        "median": int(np.median(lengths)),
        "longest": int(lengths.max()),
        "duplicates": corpus.duplicates,
    }


def script_of(character: str) -> str:
    """`Latin`, `Cyrillic` or the like, from the character's Unicode name; else its kind."""
    kind = unicodedata.category(character)
    if kind[0] in "LM":
        name = unicodedata.name(character, "Unnamed").split()[0].split("-")[0]
        return {"CJK": "Han", "COMBINING": "Mark"}.get(name, name.capitalize())
    kinds = {"N": "Digit", "P": "Punctuation", "S": "Symbol", "Z": "Space"}
    return "Line end" if character == "\n" else kinds.get(kind[0], "Control")


def scripts(vocabulary: Vocabulary) -> dict[str, int]:
    """How many distinct characters of each script there are, the most first; none of bytes."""
    return dict(Counter(map(script_of, vocabulary.characters)).most_common())


def rarest(corpus: Corpus) -> list[tuple[str, int]]:
    """The rarest characters and how often each occurs; none of bytes."""
    order = np.argsort(corpus.counts, kind="stable")
    characters = corpus.vocabulary.characters
    return [(characters[i], int(corpus.counts[i])) for i in order if i < len(characters)][:NAMED]


def oddest(corpus: Corpus) -> list[tuple[str, int]]:
    """Characters that are seldom meant: controls, private use, unassigned, replacement."""
    odd = []
    for character, count in zip(corpus.vocabulary.characters, corpus.counts, strict=False):
        kind = unicodedata.category(character)
        if (kind in ("Cc", "Cn", "Co", "Cs") and character not in "\n\t") or character == "\ufffd":
            odd.append((character, int(count)))
    return odd[:NAMED]


def lines_of(corpus: Corpus) -> Lines | None:
    """Lines and repetitions at the beginning of the training part; None without line ends."""
    newline = ord("\n") if corpus.vocabulary.level == "byte" else _place(corpus.vocabulary, "\n")
    if newline is None:
        return None
    ids, end = corpus.train[:EXAMINED], corpus.vocabulary.end
    between = np.array([newline], ids.dtype).tobytes()
    lengths: list[NDArray] = []
    seen: dict[str, set[int]] = {"line": set(), "paragraph": set()}
    repeated = {"line": 0, "paragraph": 0}
    compared = {"line": 0, "paragraph": 0}

    def compare(kind: str, part: bytes) -> None:
        size = len(part) // ids.itemsize
        if size >= 20:
            compared[kind] += size
            key = hash(part)
            repeated[kind] += size * (key in seen[kind])
            seen[kind].add(key)

    paragraph: list[bytes] = []
    rest: list[NDArray] = []  # of the last line, which goes on
    for begin in range(0, len(ids), _BLOCK):
        block = ids[begin : begin + _BLOCK].copy()
        release(ids)
        ends = np.isin(block, [newline] if end is None else [newline, end])
        *whole, last = np.split(block, np.flatnonzero(ends) + 1)
        if whole:
            whole[0], rest = np.concatenate([*rest, whole[0]]), []
        rest.append(last)
        if begin == 0 and end is not None:
            del whole[:1]  # the end before the first document
        # the end of a document after a line end is no line
        own = [len(line) - 1 for line in whole if len(line) > 1 or line[0] != end]
        lengths.append(np.array(own, np.int64))
        for line in whole:
            raw = line[:-1].tobytes()
            compare("line", raw)
            if raw:
                paragraph.append(raw)
            if not raw or line[-1] == end:
                compare("paragraph", between.join(paragraph))
                paragraph.clear()
    if raw := b"".join(part.tobytes() for part in rest):  # the last line, which nothing ends
        lengths.append(np.array([len(raw) // ids.itemsize], np.int64))
        compare("line", raw)
        paragraph.append(raw)
    if paragraph:
        compare("paragraph", between.join(paragraph))
    found = np.concatenate(lengths)
    shares = {kind: repeated[kind] / max(1, compared[kind]) for kind in seen}
    median = int(np.median(found)) if len(found) else 0
    return Lines(
        len(ids),
        len(found),
        median,
        longest=int(found.max(initial=0)),
        repeated_lines=shares["line"],
        repeated_paragraphs=shares["paragraph"],
    )


def _place(vocabulary: Vocabulary, character: str) -> int | None:
    place = vocabulary.characters.find(character)
    return None if place < 0 else place
