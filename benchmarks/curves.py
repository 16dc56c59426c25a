"""Loss against time: one run of `textgen train --time` for each budget.

    python benchmarks/curves.py corpus.txt --times 1m,3m,15m

Prints, for each run, the validation loss over the seconds since the command was typed, what the
planner chose, how long the command took from start to exit, and the loss of `textgen eval` on the
whole validation part.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXTGEN = (sys.executable, "-m", "textgen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path, help="default: the bundled fables")
    parser.add_argument("--times", default="1m,3m,15m")
    options = parser.parse_args()
    corpus = [str(options.corpus)] if options.corpus else []
    with tempfile.TemporaryDirectory() as folder:
        for budget in options.times.split(","):
            train(corpus, budget, folder)


def train(corpus: list[str], budget: str, folder: str) -> None:
    here = ("--checkpoints", folder, "--run", budget)
    command = (*TEXTGEN, "train", *corpus, *here, "--time", budget, "--json")
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            match event["event"]:
                case "planned":
                    start = time.monotonic() - began
                    model, training = event["model"], event["training"]
                    print(
                        f"--time {budget}: hidden {model['hidden']}, dropout {model['dropout']:g},"
                        f" weight-drop {model['weight_drop']:g},"
                        f" weight decay {training['weight_decay']:g}, lr {training['lr']:g},"
                        f" planned after {start:.1f} s"
                    )
                    print("  seconds  characters  passes   train     val")
                case "evaluated":
                    print(
                        f"  {time.monotonic() - began:7.1f}  {event['characters']:10,}"
                        f"  {event['passes']:6.2f}  {event['train_nats']:.4f}"
                        f"  {event['val_nats']:.4f}",
                        flush=True,
                    )
    print(f"  took {time.monotonic() - began:.1f} s, exit code {process.returncode}")
    evaluate = (*TEXTGEN, "eval", "--checkpoint", f"{folder}/{budget}", "--split", "val", "--json")
    whole = json.loads(subprocess.run(evaluate, stdout=subprocess.PIPE, check=True).stdout)
    print(f"  eval: {whole['nats_per_char']:.4f} nats/char on {whole['characters']:,} characters\n")


if __name__ == "__main__":
    main()
