"""Weights alone, as one would publish them: a checkpoint without paths, losses or ancestors."""

from dataclasses import replace
from pathlib import Path, PureWindowsPath

from textgen.errors import CheckpointError, readable
from textgen.store.checkpoint import Header, packed, read_header
from textgen.store.contents import read_vocabulary, read_weights
from textgen.store.record import Record

UNNAMED = "unnamed"  # stands for a file's name in what is anonymous


def published(record: Record, *, anonymous: bool) -> Record:
    """What of a record others may see: names of files without folders, the loss of these weights.

    anonymous: neither the names nor the digest of the text.
    """
    corpus = record.corpus
    # a `last` is without the temperature that its evaluations were made with
    known = not (record.kind == "last" and record.training.aside)

    def name(path: str) -> str:
        windows = PureWindowsPath(path)  # where the run may have been trained
        plain = windows if windows.drive else Path(path)
        return UNNAMED if anonymous else readable(plain.name) or UNNAMED

    files = (UNNAMED,) if anonymous else tuple(map(name, corpus.files))
    held_out = corpus.val_file and name(corpus.val_file)
    return replace(
        record,
        kind="export",
        corpus=replace(corpus, files=files, val_file=held_out),
        fingerprint="" if anonymous else record.fingerprint,
        device="cpu",
        threads=1,
        chosen=(),
        history=tuple(e for e in record.history if known and e.step == record.step),
        ancestors=(),
    )


def described(header: Header) -> dict[str, object]:
    """How to turn text into ids and back, and what to read first; an id there is not is null."""
    vocabulary = read_vocabulary(header)
    return {
        "level": vocabulary.level,
        "characters": vocabulary.characters,
        "unknown": vocabulary.unknown,
        "end": vocabulary.end,
        "first": vocabulary.first,  # read before the first character is drawn
        "backward": header.record.corpus.backward,
        "normalize": header.record.corpus.normalize,  # the normal form of a text before its ids
    }


def weights_file(header: Header, anonymous: bool) -> list[bytes | memoryview]:
    """The parts of a safetensors file that `textgen.load` takes. Raises CheckpointError."""
    record = published(header.record, anonymous=anonymous)
    return packed(record, {"model": read_weights(header)})


def is_weights_file(path: Path) -> bool:
    """Whether a file was made by `weights_file`."""
    try:
        return read_header(path).record.kind == "export"
    except CheckpointError:
        return False
