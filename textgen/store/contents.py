"""A checkpoint's vocabulary, weights and corpus, read back and checked."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import ChangedCorpus, CorpusError, UsageError
from textgen.store.archive import damaged
from textgen.store.checkpoint import Header, read_arrays
from textgen.store.record import Record
from textgen.text.corpus import Corpus, read_corpus
from textgen.text.sources import COPY, LOCK
from textgen.text.vocabulary import Vocabulary

# groups of arrays in a `last`: `live` holds the weights in training where `model` has their average
RESUMED = ("model", "live", "optimizer", "state", "scaler", "losses", "temperature")

# of products of two weights (the folded embedding), or of a weight and a state, 65,536 are summed:
# below this bound the sum stays far below the 3e38 of float32
LARGEST_WEIGHT = 1e9


def read_vocabulary(header: Header) -> Vocabulary:
    """The vocabulary in a checkpoint's record. Raises CheckpointError if it is damaged."""
    characters, size = header.record.vocabulary, header.record.model.vocabulary_size
    ascending = all(a < b for a, b in pairwise(characters))
    if header.record.corpus.level == "char" and not characters:
        raise damaged(header.path, "its vocabulary is empty")
    if not ascending or any("\ud800" <= c < "\ue000" for c in characters):
        raise damaged(header.path, "its vocabulary is not in order")
    vocabulary = Vocabulary.of(header.record.corpus, characters)
    if len(vocabulary) != size:
        raise damaged(header.path, f"{len(vocabulary)} characters for a model of {size}")
    return vocabulary


def read_weights(header: Header) -> dict[str, NDArray]:
    """The weights, float32, in the shapes of `ModelConfig.shapes`; else CheckpointError."""
    shapes = header.record.model.shapes
    _check_shapes(header, "model", shapes)
    weights = read_arrays(header, "model")["model"]
    if others := weights.keys() - shapes.keys():
        raise damaged(header.path, f"it holds weights that its model lacks: {min(others)}")
    if not all(abs(array).max() <= LARGEST_WEIGHT for array in weights.values()):
        what = f"some of its weights are not numbers, or larger than {LARGEST_WEIGHT:g}"
        raise damaged(header.path, what)
    return weights


def _check_shapes(header: Header, group: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError, naming an array of the group that has not its shape in float32."""
    for name, shape in shapes.items():
        dtype, found, *_ = header.arrays.get(f"{group}/{name}", (None, None))
        if found != shape or dtype != "F32":
            what = f"{group}/{name} has shape {found} {dtype}, expected {shape} F32"
            raise damaged(header.path, what)


def read_resumed(header: Header) -> dict[str, dict[str, NDArray]]:
    """All arrays of a `last` checkpoint, by group and name.

    Raises CheckpointError. Weights and states are then of the sizes that the settings say, so that
    nothing larger is made room for.
    """
    record = header.record
    states = {
        name: (record.training.batch_size, axis.size) for name, axis in record.model.state.items()
    }
    _check_shapes(header, "model", record.model.shapes)
    _check_shapes(header, "state", states)
    arrays = read_arrays(header, *RESUMED)
    if header.version == 1 and "since" in arrays["losses"]:
        # format 1 kept the loss of each step since the last evaluation, 2 their sum and number
        since = arrays["losses"].pop("since")
        arrays["losses"] |= {"sum": since.sum(dtype=np.float64), "count": np.array(since.size)}
    return arrays


def reread_corpus(header: Header, now: CorpusConfig | None = None, **reading: Any) -> Corpus:
    """The corpus of a checkpoint, from where it was, or from `now`.

    reading: `cache` and `progress` of `read_corpus`.
    Raises CorpusError if it cannot be read, ChangedCorpus if it is not the same.
    """
    record = header.record
    if not record.fingerprint:
        what = f"{header.path} was exported without the name of its text; expected one that has it"
        raise CorpusError(what, "name the run it was exported from, or the text: `files=FILE`")
    config = now or found(record.corpus, header.path.parent)
    try:
        corpus = read_corpus(config, read_vocabulary(header), record.fingerprint, **reading)
    except ChangedCorpus:
        raise
    except CorpusError as error:
        held_out = config.val_file and config.val_file in error.message
        name = "val_file" if held_out else "files"
        named = getattr(config, name) != getattr(record.corpus, name)  # the place it moved to
        if named or all(map(os.path.exists, config.paths)):
            raise
        hint = f"if it moved, say where it is now: `{name}=FILE`"
        raise CorpusError(error.message, hint) from None
    check_parts(corpus, record)
    return corpus


def found(corpus: CorpusConfig, folder: Path) -> CorpusConfig:
    """`corpus` with its copies of pipes where they are in a run's folder that was renamed.

    Where it was there may be another run by now, with a copy of another pipe.
    """

    def place(path: str) -> str:
        here = (folder / Path(path).name).absolute()
        with suppress(OSError):  # a name that no file can have
            if COPY.fullmatch(here.name) and here.exists():
                of_run = (Path(path).parent / LOCK).exists()
                return str(here) if of_run or not Path(path).exists() else path
        return path

    files, held_out = tuple(map(place, corpus.files)), corpus.val_file
    return replace(corpus, files=files, val_file=held_out and place(held_out))


def check_parts(corpus: Corpus, record: Record) -> None:
    """Raise ChangedCorpus if the text, the same as a whole, is cut elsewhere than in `record`."""
    found = len(corpus.train), len(corpus.validation)
    expected = record.train_characters, record.val_characters
    if found != expected:
        parts = "{:,} characters to train on and {:,} held out; expected {:,} and {:,}"
        hint = "put each part back into its file; or train anew: textgen train --run NAME"
        raise ChangedCorpus(f"the text is cut elsewhere: {parts.format(*found, *expected)}", hint)


def moved(corpus: CorpusConfig, files: tuple[str, ...], val_file: str | None) -> CorpusConfig:
    """`corpus` with the new places of its files, where given.

    Raises UsageError for a validation file of a corpus that has none.
    """
    if val_file and not corpus.val_file:
        what = f"`val_file` is {val_file}, and the run holds out a part of its own text"
        raise UsageError(what, "leave out `val_file`")
    return replace(corpus, files=files or corpus.files, val_file=val_file or corpus.val_file)
