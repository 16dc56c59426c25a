"""Characters trained per second, against the plain loop.

    python benchmarks/throughput.py

The plain loop is what char-RNN scripts do: `nn.LSTM(num_layers=L)` in fp32 with `nn.Dropout`, the
default threads, Adam, and a batch indexed anew each step. Each measurement is a process of its own,
for textgen sets up the process that it trains in; the sides take turns. Printed are medians and
spreads, page faults, and the share of the machine's rate at large bf16 (or fp32) matrix products
that the step reaches, counting 6 operations per parameter and character. Where the CPU cannot train
in bf16 (on x86 that takes AVX-512), that side is left out.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import nn

from textgen.architecture import ModelConfig
from textgen.config import Choices, TrainingConfig
from textgen.errors import DeviceError
from textgen.model.device import autocast, check_precision
from textgen.training.first import first_network
from textgen.training.step import Learner
from textgen.training.streams import BLOCK

CPU = torch.device("cpu")
SYMBOLS = 65
SHAPES = (  # layers, hidden, embedding, B, T
    (2, 128, 64, 50, 50),
    (2, 256, 64, 32, 64),
    (2, 512, 64, 64, 64),
    (1, 1024, 256, 64, 100),
)


class Plain:
    """The plain loop; shape: layers, hidden, embedding, B, T."""

    def __init__(
        self, shape: tuple[int, ...], device: torch.device = CPU, precision: str = "fp32"
    ) -> None:
        layers, hidden, embedding, batch, bptt = shape
        self.device, self.autocast = device, partial(autocast, precision, device)
        self.embedding = nn.Embedding(SYMBOLS, embedding).to(device)
        self.lstm = nn.LSTM(embedding, hidden, layers, dropout=0.1 if layers > 1 else 0).to(device)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(hidden, SYMBOLS).to(device)
        modules = (self.embedding, self.lstm, self.head)
        self.parameters = [p for module in modules for p in module.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, 1e-3)
        self.state = None
        self.text = torch.randint(SYMBOLS, (1 << 18,))
        self.batch, self.bptt, self.place = batch, bptt, 0

    def advance(self) -> torch.Tensor:
        starts = torch.arange(self.batch) * (len(self.text) // self.batch) + self.place
        window = (starts + torch.arange(self.bptt + 1)[:, None]) % len(self.text)
        ids = self.text[window].to(self.device)
        self.place += self.bptt
        with self.autocast():
            out, state = self.lstm(self.embedding(ids[:-1]), self.state)
            logits = self.head(self.dropout(out))
        self.state = tuple(part.detach() for part in state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.detach()


def model_of(
    shape: tuple[int, ...], symbols: int = SYMBOLS, *, dropout: float = 0.1
) -> ModelConfig:
    layers, hidden, embedding, *_ = shape
    rest = {"skip": True, "dropout": dropout, "weight_drop": 0.0, "history": 0, "grams": 0}
    return ModelConfig(symbols, "lstm", (hidden,) * layers, embedding, **rest)


def ours(
    shape: tuple[int, ...],
    precision: str,
    device: torch.device = CPU,
    optimizer: str = "adamw",
    lr: float = 0.01,
) -> Learner:
    training = training_of(shape, precision, optimizer, lr)
    ids = np.random.default_rng(0).integers(SYMBOLS, size=1 << 18).astype(np.uint8)
    return Learner(first_network(model_of(shape), ids, seed=0), training, ids, device)


def training_of(
    shape: tuple[int, ...], precision: str, optimizer: str, lr: float = 0.01
) -> TrainingConfig:
    *_, batch, bptt = shape
    decided = {
        "steps": 10**6,
        "batch_size": batch,
        "bptt": bptt,
        "accumulate": 1,
        "block": BLOCK,
        "lr": lr,
    }
    decided |= {"floor": 0.15, "average": 0.15}
    decided |= {"warmup": 20, "weight_decay": 0.1, "sample_every": 0, "precision": precision}
    chosen = Choices(eval_every=10**6, optimizer=optimizer, clip=0.5)
    return TrainingConfig.of(chosen, **decided)


def precisions() -> tuple[str, ...]:
    """Those in which this CPU can train; says which it cannot."""
    try:
        check_precision("bf16", CPU)
    except DeviceError:
        print("bf16 is left out: this CPU does not train an LSTM in it")
        return ("fp32",)
    return ("fp32", "bf16")


def measure(side: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Characters per second, and page faults in a step."""
    learner = Plain(shape) if side == "plain" else ours(shape, side)
    *_, batch, bptt = shape
    seconds, faults = [], []
    while len(seconds) < 5 or sum(seconds) < 2:
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        begin = time.perf_counter()
        float(learner.advance())
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
    chosen = precisions()
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as processes:
        peak = {side: processes.submit(matrix_rate, side).result() for side in chosen}
        for side, rate in peak.items():
            print(f"large matrix products in {side}: {rate / 1e9:,.0f} GFLOP/s")
        for shape in SHAPES:
            layers, hidden, _, batch, bptt = shape
            print(f"{layers} x {hidden}, B {batch}, T {bptt}")
            results = {side: [] for side in ("plain", *chosen)}
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
                    reached = 6 * model_of(shape).parameters * median / peak[side]
                    share = f", {median / plain:.2f} x plain, {reached:.0%} of the rate"
                spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
                print(
                    f"  {side:<6} {median:>9,.0f} chars/s  ({spread}),"
                    f" {statistics.median(faults):,.0f} page faults a step{share}"
                )


if __name__ == "__main__":
    main()
