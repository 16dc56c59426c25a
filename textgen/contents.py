"""What a checkpoint stands for, read back and checked: vocabulary, weights, corpus."""

from __future__ import annotations

from dataclasses import replace

from numpy.typing import NDArray

from textgen.checkpoint import OTHER_FILE, Header, read_arrays
from textgen.corpus import Corpus, read_corpus
from textgen.errors import CheckpointError, CorpusError
from textgen.vocabulary import Vocabulary


def read_vocabulary(header: Header) -> Vocabulary:
    """The vocabulary in a checkpoint's record. Raises CheckpointError if it is not sound."""
    try:
        vocabulary = Vocabulary(**header.meta["vocabulary"])
        size = len(vocabulary)
    except (KeyError, TypeError) as error:
        raise _damaged(header, f"its vocabulary cannot be read ({error})") from None
    if size != header.model.vocabulary_size:
        raise _damaged(header, f"{size} characters for a model of {header.model.vocabulary_size}")
    return vocabulary


def read_weights(header: Header) -> dict[str, NDArray]:
    """The weights, checked against the shape that the record gives."""
    model = header.model
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[model.cell]
    expected: dict[str, tuple[int, ...]] = {
        "embedding.weight": (model.vocabulary_size, model.embedding),
        "head.weight": (model.vocabulary_size, model.hidden[-1]),
        "head.bias": (model.vocabulary_size,),
    }
    width = model.embedding
    for number, hidden in enumerate(model.hidden):
        rows = gates * hidden
        expected[f"layers.{number}.weight_ih_l0"] = (rows, width)
        expected[f"layers.{number}.weight_hh_l0"] = (rows, hidden)
        expected[f"layers.{number}.bias_ih_l0"] = (rows,)
        expected[f"layers.{number}.bias_hh_l0"] = (rows,)
        width = hidden
    for name, shape in expected.items():
        found = header.shapes.get(f"model/{name}")
        if found != shape:
            raise _damaged(header, f"{name} has shape {found}, expected {shape}")
    return read_arrays(header, "model")["model"]


def reread_corpus(header: Header, files: tuple[str, ...] = ()) -> Corpus:
    """The corpus that the checkpoint was trained on, from where it was, or is now (`files`).

    Raises CorpusError if it cannot be read, or is not the same.
    """
    config = replace(header.corpus, files=files) if files else header.corpus
    corpus = read_corpus(config, read_vocabulary(header))
    expected = str(header.meta["fingerprint"])
    if corpus.fingerprint != expected:
        raise CorpusError(
            f"the corpus changed: {', '.join(config.files)} has fingerprint"
            f" {corpus.fingerprint[:16]}, {header.path.parent.name} was trained on {expected[:16]}",
            "put the old text back; or train anew under another name: textgen train --run NAME",
        )
    return corpus


def _damaged(header: Header, why: str) -> CheckpointError:
    return CheckpointError(
        f"{header.path} is damaged: {why}",
        OTHER_FILE,
    )
