"""Held-out loss of each cell by its learning rate, at equal steps.

    python benchmarks/rates.py TEXT... --cells gru,rnn --factors 0.3,0.5,1,1.5,2 -o rates.jsonl

No clock decides anything. Of each text, plain or .xz, the first 300,000 characters are used, of
which the last tenth is held out, and read by 16 streams. A factor multiplies the rate that the
planner takes; the rest is the planner's recipe, without dropout. Every result is a line of the
output file; what stands there already is not done again.
"""

import argparse
import json
import lzma
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from textgen.architecture import ModelConfig
from textgen.config import Choices, TrainingConfig
from textgen.model.network import State
from textgen.training.batching import peak
from textgen.training.first import first_network
from textgen.training.planning import AVERAGE, FLOOR
from textgen.training.step import Learner
from textgen.training.streams import BLOCK

CPU = torch.device("cpu")
CHARACTERS = 300_000
STREAMS, WARM_UP = 16, 32  # of the held-out text; characters of each that are not scored


def ids_of(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    text = (lzma.decompress(raw) if path.suffix == ".xz" else raw).decode()[:CHARACTERS]
    return np.unique(np.array(list(text)), return_inverse=True)[1].astype(np.uint16)


def held_out_loss(ids: np.ndarray, cell: str, factor: float, options: argparse.Namespace) -> float:
    """Nats per character; options: width, steps and seed."""
    kinds, cut = int(ids.max()) + 1, len(ids) * 9 // 10
    model = ModelConfig(
        kinds,
        cell,
        (options.width,) * 2,
        128,
        True,
        dropout=0.0,
        weight_drop=0.0,
        history=0,
        grams=0,
    )
    decided = {"steps": options.steps, "batch_size": 64, "bptt": 32, "block": BLOCK, "warmup": 20}
    decided |= {"floor": FLOOR, "average": AVERAGE, "weight_decay": 0.2, "sample_every": 0}
    decided |= {"lr": factor * peak("adamw", options.width), "precision": "fp32"}
    choices = Choices(eval_every=10**6, optimizer="adamw", clip=0.5, seed=options.seed)
    training = TrainingConfig.of(choices, **decided)
    network = first_network(model, ids[:cut], options.seed)
    learner = Learner(network, training, ids[:cut], CPU)
    for _ in range(options.steps):
        learner.advance()
    length = (len(ids) - cut - 1) // STREAMS
    parts = [ids[cut + i * length : cut + (i + 1) * length + 1] for i in range(STREAMS)]
    window = torch.from_numpy(np.stack(parts, 1).astype(np.int64))
    with learner.judged() as judged, torch.no_grad():
        logits, _ = judged.eval()(window[:-1], State.zeros(model, STREAMS))
    return float(cross_entropy(logits[WARM_UP:].flatten(0, 1), window[WARM_UP + 1 :].flatten()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--cells", default="gru,rnn")
    parser.add_argument("--factors", default="0.3,0.5,1,1.5,2")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.output.read_text().splitlines() if options.output.exists() else []
    done = [{**json.loads(line), "nats": None} for line in lines]
    how = {"width": options.width, "steps": options.steps, "seed": options.seed}
    for text in options.texts:
        for cell in options.cells.split(","):
            for factor in map(float, options.factors.split(",")):
                trial = {"text": text.name, "cell": cell, "factor": factor, **how, "nats": None}
                if trial in done:
                    continue
                trial["nats"] = round(held_out_loss(ids_of(text), cell, factor, options), 4)
                with options.output.open("a") as output:
                    print(json.dumps(trial), file=output)
                print(trial, flush=True)


if __name__ == "__main__":
    main()
