"""Characters trained per second, against the plain loop.

    python benchmarks/throughput.py

The plain loop is what char-RNN scripts do: `nn.LSTM(num_layers=L)` in fp32 with `nn.Dropout`, the
default threads, Adam, and a batch indexed anew each step. Both train in one process, alternating;
medians and spreads are printed, and the share of the machine's rate at large bf16 (or fp32) matrix
products that the step reaches, counting 6 operations per parameter and character.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn

from textgen.config import ModelConfig, TrainingConfig
from textgen.trainer import Trainer

CPU = torch.device("cpu")
SYMBOLS = 65
SHAPES = (  # layers, hidden, embedding, B, T
    (2, 128, 64, 50, 50),
    (2, 256, 64, 32, 64),
    (2, 512, 64, 64, 64),
    (1, 1024, 256, 64, 100),
)


class Plain:
    """The plain loop."""

    def __init__(self, layers: int, hidden: int, embedding: int, batch: int, bptt: int) -> None:
        self.embedding = nn.Embedding(SYMBOLS, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, dropout=0.1 if layers > 1 else 0)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(hidden, SYMBOLS)
        modules = (self.embedding, self.lstm, self.head)
        self.parameters = [p for module in modules for p in module.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, 1e-3)
        self.state = None
        self.text = torch.randint(SYMBOLS, (1 << 18,))
        self.batch, self.bptt, self.place = batch, bptt, 0

    def advance(self) -> torch.Tensor:
        starts = torch.arange(self.batch) * (len(self.text) // self.batch) + self.place
        window = (starts + torch.arange(self.bptt + 1)[:, None]) % len(self.text)
        ids = self.text[window]
        self.place += self.bptt
        out, state = self.lstm(self.embedding(ids[:-1]), self.state)
        self.state = tuple(part.detach() for part in state)
        logits = self.head(self.dropout(out))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.detach()


def ours(shape: tuple[int, ...], precision: str) -> Trainer:
    layers, hidden, embedding, batch, bptt = shape
    model = ModelConfig(SYMBOLS, hidden=(hidden,) * layers, embedding=embedding, dropout=0.1)
    training = TrainingConfig(10**6, batch_size=batch, bptt=bptt, precision=precision)
    ids = np.random.default_rng(0).integers(SYMBOLS, size=1 << 18).astype(np.uint8)
    return Trainer(model, training, ids, CPU)


def seconds(trainer, steps: int) -> float:
    """A step's seconds."""
    begin = time.perf_counter()
    for _ in range(steps):
        float(trainer.advance())
    return (time.perf_counter() - begin) / steps


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations per second of a large product."""
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    times = []
    for _ in range(8):
        begin = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - begin)
    return 2 * 2048**3 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    peak = {"fp32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}
    for name, rate in peak.items():
        print(f"large matrix products in {name}: {rate / 1e9:,.0f} GFLOP/s")
    for shape in SHAPES:
        layers, hidden, _, batch, bptt = shape
        sides = {"plain": Plain(*shape), "fp32": ours(shape, "fp32"), "bf16": ours(shape, "bf16")}
        parameters = sides["fp32"].model.config.parameters
        steps = max(1, round(1e10 / (6 * parameters * batch * bptt)))
        for side in sides.values():
            seconds(side, 2)
        rates = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                rates[name].append(batch * bptt / seconds(side, steps))
        medians = {name: statistics.median(values) for name, values in rates.items()}
        print(f"{layers} x {hidden}, B {batch}, T {bptt}")
        for name, values in rates.items():
            share = ""
            if name != "plain":
                reached = 6 * parameters * medians[name] / peak[name]
                share = (
                    f"  {medians[name] / medians['plain']:.2f} x plain, {reached:.0%} of the rate"
                )
            spread = f"{min(values):,.0f} to {max(values):,.0f}"
            print(f"  {name:<6} {medians[name]:>9,.0f} chars/s  ({spread}){share}")


if __name__ == "__main__":
    main()
