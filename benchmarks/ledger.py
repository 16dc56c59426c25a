"""Where the time of `textgen train --time` goes.

    python benchmarks/ledger.py corpus.txt --time 60

Trains in a process of its own and prints seconds and shares: the start of Python and its imports,
reading and planning, steps, validations, samples, saves, the way out, and the whole.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import gc, json, sys, time
typed, budget, folder, *files = sys.argv[1:]
began = time.time()
gc.set_threshold(10_000)  # as the command line does, and so is the end
import textgen
import textgen.cli.train, textgen.cli.display  # what the command line loads
import textgen.training.loop
spent, mark = {"Python's start": began - float(typed), "imports": time.time() - began}, time.time()
left = float(budget) - (mark - float(typed))
names = {"Planned": "reading, planning", "Stepped": "steps", "Evaluated": "validations"}
names |= {"Sampled": "samples", "Saved": "saves"}
for event in textgen.train(*files, time=left, checkpoints=folder, run="run"):
    kind, now = names.get(type(event).__name__, "other"), time.time()
    spent[kind], mark = spent.get(kind, 0.0) + now - mark, now
print(json.dumps({"ended": mark, "spent": spent}))
gc.freeze()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="*", type=Path, help="default: the bundled fables")
    parser.add_argument("--time", type=float, default=60.0, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        command = [sys.executable, "-c", CHILD, str(began), str(options.time), folder]
        command += map(str, options.corpus)
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        ended = time.time()
    child = json.loads(found.stdout.splitlines()[-1])
    spent = {**child["spent"], "way out": ended - child["ended"]}
    for name, seconds in spent.items():
        print(f"{name:<18} {seconds:8.2f} s  {seconds / options.time:7.2%}")
    print(f"{'whole':<18} {ended - began:8.2f} s  of {options.time:g} s")


if __name__ == "__main__":
    main()
