"""Two threads against two processes, and what the path of many processes costs one.

    python benchmarks/ranks.py -o ranks.json

Each measurement is processes of its own that train on random characters; the sides take turns, and
the same global batch is learned by both. The cost is measured in one process, in which two learners
take turns step by step: one by itself, one as the only rank of a group.
"""

import argparse
import json
import os
import socket
import statistics
import time
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch

from textgen.architecture import ModelConfig
from textgen.config import Choices, TrainingConfig
from textgen.training.first import first_network
from textgen.training.ranks import Alone, Ranks, join
from textgen.training.step import Learner
from textgen.training.streams import BLOCK

SYMBOLS = 65
SHAPES = ((1, 128, 64, 32), (2, 224, 64, 32), (3, 320, 64, 32), (2, 512, 256, 32))  # L, H, B, T
FRESH = get_context("spawn")


def learner(shape: tuple[int, ...], ranks: Alone) -> Learner:
    layers, hidden, streams, bptt = shape
    model = ModelConfig(
        SYMBOLS,
        "lstm",
        (hidden,) * layers,
        128,
        skip=True,
        dropout=0.1,
        weight_drop=0.1,
        history=0,
        grams=0,
    )
    decided = {"steps": 10**6, "batch_size": streams, "bptt": bptt, "block": BLOCK, "lr": 0.01}
    decided |= {"floor": 0.15, "average": 0.15, "precision": "fp32"}
    decided |= {"warmup": 20, "weight_decay": 0.1, "sample_every": 0}
    config = TrainingConfig.of(Choices(eval_every=10**6, optimizer="adamw", clip=0.5), **decided)
    ids = np.random.default_rng(0).integers(SYMBOLS, size=1 << 18).astype(np.uint8)
    cpu = torch.device("cpu")
    return Learner(first_network(model, ids, seed=0), config, ids, cpu, ranks=ranks)


def advance(learner: Learner) -> float:
    """Seconds of a step, as the first rank counts them."""
    begin = time.perf_counter()
    learner.ranks.tell("step") if learner.ranks.rank == 0 else learner.ranks.hear()
    float(learner.advance())
    return time.perf_counter() - begin


def begin(rank: int, size: int, port: int, threads: int) -> None:
    torch.set_num_threads(threads)
    if port:
        told = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in told.items()}


def train(
    rank: int, place: tuple[int, ...], shape: tuple[int, ...], steps: int, out: Queue
) -> None:
    """place: how many processes, the port they meet at (0: none), threads of each."""
    begin(rank, *place)
    trained = learner(shape, join())
    seconds = [advance(trained) for _ in range(steps + 3)][3:]
    if rank == 0:
        out.put(statistics.median(seconds))


def measure(processes: int, threads: int, shape: tuple[int, ...], steps: int) -> float:
    """Characters per second."""
    out, port = FRESH.Queue(), free_port() if processes > 1 else 0
    place = (processes, port, threads)
    started = [
        FRESH.Process(target=train, args=(rank, place, shape, steps, out))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    seconds = out.get(timeout=600)
    for process in started:
        process.join()
    return shape[2] * shape[3] / seconds


def cost(shape: tuple[int, ...], steps: int, out: Queue) -> None:
    """The time of a step as the only rank, in that of a process by itself."""
    begin(0, 1, free_port(), 1)
    ranks = join()
    assert isinstance(ranks, Ranks)
    sides = [learner(shape, Alone()), learner(shape, ranks)]
    seconds = [[advance(side) for side in sides] for _ in range(steps + 3)][3:]
    alone, only = map(statistics.median, zip(*seconds, strict=True))
    out.put(only / alone)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="of a measurement")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    sides = {"1 thread": (1, 1), "2 threads": (1, 2), "2 processes": (2, 1)}
    rows = []
    for shape in SHAPES:
        layers, hidden, streams, bptt = shape
        rates: dict[str, list[float]] = {side: [] for side in sides}
        costs = []
        for _ in range(options.rounds):
            for side, (processes, threads) in sides.items():
                rates[side].append(measure(processes, threads, shape, options.steps))
            out = FRESH.Queue()
            alone = FRESH.Process(target=cost, args=(shape, options.steps, out))
            alone.start()
            costs.append(out.get(timeout=600))
            alone.join()
        print(f"{layers} x {hidden}, B {streams}, T {bptt}")
        for side, found in rates.items():
            spread = f"{min(found):,.0f} to {max(found):,.0f}"
            print(f"  {side:<12} {statistics.median(found):>10,.0f} chars/s ({spread})")
        paired = [b / a for a, b in zip(rates["2 threads"], rates["2 processes"], strict=True)]
        print(f"  2 processes are {statistics.median(paired):.2f} times 2 threads", end="")
        print(f"; one rank takes {statistics.median(costs):.4f} times one process", flush=True)
        rows.append({"shape": shape, "chars_per_second": rates, "cost_of_one_rank": costs})
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
