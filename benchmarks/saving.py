"""How long a checkpoint takes to save, and what share of training time that is.

    python benchmarks/saving.py

Trains a 2 x 512 LSTM on the fables for a minute with the default interval between saves, and
prints the median time of a save, its spread, and the share of the whole that went into saving.
"""

import argparse
import statistics
import tempfile
import time

import textgen
from textgen.events import Saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--save-every", type=float, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as checkpoints:
        events = textgen.train(
            checkpoints=checkpoints,
            hidden=(options.hidden,) * 2,
            steps=10**6,
            save_every=options.save_every,
            eval_every=10**6,
        )
        saves, began = [], None
        for event in events:
            if isinstance(event, Saved):
                began = began or time.monotonic()
                saves.append(event.seconds)
            if began and time.monotonic() - began > options.seconds:
                break
        took = time.monotonic() - began
        events.close()
    print(
        f"2 x {options.hidden}: {len(saves)} saves in {took:.0f} s, median"
        f" {statistics.median(saves):.3f} s, from {min(saves):.3f} to {max(saves):.3f} s;"
        f" {100 * sum(saves[1:]) / took:.2f} % of the time"
    )


if __name__ == "__main__":
    main()
