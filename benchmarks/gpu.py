"""All that only a GPU can show, in one command of at most 8 minutes, without a network.

    python benchmarks/gpu.py -o gpu.json
    python benchmarks/gpu.py --device cpu --quick -o gpu.json

Each part is a process of its own with a limit of time; where one fails, its error is a line and the
next begins. The rows of all parts so far are in the output file after each part. With `--quick`
everything is small, to see on a CPU that the script itself works.
"""

import argparse
import json
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_job import Job, Row
from gpu_parts import (
    FORK,
    agreement,
    collective,
    graph,
    machine,
    planning,
    resuming,
    sampling,
    tests,
    timed,
    training,
)

from textgen.text.corpus import default_corpus

# each with the seconds that it may take
PARTS: dict[str, tuple[Callable[[Job], Iterator[Row]], float]] = {
    "machine": (machine, 20),
    "graph": (graph, 30),
    "agreement": (agreement, 15),
    "resuming": (resuming, 70),
    "training": (training, 130),
    "sampling": (sampling, 30),
    "planning": (planning, 30),
    "timed": (timed, 80),
    "collective": (collective, 20),
    "tests": (tests, 55),
}


def run(name: str, job: Job, output: Path) -> None:
    """The part in this process: each row is a line of the output file at once."""
    os.setsid()  # so that it can be ended with all that it started
    with output.open("a") as file:
        try:
            for row in PARTS[name][0](job):
                print(json.dumps(row), file=file, flush=True)
        except BaseException as error:
            traceback.print_exc()
            print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), file=file)


def shown(value: Any) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1e4
        else str(round(value) if isinstance(value, float) else value)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--text", type=Path, default=default_corpus())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    job = Job(torch.device(options.device), options.text.resolve(), options.quick)
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.parts:
            lines, begin = Path(folder, name), time.perf_counter()
            process = FORK.Process(target=run, args=(name, job, lines))
            process.start()
            process.join(None if job.quick else PARTS[name][1])
            late = process.is_alive()
            if late:
                os.killpg(process.pid, signal.SIGKILL)
                process.join()
            rows = [json.loads(line) for line in lines.read_text().splitlines()]
            if late or process.exitcode:
                limit = f"not done after {PARTS[name][1]:g} s"
                rows.append({"failed": limit if late else f"exit code {process.exitcode}"})
            found[name] = rows
            print(f"\n{name} ({time.perf_counter() - begin:.1f} s)", flush=True)
            for row in rows:
                print("  " + ", ".join(f"{k} {shown(v)}" for k, v in row.items()), flush=True)
            options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
