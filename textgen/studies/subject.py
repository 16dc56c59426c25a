"""A run as a report looks at it: its record, its model, its text, and what the model writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from textgen.config import SamplingOptions
from textgen.errors import CorpusError
from textgen.inference.surprise import Character, characters, predicted
from textgen.inference.text_model import TextModel
from textgen.store.contents import reread_corpus
from textgen.studies.curves import Curve, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from textgen.inference.predicted import Predicted
    from textgen.model.network import CharModel
    from textgen.text.corpus import Corpus

TEMPERATURES = (0.4, 0.7, 1.0)
SEED = 1  # of the samples
WRITTEN = 2000  # characters of a sample
PAGE = 2000  # characters of held-out text that are shown
LEAD = 1000  # characters read before them


@dataclass(frozen=True)
class Subject:
    """curve: its losses, at its newest save; model: at its best; plan: names and values."""

    curve: Curve
    model: TextModel
    plan: list[tuple[str, str]]

    @property
    def unit(self) -> str:
        """`character`, or of a model of bytes `byte`."""
        return unit_of([self.curve])

    @cached_property
    def corpus(self) -> Corpus:
        """Raises CorpusError if the text cannot be read, or is another one."""
        try:
            return reread_corpus(self.model.header)
        except CorpusError as error:  # its message names folders of this machine
            raise CorpusError("its text cannot be read where the report was made") from error

    @cached_property
    def samples(self) -> dict[float, str]:
        """WRITTEN characters by temperature; of a model of documents one after the other."""
        return {temperature: self._sample(temperature) for temperature in TEMPERATURES}

    def _sample(self, temperature: float) -> str:
        options = SamplingOptions(temperature=temperature, length=WRITTEN, seed=SEED)
        end = self.model.vocabulary.end is not None
        text = ""
        for number in count():
            text += "".join(self.model.generate(options=options, number=number)) + "\n" * end
            if not end or len(text) >= WRITTEN:
                break
        return text[:WRITTEN]

    def held_out_page(self) -> list[Character]:
        """The first PAGE characters of the held-out text in reading order, but for LEAD before.

        Of documents whole ones, or the beginning of one. Raises CorpusError as `corpus` does.
        """
        ids, end = self.corpus.validation[: LEAD + PAGE], self.model.vocabulary.end
        whole = np.flatnonzero(ids == end)[1:]  # the ends of documents after that before the first
        if len(whole):
            ids = ids[: whole[-1] + 1]
        parts = predicted(self.network, [ids], end=end if len(whole) else None)
        if end is None:
            parts = _after(parts, max(0, min(LEAD, len(ids) - PAGE)))
        return [*characters(self.model.vocabulary, parts, self.model.backward)]

    @cached_property
    def network(self) -> CharModel:
        return self.model.network()


def _after(parts: Iterable[Predicted], lead: int) -> Iterator[Predicted]:
    """What was predicted after the first `lead` characters."""
    for part in parts:
        if lead < len(part.ids):
            yield part.only(np.arange(len(part.ids)) >= lead)
        lead -= len(part.ids)
