"""The ids of a text that a trained model is given, by its vocabulary."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.text.decoding import Reader
from textgen.text.normal import normalized
from textgen.text.sources import special
from textgen.text.vocabulary import Unknown, Vocabulary


def text_ids(text: str, reader: Reader, vocabulary: Vocabulary, unknown: str) -> NDArray:
    """The ids of `text`, normalized and cut as a file is; `unknown` as in `Vocabulary.encode`.

    Raises UnknownCharacters.
    """
    text = normalized(text, reader.normalize)
    if reader.cutter is None:
        return vocabulary.encode(text, unknown)
    lacking, parts = Unknown(vocabulary), []
    for symbols in reader.cutter.cut(iter((vocabulary.symbols(text),))):
        if unknown == "error":
            lacking.add(symbols, reader.cutter.at)
        parts.append(symbols)
    lacking.refuse("the text")
    return vocabulary.encode_symbols(np.concatenate(parts), unknown)


def file_ids(
    path: Path,
    reader: Callable[[], Reader],
    vocabulary: Vocabulary,
    unknown: str,
    *,
    all_named: bool = True,
) -> Iterator[NDArray]:
    """The ids of a file, in blocks; `unknown` as in `Vocabulary.encode`.

    all_named: whether the file is read to its end first, so that all that are unknown are named.
    """
    if unknown == "error" and all_named and not special(path):
        unknown_in(path, reader(), vocabulary).refuse(str(path))
    lacking, now = Unknown(vocabulary), reader()
    for symbols in now.symbols(path):
        if unknown == "error":
            lacking.add(symbols, now.cutter.at if now.cutter else None)
            lacking.refuse(str(path))
        yield vocabulary.encode_symbols(symbols, unknown)


def unknown_in(path: Path, reader: Reader, vocabulary: Vocabulary) -> Unknown:
    """The characters of a file that the vocabulary lacks."""
    lacking = Unknown(vocabulary)
    for symbols in reader.symbols(path):
        lacking.add(symbols, reader.cutter.at if reader.cutter else None)
    return lacking
