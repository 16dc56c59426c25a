"""What it is worth to carry the state from chunk to chunk, at equal characters and at equal time.

    python benchmarks/state.py tinyshakespeare.txt --steps 600 --time 60 -o state.jsonl

Three ways to train the same network, without matches, from the same weights, with the same rate,
and on as many characters a step: `carried`, as textgen does, each stream reading on from its state;
`zeroed`, the same chunks in the same order, each from zero state; `shuffled`, chunks at random
places, each from zero state. Texts are the bundled fables and the files named; one named
tinyshakespeare is cut to its first nine tenths, for its end is kept for reports. The last tenth of
each is held out, and read both in one pass and in windows of a chunk's length that begin from zero
state.

Every result is a line of the output file, written as it comes: started again, the bench goes on
where it stopped. `--report` prints the table of what is there.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.config import Choices, CorpusConfig
from textgen.inference.evaluation import nats_of_each, validate
from textgen.text.corpus import Corpus, read_corpus
from textgen.training.first import first_network
from textgen.training.planning import plan
from textgen.training.step import Learner
from textgen.training.streams import ALL, Chunk, Streams

FABLES = Path(__file__).parent.parent / "corpora" / "fables.txt"
TIMED = 30  # steps by which the speed is measured


class Zeroed:
    """The chunks of `streams`, each from zero state."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams

    def chunk(self, step: int, part: slice = ALL) -> Chunk:
        chunk = self.streams.chunk(step, part)
        return chunk._replace(fresh=np.ones_like(chunk.fresh))


class Shuffled(Zeroed):
    """Chunks at random places of the same text, as many and as long, each from zero state."""

    def chunk(self, step: int, part: slice = ALL) -> Chunk:
        ids, window = self.streams.ids, self.streams.chunk(step, part).window
        random = np.random.Generator(
            np.random.Philox(key=self.streams.seed, counter=[0, 0, 2, step])
        )
        places = random.integers(len(ids) - len(window) + 1, size=window.shape[1])
        found = ids[places + np.arange(len(window))[:, None]].astype(np.int64)
        return Chunk(found, np.ones(window.shape[1], bool))


WAYS = {"carried": lambda streams: streams, "zeroed": Zeroed, "shuffled": Shuffled}


@dataclass(frozen=True)
class Case:
    """One training; budget: steps, or seconds with an s; hidden, bptt: as typed."""

    text: str
    budget: str
    seed: int
    way: str
    hidden: str = "128"
    bptt: int = 32


def case_of(line: dict) -> Case:
    """That of a line of the output file; older ones lack some fields."""
    return Case(**{f.name: line.get(f.name, f.default) for f in fields(Case)})


def corpus_of(path: Path, folder: Path) -> Corpus:
    text = path.read_text("utf-8")
    file = folder / path.name
    file.write_text(
        text[: len(text) * 9 // 10] if path.stem == "tinyshakespeare" else text, "utf-8"
    )
    return read_corpus(CorpusConfig.of(Choices(), (str(file),), None), cache=False)


def learner_of(case: Case, corpus: Corpus, options: argparse.Namespace, steps: int) -> Learner:
    widths = tuple(map(int, options.hidden.split(",")))
    choices = Choices(
        steps=steps, hidden=widths, seed=case.seed, precision="fp32", bptt=options.bptt, history=0
    )
    planned = plan(choices, corpus, torch.device("cpu"), time.monotonic())
    network = first_network(planned.model, corpus.train, case.seed, counts=corpus.train_counts)
    learner = Learner(network, planned.training, corpus.train, torch.device("cpu"))
    learner.streams = WAYS[case.way](learner.streams)
    return learner


def trained(case: Case, corpus: Corpus, options: argparse.Namespace) -> dict[str, float]:
    if case.budget.endswith("s"):
        trial = learner_of(case, corpus, options, TIMED)
        trial.advance()
        began = time.perf_counter()
        for _ in range(TIMED - 1):
            trial.advance()
        each = (time.perf_counter() - began) / (TIMED - 1)
        steps = max(1, round(float(case.budget[:-1]) / each))
    else:
        steps = int(case.budget)
    learner = learner_of(case, corpus, options, steps)
    began = time.perf_counter()
    for _ in range(steps):
        learner.advance()
    took = time.perf_counter() - began
    with learner.judged() as network:
        found = {"carried": validate(network, corpus.validation)}
        found["zeroed"] = in_windows(network, corpus.validation, options.bptt)
    return {**found, "characters": steps * learner.config.chars_per_step, "seconds": took}


def in_windows(network: torch.nn.Module, ids: NDArray, size: int) -> float:
    """Nats per character of `ids` in windows of so many, each from zero state."""
    windows = [ids[at : at + size + 1] for at in range(0, len(ids) - 1, size)]
    return float(nats_of_each(network, windows).sum()) / (len(ids) - 1)


def report(done: list[dict]) -> None:
    """A row for each text, budget and way: means and standard deviations over the seeds."""
    print(
        "| text | widths | chunk | budget | state in training | characters | one pass | from zero |"
    )
    print("|---|---|---|---|---|---|---|---|")
    rows: dict[Case, list[dict]] = {}
    for line in done:
        rows.setdefault(replace(case_of(line), seed=0), []).append(line)
    for row in sorted(
        rows, key=lambda r: (r.text, r.hidden, r.bptt, r.budget, [*WAYS].index(r.way))
    ):
        some = rows[row]
        read = statistics.mean(line["characters"] for line in some)
        figures = (spread([line[how] for line in some]) for how in ("carried", "zeroed"))
        named = f"{row.text} | {row.hidden} | {row.bptt} | {row.budget} | {row.way}"
        print(f"| {named} | {read:,.0f} | {' | '.join(figures)} |")


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("--steps", type=int, action="append", default=[])
    parser.add_argument("--time", type=int, action="append", default=[], help="seconds of steps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hidden", default="128")
    parser.add_argument("--bptt", type=int, default=32)
    parser.add_argument("--report", action="store_true", help="train nothing, print the table")
    parser.add_argument("-o", "--output", type=Path, default=Path("state.jsonl"))
    options = parser.parse_args()
    done = []
    if options.output.exists():
        done = [json.loads(line) for line in options.output.read_text().splitlines()]
    if not options.report:
        measure(options, done)
    report(done)


def measure(options: argparse.Namespace, done: list[dict]) -> None:
    """Every case that is not done, seed by seed, the ways in turn; adds to `done` and the file."""
    before = {*map(case_of, done)}
    budgets = [*map(str, options.steps), *(f"{seconds}s" for seconds in options.time)]
    with tempfile.TemporaryDirectory() as name:
        paths = (FABLES, *options.texts)
        corpora = {path.stem: corpus_of(path, Path(name)) for path in paths}
        for seed, budget, text, way in product(range(options.seeds), budgets, corpora, WAYS):
            how = {"hidden": options.hidden, "bptt": options.bptt}
            case = Case(text, budget, seed, way, **how)
            if case in before:
                continue
            done.append({**vars(case), **trained(case, corpora[text], options)})
            with open(options.output, "a") as output:
                print(json.dumps(done[-1]), file=output)


if __name__ == "__main__":
    main()
