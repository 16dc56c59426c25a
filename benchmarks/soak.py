"""Whether hours of work leave memory, rate and open handles as they were.

    python benchmarks/soak.py --quick
    python benchmarks/soak.py -o soak

Trains for `--minutes` (30), then writes `--characters` (10 million), each in a process of its own.
Every few seconds memory, handles and the rate since the last look are taken down, into `OUTPUT.csv`
and, where matplotlib is installed, a plot, `OUTPUT.png`. At the end each of the three is said to be
flat or not: the mean of the last quarter against that of the second; in the first, caches fill.
Linux only: memory and handles are read from /proc.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import textgen
from textgen.events import Sampled, Stepped
from textgen.text.corpus import default_corpus

MODEL = {"hidden": (128, 128), "embedding": 64, "batch_size": 16, "bptt": 64}
SETTINGS = {"eval_every": 50, "sample_every": 50, "save_every": 5.0}
LOOKS = 200  # of each part
# how far the last quarter may be from the second: MiB, handles, and a share of the rate, which
# depends on what else the machine does
ALLOWED = {"MiB": 8.0, "handles": 1.0, "rate": 0.15}
Row = dict[str, float]


class Watch:
    """Takes down what the process has, time and again, into a file."""

    def __init__(self, file: Path, part: str, done: int = 0) -> None:
        self.file, self.part = file, part
        self.began = self.looked = time.monotonic()
        self.done = done

    def look(self, done: int) -> None:
        """done: characters since the beginning."""
        now = time.monotonic()
        rate = (done - self.done) / max(now - self.looked, 1e-9)
        self.looked, self.done = now, done
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        size = resident * os.sysconf("SC_PAGE_SIZE") / 2**20
        handles = len(os.listdir("/proc/self/fd"))
        with self.file.open("a", newline="") as file:
            row = (
                self.part,
                f"{now - self.began:.2f}",
                done,
                f"{size:.2f}",
                handles,
                f"{rate:.0f}",
            )
            csv.writer(file).writerow(row)


def train(file: Path, folder: str, options: argparse.Namespace) -> None:
    """Watched from the first sample on, when it has done everything once."""
    watch, seconds = None, 60 * options.minutes
    size, choices = MODEL["batch_size"] * MODEL["bptt"], MODEL | SETTINGS
    for event in textgen.train(
        options.corpus, run="soak", checkpoints=folder, steps=10**9, schedule="constant", **choices
    ):
        if isinstance(event, Sampled) and watch is None:
            watch = Watch(file, "training", event.step * size)
        if isinstance(event, Stepped) and watch is not None:
            now = time.monotonic()
            if now - watch.looked > seconds / LOOKS:
                watch.look(event.step * size)
            if now - watch.began > seconds:
                break


def sample(file: Path, folder: str, options: argparse.Namespace) -> None:
    model = textgen.load(f"{folder}/soak")
    watch, written = Watch(file, "sampling"), 0
    for piece in model.generate(length=options.characters, seed=1):
        written += len(piece)
        if written - watch.done >= options.characters / LOOKS:
            watch.look(written)


def read(file: Path, part: str) -> list[Row]:
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["part"] == part]
    return [{name: float(row[name]) for name in ("seconds", *ALLOWED)} for row in rows]


def judge(part: str, rows: list[Row]) -> bool:
    """Say what became of memory, handles and rate; whether all are flat."""
    flat, quarter = True, len(rows) // 4
    for name, allowed in ALLOWED.items():
        before = mean(row[name] for row in rows[quarter : 2 * quarter])
        after = mean(row[name] for row in rows[-quarter:])
        change = (after - before) / before if name == "rate" else after - before
        fine = change >= -allowed if name == "rate" else change <= allowed
        flat &= fine
        verdict = "flat" if fine else "NOT FLAT"
        print(f"{part:<9} {name:<8} {before:>10,.1f} to {after:>10,.1f}  {verdict}")
    return flat


def plot(target: Path, parts: dict[str, list[Row]]) -> None:
    try:
        import matplotlib.pyplot as pyplot
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    figure, axes = pyplot.subplots(len(ALLOWED), len(parts), figsize=(11, 7), squeeze=False)
    for column, (part, rows) in enumerate(parts.items()):
        for row, name in enumerate(ALLOWED):
            axis = axes[row][column]
            axis.plot([r["seconds"] for r in rows], [r[name] for r in rows])
            axis.set(ylabel="characters/s" if name == "rate" else name, ylim=(0, None))
        axes[0][column].set_title(part)
        axes[-1][column].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(target)
    print(f"plot: {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path, default=default_corpus())
    parser.add_argument("--minutes", type=float, default=30.0, help="of training")
    parser.add_argument("--characters", type=int, default=10_000_000, help="to write")
    parser.add_argument("--quick", action="store_true", help="a minute or two in all")
    parser.add_argument("-o", "--output", type=Path, default=Path("soak"), help="without suffix")
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.characters = 0.6, 200_000
    file = options.output.with_suffix(".csv")
    file.write_text(",".join(("part", "seconds", "characters", *ALLOWED)) + "\n")
    fresh = multiprocessing.get_context("spawn")
    jobs: dict[str, Callable[..., None]] = {"training": train, "sampling": sample}
    with tempfile.TemporaryDirectory() as folder:
        for job in jobs.values():
            process = fresh.Process(target=job, args=(file, folder, options))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)
    parts = {part: read(file, part) for part in jobs}
    plot(options.output.with_suffix(".png"), parts)
    flat = [judge(part, rows) for part, rows in parts.items()]
    sys.exit(0 if all(flat) else 1)


if __name__ == "__main__":
    main()
