"""Many kinds of text: `textgen train --time`, against simple trainers, on the same machine in turn.

    python benchmarks/kinds.py --texts FOLDER --yardstick SCRIPT.py -o kinds.jsonl

Texts are the fables, four kinds made by rule, and each file of `--texts` (UTF-8, also `.xz`); one
of over 1,000 distinct characters also byte by byte. A file named tinyshakespeare is cut to its
first nine tenths, for its end is kept for reports. Each text is split twice: its last tenth held
out (`end`), and every tenth block of 4,000 characters moved to the end and held out (`blocks`).

The yardstick is a script that takes `TEXT --recipe NAME --seconds S --seed N`, S seconds of steps,
and prints its nats per character of the last tenth first, and `N passes`; it gets what the budget
leaves after the time that a script takes to start. It has `RECIPES`, a dict of dicts, and `main()`:
where the CPU has no units for bf16, a recipe whose `bf16` is true is run in fp32, for it cannot run
otherwise.

Every result is a line of the output file, written as it comes: started again, the bench goes on
where it stopped. `--report` prints the table of what is there.
"""

import argparse
import hashlib
import json
import lzma
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path

from made import KINDS, made

import textgen
from textgen.cli.parse import duration
from textgen.inference.evaluation import validate
from textgen.model.device import has_bf16_units
from textgen.store.contents import reread_corpus

FABLES = Path(__file__).parent.parent / "corpora" / "fables.txt"
BLOCK = 4000  # characters
SPLITS = ("end", "blocks")
BYTES = "as bytes"  # such a kind's text has one character, below 256, for each byte
SMALL = 0.5  # nats, below which a gain is told as a share too
START = 4.0  # seconds of a budget that a simple script needs before and after its steps
FP32 = """
import runpy, sys
sys.argv = sys.argv[1:]
script = runpy.run_path(sys.argv[0])
for recipe in script["RECIPES"].values():
    recipe["bf16"] = False
script["main"]()
"""


def texts(folders: list[Path]) -> dict[str, str]:
    """Every kind and its text."""
    found = {"fables": FABLES.read_text("utf-8")}
    found |= {kind: made(kind) for kind in KINDS}
    for path in sorted(p for folder in folders for p in folder.iterdir() if p.is_file()):
        if path.suffix not in (".txt", ".xz"):
            continue
        raw = path.read_bytes()
        if path.suffix == ".xz":
            raw = lzma.decompress(raw)
        text = raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        name = path.name.split(".")[0]
        if name in found:
            raise SystemExit(f"two texts are called {name}; give {path} another name")
        found[name] = text[: len(text) * 9 // 10] if name == "tinyshakespeare" else text
        if len(set(text)) > 1000:
            found[f"{name} {BYTES}"] = text.encode("utf-8").decode("latin-1")
    return found


def split(text: str, how: str) -> str:
    """The text with what is to be held out as its last tenth."""
    if how == "end":
        return text
    blocks = [text[i : i + BLOCK] for i in range(0, len(text), BLOCK)]
    held_out = blocks[9::10]
    del blocks[9::10]
    return "".join(blocks + held_out)


@dataclass(frozen=True)
class Case:
    """One training: `side` is textgen or a recipe of the yardstick."""

    kind: str
    split: str
    budget: str
    seed: int
    side: str


def ours(case: Case, file: Path, folder: Path) -> dict[str, float]:
    level = "byte" if case.kind.endswith(BYTES) else "char"
    train = (sys.executable, "-m", "textgen", "train", str(file), "--time", case.budget)
    train += ("--seed", str(case.seed), "--checkpoints", str(folder), "--run", "run")
    train += ("--level", level, "--overwrite", "--json")
    began = time.monotonic()
    found = subprocess.run(train, stdout=subprocess.PIPE, check=True, text=True)
    took = time.monotonic() - began
    events = [json.loads(line) for line in found.stdout.splitlines()]
    planned = next(e for e in events if e["event"] == "planned")
    seen = [e for e in events if e["event"] == "evaluated"]
    model = textgen.load(folder / "run")
    held_out = reread_corpus(model.header).validation
    return {
        "nats": validate(model.network(), held_out),
        "seconds": took,
        "passes": seen[-1]["passes"],
        "train": seen[-1]["train_nats"],
        "lowest": min(e["val_nats"] for e in seen),
        "last": seen[-1]["val_nats"],
        "hidden": planned["model"]["hidden"],
        "lr": planned["training"]["lr"],
    }


def theirs(case: Case, file: Path, script: Path) -> dict[str, float]:
    command = (sys.executable, *(() if has_bf16_units() else ("-c", FP32)), str(script), str(file))
    seconds = duration("time", case.budget) - START
    command += ("--recipe", case.side, "--seconds", str(seconds), "--seed", str(case.seed))
    began = time.monotonic()
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    printed = found.stdout.split()
    passes = float(printed[printed.index("passes") - 1])
    return {"nats": float(printed[0]), "seconds": time.monotonic() - began, "passes": passes}


def report(lines: list[dict]) -> None:
    """For each budget: means and spreads by kind and split, and the gain over each recipe.

    The gain is that of the seeds that both have.
    """
    by_key: dict[tuple[str, ...], dict[int, float]] = {}
    late: dict[str, float] = {}  # by budget: how far the last validation was above the lowest
    for line in lines:
        where = (line["budget"], line["kind"], line["split"])
        by_key.setdefault((*where, line["side"]), {})[line["seed"]] = line["nats"]
        if line["side"] == "textgen":
            above = line["last"] - line["lowest"]
            late[line["budget"]] = max(above, late.get(line["budget"], 0.0))
    sides = sorted({key[-1] for key in by_key} - {"textgen"}, reverse=True)
    for budget in dict.fromkeys(key[0] for key in by_key):
        print(f"\n--time {budget}\n")
        print("| kind | held out | seeds | textgen |" + "".join(f" {s} | gain |" for s in sides))
        print("|---|---|---|---|" + "---|---|" * len(sides))
        gains: dict[tuple[str, str], dict[str, float]] = {}
        for _, kind, how, _ in (k for k in by_key if k[0] == budget and k[-1] == "textgen"):
            own = by_key[budget, kind, how, "textgen"]
            row = f"| {kind} | {how} | {len(own)} | {summary([*own.values()])} |"
            for side in sides:
                other = by_key.get((budget, kind, how, side), {})
                both = own.keys() & other.keys()
                if not both:
                    row += " | |"
                    continue
                mean = statistics.mean(other[seed] for seed in both)
                gain = mean - statistics.mean(own[seed] for seed in both)
                gains.setdefault((side, how), {})[kind] = gain
                share = f" ({gain / mean:.1%})" if mean < SMALL else ""
                fewer = f" ({len(both)} seeds)" if len(both) < len(own) else ""
                row += f" {summary([*other.values()])}{fewer} | {gain:+.3f}{share} |"
            print(row)
        for (side, how), found in gains.items():
            worst = min(found, key=found.__getitem__)
            lost = sum(gain <= 0 for gain in found.values())
            mean = statistics.mean(found.values())
            print(f"\n{side}, {how}: mean gain {mean:+.3f}, worst {found[worst]:+.3f} ({worst}),")
            print(f"{lost} of {len(found)} lost")
        if budget in late:
            print(f"\nthe last validation was within {late[budget]:.3f} of the lowest")


def summary(values: list[float]) -> str:
    """Mean, and the standard deviation where there are several."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--yardstick", type=Path, metavar="SCRIPT")
    parser.add_argument("--recipes", default="residual,char-rnn", help="of the yardstick")
    parser.add_argument("--time", default="60s", help="budgets, as 15s,60s")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", help="only these, as python,log")
    parser.add_argument("--splits", default=",".join(SPLITS))
    parser.add_argument("--report", action="store_true", help="train nothing, print the table")
    parser.add_argument("-o", "--output", type=Path, default=Path("kinds.jsonl"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is temporary goes
    done = []
    if options.output.exists():
        done = [json.loads(line) for line in options.output.read_text().splitlines()]
    if not options.report:
        measure(options, done)
    report(done)


def measure(options: argparse.Namespace, done: list[dict]) -> None:
    """Every case that is not done, seed by seed, the sides in turn; adds to `done` and the file."""
    known = texts(options.texts)
    kinds = options.kinds.split(",") if options.kinds else known
    sides = ["textgen", *(options.recipes.split(",") if options.yardstick else ())]
    before = {Case(**{f.name: line[f.name] for f in fields(Case)}) for line in done}
    script = options.yardstick and hashlib.sha256(options.yardstick.read_bytes()).hexdigest()[:16]
    if any(line.get("yardstick", script) != script for line in done if options.yardstick):
        raise SystemExit(f"{options.output} has lines of another yardstick; name another file: -o")
    order = product(range(options.seeds), options.time.split(","), kinds, options.splits.split(","))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, budget, kind, how in order:
            file = folder / "text.txt"
            text = split(known[kind], how)
            if how == "blocks" and len(known[kind]) <= 9 * BLOCK:  # none is moved
                continue
            for side in sides:
                case = Case(kind, how, budget, seed, side)
                if case in before:
                    continue
                as_bytes = kind.endswith(BYTES) and side == "textgen"
                file.write_bytes(text.encode("latin-1" if as_bytes else "utf-8"))
                if side == "textgen":
                    found = ours(case, file, folder)
                else:
                    found = theirs(case, file, options.yardstick) | {"yardstick": script}
                done.append({**vars(case), **found})
                with open(options.output, "a") as output:
                    print(json.dumps(done[-1]), file=output)
                print(*vars(case).values(), f"{found['nats']:.4f}", flush=True)


if __name__ == "__main__":
    main()
