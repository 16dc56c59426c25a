"""Loss by streams and learning rate, at equal characters read.

    python benchmarks/batch.py TEXT... -o batch.jsonl
    python benchmarks/batch.py --report batch.jsonl

Of each text the first 1,500,000 characters are learned, 64 at a time by B streams, and the 100,000
after them held out. Every run is a line of the output file, so it can be stopped and started again.
The report fits a parabola in the rate's logarithm to each B, within the rates that were tried, and
through the best rates a power of B.
"""

import argparse
import json
import math
import statistics
from itertools import product
from pathlib import Path

import numpy as np
import torch

from textgen.architecture import ModelConfig
from textgen.config import Choices, CorpusConfig, TrainingConfig
from textgen.inference.evaluation import validate
from textgen.text.corpus import read_corpus
from textgen.training.batching import peak
from textgen.training.first import first_network
from textgen.training.planning import AVERAGE, EVALUATED, FLOOR
from textgen.training.step import Learner
from textgen.training.streams import BLOCK

BPTT, HIDDEN = 64, 128
STREAMS = (8, 32, 128, 512)
LEARNED, HELD_OUT = 1_500_000, 100_000  # characters of a text


def train(text: str, characters: int, streams: int, rate: float, seed: int) -> float:
    """The held-out loss, nats/char, of a model that has read so many characters."""
    corpus = read_corpus(CorpusConfig.of(Choices(), (text,), None))
    ids = np.concatenate([corpus.train, corpus.validation])
    size = min(len(ids) - HELD_OUT, LEARNED)
    ids, held_out = ids[:size], ids[size : size + HELD_OUT]
    steps = characters // (streams * BPTT)
    decided = {"steps": steps, "batch_size": streams, "bptt": BPTT, "accumulate": 1}
    decided |= {"block": BLOCK, "lr": rate}
    decided |= {"floor": FLOOR, "average": AVERAGE, "warmup": min(20, math.ceil(steps / 20))}
    decided |= {"weight_decay": 0.2, "sample_every": 0, "precision": "fp32"}
    choices = Choices(eval_every=steps, optimizer="adamw", clip=0.5, seed=seed)
    config = TrainingConfig.of(choices, **decided)
    model = ModelConfig(
        len(corpus.vocabulary),
        "lstm",
        (HIDDEN,),
        128,
        skip=True,
        dropout=0.0,
        weight_drop=0.0,
        history=0,
        grams=0,
    )
    network = first_network(model, ids, seed)
    learner = Learner(network, config, ids, torch.device("cpu"))
    for _ in range(steps):
        learner.advance()
    with learner.judged() as judged:
        return validate(judged, held_out, torch.inference_mode, EVALUATED)


def done(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure(options: argparse.Namespace) -> None:
    keys = ("text", "characters", "streams", "share", "seed")
    before = {tuple(found[key] for key in keys) for found in done(options.output)}
    names = [str(text) for text in options.texts]
    for seed, share, text, streams in product(
        options.seeds, options.shares, names, options.streams
    ):
        case = (Path(text).name, options.characters, streams, share, seed)
        if case in before:
            continue
        rate = share * peak("adamw", HIDDEN)
        found = dict(zip(keys, case, strict=True)) | {"rate": rate}
        found["nats"] = train(text, options.characters, streams, rate, seed)
        print(found, flush=True)
        with options.output.open("a") as file:
            file.write(json.dumps(found) + "\n")


def best(points: dict[float, float]) -> float:
    """The lowest place of a parabola in log(rate) through the lowest loss and its neighbours."""
    rates = sorted(points)
    if len(rates) < 3:
        return min(rates, key=lambda rate: points[rate])
    place = min(range(len(rates)), key=lambda i: points[rates[i]])
    first = min(max(place - 1, 0), len(rates) - 3)
    x = np.log(rates[first : first + 3])
    square, line, _ = np.polyfit(x - x[1], [points[r] for r in rates[first : first + 3]], 2)
    return float(np.exp(np.clip(x[1] - line / (2 * square), x[0], x[2])))


def report(found: list[dict]) -> None:
    rates = sorted({case["rate"] for case in found})
    for text, characters in sorted({(case["text"], case["characters"]) for case in found}):
        of_text = [c for c in found if (c["text"], c["characters"]) == (text, characters)]
        print(f"\n{text}, {characters:,} characters; rate:", *(f"{rate:.3g}" for rate in rates))
        found_best = {}
        for streams in sorted({case["streams"] for case in of_text}):
            means = {
                rate: statistics.mean(nats)
                for rate in rates
                if (
                    nats := [
                        c["nats"] for c in of_text if (c["streams"], c["rate"]) == (streams, rate)
                    ]
                )
            }
            found_best[streams] = best(means)
            row = " ".join(f"{means[r]:.4f}" if r in means else "  -   " for r in rates)
            print(f"  B {streams:>4}: {row}; best {found_best[streams]:.4f}")
        if len(found_best) > 1:
            x, y = np.log(list(found_best)), np.log(list(found_best.values()))
            print(f"  best rate goes with B to the power {np.polyfit(x, y, 1)[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("batch.jsonl"))
    parser.add_argument("--characters", type=int, default=1_500_000)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--shares", type=float, nargs="+", default=(1.0, 2.0, 0.5, 1.4, 0.7))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if options.report is None:
        measure(options)
    report(done(options.report or options.output))


if __name__ == "__main__":
    main()
