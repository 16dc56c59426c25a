"""Which of the texts that a model writes are new."""

import numpy as np
from numpy.typing import NDArray

from textgen.errors import CorpusError, UsageError
from textgen.inference.text_model import TextModel
from textgen.store.contents import reread_corpus
from textgen.text.documents import Places, digests, places_of


class Novelty:
    """Tells whether a text is new: among those asked about before, and to the run's corpus.

    unique: the former counts; novel: the latter does, in both parts of the corpus; given: the text
    that all of them go on from, or stand before.
    Raises UsageError for a corpus that is not cut into documents, CorpusError if it is gone.
    """

    def __init__(self, model: TextModel, *, unique: bool, novel: bool, given: str) -> None:
        self._vocabulary, self._backward = model.vocabulary, model.backward
        self._given = model.normalized(given)
        self._unique = unique
        self._seen: set[str] = set()
        self._known = _known(model) if novel else np.zeros(0, np.uint64)

    def is_new(self, text: str) -> bool:
        """Whether a text is new, together with what it was given."""
        if self._unique and text in self._seen:
            return False
        self._seen.add(text)
        if not len(self._known):
            return True
        whole = text + self._given if self._backward else self._given + text
        as_read = "skip" if self._vocabulary.unknown is None else "replace"
        ids = self._vocabulary.encode(whole, as_read)[:: -1 if self._backward else 1]
        ids = np.array([self._vocabulary.end, *ids, self._vocabulary.end])
        digest = digests(ids, Places(np.array([0]), np.array([len(ids) - 1])))
        return bool(
            self._known[self._known.searchsorted(digest[0]) % len(self._known)] != digest[0]
        )


def _known(model: TextModel) -> NDArray[np.uint64]:
    """The digests of all documents of the corpus, in ascending order."""
    end = model.vocabulary.end
    if end is None:
        what = f"{model.header.path} was trained on a text that is not cut into documents"
        raise UsageError(f"{what}; expected some to compare with", "leave out `novel`")
    try:
        corpus = reread_corpus(model.header)
    except CorpusError as error:
        what = f"`novel` compares with the text of the run: {error.message}"
        raise CorpusError(what, "put the text back, or leave out `novel`") from None
    parts = (corpus.train, corpus.validation)
    return np.unique(np.concatenate([digests(ids, places_of(ids, end)) for ids in parts]))
