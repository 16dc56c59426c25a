"""Every rank but the first: it does what the first one says."""

import msgspec
import torch

from textgen.config import TrainingConfig
from textgen.errors import RankLost, TextgenError
from textgen.model.network import CharModel
from textgen.store.contents import check_parts
from textgen.store.record import Record, from_json
from textgen.text.corpus import read_corpus
from textgen.text.vocabulary import Vocabulary
from textgen.training.ranks import Ranks, join
from textgen.training.step import Learner
from textgen.training.tuning import read_mixed
from textgen.training.validation import Validation


def follow(*, cache: bool = True) -> None:
    """Train with the first rank until it says that it is the end.

    cache: as in `read_corpus`. Raises RankLost if another rank is gone; what this rank cannot do,
    such as read the text on its machine, is a TextgenError that names it.
    """
    ranks = join()
    assert isinstance(ranks, Ranks)
    try:
        _follow(ranks, cache)
    except RankLost:
        raise
    except TextgenError as error:
        error.message = f"rank {ranks.rank}: {error.message}"
        raise


def _follow(ranks: Ranks, cache: bool) -> None:
    while True:
        order, facts = ranks.hear()
        match order:
            case "end":
                return
            case "begin":
                learner, validation = _begun(from_json(facts.decode())[1], ranks, cache)
            case "step":
                if facts:
                    learner.config = msgspec.json.decode(facts, type=TrainingConfig)
                learner.advance()
                learner.notices.clear()
            case "validate":
                validation.nats(learner)
            case "gather":
                learner.whole_state()


def _begun(record: Record, ranks: Ranks, cache: bool) -> tuple[Learner, Validation]:
    """What the first rank begins with, or goes on from, for this rank's streams."""
    torch.set_num_threads(record.threads)
    config = record.corpus
    vocabulary = Vocabulary.of(config, record.vocabulary)
    corpus = read_corpus(config, vocabulary, record.fingerprint, cache=cache)
    check_parts(corpus, record)
    mixed = read_mixed(record.ancestors, record.training, vocabulary, cache=cache)
    network, device = CharModel(record.model), ranks.device(torch.device(record.device))
    learner = Learner.of(corpus, network, record.training, device, mixed, ranks=ranks)
    learner.take_up(ranks.share({}), record.step)
    return learner, Validation(corpus)
