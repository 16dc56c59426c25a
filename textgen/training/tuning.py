"""Fine-tuning: a run that begins with the weights of another, on a text of its own."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.architecture import GRAM, ModelConfig, gram_row
from textgen.config import Choices, CorpusConfig, TrainingConfig
from textgen.errors import CorpusError, UsageError, quoted
from textgen.model.network import CharModel
from textgen.store.checkpoint import Header
from textgen.store.contents import read_vocabulary, read_weights
from textgen.store.record import Ancestor
from textgen.text.corpus import Progress, read_corpus
from textgen.text.cutting import shown
from textgen.text.vocabulary import Vocabulary, symbols_of

_SHAPE = ("cell", "layers", "hidden", "embedding", "skip", "history", "grams")
_READ = 1 << 21  # characters of a text whose n-grams are looked up
_PER_CHARACTER = ("embedding.", "matches.", "head.")


def check_base(
    base: Header, choices: Choices, corpus: CorpusConfig, given: Collection[str] = ()
) -> CorpusConfig:
    """The corpus as it is read for weights of `base`; UsageError for a setting they do not allow.

    Level and direction are those of the base, unless another is asked for, which is an error.
    given: names of the choices that were made, though they may be the default.
    """
    default, model, of_base = Choices(), base.record.model, base.record.corpus
    there: dict[str, object] = {"cell": model.cell, "skip": model.skip}
    there |= {n: getattr(model, n) for n in ("history", "grams") if getattr(choices, n) is not None}
    for name in _SHAPE:
        asked, usual = getattr(choices, name), getattr(default, name)
        if asked != there.get(name, usual) and (name in given or asked != usual):
            what = f"`{name}` is given, and the shape comes from {base.path}"
            raise UsageError(what, f"leave out `{name}`, or train from nothing")
    for name in ("level", "backward"):
        asked, here = getattr(choices, name), getattr(of_base, name)
        if asked != here and (name in given or asked != getattr(default, name)):
            what = f"`{name}={asked}` is given, and {base.path} was trained with {name} {here}"
            raise UsageError(what, f"leave out `{name}`, or name another run to begin from")
    for name in ("normalize", "min_count"):
        if of_base.level == "byte" and getattr(choices, name) != getattr(default, name):
            what = f"`{name}` is given, and {base.path} was trained with level byte"
            raise UsageError(what, f"leave out `{name}`, or name another run to begin from")
    min_count = corpus.min_count if corpus.min_count > 1 else of_base.min_count
    return replace(corpus, level=of_base.level, backward=of_base.backward, min_count=min_count)


def joined(base: Header, found: Vocabulary) -> Vocabulary:
    """The characters of `base` and those of a text, and the unknown symbol if either has it."""
    before = read_vocabulary(base)
    characters = "".join(sorted({*before.characters, *found.characters}))
    return Vocabulary(
        found.level, characters, before.has_unknown or found.has_unknown, found.has_end
    )


def shape_of(base: Header, vocabulary: Vocabulary) -> ModelConfig:
    """The network of `base` with rows for the characters of `vocabulary`."""
    return replace(base.record.model, vocabulary_size=len(vocabulary), dropout=0.0, weight_drop=0.0)


def carry_over(
    base: Header, network: CharModel, vocabulary: Vocabulary, texts: Sequence[NDArray]
) -> None:
    """Give `network`, which has rows for the characters of `vocabulary`, the weights of `base`.

    A row of a character is carried over by the character, that of the end symbol where both have
    it; the rows of new ones stay as they are. Where other ids make other n-grams, the rows of those
    in `texts`, ids of `vocabulary`, are carried over, where two meet that of the last text.
    """
    before = read_vocabulary(base)
    of_bytes = np.arange(256, dtype=np.uint8)
    known: NDArray = of_bytes if before.level == "byte" else symbols_of(before.characters, "char")
    found = vocabulary.lookup(known).tolist()
    unknown = [vocabulary.unknown] if before.has_unknown else []
    end = [vocabulary.end] if before.has_end and vocabulary.has_end else []
    rows = torch.tensor([*found, *unknown, *end])
    weights = read_weights(base)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            old = torch.from_numpy(weights[name])
            if name.startswith(_PER_CHARACTER):
                tensor[rows] = old[: len(rows)]  # the end symbol's is the last
            elif name.startswith("grams.") and not torch.equal(rows, torch.arange(len(rows))):
                source = np.full(len(old), -1)
                for ids in texts:
                    there, here = _gram_rows(ids[:_READ], rows.numpy(), vocabulary, len(old))
                    source[here] = there
                tensor[source >= 0] = old[source[source >= 0]]
            else:
                tensor.copy_(old)


def _gram_rows(
    ids: NDArray, known: NDArray, vocabulary: Vocabulary, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the n-grams in a text, of known characters alone, the rows before and now.

    known: the ids now of the characters that were known, in the order of their ids then.
    """
    then = np.full(1 + len(vocabulary), -1)  # by ids plus 1
    then[0], then[known + 1] = 0, np.arange(len(known)) + 1
    # before a stream begins, as each document does, stand zeros
    begins = np.flatnonzero(ids == vocabulary.end) if vocabulary.has_end else np.zeros(1, np.int64)
    text = np.insert(ids.astype(np.int64) + 1, np.repeat(begins, GRAM - 1), 0)
    windows = np.lib.stride_tricks.sliding_window_view(text, GRAM).T
    before = then[windows]
    there = (before >= 0).all(0) & (windows[-1] > 0)
    return gram_row(before[:, there], rows), gram_row(windows[:, there], rows)


def ancestors(base: Header) -> tuple[Ancestor, ...]:
    """The runs that weights of `base` came from, the first one first, and itself."""
    record = base.record
    own = Ancestor(
        run=base.name,
        identity=record.identity,
        step=record.step,
        corpus=record.corpus,
        fingerprint=record.fingerprint,
    )
    return (*record.ancestors, own)


def read_mixed(
    ancestors: tuple[Ancestor, ...],
    config: TrainingConfig,
    vocabulary: Vocabulary,
    *,
    cache: bool,
    progress: Progress | None = None,
) -> NDArray | None:
    """Where a share of it is to be mixed in, the text that the base was trained on.

    Its training part, ids of `vocabulary`, shape (n,). cache, progress: as in `read_corpus`. Raises
    CorpusError if it is gone.
    """
    if not (config.keep_mixing and ancestors):
        return None
    ancestor = ancestors[-1]
    if ancestor.corpus.documents and not vocabulary.has_end:
        what = (
            f"`keep_mixing`: the text of {ancestor.run} is cut into documents, the new one is not"
        )
        raise CorpusError(what, f"try `documents={quoted(shown(ancestor.corpus.documents))}`")
    try:
        of = ancestor.corpus, vocabulary, ancestor.fingerprint
        return read_corpus(*of, cache=cache, progress=progress).train
    except CorpusError as error:
        hint = "put the text back, or train without `keep_mixing`"
        raise CorpusError(f"`keep_mixing`: {error.message}", hint) from None
