"""How often a unit is reported that follows nothing.

python benchmarks/chance.py RUN --trials 200

Each trial tests units that have nothing to do with a text: RUN's own, read on another part of its
text, in order and shuffled, and random series that forget with a time constant of so many
characters. About 1 in 100 trials should report any; the figures are in docs/seeing.md.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import textgen
from textgen.inference.activations import completed, trace
from textgen.inference.text_model import TextModel
from textgen.inference.units import ALPHA, following
from textgen.store.contents import reread_corpus
from textgen.store.run import usual_folder
from textgen.store.runs import find_checkpoint
from textgen.text.features import features

CHARACTERS = 8192  # of a trial
RANDOM_UNITS = 64
TIMES = (10, 100, 1000)  # characters


def forgetting(time: float, rng: np.random.Generator) -> NDArray:
    """Series of the first order, x' = a x + noise with a = e^(-1 / time): (CHARACTERS, units)."""
    noise = rng.normal(size=(CHARACTERS, RANDOM_UNITS))
    keep = np.exp(-1 / time)
    found = np.empty_like(noise)
    found[0] = noise[0] / np.sqrt(1 - keep**2)
    for n in range(1, CHARACTERS):
        found[n] = keep * found[n - 1] + noise[n]
    return np.tanh(found * np.sqrt(1 - keep**2))


def parts(model: TextModel, ids: NDArray, trials: int) -> Iterator[tuple[NDArray, NDArray]]:
    """Two parts of a text that have no character in common, at random places."""
    rng = np.random.default_rng(0)
    for _ in range(trials):
        first, second = 0, 0
        while abs(first - second) < CHARACTERS:
            first, second = rng.integers(0, len(ids) - CHARACTERS, 2)
        yield ids[first : first + CHARACTERS], ids[second : second + CHARACTERS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    model = textgen.load(find_checkpoint(arguments.run, usual_folder()))
    ids, corpus = reread_corpus(model.header).train, model.header.record.corpus
    if corpus.level == "byte" or corpus.documents or len(ids) <= 3 * CHARACTERS:
        sys.exit(f"expected a run on one text of characters, {3 * CHARACTERS:,} or more of them")
    reported: dict[str, int] = {}
    shape = model.header.record.model
    for trial, (one, other) in enumerate(parts(model, ids, arguments.trials)):
        rng = np.random.default_rng(trial)
        text, _ = completed(model.vocabulary, one)
        named = features("".join(text))
        read = trace(model.folded, other)
        own = np.concatenate([read.values(n) for n in range(shape.layers)], axis=1)
        kinds = {"its units on another part": own, "those shuffled": rng.permutation(own)}
        kinds |= {f"random, {time} characters": forgetting(time, rng) for time in TIMES}
        for kind, units in kinds.items():
            reported[kind] = reported.get(kind, 0) + bool(following([units], named))
    for kind, count in reported.items():
        share = count / arguments.trials
        error = np.sqrt(share * (1 - share) / arguments.trials)
        print(f"{kind:32} {count:4} of {arguments.trials}: {share:.1%} +- {error:.1%}")
    print(f"expected: about {ALPHA:.0%}")


if __name__ == "__main__":
    main()
