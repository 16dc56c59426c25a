"""How many bits a text costs a model that reads it from its beginning."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from textgen.inference.evaluation import nats_of_each
from textgen.inference.text_model import TextModel
from textgen.text.decoding import text_of
from textgen.text.vocabulary import END, symbols_of

UNKNOWN_BITS = math.log2(0x110000)  # of a character the model never saw: any code point, evenly


def bits(
    model: TextModel, texts: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float64]:
    """The bits that each text costs, (n,); characters the model never saw cost 20 bits each.

    Texts begin after a line end, or with a model that reads backward end before one; of a model of
    documents each is a document, its end symbol too: see `documents_of`. progress: called with how
    many ids are scored, and how many there are.
    """
    turn = -1 if model.backward else 1
    first = model.vocabulary.first
    found = np.zeros(len(texts))
    ids = []
    for place, text in enumerate(texts):
        known = model.vocabulary.encode(text, "skip")[::turn]
        if model.vocabulary.level == "char":
            found[place] = UNKNOWN_BITS * (len(text) - len(known))
        closed = [] if model.vocabulary.end is None else [model.vocabulary.end]
        parts = [np.array(part, model.vocabulary.dtype) for part in ([first], known, closed)]
        ids.append(np.concatenate(parts))
    return found + nats_of_each(model.network(), ids, progress=progress) / math.log(2)


def documents_of(model: TextModel, texts: Sequence[str]) -> list[str]:
    """Texts cut as the model's corpus was: each into documents, or all as they are, in one."""
    cutter = model.reader().cutter
    if cutter is None:
        return ["".join(texts)]
    documents = []
    for text in texts:
        symbols = symbols_of(text, model.vocabulary.level)
        cut = np.concatenate([*cutter.cut(iter([symbols]))])
        parts = np.split(cut, np.flatnonzero(cut == END))
        raw = [text_of(part[1:].astype(symbols.dtype)) for part in parts if len(part) > 1]
        documents += [document.decode("utf-8", "surrogateescape") for document in raw]
    return documents


def lines_of(model: TextModel, texts: Sequence[str]) -> list[str]:
    """The lines of texts, each with the line end that closes it in the order of reading."""
    lines = split_lines(texts)
    if model.vocabulary.end is not None:
        return lines
    return [f"\n{line}" if model.backward else f"{line}\n" for line in lines]


def split_lines(texts: Sequence[str]) -> list[str]:
    """The lines of texts that are not empty, without their line ends."""
    return [line for text in texts if text for line in text.removesuffix("\n").split("\n")]
