"""What a checkpoint stands for, read back and checked: vocabulary, weights, corpus."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from textgen.errors import ChangedCorpus, CheckpointError, CorpusError
from textgen.store.checkpoint import OTHER_FILE, Header, read_arrays
from textgen.text.corpus import Corpus, read_corpus
from textgen.text.vocabulary import Vocabulary


def read_vocabulary(header: Header) -> Vocabulary:
    """The vocabulary in a checkpoint's record. Raises CheckpointError if it is not sound."""
    record = header.record
    characters = record.vocabulary
    if any(a >= b for a, b in pairwise(characters)) or any(
        "\ud800" <= c < "\ue000" for c in characters
    ):
        raise _damaged(header, "its vocabulary is not in order")
    vocabulary = Vocabulary(record.corpus.level, characters)
    if len(vocabulary) != record.model.vocabulary_size:
        raise _damaged(
            header, f"{len(vocabulary)} characters for a model of {record.model.vocabulary_size}"
        )
    return vocabulary


def read_weights(header: Header) -> dict[str, NDArray]:
    """The weights, checked against the shape that the record gives."""
    model = header.record.model
    expected: dict[str, tuple[int, ...]] = {
        "embedding.weight": (model.vocabulary_size, model.embedding),
        "head.weight": (model.vocabulary_size, model.hidden[-1]),
        "head.bias": (model.vocabulary_size,),
    }
    width = model.embedding
    for number, hidden in enumerate(model.hidden):
        rows = model.gates * hidden
        expected[f"layers.{number}.weight_ih_l0"] = (rows, width)
        expected[f"layers.{number}.weight_hh_l0"] = (rows, hidden)
        expected[f"layers.{number}.bias_ih_l0"] = (rows,)
        expected[f"layers.{number}.bias_hh_l0"] = (rows,)
        width = hidden
    for name, shape in expected.items():
        dtype, found = header.arrays.get(f"model/{name}", (None, None))
        if found != shape or dtype != "F32":
            raise _damaged(header, f"{name} has shape {found} {dtype}, expected {shape} F32")
    weights = read_arrays(header, "model")["model"]
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise _damaged(header, "some of its weights are not numbers")
    return weights


def reread_corpus(header: Header, files: tuple[str, ...] = ()) -> Corpus:
    """The corpus that the checkpoint was trained on, from where it was, or is now (`files`).

    Raises CorpusError if it cannot be read, ChangedCorpus if it is not the same.
    """
    corpus = header.record.corpus
    config = replace(corpus, files=files) if files else corpus
    try:
        return read_corpus(config, read_vocabulary(header), header.record.fingerprint)
    except ChangedCorpus:
        raise
    except CorpusError as error:
        hint = "if it moved, say where it is now: textgen resume --corpus FILE"
        raise CorpusError(error.message, error.hint if files else hint) from None


def _damaged(header: Header, why: str) -> CheckpointError:
    return CheckpointError(f"{header.path} is damaged: {why}", OTHER_FILE)
