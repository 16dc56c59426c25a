"""Whether memory stays flat: in a long training run, and while a large file is scored.

    python benchmarks/memory.py
    python benchmarks/memory.py --steps 100000 --megabytes 100

Trains a tiny model for `--steps` (10,000 by default) with no validation in between, then scores a
file of `--megabytes` (10 by default), made of the corpus again and again. Printed is the resident
set size at each tenth of the way; it should not grow from the first tenth to the last. Each part is
a process of its own. Linux only: the size is read from /proc.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import textgen
from textgen.events import Stepped
from textgen.text.corpus import default_corpus

MODEL = {"hidden": (16,), "embedding": 8, "batch_size": 4, "bptt": 16, "precision": "fp32"}


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Tenths:
    """Prints the resident set size at each tenth of `whole`."""

    def __init__(self, what: str, whole: int) -> None:
        print(f"{what}: {resident() / 2**20:,.1f} MiB at the beginning", flush=True)
        self.whole, self.done, self.tenth = whole, 0, 1
        self.began, self.sizes = time.monotonic(), []

    def advance(self, count: int) -> None:
        self.done += count
        while self.tenth <= 10 * self.done / self.whole:
            self.sizes.append(resident() / 2**20)
            print(f"  {10 * self.tenth:>3} %  {self.sizes[-1]:>8,.1f} MiB", flush=True)
            self.tenth += 1

    def end(self) -> None:
        growth, seconds = self.sizes[-1] - self.sizes[0], time.monotonic() - self.began
        print(f"  {growth:+.1f} MiB from the first tenth to the last, {seconds:.0f} s", flush=True)


def train(corpus: Path, folder: str, steps: int) -> None:
    never = {"eval_every": 10**9, "sample_every": 0, "save_every": 1e8}
    tenths = Tenths(f"training for {steps:,} steps", steps)
    for event in textgen.train(
        corpus, run="tiny", checkpoints=folder, steps=steps, **MODEL, **never
    ):
        if isinstance(event, Stepped):
            tenths.advance(1)
    tenths.end()


def score(corpus: Path, folder: str, megabytes: int) -> None:
    text = corpus.read_text(encoding="utf-8")
    times = max(1, round(megabytes * 10**6 / corpus.stat().st_size))
    large = Path(folder) / "large.txt"
    with open(large, "w", encoding="utf-8", newline="") as file:
        file.writelines(text for _ in range(times))
    model = textgen.load(f"{folder}/tiny")
    tenths = Tenths(f"scoring {large.stat().st_size:,} bytes", times * len(text) - 1)
    model.score(large, progress=tenths.advance)
    tenths.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path, default=default_corpus())
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=10)
    options = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for part, size in ((train, options.steps), (score, options.megabytes)):
            process = fresh.Process(target=part, args=(options.corpus, folder, size))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
