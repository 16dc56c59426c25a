"""How much of what is written stands in the training text, to be told after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from textgen.cli.terminal import note
from textgen.config import COUNTED
from textgen.errors import CorpusError

if TYPE_CHECKING:
    from textgen.inference.text_model import TextModel

WIDTH = 60  # characters of a passage that are shown


class Copying:
    """Hears a text, and tells afterwards how much of it was copied; without a model, nothing."""

    def __init__(self, model: TextModel | None) -> None:
        """Reads the text that `model` was trained on. Raises CorpusError if it is gone."""
        self._model = model
        self._pieces: list[str] = []
        if model is None:
            return
        from textgen.inference.copying import KnownText
        from textgen.store.contents import reread_corpus

        try:
            corpus = reread_corpus(model.header)
        except CorpusError as error:
            hint = "put the text back, or leave out --novelty"
            raise CorpusError(error.message, hint) from None
        self._known = KnownText(corpus.train)

    def heard(self, text: Iterable[str]) -> Iterator[str]:
        """The pieces of `text`, which takes the place of the one before."""
        self._pieces = []
        for piece in text:
            if self._model is not None:
                self._pieces.append(piece)
            yield piece

    def facts(self) -> dict[str, object]:
        """What `--json` prints."""
        if self._model is None:
            return {}
        copied, passage = self._known.copied_by(self._model, "".join(self._pieces))
        return {
            "copied_share": copied.share,
            "longest_copied": copied.longest,
            "copied_passage": passage,
        }

    def tell(self) -> None:
        """A line on stderr."""
        if self._model is None:
            return
        from textgen.inference.copying import COPIED

        copied, passage = self._known.copied_by(self._model, "".join(self._pieces))
        shown = passage if len(passage) <= WIDTH else passage[: WIDTH - 1] + "…"
        counted = COUNTED[self._model.vocabulary.level]
        note(
            f"{copied.share:.1%} is in passages of {COPIED} {counted}s or more that stand in the"
            f" training text; the longest has {copied.longest}: ",
            shown,
        )
