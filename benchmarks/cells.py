"""Seconds of a training step by cell, at equal width: textgen's GRU and RNN, torch's, and the LSTM.

    python benchmarks/cells.py --threads 1,2

One process for each number of threads, in which the sides take a step in turn. Printed are medians
of wall-clock and of processor time, and how many times as fast as the LSTM each side is: the ratio
of medians. On a machine that others use, processor time with one thread is what can be relied on.
With `--kernels`, forward and backward of the layers alone instead of whole steps.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import numpy as np
import torch
from torch import nn

from textgen.architecture import ModelConfig
from textgen.config import Choices, TrainingConfig
from textgen.model import network, recurrence
from textgen.model.device import prepare_device
from textgen.training.first import first_network
from textgen.training.step import Learner
from textgen.training.streams import BLOCK

CPU = torch.device("cpu")
SYMBOLS = 65
SIDES = ("lstm", "gru", "torch's gru", "rnn", "torch's rnn")
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
Parts = tuple[Callable[[], object], ...]  # of a step, timed one by one


def whole(side: str, shape: tuple[int, ...], precision: str) -> Parts:
    layers, hidden, batch, bptt = shape
    cell = side.split()[-1]
    model = ModelConfig(
        SYMBOLS,
        cell,
        (hidden,) * layers,
        128,
        True,
        dropout=0.1,
        weight_drop=0.0,
        history=0,
        grams=0,
    )
    decided = {"steps": 10**6, "batch_size": batch, "bptt": bptt, "block": BLOCK, "lr": 0.001}
    decided |= {"floor": 0.15, "average": 0.15, "warmup": 20, "weight_decay": 0.1}
    decided |= {"sample_every": 0, "precision": precision}
    training = TrainingConfig.of(Choices(eval_every=10**6, optimizer="adamw", clip=0.5), **decided)
    ids = np.random.default_rng(0).integers(SYMBOLS, size=1 << 18).astype(np.uint8)
    learner = Learner(first_network(model, ids, seed=0), training, ids, CPU)

    def step() -> None:
        with mock.patch.dict(network._ON_CPU, clear=side.startswith("torch")):
            learner.advance()

    return (step,)


def kernels(side: str, shape: tuple[int, ...], precision: str) -> Parts:
    layers, hidden, batch, bptt = shape
    cell = side.split()[-1]
    modules = [MODULES[cell](hidden, hidden) for _ in range(layers)]
    own = None if side.startswith("torch") else {"gru": recurrence.gru, "rnn": recurrence.rnn}
    first, state = torch.randn(bptt, batch, hidden, requires_grad=True), torch.zeros(batch, hidden)
    outputs: list[torch.Tensor] = []

    def forward() -> None:
        x = first
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for module in modules:
                if own and cell in own:
                    x = own[cell](x, state, *module.parameters())
                else:
                    x = module(x)[0]
        outputs.append(x)

    def backward() -> None:
        x = outputs.pop()
        x.backward(torch.ones_like(x))

    return forward, backward


def measure(
    make: Callable[[str, tuple[int, ...], str], Parts],
    shape: tuple[int, ...],
    precision: str,
    threads: int,
    rounds: int,
) -> dict[str, list[tuple[float, ...]]]:
    """For each side and round: wall-clock and processor seconds of each part."""
    torch.set_num_threads(threads)
    prepare_device(CPU)
    sides = {side: make(side, shape, precision) for side in SIDES}
    found: dict[str, list[tuple[float, ...]]] = {side: [] for side in SIDES}
    for _ in range(rounds + 2):
        for side, parts in sides.items():
            seconds: list[float] = []
            for part in parts:
                wall, processor = time.perf_counter(), time.process_time()
                part()
                seconds += [time.perf_counter() - wall, time.process_time() - processor]
            found[side].append(tuple(seconds))
    return {side: times[2:] for side, times in found.items()}


def report(found: dict[str, list[tuple[float, ...]]], characters: int) -> None:
    medians = {
        side: [statistics.median(column) for column in zip(*times, strict=True)]
        for side, times in found.items()
    }
    yardstick = medians["lstm"]
    for side, times in medians.items():
        wall, processor = sum(times[::2]), sum(times[1::2])
        parts = ", ".join(f"{1e3 * part:.1f}" for part in times[1::2])
        print(
            f"  {side:<12} {characters / wall:>9,.0f} chars/s, {1e3 * wall:6.1f} ms,"
            f" {sum(yardstick[::2]) / wall:.2f} x the LSTM;"
            f" processor {parts} ms, {sum(yardstick[1::2]) / processor:.2f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="3,192,64,64", help="layers,width,streams,characters")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kernels", action="store_true")
    options = parser.parse_args()
    layers, width, batch, bptt = shape = tuple(map(int, options.shape.split(",")))
    make = kernels if options.kernels else whole
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as processes:
        for threads in map(int, options.threads.split(",")):
            print(
                f"{layers} x {width}, B {batch}, T {bptt}, {options.precision}, threads {threads}"
            )
            given = make, shape, options.precision, threads, options.rounds
            report(processes.submit(measure, *given).result(), batch * bptt)


if __name__ == "__main__":
    main()
