"""Characters trained per second, against the plain loop.

    python benchmarks/throughput.py

The plain loop is what char-RNN scripts do: `nn.LSTM(num_layers=L)` in fp32 with `nn.Dropout`, the
default threads, Adam, and a batch indexed anew each step. Each measurement is a process of its own,
for textgen sets up the process that it trains in; the sides take turns. Printed are medians and
spreads, page faults, and the share of the machine's rate at large bf16 (or fp32) matrix products
that the step reaches, counting 6 operations per parameter and character.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch import nn

from textgen.config import ModelConfig, TrainingConfig
from textgen.training.step import Trainer

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


def parameters_of(shape: tuple[int, ...]) -> int:
    layers, hidden, embedding, *_ = shape
    return ModelConfig(SYMBOLS, hidden=(hidden,) * layers, embedding=embedding).parameters


def measure(side: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Characters per second, and page faults in a step."""
    trainer = Plain(*shape) if side == "plain" else ours(shape, side)
    *_, batch, bptt = shape
    seconds, faults = [], []
    while len(seconds) < 5 or sum(seconds) < 2:
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        begin = time.perf_counter()
        float(trainer.advance())
        seconds.append(time.perf_counter() - begin)
    return batch * bptt / statistics.median(seconds[2:]), statistics.median(np.diff(faults[2:]))


def matrix_rate(side: str) -> float:
    """Operations per second of a large product, by the better of torch's libraries."""
    a, b = torch.randn(2, 2048, 2048).to(torch.bfloat16 if side == "bf16" else torch.float32)
    products = [lambda: a @ b]
    if side == "fp32":
        blocked = a.to_mkldnn(), b.to_mkldnn()
        products.append(lambda: nn.functional.linear(*blocked))
    times = []
    with torch.inference_mode():
        for product in products * 8:
            begin = time.perf_counter()
            product()
            times.append(time.perf_counter() - begin)
    return 2 * 2048**3 / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as processes:
        peak = {side: processes.submit(matrix_rate, side).result() for side in ("fp32", "bf16")}
        for side, rate in peak.items():
            print(f"large matrix products in {side}: {rate / 1e9:,.0f} GFLOP/s")
        for shape in SHAPES:
            layers, hidden, _, batch, bptt = shape
            print(f"{layers} x {hidden}, B {batch}, T {bptt}")
            results = {side: [] for side in ("plain", "fp32", "bf16")}
            for _ in range(options.rounds):
                for side, found in results.items():
                    found.append(processes.submit(measure, side, shape).result())
            plain = None
            for side, found in results.items():
                rates, faults = zip(*found, strict=True)
                median, share = statistics.median(rates), ""
                if plain is None:
                    plain = median
                else:
                    reached = 6 * parameters_of(shape) * median / peak[side]
                    share = f", {median / plain:.2f} x plain, {reached:.0%} of the rate"
                spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
                print(
                    f"  {side:<6} {median:>9,.0f} chars/s  ({spread}),"
                    f" {statistics.median(faults):,.0f} page faults a step{share}"
                )


if __name__ == "__main__":
    main()
