"""How fast text is written, against the plain way.

    python benchmarks/sampling.py

The plain sampler is what scripts do: `nn.LSTM` called with one character (a batch of 64 for the
last line) under `inference_mode`, softmax, multinomial and, for one stream, `.item()`, at the
better of its thread counts. Both are run in alternation; medians and spreads of the runs are
printed. Weights are random: their values do not matter to speed.
"""

import argparse
import itertools
import statistics
import time

import numpy as np
import torch
from torch import nn

from textgen.architecture import ModelConfig
from textgen.config import SamplingOptions
from textgen.inference.batch import STREAMS, BatchStepper, BatchWriter
from textgen.inference.folding import FoldedModel, fold
from textgen.inference.sampling import Sampler, Uniforms
from textgen.inference.writer import Writer
from textgen.model.device import product_dtype
from textgen.text.vocabulary import Vocabulary
from textgen.training.batching import GRAMS, HISTORY
from textgen.training.first import first_network

VOCABULARY = Vocabulary("char", "".join(map(chr, range(48, 113))))
CPU = torch.device("cpu")
ENDLESS = 10**12  # characters, more than are ever written
SHAPES = ((1, 128), (1, 256), (1, 512), (STREAMS, 512))  # streams, width of both layers


class Plain(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden[0], config.layers)
        self.head = nn.Linear(config.hidden[-1], config.vocabulary_size)

    @torch.inference_mode()
    def write(self, streams: int):
        ids, state = torch.zeros(1, streams, dtype=torch.long), None
        while True:
            out, state = self.lstm(self.embedding(ids), state)
            p = (self.head(out[0]) / 0.8).softmax(dim=1)
            ids = torch.multinomial(p, 1).T
            yield ids.item() if streams == 1 else ids


def ours(model: FoldedModel, streams: int):
    options, prompt = SamplingOptions(length=0), np.array([1])
    if streams == 1:
        return Writer(model, VOCABULARY, options, Uniforms(1), prompt=prompt)
    stepper = BatchStepper(model, CPU, product_dtype(CPU), streams)
    sources = [Uniforms(1, n) for n in range(streams)]
    blocks = BatchWriter(stepper, Sampler(options), prompt).write(sources, ENDLESS)
    return itertools.chain.from_iterable(blocks)


def rate(pieces, seconds: float, streams: int) -> float:
    """Characters per second."""
    begin = time.perf_counter()
    for count, _ in enumerate(pieces, 1):
        if count % 32 == 0 and time.perf_counter() - begin > seconds:
            break
    return count * streams / (time.perf_counter() - begin)


def memory_rate(size: int = 1 << 26) -> float:
    """Bytes per second that a product of a matrix and a vector reads from memory, at best."""
    matrix = np.ones((size // 4096, 1024), np.float32)
    vector, out = np.ones(1024, np.float32), np.empty(size // 4096, np.float32)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        np.dot(matrix, vector, out=out)
        times.append(time.perf_counter() - begin)
    return size / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    cores = torch.get_num_threads()
    for streams, hidden in SHAPES:
        config = ModelConfig(
            len(VOCABULARY),
            "lstm",
            (hidden, hidden),
            64,
            skip=True,
            dropout=0.0,
            weight_drop=0.0,
            history=HISTORY,
            grams=GRAMS[-1],
        )
        network = first_network(config, np.arange(len(VOCABULARY)), seed=0)
        model = fold(config, {name: p.detach().numpy() for name, p in network.named_parameters()})
        plain = Plain(config)
        sides = {"textgen": ours(model, streams)}
        sides |= {f"plain, {n} threads": plain.write(streams) for n in {1, cores}}
        rates = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, pieces in sides.items():
                torch.set_num_threads(int(name.split()[1]) if name != "textgen" else cores)
                rates[name].append(rate(pieces, options.seconds, streams))
        medians = {name: statistics.median(values) for name, values in rates.items()}
        ratio = medians["textgen"] / max(m for n, m in medians.items() if n != "textgen")
        print(f"{streams} x (2 x {hidden}): {ratio:.1f} times the plain sampler")
        for name, values in rates.items():
            spread = f"{min(values):,.0f} to {max(values):,.0f}"
            print(f"  {name:<18} {medians[name]:>9,.0f} chars/s  ({spread})")
        if streams == 1:
            read = sum(layer.matrix.nbytes for layer in model.layers)
            share = medians["textgen"] * read / memory_rate()
            print(f"  weights read at {share:.0%} of the rate of a {2**26 >> 20} MiB product")


if __name__ == "__main__":
    main()
