"""How fast a large text is read, how soon a second run on it begins, and in how much memory.

    python benchmarks/input.py
    python benchmarks/input.py --megabytes 100 --folder /somewhere/with/room plays.txt

Makes a text of `--megabytes` (1,000 by default) from the texts given, by default the bundled
corpus, one after the other again and again, and one of a hundredth of it. Encodes it, begins a
run on each from the cache, and trains a tiny model on each for `--steps`. Each part is a process
of its own; memory is what it takes beyond importing torch. Linux only: sizes are read from /proc.
"""

import argparse
import lzma
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from textgen.text.corpus import default_corpus

MODEL = {"hidden": (16,), "embedding": 8, "batch_size": 64, "bptt": 32, "precision": "fp32"}
NEVER = {"eval_every": 10**9, "sample_every": 0, "save_every": 1e8}


def megabytes(name: str) -> float:
    """VmHWM, the highest, or VmRSS, the present size of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e6


def make(texts: list[Path], target: Path, size: int) -> None:
    """A file of about `size` bytes: the texts again and again."""
    packed = ((t.suffix == ".xz", t.read_bytes()) for t in texts)
    data = [lzma.decompress(read) if xz else read for xz, read in packed]
    with open(target, "wb") as file:
        for block in cycle(data):
            if file.tell() >= size:
                break
            file.write(block)


def encode(text: Path) -> None:
    import torch  # noqa: F401

    from textgen.config import Choices, CorpusConfig
    from textgen.text.corpus import read_corpus

    before, began, cpu = megabytes("VmRSS"), time.monotonic(), time.process_time()
    read_corpus(CorpusConfig.of(Choices(), (str(text),), None))
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    size = text.stat().st_size / 1e6
    print(f"encoding {size:,.0f} MB: {seconds:.1f} s, {size / seconds:.0f} MB/s", end="")
    print(f" ({size / cpu:.0f} MB/s of CPU time), {megabytes('VmHWM') - before:.0f} MB at most")


def begin(text: Path) -> None:
    import torch  # noqa: F401

    import textgen

    began = time.monotonic()
    next(textgen.train(text, dry_run=True, steps=10, **MODEL))
    size = text.stat().st_size / 1e6
    print(f"beginning a run on {size:,.0f} MB: {time.monotonic() - began:.2f} s", flush=True)


def train(text: Path, folder: Path, steps: int) -> None:
    import textgen

    list(textgen.train(text, run=text.stem, checkpoints=folder, steps=steps, **MODEL, **NEVER))
    size = text.stat().st_size / 1e6
    print(f"training on {size:,.0f} MB: {megabytes('VmHWM'):.0f} MB at most", flush=True)


def alone(part: Callable[..., None], *given: object) -> None:
    """Run `part` in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=part, args=given)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="*", type=Path, default=[default_corpus()])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="where to make the text; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        os.environ["TEXTGEN_CACHE"] = str(folder / "cache")
        large, small = folder / "large.txt", folder / "small.txt"
        make(options.texts, small, options.megabytes * 10**4)
        make(options.texts, large, options.megabytes * 10**6)
        time.sleep(3)  # a file just written is not trusted to be at rest
        alone(encode, large)
        for text in (small, large):
            alone(begin, text)
        for text in (small, large):
            alone(train, text, folder, options.steps)


if __name__ == "__main__":
    main()
