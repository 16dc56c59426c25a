"""The validation of a run: what is held out, or an even sample of it, dealt to the ranks."""

from functools import partial

import torch

from textgen.inference.evaluation import sampled, validated
from textgen.model.device import autocast
from textgen.text.corpus import Corpus
from textgen.training.planning import EVALUATED
from textgen.training.step import Learner


class Validation:
    """Scores what `corpus` holds out; of documents a sample is taken once."""

    def __init__(self, corpus: Corpus) -> None:
        self._end = corpus.vocabulary.end
        whole = corpus.validation
        self._ids = whole if self._end is None else sampled(whole, self._end, EVALUATED)

    def nats(self, learner: Learner) -> float:
        """Per character; all ranks call it at once."""
        precision = partial(autocast, learner.config.precision, learner.device)
        ranks, end = learner.ranks, self._end
        share = ranks.rank, ranks.size
        with learner.judged() as network:
            found = validated(network, self._ids, precision, EVALUATED, end=end, share=share)
        total, count = ranks.total(torch.tensor(found, dtype=torch.float64)).tolist()
        return float(total / count)
