"""A run as a report looks at it: its record, its model, its text, and what the model writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from textgen.config import SamplingOptions
from textgen.errors import CorpusError
from textgen.inference.surprise import Character, Predicted, characters, predictions
from textgen.inference.text_model import TextModel
from textgen.store.contents import reread_corpus
from textgen.studies.curves import Curve
from textgen.text.documents import places_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

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

        Of documents whole ones. Raises CorpusError as `corpus` does.
        """
        ids, end = self.corpus.validation[: LEAD + PAGE], self.model.vocabulary.end
        if end is not None:
            places = places_of(ids, end)
            of_documents = zip(places.begins.tolist(), places.ends.tolist(), strict=True)
            return [c for begin, stop in of_documents for c in self._predicted(ids[begin:stop], 0)]
        return [*self._predicted(ids, max(0, min(LEAD, len(ids) - PAGE)))]

    def _predicted(self, ids: NDArray, lead: int) -> Iterator[Character]:
        parts = [*predictions(self.network, [ids])]
        fields = Predicted.__dataclass_fields__
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in fields)
        shown = Predicted(*(array[lead:] for array in joined))
        yield from characters(self.model.vocabulary, [shown], self.model.backward)
        if self.model.vocabulary.end is not None:
            yield Character("\n", 0.0, ())

    @cached_property
    def network(self) -> CharModel:
        return self.model.network()
