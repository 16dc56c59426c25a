"""Characters trained per second with SOAP, by streams and the length of a chunk.

    python benchmarks/chunks.py

Two layers of each width, the shapes of a step in turn, five times 65,536 characters of each.
Printed are medians, and their ratios to 64 streams of 32.
"""

import statistics
import time

from throughput import ours, precisions

WIDTHS = (224, 160, 96)
STEPS = ((64, 32), (32, 64), (64, 64), (32, 128), (128, 64))  # streams, characters of a chunk
CHARACTERS = 1 << 16


def main() -> None:
    for precision in precisions():
        for width in WIDTHS:
            learners = {s: ours((2, width, 128, *s), precision, optimizer="soap") for s in STEPS}
            rates: dict[tuple[int, int], list[float]] = {shape: [] for shape in STEPS}
            for turn in range(6):
                for shape, learner in learners.items():
                    begin = time.perf_counter()
                    for _ in range(CHARACTERS // (shape[0] * shape[1])):
                        learner.advance()
                    if turn:  # the first warms up
                        rates[shape].append(CHARACTERS / (time.perf_counter() - begin))
            medians = {shape: statistics.median(found) for shape, found in rates.items()}
            for (streams, length), rate in medians.items():
                ratio = rate / medians[STEPS[0]]
                print(f"{precision} 2 x {width} {streams} of {length}: {rate:,.0f}, {ratio:.2f}")


if __name__ == "__main__":
    main()
